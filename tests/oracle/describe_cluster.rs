//! DescribeCluster.

use crate::cases::Case;

pub const API: &str = "DescribeCluster";

pub const CASES: &[Case] = &[];
