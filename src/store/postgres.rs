//! PostgreSQL: how it is opened, asked and read.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Either, Executor, PgConnection, Postgres, Row, SqlSafeStr,
    Statement, TypeInfo, ValueRef,
};
use uuid::Uuid;

use super::cell::Cell;
use super::connection::{collect, not_read};
use super::desk::PATIENCE;
use super::fault::Fault;
use super::question::{Found, Parameter, Question, With, whole};

type Asked<'q> = Query<'q, Postgres, <Postgres as sqlx::Database>::Arguments>;

/// What keeps the gateway a reader, and its statements short, whatever the address says.
pub(super) fn reading(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("portcullis")
        .options([
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", PATIENCE.as_millis().to_string()),
        ])
        .disable_statement_logging()
}

/// For the gateway's own tables: statements are short too.
pub(super) fn writing(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("portcullis")
        .options([("statement_timeout", PATIENCE.as_millis().to_string())])
        .disable_statement_logging()
}

/// The database without credentials.
pub(super) fn shown(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {}, {name}", socket.display()),
        None => format!(
            "PostgreSQL at {}:{}/{name}",
            options.get_host(),
            options.get_port()
        ),
    }
}

/// Asks one question.
pub(super) async fn ask(
    connection: &mut PgConnection,
    question: &Question,
) -> Result<Found, Fault> {
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&question.sql)));
    match &question.with {
        With::These(parameters) => {
            for parameter in parameters {
                query = match parameter {
                    Parameter::Text(text) => query.bind(text),
                    Parameter::Whole(number) => query.bind(number),
                    Parameter::Uuid(uuid) => query.bind(uuid),
                    Parameter::Bytes(bytes) => query.bind(bytes.as_slice()),
                };
            }
        }
        With::Id(id) => {
            // Prepared without saying a type, so that the server says which it wants. It stays
            // prepared on the connection.
            let sql = AssertSqlSafe(Arc::clone(&question.sql)).into_sql_str();
            let statement = connection.prepare(sql).await?;
            let wanted = match statement.parameters() {
                Some(Either::Left([one])) => one.clone(),
                _ => {
                    return Err(Fault::Parameter(
                        "`query` needs `$1` in the place of the id, and no other parameter"
                            .to_owned(),
                    ));
                }
            };
            match bound(query, id, &wanted)? {
                Some(bound) => query = bound,
                None => return Ok(Found::default()),
            }
        }
    }
    collect(query.fetch(connection), question.most, cell).await
}

/// Binds an id as the type that the server wants; `None` where it cannot be of that type.
fn bound<'q>(
    query: Asked<'q>,
    id: &'q str,
    wanted: &PgTypeInfo,
) -> Result<Option<Asked<'q>>, Fault> {
    let number = whole(id);
    Ok(match wanted.name() {
        "INT2" => number
            .and_then(|number| i16::try_from(number).ok())
            .map(|number| query.bind(number)),
        "INT4" => number
            .and_then(|number| i32::try_from(number).ok())
            .map(|number| query.bind(number)),
        "INT8" => number.map(|number| query.bind(number)),
        "UUID" => Uuid::try_parse(id).ok().map(|uuid| query.bind(uuid)),
        _ if is_text(wanted) => Some(query.bind(id)),
        other => {
            return Err(Fault::Parameter(format!(
                "`query` compares the id with a {other}; write `$1::text`, or a cast to what the column is"
            )));
        }
    })
}

/// Whether values of a type are sent as their text.
fn is_text(kind: &PgTypeInfo) -> bool {
    matches!(
        kind.name(),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext"
    ) || matches!(kind.kind(), PgTypeKind::Enum(_))
}

fn cell(row: &PgRow, index: usize) -> Result<Cell, Fault> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info().into_owned();
    Ok(match kind.name() {
        "BOOL" => Cell::Bool(row.try_get_unchecked(index)?),
        "INT2" => Cell::Whole(row.try_get_unchecked::<i16, _>(index)?.into()),
        "INT4" => Cell::Whole(row.try_get_unchecked::<i32, _>(index)?.into()),
        "INT8" => Cell::Whole(row.try_get_unchecked(index)?),
        "FLOAT4" => Cell::Real(row.try_get_unchecked::<f32, _>(index)?.into()),
        "FLOAT8" => Cell::Real(row.try_get_unchecked(index)?),
        "UUID" => Cell::Text(row.try_get_unchecked::<Uuid, _>(index)?.to_string()),
        "BYTEA" => Cell::Bytes(row.try_get_unchecked(index)?),
        "TIMESTAMPTZ" => Cell::from_postgres_moment(micros(row, index)?),
        "TIMESTAMP" => Cell::from_postgres_civil(micros(row, index)?),
        "JSON" | "JSONB" => {
            let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
            // The binary form of `jsonb` begins with its version, 1.
            let text = bytes.strip_prefix(&[1]).unwrap_or(bytes);
            let json = serde_json::from_slice(text);
            Cell::Json(json.map_err(|error| sqlx::Error::Decode(error.into()))?)
        }
        "INT2[]" => numbers(row.try_get_unchecked::<Vec<Option<i16>>, _>(index)?),
        "INT4[]" => numbers(row.try_get_unchecked::<Vec<Option<i32>>, _>(index)?),
        "INT8[]" => numbers(row.try_get_unchecked::<Vec<Option<i64>>, _>(index)?),
        _ if is_text(&kind) => Cell::Text(row.try_get_unchecked(index)?),
        other => {
            if !matches!(kind.kind(), PgTypeKind::Array(element) if is_text(element)) {
                return Err(not_read(row, index, other));
            }
            Cell::List(row.try_get_unchecked(index)?)
        }
    })
}

fn numbers<N: ToString>(list: Vec<Option<N>>) -> Cell {
    let texts = list.into_iter().map(|one| one.map(|one| one.to_string()));
    Cell::List(texts.collect())
}

/// A time in the binary form: microseconds since 2000, eight bytes.
fn micros(row: &PgRow, index: usize) -> Result<i64, Fault> {
    let value = row.try_get_raw(index)?;
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    let bytes: [u8; 8] = bytes
        .try_into()
        .map_err(|error: std::array::TryFromSliceError| sqlx::Error::Decode(error.into()))?;
    Ok(i64::from_be_bytes(bytes))
}
