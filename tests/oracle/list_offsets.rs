//! ListOffsets.

use crate::cases::Case;

pub const API: &str = "ListOffsets";

pub const CASES: &[Case] = &[];
