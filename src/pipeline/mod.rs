//! The way of a request, from its head to its answer.

pub(crate) mod act;
pub mod arrival;
pub mod body;
mod files;
pub(crate) mod ids;
mod inbound;
pub mod judge;
mod limits;
mod look;
mod provider;
mod recorded;
mod report;
pub(crate) mod respond;
pub mod sealing;
pub mod serve;
mod sign_in;
mod sign_out;
pub mod socket;
mod stay;
pub mod trace;
