//! The way of a request, from its head to its answer.

pub mod body;
mod files;
mod inbound;
pub mod judge;
mod report;
mod respond;
pub mod serve;
pub mod trace;
