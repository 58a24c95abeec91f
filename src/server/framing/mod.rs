//! A strict guard between a connection's bytes and hyper's HTTP/1 server.
//!
//! [`Scanner`] judges the bytes (pure), [`Guarded`] puts it into the stream, and [`GuardHandle`]
//! tells the service which request stands for a refusal. [`guard`] makes the last two;
//! [`configure`] sets up hyper so that it never objects to what the scanner found clean.

mod chunked;
mod configure;
mod field;
mod handle;
mod head;
mod io;
mod scanner;
mod timer;
mod violation;

pub use configure::configure;
pub use handle::{Exchange, GuardHandle, Interim, MAX_INTERIM};
pub use io::{Framed, Guarded, Timeouts, guard};
pub use scanner::{Limits, Scan, Scanner, Stop};
pub use violation::Violation;
