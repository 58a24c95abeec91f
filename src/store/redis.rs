//! A Redis that can be asked: one connection that all questions share, opened when needed.
//!
//! The library's own manager keeps a connection that was refused for its password, and one on
//! which nothing comes back any more. Here either is dropped, and the next question opens another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};
use arc_swap::ArcSwapOption;

use super::desk::{Counter, late};
use super::engine::Engine;
use super::fault::unreadable;
use crate::auth::ports::StoreError;
use crate::secret::Secret;

/// Largest value in bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// One Redis.
#[derive(Debug)]
pub(super) struct Line {
    url: Secret<String>,
    client: Client,
    current: ArcSwapOption<Numbered>,
    connecting: tokio::sync::Mutex<()>,
    next: AtomicU64,
    pub(super) counter: Arc<Counter>,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

impl Line {
    /// Opens nothing yet; `None` where the URL is none of a Redis.
    pub(super) fn new(url: &Secret<String>, engine: &Arc<Engine>) -> Option<Self> {
        let client = Client::open(url.expose().as_str()).ok()?;
        let info = client.get_connection_info();
        let shown = format!("Redis at {}/{}", info.addr(), info.redis_settings().db());
        Some(Self {
            url: url.clone(),
            client,
            current: ArcSwapOption::empty(),
            connecting: tokio::sync::Mutex::default(),
            next: AtomicU64::new(1),
            counter: Arc::new(Counter::new(shown.into(), Arc::clone(engine))),
        })
    }

    /// Whether it is this one.
    pub(super) fn is_of(&self, url: &Secret<String>) -> bool {
        self.url == *url
    }

    /// The value of a key, on the stores' thread, within `patience`. An empty value is none.
    pub(super) async fn get(
        &self,
        key: &str,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let used = AtomicU64::new(0);
        let outcome = tokio::time::timeout(patience, self.asked(key, &used)).await;
        outcome.unwrap_or_else(|_| {
            // Whatever hangs there, the next question shall not wait for it.
            self.discard(used.load(Ordering::Relaxed));
            Err(late(&self.counter.shown, patience))
        })
    }

    /// Seconds and microseconds by its clock; `None` where it does not tell.
    pub(super) async fn time(&self) -> Option<(i64, i64)> {
        let held = self.connected().await.ok()?;
        let mut connection = held.connection.clone();
        let question = ::redis::cmd("TIME");
        question.query_async(&mut connection).await.ok()
    }

    async fn asked(&self, key: &str, used: &AtomicU64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut first = true;
        loop {
            let held = self.connected().await.map_err(|error| self.told(error))?;
            used.store(held.number, Ordering::Relaxed);
            // One byte more than may be, in one round trip: a longer value is not fetched.
            let mut question = ::redis::cmd("GETRANGE");
            question.arg(key).arg(0).arg(MOST_BYTES);
            let mut connection = held.connection.clone();
            match question.query_async::<Vec<u8>>(&mut connection).await {
                Ok(value) if value.is_empty() => return Ok(None),
                Ok(value) if value.len() > MOST_BYTES => {
                    return Err(unreadable(
                        &self.counter.shown,
                        "a value of more than 1 MiB",
                    ));
                }
                Ok(value) => return Ok(Some(value)),
                Err(error) => {
                    if is_broken(&error) {
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

    async fn connected(&self) -> Result<Arc<Numbered>, RedisError> {
        if let Some(current) = self.current.load_full() {
            return Ok(current);
        }
        let _turn = self.connecting.lock().await;
        if let Some(current) = self.current.load_full() {
            return Ok(current);
        }
        // Whoever asks sets the bounds in time.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let opening = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let held = Arc::new(Numbered {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            connection: opening.await?,
        });
        self.current.store(Some(Arc::clone(&held)));
        Ok(held)
    }

    /// Lets go of a connection. Questions that are under way on it keep it until they end.
    fn discard(&self, number: u64) {
        let current = self.current.load_full();
        if current.as_ref().is_some_and(|held| held.number == number) {
            self.current.compare_and_swap(&current, None);
        }
    }

    /// What those who wait are told. Of a server's message only the code: the rest may quote keys.
    fn told(&self, error: RedisError) -> StoreError {
        let store = Arc::clone(&self.counter.shown);
        let refused = |what: &str| StoreError::Refused {
            store: Arc::clone(&store),
            what: what.into(),
        };
        if error.kind() == ErrorKind::AuthenticationFailed {
            return refused("check the user and the password");
        }
        if is_broken(&error) {
            return StoreError::Unreachable {
                store,
                cause: Arc::new(error),
            };
        }
        let code = code(&error).unwrap_or("an error without a code").to_owned();
        match code.as_str() {
            "NOAUTH" | "WRONGPASS" => refused("check the user and the password"),
            "NOPERM" => {
                refused("the user needs `+getrange`, `+select` and the keys of the sessions")
            }
            "MOVED" | "ASK" | "CROSSSLOT" => refused("it is a cluster; name a single server"),
            "WRONGTYPE" => unreadable(&store, "a value that is no string"),
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => {
                StoreError::Unreachable {
                    store,
                    cause: Arc::new(NotReady(code)),
                }
            }
            _ => refused(&format!("it answered {code}")),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the server said {0}")]
struct NotReady(String);

/// The code of a server's error. Of one that came while a database was chosen the library keeps
/// the words alone.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    match error.detail() {
        Some(words) if words.starts_with("Authentication required") => Some("NOAUTH"),
        Some(words) if words.contains("has no permissions") => Some("NOPERM"),
        Some(_) | None => error.code(),
    }
}

fn is_broken(error: &RedisError) -> bool {
    let of_wire = matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse);
    of_wire || error.is_io_error() || error.is_connection_dropped()
}
