//! How a running gateway takes up changes.

pub mod watch;
