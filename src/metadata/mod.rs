//! The image of the cluster that every core holds, and how records change it.
//!
//! An [`Image`] is what the metadata log says up to one offset. It is cheap to clone (persistent maps) and
//! never changes once published; only [`Image::apply`] makes a new one, from records alone, so that a
//! replay of the log, a snapshot and the running controller can never disagree.

pub mod broker;
pub mod features;
pub mod image;
mod records;
pub mod topic;

pub use broker::{Broker, Controller};
pub use image::{ApplyError, Image, ResourceType};
pub use topic::{Partition, Topic};
