//! DescribeLogDirs.

use crate::cases::Case;

pub const API: &str = "DescribeLogDirs";

pub const CASES: &[Case] = &[];
