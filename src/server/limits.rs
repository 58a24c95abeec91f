//! How many connections are open, in all and by client address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::config::settings::Limits;
use crate::telemetry::Refused;

/// Counts open connections over all workers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: AtomicUsize,
    by_address: DashMap<IpAddr, usize, ahash::RandomState>,
}

/// One open connection. Counts until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    ledger: Arc<Ledger>,
    address: Option<IpAddr>,
}

impl Ledger {
    /// A seat for a connection of `address`.
    ///
    /// # Errors
    ///
    /// Why there is none left.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Seat, Refused> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Limit);
        }
        // From here on dropping the seat gives the place back.
        let mut seat = Seat {
            ledger: Arc::clone(self),
            address: None,
        };
        if limits.connections_per_ip > 0 {
            let address = address.to_canonical();
            let mut count = self.by_address.entry(address).or_insert(0);
            if *count >= limits.connections_per_ip {
                drop(count);
                return Err(Refused::LimitPerIp);
            }
            *count += 1;
            seat.address = Some(address);
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ledger.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            self.ledger.by_address.remove_if_mut(&address, |_, count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, connections_per_ip: usize) -> Limits {
        Limits {
            connections,
            connections_per_ip,
            request_line: 8192,
            headers: 65536,
            header_count: 100,
            http2_streams: 128,
        }
    }

    #[test]
    fn a_seat_that_is_given_back_can_be_taken_again() {
        let ledger = Arc::new(Ledger::default());
        let address = IpAddr::from([192, 0, 2, 1]);
        let first = ledger.admit(address, &limits(1, 0));
        assert!(first.is_ok());
        assert!(ledger.admit(address, &limits(1, 0)).is_err());
        drop(first);
        assert!(ledger.admit(address, &limits(1, 0)).is_ok());
    }

    #[test]
    fn one_address_cannot_take_the_seats_of_others() {
        let ledger = Arc::new(Ledger::default());
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = ledger.admit(greedy, &limits(9, 1));
        assert!(ledger.admit(greedy, &limits(9, 1)).is_err());
        assert!(ledger.admit(other, &limits(9, 1)).is_ok());
        drop(first);
        assert!(ledger.by_address.is_empty());
        assert!(ledger.admit(greedy, &limits(9, 1)).is_ok());
    }
}
