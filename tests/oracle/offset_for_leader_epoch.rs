//! OffsetForLeaderEpoch.

use crate::cases::Case;

pub const API: &str = "OffsetForLeaderEpoch";

pub const CASES: &[Case] = &[];
