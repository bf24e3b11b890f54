//! InitProducerId.

use crate::cases::Case;

pub const API: &str = "InitProducerId";

pub const CASES: &[Case] = &[];
