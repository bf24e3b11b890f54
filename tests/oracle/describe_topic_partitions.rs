//! DescribeTopicPartitions.

use crate::cases::Case;

pub const API: &str = "DescribeTopicPartitions";

pub const CASES: &[Case] = &[];
