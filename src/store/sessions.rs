//! Sessions of Django and Flask-Session: in a table, in a Redis, in a Redis before a table, or in files.

mod places;

use std::sync::Arc;
use std::time::Duration;

use super::cell::Cell;
use super::desk::{Counter, PATIENCE, Tally};
use super::fault::{Grant, unreadable};
use super::files::Files;
use super::names::{placeholder, quoted};
use super::pool::Pool;
use super::question::{Found, Question};
use super::redis::Line;
use crate::auth::ports::{Answer, Expiry, SessionSource, StoreError, StoreStatus, StoredSession};
use crate::config::settings::DatabaseKind;

/// Largest payload in bytes.
pub(super) const MOST_BYTES: usize = 1024 * 1024;
/// The cache's part of the time where a table can answer in its place.
const CACHE_PATIENCE: Duration = Duration::from_millis(700);
/// Longest key, prefix not counted; `session_key` and `session_id` are shorter.
const MOST_KEY: usize = 512;

/// Where the sessions of one authenticator are.
#[derive(Debug)]
pub(super) struct Sessions {
    place: Arc<Place>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
enum Place {
    Table(Table),
    Cache(Cache),
    Both(Cache, Table),
    Files(Files),
}

/// Sessions in a Redis.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) line: Arc<Line>,
    /// What stands before a session's key.
    pub(super) prefix: Box<str>,
}

/// Sessions in a table.
#[derive(Debug)]
pub(super) struct Table {
    pool: Arc<Pool>,
    sql: Arc<str>,
    /// Asks for some of those that end last, where they can tell something.
    newest: Option<Arc<str>>,
    prefix: Box<str>,
    grant: Grant,
}

/// Columns of a session's table: key, payload, end.
pub(super) type Columns = [&'static str; 3];
/// `django_session`.
pub(super) const DJANGO: Columns = ["session_key", "session_data", "expire_date"];
/// `sessions` of Flask-Session.
pub(super) const FLASK: Columns = ["session_id", "data", "expiry"];

impl Sessions {
    /// Sessions in a table alone.
    pub(super) fn in_table(table: Table, tally: Arc<Tally>) -> Self {
        Self::at(Place::Table(table), tally)
    }

    /// Sessions in a Redis alone.
    pub(super) fn in_cache(cache: Cache, tally: Arc<Tally>) -> Self {
        Self::at(Place::Cache(cache), tally)
    }

    /// Sessions in a Redis, and in a table where that has none or cannot say, as Django's
    /// `backends/cached_db.py: SessionStore.load` has it.
    pub(super) fn in_both(cache: Cache, table: Table, tally: Arc<Tally>) -> Self {
        Self::at(Place::Both(cache, table), tally)
    }

    /// Sessions in a folder of files.
    pub(super) fn in_files(files: Files, tally: Arc<Tally>) -> Self {
        Self::at(Place::Files(files), tally)
    }

    fn at(place: Place, tally: Arc<Tally>) -> Self {
        Self {
            place: Arc::new(place),
            tally,
        }
    }

    /// What became of its questions.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

impl SessionSource for Sessions {
    fn load(&self, key: &str) -> Answer<StoredSession> {
        // PostgreSQL cannot even be asked for a NUL.
        if key.is_empty() || key.len() > MOST_KEY || key.contains('\0') {
            return Box::pin(std::future::ready(Ok(None)));
        }
        let (place, key) = (Arc::clone(&self.place), key.to_owned());
        let counter = Arc::clone(place.counter());
        counter.ask(&self.tally, async move { place.load(&key).await })
    }

    fn status(&self) -> StoreStatus {
        self.tally.status()
    }
}

impl Place {
    /// Where it is counted how many ask at a time.
    fn counter(&self) -> &Arc<Counter> {
        match self {
            Self::Table(table) | Self::Both(_, table) => &table.pool.counter,
            Self::Cache(cache) => &cache.line.counter,
            Self::Files(files) => &files.counter,
        }
    }

    /// Where it is counted who asks the cache, where there is one.
    fn cache_counter(&self) -> &Arc<Counter> {
        self.cache()
            .map_or_else(|| self.counter(), |cache| &cache.line.counter)
    }

    fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) | Self::Both(_, table) => Some(table),
            Self::Cache(_) | Self::Files(_) => None,
        }
    }

    fn cache(&self) -> Option<&Cache> {
        match self {
            Self::Cache(cache) | Self::Both(cache, _) => Some(cache),
            Self::Table(_) | Self::Files(_) => None,
        }
    }

    async fn load(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        match self {
            Self::Table(table) => table.load(key).await,
            Self::Cache(cache) => cache.load(key, PATIENCE).await,
            Self::Files(files) => files.load(key).await,
            Self::Both(cache, table) => match cache.load(key, CACHE_PATIENCE).await {
                Ok(Some(session)) => Ok(Some(session)),
                // It is there and cannot be read: the table may hold an older one.
                Err(error @ StoreError::Unreadable { .. }) => Err(error),
                Err(error) => {
                    tracing::debug!(%error, "asking the table in place of the cache");
                    table.load(key).await
                }
                Ok(None) => table.load(key).await,
            },
        }
    }
}

