//! Addresses of databases and of Redis: which forms are read, what comes of them, what is never told.

use proptest::prelude::*;

use super::*;

/// What a directory's database became.
fn database(address: &str) -> (DatabaseKind, String) {
    let more = format!("[directory.users]\ntype = \"django\"\ndatabase = {address}\n");
    let loaded = good(&format!("{GOOD}{more}"));
    let DirectoryKind::Django(django) = &loaded.settings.directories[0].kind else {
        panic!()
    };
    (django.database.kind, django.database.url.expose().clone())
}

/// What a session's cache became.
fn redis(address: &str) -> String {
    let keys = format!(
        "secret = {{ env = \"KEY\" }}\nbackend = \"cache\"\ndirectory = \"users\"\nredis = \"{address}\""
    );
    let AuthenticatorKind::DjangoSession(session) = kind_of(&format!(
        "{USERS}{}",
        authenticator("django-session", &keys)
    )) else {
        panic!()
    };
    let DjangoBackend::Cache { redis, .. } = &session.backend else {
        panic!()
    };
    redis.expose().clone()
}

#[test]
fn databases_are_read_as_apps_write_them() {
    for (written, kind, url) in [
        (
            "postgres://u:p%23w@db.example:5433/app",
            DatabaseKind::Postgres,
            "postgres://u:p%23w@db.example:5433/app",
        ),
        (
            "postgresql+psycopg2://u@db.example/app?sslmode=Require&connect_timeout=3&conn_max_age=60",
            DatabaseKind::Postgres,
            "postgres://u@db.example/app?sslmode=require",
        ),
        (
            "postgis://%2Fvar%2Frun%2Fpostgresql/app?currentSchema=x",
            DatabaseKind::Postgres,
            "postgres://%2Fvar%2Frun%2Fpostgresql/app?options%5Bsearch_path%5D=x",
        ),
        (
            "postgres:///?dbname=app&host=/run",
            DatabaseKind::Postgres,
            "postgres:///?dbname=app&host=%2Frun",
        ),
        (
            "mariadb://u@db.example/app?ssl_mode=VERIFY_CA&charset=utf8mb4&unix_socket=/run/x",
            DatabaseKind::MySql,
            "mysql://u@db.example/app?ssl-mode=verify_ca&socket=%2Frun%2Fx",
        ),
        (
            "mysql+pymysql://u@db.example/app",
            DatabaseKind::MySql,
            "mysql://u@db.example/app",
        ),
        (
            "sqlite:///db/a%20b.sqlite3?timeout=20",
            DatabaseKind::Sqlite,
            "sqlite://./db/a%20b.sqlite3",
        ),
        (
            "sqlite:////srv/app.sqlite3",
            DatabaseKind::Sqlite,
            "sqlite:///srv/app.sqlite3",
        ),
        (
            "sqlite:app.sqlite3",
            DatabaseKind::Sqlite,
            "sqlite://./app.sqlite3",
        ),
    ] {
        let read = database(&format!("\"{written}\""));
        assert_eq!(read, (kind, url.to_owned()), "{written}");
    }
}

#[test]
fn what_is_read_of_an_address_the_database_crate_reads_too() {
    use std::str::FromStr;
    let (_, url) = database("\"postgres://u:p%23w@db.example:5433/app?sslmode=verify-full\"");
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).unwrap();
    assert_eq!(
        (
            options.get_host(),
            options.get_port(),
            options.get_database()
        ),
        ("db.example", 5433, Some("app"))
    );
    let (_, url) = database("\"mysql://u@db.example/app?ssl-mode=REQUIRED\"");
    let options = sqlx::mysql::MySqlConnectOptions::from_str(&url).unwrap();
    assert_eq!(options.get_database(), Some("app"));
    let (_, url) = database("\"sqlite:////srv/a%3Fb%25c.db\"");
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(&url).unwrap();
    assert_eq!(options.get_filename(), Path::new("/srv/a?b%c.db"));
}

#[test]
fn a_sqlite_file_is_seen_from_the_folder_and_is_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.db"), "").unwrap();
    let file = folder.path().join("gateway.toml");
    let load = |name: &str| {
        let text = format!(
            "{GOOD}[directory.users]\ntype = \"django\"\ndatabase = \"sqlite:///{name}\"\n"
        );
        load_text(&file, &text, &environment(&[])).unwrap()
    };
    let there = load("app.db");
    let DirectoryKind::Django(django) = &there.settings.directories[0].kind else {
        panic!()
    };
    let wanted = format!("sqlite://{}/app.db", folder.path().display());
    assert_eq!(*django.database.url.expose(), wanted);
    assert_eq!(there.settings.watched, std::slice::from_ref(&file));
    let told = |loaded: &Loaded| {
        let told = loaded.warnings.iter().map(ToString::to_string);
        told.filter(|warning| warning.contains("there is no file"))
            .count()
    };
    assert_eq!((told(&there), told(&load("later.db"))), (0, 1));
}

#[test]
fn redis_is_read_as_its_clients_write_it() {
    for (written, url) in [
        ("redis://cache.example", "redis://cache.example"),
        (
            "rediss://:p%2Fw@cache.example:6380/3?protocol=3&ssl_cert_reqs=required",
            "rediss://:p%2Fw@cache.example:6380/3",
        ),
        ("redis://cache.example/1?db=2", "redis://cache.example/2"),
        (
            "redis://cache.example?username=u&password=p",
            "redis://u:p@cache.example",
        ),
        (
            "unix:///run/redis.sock?db=4&password=p",
            "redis+unix:///run/redis.sock?db=4&pass=p",
        ),
        (
            "redis+unix:///run/redis.sock",
            "redis+unix:///run/redis.sock",
        ),
    ] {
        assert_eq!(redis(written), url, "{written}");
        assert!(redis::Client::open(url).is_ok(), "{url}");
    }
}

