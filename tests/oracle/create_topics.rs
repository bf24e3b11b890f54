//! CreateTopics.

use crate::cases::Case;

pub const API: &str = "CreateTopics";

pub const CASES: &[Case] = &[];
