//! The dispatch table and one file per API or small family.
