//! What the gateway is built from, apart from the policy: addresses, files, keys, timeouts.
//!
//! Plain values that the compiler of the configuration has checked. Nothing here opens anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::secret::Secret;

mod acme;
mod auth;
mod oidc;
mod redis_home;
mod sessions;
mod signin;
mod upstream;

pub use acme::{Acme, AcmeChallenge, ExternalAccount, SharedAcme};
pub use auth::{
    Algorithm, ApiKey, ApiKeyEntry, Authenticator, AuthenticatorKind, Basic, CertificateUser,
    ClientCertificate, IdentityMap, JwksUrl, Jwt, KeySource, Source,
};
pub use oidc::{ForwardedToken, Oidc};
pub use redis_home::{BadRedisHome, REDIS_HOMES, RedisHome, RedisLogin, RedisNode, RedisPlace};
pub use sessions::{
    Database, DatabaseKind, Directory, DirectoryId, DirectoryKind, DirectoryRoles, DjangoBackend,
    DjangoDirectory, DjangoSession, EndpointDirectory, FileNames, FlaskCookie, FlaskLogin,
    FlaskSession, Forward, ForwardIdentity, IdentityHeaders, RememberCookie, SessionIdentity,
    SessionStore, SqlDirectory,
};
pub use signin::{GatewaySession, GatewaySessions, LedgerHome, Pointer, RefreshBy, TokenHandler};
pub use upstream::{
    Balance, CookieRepair, Eject, HealthCheck, SameSite, ServerAddress, Upstream, UpstreamHost,
    UpstreamServer, UpstreamTls,
};

/// Everything of the file that is not policy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[server]`.
    pub server: Server,
    /// `[tls]`.
    pub tls: Tls,
    /// `[upstream.*]`, in the order of `UpstreamId`.
    pub upstreams: Vec<Upstream>,
    /// `[auth.*]`, in the order of `AuthenticatorId`.
    pub authenticators: Vec<Authenticator>,
    /// `[directory.*]`, in the order of [`DirectoryId`].
    pub directories: Vec<Directory>,
    /// `[session]`, where something needs it.
    pub sessions: Option<GatewaySessions>,
    /// Where gateways count together, where a limit is shared.
    pub counts: Option<LedgerHome>,
    /// `[token_handler.*]`, in the order of `HandlerId`.
    pub token_handlers: Vec<TokenHandler>,
    /// `[identity] assertion`.
    pub assertion: Option<Assertion>,
    /// `[log]`.
    pub log: Log,
    /// `[tracing]`, where it is there.
    pub tracing: Option<Tracing>,
    /// `[admin]`.
    pub admin: Admin,
    /// Every file that the configuration names, and the configuration itself: a change reloads.
    pub watched: Vec<PathBuf>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Addresses served with TLS.
    pub https: Vec<SocketAddr>,
    /// Addresses that redirect to https.
    pub http: Vec<SocketAddr>,
    /// Addresses that serve the routes without TLS.
    pub plain: Vec<SocketAddr>,
    /// The admin address.
    pub admin: SocketAddr,
    /// Worker threads; at least 1 (0 in the file is one a core, settled when compiled).
    pub workers: usize,
    /// Whether trusted proxies must speak the PROXY protocol.
    pub proxy_protocol: bool,
    /// `[server.timeouts]`.
    pub timeouts: ServerTimeouts,
    /// `[server.limits]`.
    pub limits: Limits,
}

/// `[server.timeouts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTimeouts {
    /// To the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// To the end of a request's head.
    pub request_headers: Duration,
    /// Between two reads of a request's body.
    pub request_body: Duration,
    /// Between two writes that the client accepts.
    pub response_body: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// From the signal to stop until what is left is cut off.
    pub drain: Duration,
}

/// `[server.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections of one client address; 0 is no limit.
    pub connections_per_ip: usize,
    /// Bytes of a request line.
    pub request_line: usize,
    /// Bytes of a request's head.
    pub headers: usize,
    /// Header lines of a request.
    pub header_count: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub http2_streams: u32,
}

/// `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate and key files; the first is served to clients without SNI.
    pub certificates: Vec<CertificateFiles>,
    /// Whether TLS 1.2 is off.
    pub only_tls13: bool,
    /// Where to keep the development CA and its leaf; `None` when `development` is off.
    pub development: Option<Development>,
    /// Client certificates.
    pub client_auth: ClientAuth,
    /// `[tls.acme]`.
    pub acme: Option<Acme>,
}

/// The files of one `[[tls.certificate]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `[tls] development = true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Development {
    /// The folder: `certs/` beside the file.
    pub folder: PathBuf,
    /// Names of the leaf beyond `localhost`, `127.0.0.1` and `::1`: every route's hosts.
    pub names: Vec<String>,
}

/// `client_auth` and `client_ca`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    None,
    /// Asked for; one that does not verify ends the handshake, none at all does not.
    Optional(PathBuf),
    /// Required.
    Required(PathBuf),
}

/// `[identity] assertion`: a JWT about the caller, signed by the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The header.
    pub header: HeaderName,
    /// PEM private key (PKCS #8: Ed25519, P-256 or RSA); made on first start when it is not there.
    pub key: PathBuf,
    /// How long one assertion is valid.
    pub ttl: Duration,
    /// Its `aud`.
    pub audience: Option<String>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines or text for a terminal.
    pub json: bool,
    /// Lowest level written.
    pub level: LogLevel,
    /// Whether each request has its line.
    pub access: bool,
}

/// `level` of `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[tracing]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans are posted: the collector's address with the path of traces.
    pub otlp: url::Url,
    /// How many of the traces that begin here are recorded, 0 to 1.
    pub sample: f64,
}

/// `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Wanted as `Authorization: Bearer` where set.
    pub token: Option<Secret<String>>,
}
