//! (to be written)
pub mod settings;
