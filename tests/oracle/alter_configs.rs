//! AlterConfigs.

use crate::cases::Case;

pub const API: &str = "AlterConfigs";

pub const CASES: &[Case] = &[];
