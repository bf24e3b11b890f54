//! UpdateFeatures.

use crate::cases::Case;

pub const API: &str = "UpdateFeatures";

pub const CASES: &[Case] = &[];
