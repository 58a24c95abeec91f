//! One connection that all questions to a Redis share: to a server, to whom the sentinels name, or
//! to a cluster. Opened when needed, dropped when it breaks or hangs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError, RedisFuture, ScriptInvocation,
    TlsCertificates, TlsMode, Value,
};
use arc_swap::ArcSwapOption;

use crate::auth::ports::StoreError;
use crate::config::settings::{RedisHome, RedisLogin, RedisNode, RedisPlace};
use crate::store::redis::code;

/// For one server of a cluster; another is asked then.
const ONE_NODE: Duration = Duration::from_millis(700);
/// Largest file of authorities in bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// A connection of either kind.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy)]
pub(in crate::store::ledger) enum Question<'q> {
    Command(&'q Cmd),
    Script(&'q ScriptInvocation<'q>),
}

/// The way to one Redis.
#[derive(Debug)]
pub(in crate::store::ledger) struct Link {
    home: RedisHome,
    shown: Arc<str>,
    current: ArcSwapOption<Numbered>,
    connecting: tokio::sync::Mutex<()>,
    next: AtomicU64,
}

struct Numbered {
    number: u64,
    connection: Connection,
}

/// Lets go of a connection whose question is given up.
struct Hanging<'l> {
    link: &'l Link,
    number: Option<u64>,
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.link.discard(number);
        }
    }
}

impl Link {
    /// Opens nothing yet.
    pub(in crate::store::ledger) fn new(home: &RedisHome, shown: Arc<str>) -> Self {
        Self {
            home: home.clone(),
            shown,
            current: ArcSwapOption::empty(),
            connecting: tokio::sync::Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Asks, and where the connection broke or its server is no longer the one to ask, once more
    /// on another. Whoever calls bounds it in time; given up, it drops the connection.
    pub(in crate::store::ledger) async fn ask<T: FromRedisValue>(
        &self,
        question: Question<'_>,
    ) -> Result<T, StoreError> {
        let mut first = true;
        loop {
            let held = self.connected().await.map_err(|error| self.told(error))?;
            let mut hanging = Hanging {
                link: self,
                number: Some(held.number),
            };
            let mut connection = held.connection.clone();
            let outcome = match question {
                Question::Command(command) => command.query_async(&mut connection).await,
                Question::Script(script) => script.invoke_async(&mut connection).await,
            };
            hanging.number = None;
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) => {
                    if is_broken(&error) || is_elsewhere(&error) {
                        self.discard(held.number);
                        if std::mem::take(&mut first) {
                            continue;
                        }
                    }
                    return Err(self.told(error));
                }
            }
        }
    }

    /// For publish and subscribe: to the server that is asked, or to any of a cluster, where each
    /// hears what is told to one.
    pub(super) async fn client(&self) -> Result<Client, RedisError> {
        match &self.home.at {
            RedisPlace::Server(node) => self.single(self.address(node)),
            RedisPlace::Socket(path) => self.single(ConnectionAddr::Unix(path.clone())),
            RedisPlace::Sentinel {
                sentinels,
                master,
                login,
            } => {
                self.sentinels(sentinels, master, login)?
                    .async_get_client()
                    .await
            }
            RedisPlace::Cluster(nodes) => match self.turned(nodes).next() {
                Some(node) => self.single(self.address(node)),
                None => Err(nowhere()),
            },
        }
    }

