//! A strict guard between a connection's bytes and hyper's HTTP/1 server.
//!
//! [`Scanner`] judges the bytes (pure), [`Guarded`] puts it into the stream, and [`GuardHandle`]
//! tells the service which request stands for a refusal. [`guard`] makes the last two;
//! [`configure`] sets up hyper so that it never objects to what the scanner found clean.
//!
//! For each request, in order, the service
//! 1. asks [`GuardHandle::next_request`] first: an error is the refusal to answer with, and hyper's
//!    request is to be forgotten;
//! 2. says [`Exchange::answering`] right before it returns the answer to hyper;
//! 3. keeps the [`Exchange`] with the answer's body, and drops the two together.
//!
//! A body that breaks midway ends with a hyper error whose source is an `io::Error` around the
//! [`Denial`](crate::policy::denial::Denial).

mod chunked;
mod configure;
mod field;
mod handle;
mod head;
mod io;
mod request;
mod scanner;
mod violation;

pub use configure::configure;
pub use chunked::{Chunked, Decoded};
pub use handle::{Exchange, GuardHandle, Interim, MAX_INTERIM};
pub use head::{CleanHead, Framing, Head};
pub use io::{Framed, Guarded, Timeouts, guard};
pub use scanner::{Limits, Scan, Scanner, Stop};
pub use violation::Violation;
