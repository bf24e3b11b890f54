//! ListConfigResources.

use crate::cases::Case;

pub const API: &str = "ListConfigResources";

pub const CASES: &[Case] = &[];