    async fn connected(&self) -> Result<Arc<Numbered>, RedisError> {
        if let Some(current) = self.current.load_full() {
            return Ok(current);
        }
        let _turn = self.connecting.lock().await;
        if let Some(current) = self.current.load_full() {
            return Ok(current);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = match &self.home.at {
            RedisPlace::Cluster(nodes) => Connection::Cluster(Box::new(self.cluster(nodes).await?)),
            RedisPlace::Server(_) | RedisPlace::Socket(_) | RedisPlace::Sentinel { .. } => {
                // Whoever asks sets the bounds in time.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(None)
                    .set_response_timeout(None);
                let client = self.client().await?;
                let opening = client.get_multiplexed_async_connection_with_config(&config);
                Connection::One(opening.await?)
            }
        };
        let held = Arc::new(Numbered { number, connection });
        self.current.store(Some(Arc::clone(&held)));
        Ok(held)
    }

    fn single(&self, address: ConnectionAddr) -> Result<Client, RedisError> {
        let info = address.into_connection_info()?;
        let info = info.set_redis_settings(self.settings());
        match self.certificates()? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    async fn cluster(&self, nodes: &[RedisNode]) -> Result<ClusterConnection, RedisError> {
        let login = &self.home.login;
        let addresses: Vec<_> = self.turned(nodes).map(|node| self.address(node)).collect();
        let mut builder = ClusterClientBuilder::new(addresses)
            .connection_timeout(ONE_NODE)
            .response_timeout(ONE_NODE)
            .retries(2);
        if let Some(user) = &login.user {
            builder = builder.username(user);
        }
        if let Some(password) = &login.password {
            builder = builder.password(password.expose());
        }
        if self.home.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates()? {
            builder = builder.certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }

    fn sentinels(
        &self,
        sentinels: &[RedisNode],
        master: &str,
        login: &RedisLogin,
    ) -> Result<SentinelClient, RedisError> {
        let addresses = self.turned(sentinels).map(|node| self.address(node));
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(addresses, master, kind)?
            .set_client_to_redis_db(self.home.database.into());
        if let Some(user) = &self.home.login.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.home.login.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(user) = &login.user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &login.password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if self.home.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates()? {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        builder.build()
    }

    /// Another comes first each time, so that one that hangs is not always the first to be asked.
    fn turned<'n>(&self, nodes: &'n [RedisNode]) -> impl Iterator<Item = &'n RedisNode> {
        let turn = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
        let skipped = turn.checked_rem(nodes.len()).unwrap_or(0);
        nodes.iter().cycle().skip(skipped).take(nodes.len())
    }

    fn address(&self, node: &RedisNode) -> ConnectionAddr {
        let (host, port) = (node.host.to_string(), node.port);
        if self.home.tls {
            return ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            };
        }
        ConnectionAddr::Tcp(host, port)
    }

    fn settings(&self) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(self.home.database.into());
        if let Some(user) = &self.home.login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.home.login.password {
            settings = settings.set_password(password.expose());
        }
        settings
    }

    /// Read for each connection, so that an authority that was added counts.
    fn certificates(&self) -> Result<Option<TlsCertificates>, RedisError> {
        let Some(path) = &self.home.authorities else {
            return Ok(None);
        };
        let fits = fs::metadata(path)?.len() <= MOST_BYTES;
        let root_cert = if fits { fs::read(path)? } else { Vec::new() };
        Ok(Some(TlsCertificates {
            client_tls: None,
            root_cert: Some(root_cert),
        }))
    }

    fn discard(&self, number: u64) {
        let current = self.current.load_full();
        if current.as_ref().is_some_and(|held| held.number == number) {
            self.current.compare_and_swap(&current, None);
        }
    }

    /// What those who wait are told. Of a server's message only the code: the rest may quote keys.
    fn told(&self, error: RedisError) -> StoreError {
        let store = Arc::clone(&self.shown);
        let refused = |what: &str| StoreError::Refused {
            store: Arc::clone(&store),
            what: what.into(),
        };
        if error.kind() == ErrorKind::AuthenticationFailed {
            return refused("check the user and the password");
        }
        let code = code(&error).unwrap_or_default().to_owned();
        // Of a script that does what its user may not, some versions say no more than this.
        let detail = error.detail().unwrap_or_default();
        let code = if detail.contains("can't run this command") {
            "NOPERM"
        } else {
            code.as_str()
        };
        match code {
            "NOAUTH" | "WRONGPASS" => refused("check the user and the password"),
            "NOPERM" => refused(
                "the user needs `~portcullis:* &portcullis:* +@read +@write +@scripting \
                 +@pubsub +@connection +time`, in a cluster `+cluster` too, with sentinels `+role`",
            ),
            "OOM" => refused(
                "it is full: give it more `maxmemory`, and let `maxmemory-policy` be `noeviction`",
            ),
            "MISCONF" => refused("it cannot write to its disk, and takes no change until it can"),
            "CROSSSLOT" | "MOVED" | "ASK" => {
                refused("it is a cluster; name it by `redis+cluster://HOST:PORT,HOST:PORT`")
            }
            "WRONGTYPE" => refused("others use keys that begin with `portcullis:` there"),
            "" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "READONLY"
            | "NOREPLICAS" => StoreError::Unreachable {
                store,
                cause: Arc::new(error),
            },
            _ => refused(&format!("it answered {code}")),
        }
    }
}

fn nowhere() -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "no server is named"))
}

fn is_broken(error: &RedisError) -> bool {
    let of_wire = matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse);
    of_wire || error.is_io_error() || error.is_connection_dropped()
}

/// Whether the server is no longer the one that takes changes.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
}

impl std::fmt::Debug for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbered")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
