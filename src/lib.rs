//! Portcullis: one binary and one file in front of Django and Flask apps.
//!
//! The rooms, in the order a request meets them, are told in ARCHITECTURE.md. A room may use those
//! that stand after it in this list, never those before; `tests/architecture.rs` holds that:
//!
//! `main · cli · admin · reload · server · pipeline · gateway · tls · upstream · signin · limiter ·
//! store · auth · telemetry · config · policy · clock · secret`

pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod limiter;
pub mod pipeline;
pub mod policy;
pub mod reload;
pub mod secret;
pub mod server;
pub mod signin;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
