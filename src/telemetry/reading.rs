//! What other rooms know and the metrics and the admin address show: asked for, never pushed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::telemetry::cells::Counter;

/// Tells how things stand now. The running gateway implements it.
pub trait Probe: Send + Sync {
    /// How things stand now. Must not block.
    fn read(&self) -> Reading;
}

/// How things stand at one moment.
#[derive(Debug, Default)]
pub struct Reading {
    /// Every server of every upstream.
    pub servers: Vec<ServerReading>,
    /// Every JWKS by URL.
    pub jwks: Vec<JwksReading>,
    /// Every certificate that is served.
    pub certificates: Vec<CertificateReading>,
    /// What orders certificates by ACME, where configured.
    pub acme: Option<AcmeReading>,
    /// Every store of sessions and users.
    pub stores: Vec<StoreReading>,
    /// The gateway's own sessions, where it keeps any.
    pub sessions: Option<SessionsReading>,
    /// Every rate limit.
    pub limits: Vec<LimitReading>,
    /// Verdicts about credentials that are remembered.
    pub cached_verdicts: usize,
}

/// One server of an upstream.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReading {
    /// The upstream's name.
    #[serde(serialize_with = "as_text")]
    pub upstream: Arc<str>,
    /// The server's label.
    #[serde(serialize_with = "as_text")]
    pub server: Arc<str>,
    /// Whether it is given requests.
    pub up: bool,
    /// In a word, how it stands: `in`, `returning`, `ejected` or `down`.
    pub state: &'static str,
    /// What was wrong with its last check, where something was.
    pub check_problem: Option<String>,
    /// How it stands with its name; `None` where an address or a socket is configured.
    pub name: Option<NameReading>,
    /// Requests under way.
    pub in_flight: usize,
    /// Connections open.
    pub connections: usize,
    /// What was counted about it.
    #[serde(flatten)]
    pub counts: ServerCounts,
}

/// The name of a server, as the resolver knows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NameReading {
    /// The addresses in use.
    pub addresses: Vec<SocketAddr>,
    /// Questions to the resolver that came to nothing.
    #[serde(rename = "lookup_failures")]
    pub failures: u64,
    /// What was wrong with the last question, where something was.
    pub problem: Option<String>,
}

/// Counts about one server, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerCounts {
    /// Requests sent, tries included.
    pub requests: u64,
    /// Requests without an answer that could be passed on.
    pub failures: u64,
    /// Requests tried again after this server failed them.
    pub retries: u64,
    /// Requests that waited in vain for a connection.
    pub queue_timeouts: u64,
    /// Requests that were not tried again because the budget was spent.
    pub retries_withheld: u64,
    /// How often it was left out for failing requests.
    pub ejections: u64,
    /// Checks that it passed.
    pub checks_passed: u64,
    /// Checks that it failed.
    pub checks_failed: u64,
}

/// Counts about one server, as they grow. Lives as long as the server, over reloads.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Requests sent, tries included.
    pub requests: Counter,
    /// Requests without an answer that could be passed on.
    pub failures: Counter,
    /// Requests tried again after this server failed them.
    pub retries: Counter,
    /// Requests that waited in vain for a connection.
    pub queue_timeouts: Counter,
    /// Requests that were not tried again because the budget was spent.
    pub retries_withheld: Counter,
    /// How often it was left out for failing requests.
    pub ejections: Counter,
    /// Checks that it passed.
    pub checks_passed: Counter,
    /// Checks that it failed.
    pub checks_failed: Counter,
}

impl ServerCounters {
    /// The counts now.
    #[must_use]
    pub fn read(&self) -> ServerCounts {
        ServerCounts {
            requests: self.requests.get(),
            failures: self.failures.get(),
            retries: self.retries.get(),
            queue_timeouts: self.queue_timeouts.get(),
            retries_withheld: self.retries_withheld.get(),
            ejections: self.ejections.get(),
            checks_passed: self.checks_passed.get(),
            checks_failed: self.checks_failed.get(),
        }
    }
}

/// The keys of one authenticator that come by URL.
#[derive(Clone, Debug)]
pub struct JwksReading {
    /// The authenticator's name.
    pub authenticator: Arc<str>,
    /// Keys in use.
    pub keys: usize,
    /// Time since the set in use was fetched; `None` when there is none.
    pub age: Option<Duration>,
    /// Fetches that failed since the start.
    pub failures: u64,
    /// What was wrong with the last fetch, if something was.
    pub problem: Option<String>,
}

/// One certificate that is served.
#[derive(Clone, Debug)]
pub struct CertificateReading {
    /// Its file, as configured: the label.
    pub file: String,
    /// Names that it vouches for.
    pub names: Vec<String>,
    /// Valid until then.
    pub not_after: Timestamp,
}

/// How `[tls.acme]` stands.
#[derive(Clone, Debug)]
pub struct AcmeReading {
    /// The names.
    pub domains: Vec<String>,
    /// Whether a certificate is there.
    pub serves: bool,
    /// Certificates that were issued since it was configured so.
    pub issued: u64,
    /// Orders that came to nothing since.
    pub failed: u64,
    /// Why the last order came to nothing, until one succeeds.
    pub problem: Option<String>,
    /// When the next order is due.
    pub next: Option<Timestamp>,
}

/// One store of sessions or users, by who asks it.
#[derive(Clone, Debug)]
pub struct StoreReading {
    /// `auth.NAME` or `directory.NAME`: for whom it is asked. The label.
    pub name: Arc<str>,
    /// `postgres`, `mysql`, `sqlite`, `redis` or `http`.
    pub kind: &'static str,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not.
    pub failed: u64,
    /// Time that the answers took, added up.
    pub spent: Duration,
    /// What was wrong with the last question, if something was. Makes the gateway unready: a store
    /// with a problem is asked again without requests, or it would keep away those that could clear it.
    pub problem: Option<String>,
}

/// What became of the gateway's own sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionsReading {
    /// That began.
    pub begun: u64,
    /// That were ended.
    pub ended: u64,
    /// Renewals that brought a new access token.
    pub renewed: u64,
    /// Renewals that the app refused.
    pub refused: u64,
    /// Renewals that came to nothing.
    pub failed: u64,
}

/// One rate limit.
#[derive(Clone, Debug)]
pub struct LimitReading {
    /// Its name: the label.
    pub limit: Arc<str>,
    /// Requests that were over it.
    pub over: u64,
    /// Of a shared limit, requests that this gateway counted alone.
    pub alone: Option<u64>,
    /// Accounts that are not whole now.
    pub accounts: usize,
}

/// Serialises shared text as text.
///
/// # Errors
///
/// The serialiser's own.
pub(super) fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
