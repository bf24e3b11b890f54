//! The image of the cluster that every core holds, and how records change it.
