//! Consumer groups.
//!
//! [`assignors`] computes who reads which partition; [`regex`] decides which topics a subscription by
//! regular expression names. Both are pure.

pub mod assignors;
pub mod regex;
