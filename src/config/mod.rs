//! The operator's file: read in layers, checked whole, compiled to policy and settings.

pub mod settings;
