//! DescribeQuorum.

use crate::cases::Case;

pub const API: &str = "DescribeQuorum";

pub const CASES: &[Case] = &[];
