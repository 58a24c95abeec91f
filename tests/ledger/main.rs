//! The gateway's own sessions in every home that they may have, on real servers: private ones,
//! each in a temporary folder on a free port, started and ended by the test. A server program
//! that is missing fails the test where `CI=true`, and elsewhere skips it aloud.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a helper of a test may stop the test, read the clock and say what it skips"
)]

mod contract;
mod counts;
mod file;
mod handover;
mod homes;
mod measure;
mod postgreses;
mod redises;
mod rig;
#[path = "../stores/servers.rs"]
mod servers;
mod shared;
mod shelf;
