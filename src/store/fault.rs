//! What goes wrong at a database, and what it means to whom.
//!
//! A message of the server is passed on only where it speaks of tables, columns and rights: others
//! may quote a value of a row or the id that was asked for.

use std::sync::Arc;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::desk::{PATIENCE, late};
use crate::auth::ports::StoreError;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The library or the server says so.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// More rows or bytes than may come.
    #[error("{0}")]
    TooMuch(&'static str),
    /// A column of a type that is not read.
    #[error("the column {column:?} is of type {kind}")]
    Type {
        /// Its name.
        column: String,
        /// The type's name.
        kind: String,
    },
    /// The question has no parameter for the id, or one of a type that no id has.
    #[error("{0}")]
    Parameter(String),
}

/// What a fault means.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    /// This connection is of no use any more; another may be.
    Broken,
    /// The server is starting or stopping: a moment later it may answer.
    Starting,
    /// It took too long on the server's side.
    Late,
    /// No right to read it.
    Denied,
    /// No such table or column.
    Schema,
    /// The user, the password or the database's name is wrong.
    Login,
    /// The question itself is wrong.
    Question,
    /// Anything else, by its code.
    Other(String),
}

/// Whom to give which right, for the words of a refusal.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// Tables between commas.
    pub(super) tables: Arc<str>,
    /// The database's user; `None` where the database has none.
    pub(super) user: Option<Arc<str>>,
}

impl Fault {
    /// Whether the connection broke, so that another may answer.
    pub(super) fn broke(&self) -> bool {
        self.class() == Some(Class::Broken)
    }

    /// Whether the server may answer a moment later.
    pub(super) fn passes(&self) -> bool {
        self.class() == Some(Class::Starting)
    }

    /// Whether tables are no longer what they were.
    pub(super) fn of_schema(&self) -> bool {
        self.class() == Some(Class::Schema)
    }

    /// Whether the user has no right to do it.
    pub(super) fn of_rights(&self) -> bool {
        self.class() == Some(Class::Denied)
    }

    /// Whether the connection may be asked again: the server answered with an error and is done.
    pub(super) fn leaves_connection(&self) -> bool {
        match self.class() {
            Some(
                Class::Denied | Class::Schema | Class::Question | Class::Late | Class::Other(_),
            ) => {
                matches!(self, Self::Database(sqlx::Error::Database(_)))
            }
            Some(Class::Broken | Class::Starting | Class::Login) | None => false,
        }
    }

    fn class(&self) -> Option<Class> {
        let Self::Database(error) = self else {
            return None;
        };
        Some(class(error))
    }

    /// As those who wait are told.
    pub(super) fn told(self, store: &Arc<str>, grant: &Grant) -> StoreError {
        let refused = |what: String| StoreError::Refused {
            store: Arc::clone(store),
            what: what.into(),
        };
        let error = match self {
            Self::Database(error) => error,
            Self::TooMuch(what) => return unreadable(store, what),
            Self::Type { column, kind } => {
                return refused(format!(
                    "the column {column:?} is of type {kind}, which is not read; cast it to text"
                ));
            }
            Self::Parameter(what) => return refused(what),
        };
        let message = error
            .as_database_error()
            .map_or_else(String::new, |told| told.message().to_owned());
        match class(&error) {
            Class::Broken | Class::Starting => StoreError::Unreachable {
                store: Arc::clone(store),
                cause: cause(error),
            },
            Class::Late => late(store, PATIENCE),
            Class::Denied => refused(format!("{message}; {}", grant.words())),
            Class::Schema => refused(format!(
                "{message}; name tables and columns as the app's database has them"
            )),
            Class::Login => refused(format!(
                "{message}; check the user, the password and the database's name"
            )),
            Class::Question => refused(format!("{message}; only one `select` is allowed")),
            Class::Other(code) => unreadable(store, &format!("error {code}")),
        }
    }
}

/// The error of an answer that cannot be read.
pub(super) fn unreadable(store: &Arc<str>, what: &str) -> StoreError {
    StoreError::Unreadable {
        store: Arc::clone(store),
        what: what.into(),
    }
}

impl Grant {
    /// What to do about a right that is missing.
    pub(super) fn words(&self) -> String {
        match &self.user {
            Some(user) => format!(
                "the user needs to read and nothing more: GRANT SELECT ON {} TO {user}",
                self.tables
            ),
            None => "let the gateway's user read the file".to_owned(),
        }
    }
}

/// The cause of a broken connection. What a server says is left out but for its code.
fn cause(error: sqlx::Error) -> Arc<dyn std::error::Error + Send + Sync> {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Words(String);

    if let sqlx::Error::Io(error) = error {
        return Arc::new(error);
    }
    if let sqlx::Error::Tls(error) = error {
        return Arc::from(error);
    }
    let words = match error.as_database_error() {
        // SQLite's words for what it cannot open or read name no value.
        Some(told) if told.try_downcast_ref::<SqliteError>().is_some() => told.message().to_owned(),
        Some(told) => format!("the server said {}", told.code().unwrap_or_default()),
        None => "the connection broke".to_owned(),
    };
    Arc::new(Words(words))
}

