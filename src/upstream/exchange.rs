//! A connection that is carrying a request, and where it goes when that is done.

use std::sync::Arc;

use super::http1::Link;
use super::pool::Pool;
use super::server::InFlight;

/// A connection in use. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) link: Box<Link>,
    pub(super) in_flight: InFlight,
    pub(super) home: Arc<Pool>,
}

impl Exchange {
    /// Gives the connection back where it can carry another request; closes it otherwise.
    pub(super) fn finish(self) {
        let Self {
            mut link,
            in_flight,
            home,
        } = self;
        if link.may_be_kept() {
            link.rest();
            home.put(in_flight.server(), link);
        }
    }
}
