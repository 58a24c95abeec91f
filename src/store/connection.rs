//! One connection to one of the three databases.

use std::str::FromStr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::{Column, Connection as _, Row};

use super::cell::Cell;
use super::fault::Fault;
use super::question::{Found, Question};
use super::{mysql, postgres, sqlite};
use crate::config::settings::{Database, DatabaseKind};

/// Largest cell in bytes, and largest sum of all cells of an answer.
pub(super) const MOST_BYTES: (usize, usize) = (1024 * 1024, 4 * 1024 * 1024);

/// How to connect: parsed once.
#[derive(Clone)]
pub(super) enum Options {
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    MySql(Box<sqlx::mysql::MySqlConnectOptions>),
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
}

/// A connection that is open.
pub(super) enum Connection {
    Postgres(Box<sqlx::PgConnection>),
    MySql(Box<sqlx::MySqlConnection>),
    Sqlite(Box<sqlite::Guarded>),
}

/// An address that is none. Its text is not shown: it holds the password.
#[derive(Debug, thiserror::Error)]
#[error("is no address of a {0} database")]
pub(super) struct BadAddress(pub(super) &'static str);

impl Options {
    /// Reads an address and sets what keeps the gateway a reader.
    pub(super) fn read(database: &Database) -> Result<Self, BadAddress> {
        let url = database.url.expose();
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        Ok(match (database.kind, scheme) {
            (DatabaseKind::Postgres, "postgres" | "postgresql") => {
                let options = FromStr::from_str(url).map_err(unlike("PostgreSQL"))?;
                Self::Postgres(Box::new(postgres::reading(options)))
            }
            (DatabaseKind::MySql, "mysql" | "mariadb") => {
                let options = FromStr::from_str(url).map_err(unlike("MySQL"))?;
                Self::MySql(Box::new(mysql::reading(options)))
            }
            (DatabaseKind::Sqlite, "sqlite") => {
                let options = FromStr::from_str(url).map_err(unlike("SQLite"))?;
                Self::Sqlite(Box::new(sqlite::reading(options)))
            }
            (DatabaseKind::Postgres, _) => return Err(BadAddress("PostgreSQL")),
            (DatabaseKind::MySql, _) => return Err(BadAddress("MySQL")),
            (DatabaseKind::Sqlite, _) => return Err(BadAddress("SQLite")),
        })
    }

    /// The database without credentials.
    pub(super) fn shown(&self) -> Arc<str> {
        match self {
            Self::Postgres(options) => postgres::shown(options),
            Self::MySql(options) => mysql::shown(options),
            Self::Sqlite(options) => format!("SQLite {}", options.get_filename().display()),
        }
        .into()
    }

    /// Who asks, in the database's terms.
    pub(super) fn user(&self) -> Option<Arc<str>> {
        match self {
            Self::Postgres(options) => Some(format!("{:?}", options.get_username()).into()),
            Self::MySql(options) => Some(format!("'{}'", options.get_username()).into()),
            Self::Sqlite(_) => None,
        }
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Connection, Fault> {
        Ok(match self {
            Self::Postgres(options) => {
                Connection::Postgres(Box::new(sqlx::PgConnection::connect_with(options).await?))
            }
            Self::MySql(options) => Connection::MySql(Box::new(mysql::open(options).await?)),
            Self::Sqlite(options) => Connection::Sqlite(Box::new(sqlite::open(options).await?)),
        })
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Connection {
    /// Asks one question.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Found, Fault> {
        match self {
            Self::Postgres(connection) => postgres::ask(connection, question).await,
            Self::MySql(connection) => mysql::ask(connection, question).await,
            Self::Sqlite(connection) => sqlite::ask(connection, question).await,
        }
    }

    /// Says good-bye. Whoever calls it bounds it in time.
    pub(super) async fn close(self) {
        // A connection that cannot be closed politely is closed all the same.
        let _ = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
    }
}

/// What the library says of an address is dropped: it may quote it.
fn unlike(kind: &'static str) -> impl FnOnce(sqlx::Error) -> BadAddress {
    move |_| BadAddress(kind)
}

/// Takes rows in, bounded.
pub(super) async fn collect<R: Row>(
    mut rows: BoxStream<'_, Result<R, sqlx::Error>>,
    most: usize,
    cell: impl Fn(&R, usize) -> Result<Cell, Fault>,
) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        if found.rows.len() >= most {
            return Err(Fault::TooMuch("more rows than may be"));
        }
        if found.columns.is_empty() {
            found.columns = row.columns().iter().map(|one| one.name().into()).collect();
        }
        let mut cells = Vec::with_capacity(found.columns.len());
        for index in 0..row.columns().len() {
            let cell = cell(&row, index)?;
            let weight = cell.weight();
            bytes += weight;
            if weight > MOST_BYTES.0 || bytes > MOST_BYTES.1 {
                return Err(Fault::TooMuch("more bytes than may be"));
            }
            cells.push(cell);
        }
        found.rows.push(cells);
    }
    Ok(found)
}

/// The fault of a column whose type is not read.
pub(super) fn not_read<R: Row>(row: &R, index: usize, kind: &str) -> Fault {
    let column = row.columns().get(index);
    Fault::Type {
        column: column.map_or_else(String::new, |column| column.name().to_owned()),
        kind: kind.to_owned(),
    }
}
