//! This process as the one that takes over: what it was started with, and what it says.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;

use super::channel;
use crate::config::{Environment, ProcessEnvironment};
use crate::server::{Giver, Inheritance, handover};
use crate::store::ledger::Opening;

/// The variable that names the process which hands over. Not one of the configuration's.
pub(super) const FROM: &str = "TAKES_OVER_FROM";

/// A process that hands over, and waits for this one.
#[derive(Debug)]
pub(super) struct Heir {
    channel: UnixStream,
    from: u32,
}

impl Heir {
    /// The sockets of the process that started this one to hand over to it; `None` where it was
    /// started otherwise. A variable that was left over names no parent.
    pub(super) fn take() -> io::Result<Option<(Self, Inheritance)>> {
        let named = (ProcessEnvironment.variable(FROM)).and_then(|from| from.parse().ok());
        let Some(from) = named.filter(|from| *from == parent_id()) else {
            return Ok(None);
        };
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        channel::bound(&channel, channel::patience())?;
        let sockets = handover::take(&channel).map_err(|error| {
            let words = format!("the sockets of the process {from} cannot be taken over: {error}");
            io::Error::new(error.kind(), words)
        })?;
        let giver = Giver::Predecessor;
        Ok(Some((
            Self { channel, from },
            Inheritance { giver, sockets },
        )))
    }

    /// When a file that only one process may have is opened.
    pub(super) const fn opening(&self) -> Opening {
        Opening::After(self.from)
    }

    /// Says that this process is ready and waits until it is the gateway. Blocks for a moment.
    pub(super) fn say_ready(self) -> io::Result<()> {
        channel::is_ready(&self.channel).map_err(|error| {
            let words = format!("the process {} did not hand over: {error}", self.from);
            io::Error::new(error.kind(), words)
        })
    }

    /// Says why this process cannot take over.
    pub(super) fn fails(self, why: &str) {
        // Where nobody hears it, it stands in the log.
        let _ = channel::fails(&self.channel, why);
    }
}
