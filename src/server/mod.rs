//! The public doors: addresses bound, connections accepted, workers that serve them, drain.

mod accept;
mod connection;
pub mod drain;
mod h2;
pub mod handover;
mod http1;
mod inherited;
mod limits;
mod redirect;
mod socket;
mod sockets;
mod tunnel;
mod worker;

pub mod framing;
pub mod proxy_protocol;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::settings::Server as Settings;
use crate::gateway::Gateway;
pub use crate::telemetry::Door;
use drain::Drain;
pub use inherited::{Given, Giver, Inheritance, Unfit};
use limits::Ledger;

/// Connections that wait to be accepted, per address.
const BACKLOG: i32 = 4096;

/// An address that could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (server.{key}): {source}")]
pub struct BindError {
    /// The key of the configuration.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Addresses taken, nothing accepted yet.
#[derive(Debug)]
pub struct Bound {
    doors: Vec<(Door, TcpListener)>,
}

/// Takes every address, the admin's last: from `inheritance` where a socket for it is there, and
/// opened here otherwise. What does not fit is told to the log.
///
/// # Errors
///
/// The first address that cannot be taken.
pub fn bind(settings: &Settings, inheritance: Inheritance) -> Result<Bound, BindError> {
    let wanted = wanted(settings);
    let giver = inheritance.giver;
    let (found, left) = inheritance.share_out(&wanted);
    for given in left {
        tell_left(giver, &given);
    }
    let mut doors = Vec::new();
    for ((door, address), given) in wanted.into_iter().zip(found) {
        let key = door.as_str();
        let listener = if let Some(listener) = given {
            listener
        } else {
            if giver == Giver::Manager {
                tracing::warn!(
                    %address,
                    "no socket for server.{key} came from the service manager: it is opened here, \
                     and closed while the gateway restarts; add a ListenStream= to the socket unit"
                );
            }
            listen(address).map_err(|source| BindError {
                key,
                address,
                source,
            })?
        };
        doors.push((door, listener));
    }
    Ok(Bound { doors })
}

/// Every address of the configuration, by its door.
fn wanted(settings: &Settings) -> Vec<(Door, SocketAddr)> {
    let sets = [
        (Door::Https, settings.https.as_slice()),
        (Door::Plain, settings.plain.as_slice()),
        (Door::Http, settings.http.as_slice()),
        (Door::Admin, std::slice::from_ref(&settings.admin)),
    ];
    let of = |(door, addresses): (Door, &[SocketAddr])| {
        let addresses = addresses.iter().map(move |address| (door, *address));
        addresses.collect::<Vec<_>>()
    };
    sets.into_iter().flat_map(of).collect()
}

fn tell_left(giver: Giver, left: &Given) {
    let (address, name) = (left.address(), left.name());
    match giver {
        // It was served before: whoever waits there was not to be served any more.
        Giver::Predecessor | Giver::Nobody => {
            tracing::info!(%address, door = name, "closed: the configuration has it no longer");
        }
        Giver::Manager => tracing::error!(
            %address,
            name,
            "a socket of the service manager fits no address of [server]: whoever connects there \
             is not answered; take it out of the socket unit, or name the door with \
             FileDescriptorName=https, http, plain or admin"
        ),
    }
}

/// Listens on one address. `SO_REUSEADDR` lets a restart take it while old connections linger; it
/// does not let two processes share it.
///
/// # Errors
///
/// What the system said.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Bound {
    /// The addresses, with the ports that the system chose where the configuration said 0.
    pub fn addresses(&self) -> impl Iterator<Item = (Door, SocketAddr)> {
        self.doors
            .iter()
            .filter_map(|(door, listener)| Some((*door, listener.local_addr().ok()?)))
    }

    /// The port of the first https address, for redirects.
    fn https_port(&self) -> Option<u16> {
        self.addresses()
            .find(|(door, _)| *door == Door::Https)
            .map(|(_, address)| address.port())
    }

    /// Copies of all sockets, to hand over. They keep the addresses open as long as they are held.
    ///
    /// # Errors
    ///
    /// What the system said when it gave no descriptor.
    pub fn copies(&self) -> io::Result<Vec<(Door, OwnedFd)>> {
        let copy =
            |(door, listener): &(Door, TcpListener)| Ok((*door, listener.try_clone()?.into()));
        self.doors.iter().map(copy).collect()
    }

    /// A copy of the admin address's socket.
    ///
    /// # Errors
    ///
    /// What the system said when it gave no descriptor.
    pub fn admin(&self) -> io::Result<TcpListener> {
        let mut doors = self.doors.iter();
        let admin = doors.find(|(door, _)| *door == Door::Admin);
        let admin = admin.map(|(_, listener)| listener.try_clone());
        admin.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    /// Starts the workers. Each has a thread, a runtime and its own connections to the apps.
    ///
    /// # Errors
    ///
    /// What the system said when it gave no thread.
    pub fn serve(self, gateway: &Arc<Gateway>, workers: usize) -> io::Result<Serving> {
        let drain = Arc::new(Drain::default());
        let ledger = Arc::new(Ledger::default());
        let https_port = self.https_port();
        let mut threads = Vec::with_capacity(workers);
        for index in 0..workers {
            let doors = self
                .doors
                .iter()
                .filter(|(door, _)| *door != Door::Admin)
                .map(|(door, listener)| Ok((*door, listener.try_clone()?)))
                .collect::<io::Result<Vec<_>>>()?;
            let worker = worker::Worker::new(
                Arc::clone(gateway),
                Arc::clone(&drain),
                Arc::clone(&ledger),
                https_port,
            );
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || worker.run(doors))?);
        }
        Ok(Serving { drain, threads })
    }
}

/// The running doors.
#[derive(Debug)]
pub struct Serving {
    drain: Arc<Drain>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Serving {
    /// Whether a worker has ended although nobody asked it to.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Takes no new connection, lets what is in flight finish within `limit`, cuts off the rest.
    /// Blocks until all is done.
    pub fn stop(self, limit: Duration) {
        self.drain.begin(limit);
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker failed"),
                Err(_panic) => tracing::error!("a worker panicked"),
            }
        }
    }
}
