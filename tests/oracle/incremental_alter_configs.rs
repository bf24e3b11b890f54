//! IncrementalAlterConfigs.

use crate::cases::Case;

pub const API: &str = "IncrementalAlterConfigs";

pub const CASES: &[Case] = &[];
