//! The servers of the apps: what is known about each, shared by all workers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::budget::Budget;
use super::health::State;
use super::http1::Link;
use super::name::Name;
use super::standing::Standing;
use crate::config::settings::{
    Balance, ServerAddress, Upstream as Settings, UpstreamHost, UpstreamServer,
};
use crate::policy::set_cookie::Repairs;
use crate::telemetry::{NameReading, ServerCounters};

/// One server, with what changes about it.
#[derive(Debug)]
pub struct Server {
    /// Names the server in every worker's pool; never used again.
    pub(super) key: u64,
    /// As configured.
    pub settings: UpstreamServer,
    /// Where connections to it are made.
    pub(super) place: Place,
    /// For https servers: how to speak TLS, and the name to verify.
    pub(super) tls: Option<ServerTls>,
    /// The `Host` that goes with `host = "upstream"`.
    pub(super) authority: http::HeaderValue,
    /// One permit for each connection that may be open.
    pub(super) slots: Arc<Semaphore>,
    /// What was counted about it.
    pub counts: ServerCounters,
    in_flight: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    limit: usize,
    /// Whether it is given requests. Goes over reloads that change nothing about it.
    pub(super) standing: Arc<Standing>,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At the path of its settings.
    Unix,
    /// At an address that was written out.
    At(SocketAddr),
    /// At whichever addresses its name has.
    Named(Arc<Name>),
}

/// TLS towards a server.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Versions, roots, client certificate.
    pub config: Arc<rustls::ClientConfig>,
    /// The name to verify and to send.
    pub name: rustls::pki_types::ServerName<'static>,
}

impl Server {
    pub(super) fn new(
        key: u64,
        settings: UpstreamServer,
        place: Place,
        (tls, standing): (Option<ServerTls>, Arc<Standing>),
        limit: usize,
    ) -> Self {
        let authority = match &settings.address {
            ServerAddress::Tcp { host, port } => {
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.to_string()
                };
                let standard = if settings.tls { 443 } else { 80 };
                if *port == standard {
                    host
                } else {
                    format!("{host}:{port}")
                }
            }
            ServerAddress::Unix(_) => "localhost".to_owned(),
        };
        let authority = http::HeaderValue::try_from(authority)
            .unwrap_or_else(|_| http::HeaderValue::from_static("localhost"));
        Self {
            key,
            settings,
            place,
            tls,
            authority,
            slots: Arc::new(Semaphore::new(limit)),
            counts: ServerCounters::default(),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            limit,
            standing,
        }
    }

    /// Whether it is given requests, or why not.
    #[must_use]
    pub fn state(&self) -> State {
        self.standing.state()
    }

    /// What was wrong with its last check, where something was.
    #[must_use]
    pub fn check_problem(&self) -> Option<String> {
        self.standing.problem()
    }

    /// Its name, where it has one.
    pub(super) fn name(&self) -> Option<&Arc<Name>> {
        match &self.place {
            Place::Named(name) => Some(name),
            Place::Unix | Place::At(_) => None,
        }
    }

    /// How it stands with its name, where it has one.
    #[must_use]
    pub fn name_reading(&self) -> Option<NameReading> {
        self.name().map(|name| NameReading {
            addresses: name.addresses(),
            failures: name.failures(),
            problem: name.problem(),
        })
    }

    /// Whether a connection may be used again: its address is still one of the server's.
    pub(super) fn keeps(&self, link: &mut Link) -> bool {
        match (&self.place, link.peer()) {
            (Place::Named(name), Some(peer)) => name.keeps(peer),
            (Place::Unix | Place::At(_) | Place::Named(_), _) => true,
        }
    }

    /// What the sticky cookie says of this server; tells nothing about its address.
    #[must_use]
    pub fn sticky_id(&self) -> u64 {
        super::balance::stable_hash(self.settings.label.as_bytes())
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections open.
    pub fn connections(&self) -> usize {
        self.limit.saturating_sub(self.slots.available_permits())
    }

    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// Counts one request under way, until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Server>);

impl InFlight {
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An app: its servers and how requests reach them.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub settings: Settings,
    /// At least one.
    pub servers: Vec<Arc<Server>>,
    /// Repairs of its cookies.
    pub cookies: Repairs,
    /// For round robin: how many picks there were.
    pub(super) turn: AtomicUsize,
    /// The time of the budget counts from here.
    pub(super) born: Instant,
    /// What retries come out of; locked for a retry alone.
    pub(super) budget: Mutex<Budget>,
}

impl Upstream {
    pub(super) fn balance(&self) -> Balance {
        self.settings.balance
    }

    /// The Host that the app sees.
    pub(super) fn host(&self) -> &UpstreamHost {
        &self.settings.host
    }

    /// Time to the answer's head.
    #[must_use]
    pub fn response_timeout(&self) -> Duration {
        self.settings.response_timeout
    }
}