fn class(error: &sqlx::Error) -> Class {
    if let Some(told) = error.as_database_error() {
        return if let Some(told) = told.try_downcast_ref::<PgDatabaseError>() {
            postgres(told.code())
        } else if let Some(told) = told.try_downcast_ref::<MySqlDatabaseError>() {
            mysql(told.number())
        } else {
            sqlite(told.code().as_deref().unwrap_or_default(), told.message())
        };
    }
    let of_value = matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. }
    );
    let of_setting = matches!(
        error,
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_)
    );
    if of_value {
        Class::Other("of a value".to_owned())
    } else if of_setting {
        Class::Other("of a setting".to_owned())
    } else {
        // Input and output, TLS, a protocol out of step, a thread that ended.
        Class::Broken
    }
}

/// By SQLSTATE: appendix A of PostgreSQL's manual.
fn postgres(code: &str) -> Class {
    match code {
        // A stop by the administrator or a crash; a plan or statement that is gone.
        "57P01" | "57P02" | "57P05" | "0A000" | "26000" => Class::Broken,
        "57P03" | "53300" => Class::Starting,
        "57014" | "55P03" | "25P03" | "25P04" => Class::Late,
        "42501" => Class::Denied,
        "42P01" | "42703" | "3F000" => Class::Schema,
        "3D000" => Class::Login,
        "25006" => Class::Question,
        _ if code.starts_with("08") => Class::Broken,
        _ if code.starts_with("28") => Class::Login,
        _ if code.starts_with("42") => Class::Question,
        _ => Class::Other(code.to_owned()),
    }
}

/// By error number, which tells more than MySQL's SQLSTATE. MariaDB has the same numbers.
fn mysql(number: u16) -> Class {
    match number {
        // Shut down, killed, packets out of step, a statement to prepare anew or unknown.
        1053 | 1077 | 1152..=1161 | 1184 | 1243 | 1615 | 1927 | 4031 => Class::Broken,
        // Too many connections, over the user's limits too.
        1040 | 1129 | 1203 | 1226 => Class::Starting,
        // Lock wait, interrupted, over the time for one statement.
        1205 | 1213 | 1317 | 1969 | 3024 => Class::Late,
        1142 | 1143 | 1227 | 1370 => Class::Denied,
        1054 | 1109 | 1146 => Class::Schema,
        1044..=1046 | 1049 | 1130 | 1251 | 1698 => Class::Login,
        1064 | 1792 | 1290 => Class::Question,
        _ => Class::Other(number.to_string()),
    }
}

/// By result code; the plain `SQLITE_ERROR` is told by its words alone.
fn sqlite(code: &str, message: &str) -> Class {
    let primary = code.parse::<i32>().unwrap_or_default() & 0xff;
    match primary {
        1 if message.starts_with("no such table") || message.starts_with("no such column") => {
            Class::Schema
        }
        1 | 8 => Class::Question,
        3 | 23 => Class::Denied,
        5 | 6 | 9 => Class::Late,
        // Not to be opened, an input error, the schema changed under a statement.
        10 | 14 | 17 => Class::Broken,
        _ => Class::Other(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            tables: "auth_user".into(),
            user: Some("portcullis".into()),
        }
    }

    #[test]
    fn a_refused_connection_keeps_its_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Fault::Database(sqlx::Error::Io(refused)).told(&"a store".into(), &grant());
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error.to_string(), "a store cannot be reached");
        assert_eq!(cause, "connection refused");
    }

    #[test]
    fn a_missing_right_names_the_grant() {
        assert_eq!(postgres("42501"), Class::Denied);
        assert_eq!(mysql(1142), Class::Denied);
        assert_eq!(
            grant().words(),
            "the user needs to read and nothing more: GRANT SELECT ON auth_user TO portcullis"
        );
    }

    #[test]
    fn a_code_that_may_quote_a_value_is_told_by_its_number_alone() {
        // invalid_text_representation: its message quotes what was asked for.
        assert_eq!(postgres("22P02"), Class::Other("22P02".to_owned()));
        assert_eq!(mysql(1366), Class::Other("1366".to_owned()));
    }

    #[test]
    fn a_server_that_restarts_is_asked_again_and_a_wrong_question_is_not() {
        for code in ["57P01", "08006"] {
            assert_eq!(postgres(code), Class::Broken);
        }
        assert_eq!(postgres("57P03"), Class::Starting);
        assert_eq!(postgres("42601"), Class::Question);
        assert_eq!(mysql(1053), Class::Broken);
        assert_eq!(sqlite("14", "unable to open database file"), Class::Broken);
        assert_eq!(sqlite("1", "no such table: users"), Class::Schema);
        assert_eq!(sqlite("517", "database is locked"), Class::Late);
    }
}
