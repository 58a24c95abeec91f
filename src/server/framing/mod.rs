//! What HTTP/1 clients send, read once and in one way only (RFC 9112). Pure.
//!
//! [`Inflow`] takes apart what comes: [`Head`] judges each head line by line and makes the request of it,
//! [`Chunked`] a chunked body. What two servers could read in two ways is a [`Violation`].

mod bounds;
mod chunked;
mod field;
mod head;
mod inflow;
mod request;
mod violation;

pub use bounds::{Limits, MAX_INTERIM, Timeouts};
pub use chunked::{Chunked, Decoded};
pub use head::{CleanHead, Expects, Framing, Head};
pub use inflow::{Inflow, Piece};
pub use violation::Violation;
