//! DeleteTopics.

use crate::cases::Case;

pub const API: &str = "DeleteTopics";

pub const CASES: &[Case] = &[];
