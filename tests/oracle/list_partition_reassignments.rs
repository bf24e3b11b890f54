//! ListPartitionReassignments.

use crate::cases::Case;

pub const API: &str = "ListPartitionReassignments";

pub const CASES: &[Case] = &[];
