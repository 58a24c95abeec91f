//! `[upstream.NAME]`: the apps, and what is repaired of their cookies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};

use super::CertificateFiles;

/// `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// NAME.
    pub name: Arc<str>,
    /// At least one.
    pub servers: Vec<UpstreamServer>,
    /// How a server is chosen.
    pub balance: Balance,
    /// The Host that the app sees.
    pub host: UpstreamHost,
    /// To an open connection.
    pub connect_timeout: Duration,
    /// To the answer's head.
    pub response_timeout: Duration,
    /// Connections at most, per server.
    pub connections: usize,
    /// How long a request waits for a connection.
    pub queue: Duration,
    /// Further servers tried for a request that no server began to answer.
    pub retries: u32,
    /// How servers are asked whether they are well; `None`: they are not asked.
    pub health: Option<HealthCheck>,
    /// When a server that fails requests is left out; `None`: never.
    pub eject: Option<Eject>,
    /// For https servers.
    pub tls: UpstreamTls,
    /// Repairs of the app's cookies, in the order written; the first that fits a cookie's name holds.
    pub cookies: Vec<CookieRepair>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// As configured, without credentials: the label in logs and metrics.
    pub label: Arc<str>,
    /// Where to connect.
    pub address: ServerAddress,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Share of the requests; at least 1.
    pub weight: u32,
}

/// `health` of an upstream: one question, asked of each server again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for: a path, and a query where it has one.
    pub target: Uri,
    /// The `Host` of the question; the upstream's fixed one or the server's own where `None`.
    pub host: Option<HeaderValue>,
    /// From the beginning of one check to that of the next.
    pub every: Duration,
    /// For the whole check, connecting included.
    pub timeout: Duration,
    /// Checks passed in a row that bring a server back; at least 1.
    pub healthy: u32,
    /// Checks failed in a row that take a server out; at least 1.
    pub unhealthy: u32,
}

/// `eject` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// Failed requests in a row that take a server out; at least 1.
    pub failures: u32,
    /// For how long, the first time.
    pub time: Duration,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A host name or address, and a port. Names are resolved again and again.
    Tcp {
        /// Name or address, without brackets.
        host: Arc<str>,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// `balance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The server with the fewest requests under way, by weight.
    LeastRequests,
    /// In turn, by weight.
    RoundRobin,
    /// By the client's address.
    ClientIp,
    /// Sticky by a cookie.
    Cookie,
}

/// `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's.
    Preserve,
    /// The server's own.
    Upstream,
    /// A fixed one.
    Fixed(HeaderValue),
}

/// `tls` of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM roots; the system's where `None`.
    pub ca: Option<PathBuf>,
    /// Name to verify and to send as SNI; the server's host where `None`.
    pub server_name: Option<String>,
    /// Client certificate.
    pub client: Option<CertificateFiles>,
}

/// `cookies` of an upstream: attributes that the app's `Set-Cookie` should have had. What is `None`
/// stays as the app set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieRepair {
    /// The one cookie it holds for; every cookie where `None`.
    pub name: Option<Box<str>>,
    /// Whether `Secure` is there.
    pub secure: Option<bool>,
    /// Whether `HttpOnly` is there.
    pub http_only: Option<bool>,
    /// `SameSite`.
    pub same_site: Option<SameSite>,
    /// `Max-Age`; `Expires` goes with the old one.
    pub max_age: Option<Duration>,
    /// `Domain`; the empty one takes it off.
    pub domain: Option<Box<str>>,
}

/// `SameSite` of a cookie (RFC 6265bis §4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the attribute")]
pub enum SameSite {
    Strict,
    Lax,
    None,
}
