//! What stands behind the `?` of a database's address: kept where the gateway's own connection
//! wants it, and written as the database crate reads it.
//!
//! Apps keep there what their driver is told too (`conn_max_age`, `charset`, `connect_timeout`):
//! the gateway has its own, and leaves those out. What would weaken TLS if it were left out is a
//! mistake instead.

use url::Url;

use super::context::Context;
use crate::config::problem::{Problem, nearest};
use crate::config::raw::decode::At;
use crate::config::settings::DatabaseKind;

/// `sslmode` of PostgreSQL.
const POSTGRES_MODES: &[&str] = &[
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// `ssl-mode` of MySQL.
const MYSQL_MODES: &[&str] = &[
    "disabled",
    "preferred",
    "required",
    "verify_ca",
    "verify_identity",
];

/// What an option is to the gateway.
enum Meaning {
    /// Passed on under this name.
    Kept(&'static str),
    /// Which TLS is wanted: one of these words.
    Mode(&'static str, &'static [&'static str]),
    /// A file, passed on under this name.
    File(&'static str),
    /// Left out.
    Idle,
    /// About TLS, and not known.
    Unknown,
}

/// The options for the gateway's connection.
pub(super) fn of(
    key: &str,
    kind: DatabaseKind,
    url: &Url,
    cx: &mut Context<'_>,
) -> Vec<(String, String)> {
    let mut options = Vec::new();
    for (name, value) in url.query_pairs() {
        let meaning = match kind {
            DatabaseKind::Postgres => postgres(&name),
            DatabaseKind::MySql => mysql(&name),
            DatabaseKind::Sqlite => Meaning::Idle,
        };
        match meaning {
            Meaning::Kept(known) => options.push((known.to_owned(), value.into_owned())),
            Meaning::Mode(known, modes) => {
                if check_mode(key, known, modes, &value, cx) {
                    options.push((known.to_owned(), value.to_lowercase()));
                }
            }
            Meaning::File(known) => {
                let path = At {
                    key: key.to_owned(),
                    value: value.into_owned(),
                };
                let file = cx.file(&path);
                options.push((known.to_owned(), file.to_string_lossy().into_owned()));
            }
            Meaning::Idle => {}
            Meaning::Unknown => cx.error(unknown(key, kind, &name)),
        }
    }
    options
}

fn postgres(name: &str) -> Meaning {
    match name {
        "sslmode" | "ssl-mode" => Meaning::Mode("sslmode", POSTGRES_MODES),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => Meaning::File("sslrootcert"),
        "sslcert" | "ssl-cert" => Meaning::File("sslcert"),
        "sslkey" | "ssl-key" => Meaning::File("sslkey"),
        "host" => Meaning::Kept("host"),
        "hostaddr" => Meaning::Kept("hostaddr"),
        "port" => Meaning::Kept("port"),
        "dbname" => Meaning::Kept("dbname"),
        "user" => Meaning::Kept("user"),
        "password" => Meaning::Kept("password"),
        "options" => Meaning::Kept("options"),
        // JDBC's name, which dj-database-url takes too.
        "currentSchema" => Meaning::Kept("options[search_path]"),
        other => of_tls(other),
    }
}

fn mysql(name: &str) -> Meaning {
    match name {
        "sslmode" | "ssl-mode" | "ssl_mode" => Meaning::Mode("ssl-mode", MYSQL_MODES),
        "sslca" | "ssl-ca" | "ssl_ca" => Meaning::File("ssl-ca"),
        "sslcert" | "ssl-cert" | "ssl_cert" => Meaning::File("ssl-cert"),
        "sslkey" | "ssl-key" | "ssl_key" => Meaning::File("ssl-key"),
        "socket" | "unix_socket" => Meaning::Kept("socket"),
        other => of_tls(other),
    }
}

fn of_tls(name: &str) -> Meaning {
    if name.to_ascii_lowercase().starts_with("ssl") {
        Meaning::Unknown
    } else {
        Meaning::Idle
    }
}

fn check_mode(key: &str, name: &str, modes: &[&str], value: &str, cx: &mut Context<'_>) -> bool {
    let folded = value.to_lowercase();
    let is_known = modes.contains(&folded.as_str());
    if !is_known {
        let problem = Problem::new(
            key,
            format!("the option `{name}` has a value that is not known"),
        );
        let near = nearest(&folded, modes.iter().copied());
        // The value is not repeated: an unencoded `?` in a password would put the password there.
        cx.error(problem.allowed(modes.join(", ")).nearest(near));
    }
    is_known
}

fn unknown(key: &str, kind: DatabaseKind, name: &str) -> Problem {
    let allowed = match kind {
        DatabaseKind::Postgres => ["sslmode", "sslrootcert", "sslcert", "sslkey"],
        DatabaseKind::MySql | DatabaseKind::Sqlite => ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"],
    };
    let message = "holds an option that begins with `ssl`, which the gateway does not know: \
                   without it the connection could be weaker";
    Problem::new(key, message)
        .allowed(allowed.join(", "))
        .nearest(nearest(name, allowed))
}