impl Cache {
    async fn load(
        &self,
        key: &str,
        patience: Duration,
    ) -> Result<Option<StoredSession>, StoreError> {
        let key = format!("{}{key}", self.prefix);
        let value = self.line.get(&key, patience).await?;
        Ok(value.map(|data| StoredSession {
            data,
            expiry: Expiry::ByStore,
            cached: true,
        }))
    }
}

impl Table {
    /// `prefix` stands before the key in the column too.
    pub(super) fn new(pool: Arc<Pool>, table: &str, columns: Columns, prefix: &str) -> Self {
        Self {
            sql: statement(pool.kind(), table, columns).into(),
            // Others store nothing that is signed, and have no index by the end.
            newest: (columns == DJANGO).then(|| places::newest(pool.kind(), table, columns).into()),
            prefix: prefix.into(),
            grant: Grant {
                tables: table.into(),
                user: pool.user(),
            },
            pool,
        }
    }

    async fn load(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        let key = format!("{}{key}", self.prefix);
        let found = self.pool.ask(&Question::by_text(&self.sql, &key)).await;
        let shown = &self.pool.counter.shown;
        let found = found.map_err(|fault| fault.told(shown, &self.grant))?;
        read(&found, &key).map_err(|what| unreadable(shown, what))
    }
}

/// The question for one session. The time is not asked for: an expired session is told from one
/// that is not there. A payload that is too long is not sent.
fn statement(kind: DatabaseKind, table: &str, [key, data, end]: Columns) -> String {
    let [key, data, end] = [key, data, end].map(|name| quoted(kind, name));
    let length = match kind {
        DatabaseKind::Postgres | DatabaseKind::Sqlite => "octet_length",
        DatabaseKind::MySql => "length",
    };
    let end = match kind {
        DatabaseKind::Postgres | DatabaseKind::Sqlite => end,
        DatabaseKind::MySql => format!("cast({end} as char)"),
    };
    format!(
        "select {key}, case when {length}({data}) <= {MOST_BYTES} then {data} end, \
         {length}({data}), {end} from {} where {key} = {}",
        quoted(kind, table),
        placeholder(kind)
    )
}

/// The session of an answer to [`statement`].
fn read(found: &Found, key: &str) -> Result<Option<StoredSession>, &'static str> {
    let Some(row) = found.rows.first() else {
        return Ok(None);
    };
    let [Cell::Text(stored), data, length, end] = row.as_slice() else {
        return Err("a row without a key");
    };
    // MySQL compares without regard to case under most collations, and to blanks at the end.
    if stored != key {
        return Ok(None);
    }
    let data = match (data, length) {
        (Cell::Text(text), _) => text.as_bytes().to_vec(),
        (Cell::Bytes(bytes), _) => bytes.clone(),
        (Cell::Null, Cell::Null) => return Err("a session without a payload"),
        (Cell::Null, _) => return Err("a payload of more than 1 MiB"),
        _ => return Err("a payload that is neither text nor bytes"),
    };
    let expiry = end
        .expiry()
        .ok_or("an end of the session that is no time")?;
    Ok(Some(StoredSession {
        data,
        expiry,
        cached: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [Cell; 4]) -> Found {
        Found {
            columns: Vec::new(),
            rows: vec![cells.into()],
        }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn a_row_whose_key_differs_in_case_or_blanks_is_another_session() {
        for other in ["ABC", "abc "] {
            let found = row([text(other), text("x"), Cell::Whole(1), Cell::Null]);
            assert_eq!(read(&found, "abc"), Ok(None), "{other:?}");
        }
    }

    #[test]
    fn a_payload_that_was_too_long_to_send_is_unreadable_and_not_empty() {
        let found = row([text("abc"), Cell::Null, Cell::Whole(2_000_000), Cell::Null]);
        assert_eq!(read(&found, "abc"), Err("a payload of more than 1 MiB"));
    }

    #[test]
    fn an_end_that_is_no_time_is_unreadable_and_not_for_ever() {
        let found = row([text("abc"), text("x"), Cell::Whole(1), text("soon")]);
        assert!(read(&found, "abc").is_err());
        let found = row([text("abc"), text("x"), Cell::Whole(1), Cell::Null]);
        let session = read(&found, "abc").unwrap().unwrap();
        assert_eq!(session.expiry, Expiry::Missing);
    }

    #[test]
    fn the_question_names_quoted_columns_and_no_time() {
        assert_eq!(
            statement(DatabaseKind::Postgres, "shop.django_session", DJANGO),
            "select \"session_key\", case when octet_length(\"session_data\") <= 1048576 then \
             \"session_data\" end, octet_length(\"session_data\"), \"expire_date\" \
             from \"shop\".\"django_session\" where \"session_key\" = $1"
        );
    }
}
