//! ElectLeaders.

use crate::cases::Case;

pub const API: &str = "ElectLeaders";

pub const CASES: &[Case] = &[];