#[test]
fn what_is_no_address_is_refused_and_never_repeated() {
    let directory = |address: &str| {
        format!("[directory.users]\ntype = \"django\"\ndatabase = ◆\"{address}\"\n")
    };
    for (address, word) in [
        ("hunter2", "is not the address of a database"),
        ("postgers://u:hunter2@h/db", "did you mean postgres?"),
        ("redis://:hunter2@h/0", "is not the address of a database"),
        (
            "postgres:u:hunter2@h/db",
            "is not the address of a database",
        ),
        ("postgres://u:hunter2#@h/db", "%23"),
        ("postgres://u:1#hunter2@h/db", "%23"),
        ("postgres://u:hunter2@h", "names no database"),
        ("mysql://u:hunter2@h/", "names no database"),
        ("postgres://u:hunter2@h/db?sslmode=hunter2", "verify-full"),
        (
            "postgres://u:hunter2@h/db?sslmode=requir",
            "did you mean require?",
        ),
        (
            "postgres://u:hunter2@h/db?sslrootcrt=x",
            "did you mean sslrootcert?",
        ),
        ("mysql://u:hunter2@h/db?ssl_capath=hunter2", "weaker"),
        ("sqlite://hunter2.db", "three slashes"),
        ("sqlite://:memory:", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///%ff", "UTF-8"),
        ("", "is empty"),
    ] {
        refused(&directory(address), &["directory.users.database", word]);
        let report = bad(&format!("{GOOD}{}", directory(address).replace('◆', "")));
        assert!(!report.contains("hunter2"), "{report}");
    }
    let cache = |address: &str| {
        let keys = format!(
            "secret = {{ env = \"KEY\" }}\nbackend = \"cache\"\ndirectory = \"users\"\nredis = ◆\"{address}\""
        );
        format!("{USERS}{}", authenticator("django-session", &keys))
    };
    for (address, word) in [
        ("hunter2", "is not the address of a Redis server"),
        ("rdis://:hunter2@h", "did you mean redis?"),
        ("redis://:hunter2#@h/0", "%23"),
        ("redis://u:12/hunter2@h", "not a number"),
        (
            "redis://:hunter2@h/0#insecure",
            "certificates are always verified",
        ),
        (
            "rediss://:hunter2@h/0?ssl_cert_reqs=none",
            "certificates are always verified",
        ),
        ("redis+unix://:hunter2@/run/redis.sock", "whole path"),
        ("redis:///0", "no host"),
    ] {
        refused(&cache(address), &["auth.more.redis", word]);
        let report = bad(&format!("{GOOD}{}", cache(address).replace('◆', "")));
        assert!(!report.contains("hunter2"), "{report}");
    }
    refused(
        "[directory.users]\ntype = \"django\"\ndatabase = { env = ◆\"NOT_SET\" }\n",
        &["not set"],
    );
    refused(
        &directory("postgres://h/db?sslrootcert=missing.pem"),
        &["there is no file", "missing.pem"],
    );
}

#[test]
fn an_address_is_warned_of_where_a_password_stands_in_the_file() {
    let warned = |value: &str, more: &[(&str, &str)]| {
        let text = format!("{GOOD}[directory.users]\ntype = \"django\"\ndatabase = {value}\n");
        let loaded = load_with(&text, more).unwrap();
        assert!(!format!("{loaded:?}").contains("hunter2"));
        let told = loaded.warnings.iter().map(ToString::to_string);
        told.filter(|warning| warning.contains("a password stands in the file"))
            .count()
    };
    let url = "postgres://u:hunter2@h/db";
    assert_eq!(warned(&format!("\"{url}\""), &[]), 1);
    assert_eq!(warned("\"postgres://u@h/db?password=hunter2\"", &[]), 1);
    assert_eq!(warned("\"postgres://u@h/db\"", &[]), 0);
    assert_eq!(warned("{ env = \"URL\" }", &[("URL", url)]), 0);
    let variable = ("PORTCULLIS_DIRECTORY__USERS__DATABASE", url);
    assert_eq!(warned("\"postgres://u@h/db\"", &[variable]), 0);
}

proptest! {
    #[test]
    fn any_address_is_taken_or_refused_without_its_password(
        scheme in prop::sample::select(vec![
            "postgres://", "mysql://", "sqlite:", "sqlite://", "redis://", "rediss://", "unix://", "postgres:", "",
        ]),
        before in "[ -~&&[^\"\\\\]]{0,12}",
        behind in "[ -~&&[^\"\\\\]]{0,12}",
    ) {
        let address = format!("{scheme}{before}Zq7Xk9{behind}");
        let text = format!(
            "{GOOD}[auth.more]\ntype = \"flask-session\"\nstore = {{ env = \"URL\" }}\n"
        );
        if scheme.starts_with("sqlite") {
            // A path may be told.
            let _ = load_with(&text, &[("URL", &address)]);
        } else {
            match load_with(&text, &[("URL", &address)]) {
                Ok(loaded) => {
                    let shown = format!("{:?}", loaded.settings);
                    prop_assert!(!shown.contains("Zq7Xk9"), "{}", shown);
                }
                Err(report) => prop_assert!(!report.to_string().contains("Zq7Xk9"), "{}", report),
            }
        }
    }
}
