//! SQLite: how a file is opened, asked and read. Each connection has a thread of the library's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, Row, SqlSafeStr, SqliteConnection,
    Statement, TypeInfo, ValueRef,
};

use super::cell::Cell;
use super::connection::{collect, not_read};
use super::fault::Fault;
use super::mysql::places;
use super::question::{Found, Parameter, Question, With};

/// How long a lock of a writer is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Instructions of a statement between two looks at whether it is still wanted.
const LOOK_AFTER: i32 = 10_000;

/// A connection whose statement stops when it is dropped: the library's thread would go on.
#[derive(Debug)]
pub(super) struct Guarded {
    wanted: Wanted,
    connection: SqliteConnection,
}

#[derive(Debug)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Guarded {
    /// Closes the file.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        let Self { connection, wanted } = self;
        let closed = connection.close().await;
        drop(wanted);
        closed
    }
}

/// Read only, whatever the address says; a file that is not there is not made.
pub(super) fn reading(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(LOCK_WAIT)
        .pragma("query_only", "on")
        .disable_statement_logging()
        .thread_name(|number| format!("store-sqlite-{number}"))
}

/// Opens the file.
pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Guarded, Fault> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    let wanted = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&wanted);
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(LOOK_AFTER, move || seen.load(Ordering::Relaxed));
    drop(handle);
    Ok(Guarded {
        connection,
        wanted: Wanted(wanted),
    })
}

/// Asks one question.
pub(super) async fn ask(guarded: &mut Guarded, question: &Question) -> Result<Found, Fault> {
    let connection = &mut guarded.connection;
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&question.sql)));
    match &question.with {
        With::These(parameters) => {
            for parameter in parameters {
                query = match parameter {
                    Parameter::Text(text) => query.bind(text),
                    Parameter::Whole(number) => query.bind(number),
                    Parameter::Uuid(uuid) => query.bind(uuid.simple().to_string()),
                    Parameter::Bytes(bytes) => query.bind(bytes.as_slice()),
                };
            }
        }
        With::Id(id) => {
            let sql = AssertSqlSafe(Arc::clone(&question.sql)).into_sql_str();
            let statement = connection.prepare(sql).await?;
            for _ in 0..places(statement.parameters())? {
                query = query.bind(&**id);
            }
        }
    }
    collect(query.fetch(connection), question.most, cell).await
}

fn cell(row: &SqliteRow, index: usize) -> Result<Cell, Fault> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().into_owned();
    Ok(match kind.name() {
        "INTEGER" => Cell::Whole(row.try_get_unchecked(index)?),
        "REAL" => Cell::Real(row.try_get_unchecked(index)?),
        "TEXT" => Cell::from_bytes(row.try_get_unchecked(index)?),
        "BLOB" => Cell::Bytes(row.try_get_unchecked(index)?),
        other => return Err(not_read(row, index, other)),
    })
}
