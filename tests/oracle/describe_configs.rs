//! DescribeConfigs.

use crate::cases::Case;

pub const API: &str = "DescribeConfigs";

pub const CASES: &[Case] = &[];
