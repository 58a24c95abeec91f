//! What the gateway is built from, apart from the policy: addresses, files, keys, timeouts.
//!
//! Plain values that the compiler of the configuration has checked. Nothing here opens anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::secret::Secret;

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
    /// `[identity] assertion`.
    pub assertion: Option<Assertion>,
    /// `[log]`.
    pub log: Log,
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
    /// For https servers.
    pub tls: UpstreamTls,
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

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// A host name or address, and a port. Names are resolved when connecting.
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

/// `[auth.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticator {
    /// NAME.
    pub name: Arc<str>,
    /// What it reads.
    pub kind: AuthenticatorKind,
}

/// The types of authenticators in this version.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthenticatorKind {
    /// `type = "jwt"`.
    Jwt(Box<Jwt>),
    /// `type = "api-key"`.
    ApiKey(ApiKey),
    /// `type = "basic"`.
    Basic(Basic),
    /// `type = "client-certificate"`.
    ClientCertificate(ClientCertificate),
}

/// `type = "jwt"`, with its preset applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// Algorithms accepted; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Issuers accepted; empty accepts any or none.
    pub issuer: Vec<String>,
    /// Audiences accepted; empty accepts any or none.
    pub audience: Vec<String>,
    /// For `exp` and `nbf`.
    pub leeway: Duration,
    /// Claims (dotted paths) that must equal a value; with [`Value::Null`], which no file can
    /// say, they must only be there.
    pub require: Vec<(String, Value)>,
    /// Where tokens are looked for, in order; at least one.
    pub sources: Vec<Source>,
    /// Which claims make the identity.
    pub identity: IdentityMap,
    /// Whether an unsafe request with the token in a cookie must repeat the token's `csrf` claim
    /// in `X-CSRF-TOKEN` (Flask-JWT-Extended's double submit).
    pub csrf_double_submit: bool,
}

/// A signature algorithm of RFC 7518 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1"
)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where a JWT's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// HMAC secrets; all of them verify.
    Secrets(Vec<Secret<Vec<u8>>>),
    /// PEM public keys or certificates.
    PublicKeys(Vec<PathBuf>),
    /// A JWKS file.
    JwksFile(PathBuf),
    /// A JWKS by URL.
    JwksUrl(JwksUrl),
}

/// A JWKS by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// The JWKS itself, or with `discovery` the issuer's URL, whose
    /// `/.well-known/openid-configuration` names it.
    pub url: url::Url,
    /// Whether `url` is an issuer to ask for its `jwks_uri` (OpenID Connect Discovery 1.0 §4).
    pub discovery: bool,
    /// Time between two refreshes.
    pub refresh: Duration,
    /// How long the last good set serves when refreshes fail.
    pub stale: Duration,
}

/// Where one credential may sit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A header; `authorization` wants the scheme `Bearer`, others hold the bare credential.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// A query parameter.
    Query(Box<str>),
    /// A query parameter of WebSocket handshakes alone.
    WebSocketQuery(Box<str>),
    /// `Sec-WebSocket-Protocol: bearer, TOKEN`.
    WebSocketProtocol,
}

/// `identity`: which claims (dotted paths) make the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMap {
    /// The user; must be a non-blank string or a whole number.
    pub user: String,
    /// Roles: each claim a string, a list, or (`scope`, `scp`) a space-separated string.
    pub roles: Vec<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Name to show.
    pub name: Option<String>,
}

/// `type = "api-key"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Where keys are looked for, in order.
    pub sources: Vec<Source>,
    /// The keys, the `file`'s included.
    pub keys: Vec<ApiKeyEntry>,
}

/// One known api key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Who bears it.
    pub user: String,
    /// Their roles.
    pub roles: Vec<String>,
}

impl std::fmt::Debug for ApiKeyEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyEntry")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// `type = "basic"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// htpasswd file with bcrypt (`$2y$`) or argon2 (`$argon2id$`) hashes.
    pub htpasswd: PathBuf,
}

/// `type = "client-certificate"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Which name is the user.
    pub user: CertificateUser,
    /// Roles by subject: `CN=ci`, or a whole subject.
    pub roles: Vec<(String, Vec<String>)>,
}

/// Which name of a client certificate is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// The first e-mail address among the subject alternative names.
    SanEmail,
    /// The first DNS name.
    SanDns,
    /// The first URI.
    SanUri,
    /// The subject's common name.
    CommonName,
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

/// `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Wanted as `Authorization: Bearer` where set.
    pub token: Option<Secret<String>>,
}
