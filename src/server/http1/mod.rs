//! HTTP/1 towards clients (RFC 9112): each head is read once, by the rules of `framing`, and an answer
//! goes out with its body in one write.
//!
//! `wire` is a connection's bytes both ways, `held` who has them, `head` what an answer's head says,
//! `answer` how an answer is written, `interim` what comes before it, and `connection` the order of things.

mod answer;
mod connection;
mod head;
mod held;
mod interim;
mod wire;

pub(super) use connection::{once, serve};
pub(super) use wire::Wire;

#[cfg(test)]
mod tests;
