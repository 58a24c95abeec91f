//! HTTP/1.1 towards the apps: what is written, and one strict reading of what comes back.
//!
//! `encode`, `head` and `decode` are pure functions over bytes; [`link::Link`] does the reading and
//! writing. The connection is not a task of its own and nothing goes through channels: whoever
//! waits for the answer moves it on. A request that is to be sent again is written again, so that
//! no copy of its head is kept. `ask` is for checks: one question, one connection.

pub(super) mod ask;
mod decode;
mod encode;
mod head;
mod link;

pub(crate) use encode::chunk_size;
pub(super) use link::{Failure, Link, Received};
