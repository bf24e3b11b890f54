//! CreatePartitions.

use crate::cases::Case;

pub const API: &str = "CreatePartitions";

pub const CASES: &[Case] = &[];
