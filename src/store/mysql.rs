//! MySQL and MariaDB: how they are opened, asked and read.

use std::sync::Arc;

use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Either, Executor, MySqlConnection, Row, SqlSafeStr,
    Statement, TypeInfo, ValueRef,
};

use super::cell::Cell;
use super::connection::{collect, not_read};
use super::desk::PATIENCE;
use super::fault::Fault;
use super::question::{Found, Parameter, Question, With};

/// "Unknown system variable".
const UNKNOWN_VARIABLE: u16 = 1193;

/// What does not depend on the server.
pub(super) fn reading(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options.disable_statement_logging()
}

/// The database without credentials.
pub(super) fn shown(options: &MySqlConnectOptions) -> String {
    let name = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("MySQL at {}, {name}", socket.display()),
        None => format!(
            "MySQL at {}:{}/{name}",
            options.get_host(),
            options.get_port()
        ),
    }
}

/// Opens a connection that only reads, and no statement of which takes long.
pub(super) async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, Fault> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    connection
        .execute("SET SESSION TRANSACTION READ ONLY")
        .await?;
    // MariaDB counts seconds, MySQL milliseconds under another name.
    let mariadb = format!("SET SESSION max_statement_time = {}", PATIENCE.as_secs());
    let mysql = format!("SET SESSION max_execution_time = {}", PATIENCE.as_millis());
    for limit in [mariadb, mysql] {
        match connection.execute(AssertSqlSafe(limit)).await {
            Ok(_) => break,
            Err(error) if is_unknown_variable(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(connection)
}

fn is_unknown_variable(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|told| told.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|told| told.number() == UNKNOWN_VARIABLE)
}

/// Asks one question.
pub(super) async fn ask(
    connection: &mut MySqlConnection,
    question: &Question,
) -> Result<Found, Fault> {
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&question.sql)));
    match &question.with {
        With::These(parameters) => {
            for parameter in parameters {
                query = match parameter {
                    Parameter::Text(text) => query.bind(text),
                    Parameter::Whole(number) => query.bind(number),
                    // MariaDB's type compares with the text.
                    Parameter::Uuid(uuid) => query.bind(uuid.to_string()),
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

/// How often an id stands in a statement.
pub(super) fn places<T>(parameters: Option<Either<&[T], usize>>) -> Result<usize, Fault> {
    match parameters {
        Some(Either::Right(count @ 1..)) => Ok(count),
        Some(Either::Left(list)) if !list.is_empty() => Ok(list.len()),
        _ => Err(Fault::Parameter(
            "`query` needs `?` in the place of the id".to_owned(),
        )),
    }
}

fn cell(row: &MySqlRow, index: usize) -> Result<Cell, Fault> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().into_owned();
    Ok(match kind.name() {
        // `tinyint(1)`, which holds more than yes and no.
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            Cell::Whole(row.try_get_unchecked(index)?)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "BIT" | "YEAR" => {
            let number: u64 = row.try_get_unchecked(index)?;
            i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Whole)
        }
        "FLOAT" => Cell::Real(row.try_get_unchecked::<f32, _>(index)?.into()),
        "DOUBLE" => Cell::Real(row.try_get_unchecked(index)?),
        other @ ("DATE" | "TIME" | "DATETIME" | "TIMESTAMP" | "GEOMETRY") => {
            return Err(not_read(row, index, other));
        }
        // Columns with a `_bin` collation are told as binary ones.
        _ => Cell::from_bytes(row.try_get_unchecked(index)?),
    })
}
