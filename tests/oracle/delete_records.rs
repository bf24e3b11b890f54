//! DeleteRecords.

use crate::cases::Case;

pub const API: &str = "DeleteRecords";

pub const CASES: &[Case] = &[];
