//! DescribeProducers.

use crate::cases::Case;

pub const API: &str = "DescribeProducers";

pub const CASES: &[Case] = &[];
