//! Where the gateway keeps its own sessions, and how long they live.

use std::path::PathBuf;
use std::time::Duration;

use super::{Database, SameSite};
use crate::secret::Secret;

/// The gateway's own sessions: `[session]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySessions {
    /// Where they are kept.
    pub home: LedgerHome,
    /// The cookie's name.
    pub cookie: Box<str>,
    /// The cookie's `SameSite`.
    pub same_site: SameSite,
    /// How long a session lives without being seen.
    pub idle: Duration,
    /// How long a session lives at most.
    pub lifetime: Duration,
}

/// Where the gateway's own sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerHome {
    /// In memory, until the process ends.
    Memory,
    /// In a file.
    File(PathBuf),
    /// In Redis.
    Redis(Box<RedisHome>),
    /// In PostgreSQL.
    Postgres(Database),
}

/// A Redis, or several that act as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHome {
    /// Where.
    pub at: RedisPlace,
    /// Whether with TLS.
    pub tls: bool,
    /// Certificates of the authorities that may have signed the servers', in PEM, instead of the
    /// system's.
    pub authorities: Option<PathBuf>,
    /// Who asks.
    pub login: RedisLogin,
    /// The database's number; a cluster has none but 0.
    pub database: u32,
}

/// User and password, where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// The user.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret<String>>,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// A server.
    Server(RedisNode),
    /// A socket in the file system.
    Socket(PathBuf),
    /// The server that sentinels name.
    Sentinel {
        /// The sentinels; at least one.
        sentinels: Vec<RedisNode>,
        /// The name that they know the server by.
        master: Box<str>,
        /// Who asks the sentinels.
        login: RedisLogin,
    },
    /// A cluster, with some of its servers; at least one.
    Cluster(Vec<RedisNode>),
}

/// A server's name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisNode {
    /// A name, or an address without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}
