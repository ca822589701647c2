//! Kiln.
pub mod import;
