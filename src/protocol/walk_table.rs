//! Placeholder for the generated table.
