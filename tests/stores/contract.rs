//! What every store that is a database promises, and the three of them held to it.

use jiff::civil::date;
use portcullis::auth::ports::{Expiry, StoreError};
use portcullis::clock::Timestamp;
use portcullis::config::settings::DatabaseKind;

use crate::hosts::Host;
use crate::rig::{Rig, VECTORS, load, told};
use crate::{types, users};

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    keeps(&Host::sqlite()).await;
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let Some(host) = Host::postgres("scram-sha-256").await else {
        return;
    };
    keeps(&host).await;
    types::of_postgresql(&host).await;
}

#[tokio::test]
async fn mariadb_keeps_the_contract() {
    let Some(host) = Host::mariadb().await else {
        return;
    };
    keeps(&host).await;
    types::of_mariadb(&host).await;
}

/// The contract of a database as a store.
async fn keeps(host: &Host) {
    django_sessions(host).await;
    flask_sessions(host).await;
    users::of_django(host).await;
    users::of_a_custom_model(host).await;
    users::of_a_model_with_other_columns(host).await;
    users::of_a_query(host).await;
    users::are_remembered_and_asked_for_once(host).await;
    users::are_found_by_index(host).await;
    nothing_is_written(host).await;
    what_is_missing_is_told(host).await;
}

/// A point in time as a database of this kind gives it back.
fn at(kind: DatabaseKind, civil: jiff::civil::DateTime) -> Expiry {
    match kind {
        DatabaseKind::Postgres => {
            let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
            let micros = zoned.timestamp().as_microsecond();
            Expiry::At(Timestamp::from_unix_micros(micros))
        }
        DatabaseKind::MySql | DatabaseKind::Sqlite => Expiry::Local(civil),
    }
}

async fn django_sessions(host: &Host) {
    let database = host.make("django", &["django_auth"]).await;
    let stores = Rig::new().django_db(&database, "django_session").stores();

    // Every row that a vector has, byte for byte, expired or not.
    let mut seen = 0;
    for vector in VECTORS["vectors"].as_array().unwrap() {
        let row = &vector["row"];
        let (Some(key), Some(data)) = (row["session_key"].as_str(), row["session_data"].as_str())
        else {
            continue;
        };
        if vector["fixture"] != "django_auth" {
            continue;
        }
        let session = load(&stores, 0, key).await.unwrap();
        let session = session.unwrap_or_else(|| panic!("{key} is not found"));
        assert_eq!(session.data, data.as_bytes(), "{key}");
        assert!(!session.cached);
        seen += 1;
    }
    assert!(seen > 10, "{seen} rows");

    let put = |key: &str, data: &str, end: &str| {
        format!(
            "insert into django_session (session_key, session_data, expire_date) values ('{key}', {data}, '{end}');"
        )
    };
    let zone = match host.kind {
        DatabaseKind::Postgres => "+00",
        DatabaseKind::MySql | DatabaseKind::Sqlite => "",
    };
    let long = "x".repeat(1024 * 1024);
    let rows = [
        put("expired1", "'old'", &format!("2001-02-03 04:05:06{zone}")),
        put(
            "micros12",
            "'new'",
            &format!("2031-02-03 04:05:06.000001{zone}"),
        ),
        put(
            "justfits",
            &format!("'{long}'"),
            &format!("2031-02-03 04:05:06{zone}"),
        ),
        put(
            "toolong1",
            &format!("'{long}y'"),
            &format!("2031-02-03 04:05:06{zone}"),
        ),
    ];
    host.run("django", &rows.concat()).await;

    // An expired session is told from one that is not there.
    let expired = load(&stores, 0, "expired1").await.unwrap().unwrap();
    assert_eq!(
        expired.expiry,
        at(host.kind, date(2001, 2, 3).at(4, 5, 6, 0))
    );
    let new = load(&stores, 0, "micros12").await.unwrap().unwrap();
    assert_eq!(
        new.expiry,
        at(host.kind, date(2031, 2, 3).at(4, 5, 6, 1_000))
    );
    assert_eq!(new.data, b"new");

    // A key is compared byte for byte, and is never a piece of SQL.
    for other in [
        "EXPIRED1",
        "expired1 ",
        "expired2",
        "' or 1=1 --",
        "a\0b",
        "",
        "é",
        "%",
    ] {
        assert_eq!(load(&stores, 0, other).await.unwrap(), None, "{other:?}");
    }

    let fits = load(&stores, 0, "justfits").await.unwrap().unwrap();
    assert_eq!(fits.data.len(), 1024 * 1024);
    let error = load(&stores, 0, "toolong1").await;
    assert!(
        matches!(error, Err(StoreError::Unreadable { .. })),
        "{error:?}"
    );

    let status = &stores.statuses()[0];
    assert_eq!(&*status.name, "auth.a0");
    assert!(status.answered > 10 && status.failed == 1, "{status:?}");
    assert!(status.problem.is_some());
}

async fn flask_sessions(host: &Host) {
    let database = host.make("flask", &["flask_sessions"]).await;
    let stores = Rig::new().flask_table(&database, "sessions").stores();
    let pickled = "Vn38i4FFayQy3mwK1kEcGabEWx5hNYPeVdw590Ia2vQ";

    let session = load(&stores, 0, pickled).await.unwrap().unwrap();
    assert!(session.data.starts_with(&[0x80, 0x04, 0x95]), "{session:?}");
    let end = date(2026, 2, 1).at(0, 0, 0, 0);
    // Naive times of UTC, under a server that stands in another zone.
    assert_eq!(session.expiry, Expiry::Local(end));
    assert!(!session.cached);

    let endless = "v4FqX5hD42KMYrzLE8tI1Rok6rvTbekZ6bD43bhL3H0";
    let session = load(&stores, 0, endless).await.unwrap().unwrap();
    assert_eq!(session.expiry, Expiry::Missing);

    // The prefix is the store's, and never the caller's.
    let prefixed = format!("session:{pickled}");
    assert_eq!(load(&stores, 0, &prefixed).await.unwrap(), None);
}

/// Read only, by the gateway's own doing: here it has every right.
async fn nothing_is_written(host: &Host) {
    let database = host.make("readonly", &[]).await;
    let make = "create table people (id integer primary key, name varchar(20)); insert into people values (7, 'ada');";
    host.run("readonly", make).await;
    let (all, write) = match host.kind {
        DatabaseKind::Postgres => (
            "grant all on people to reader",
            "with gone as (delete from people where id = $1 returning *) select * from gone",
        ),
        DatabaseKind::MySql => (
            "grant all on readonly.* to reader@'127.0.0.1'",
            "delete from people where id = ?",
        ),
        DatabaseKind::Sqlite => ("select 1", "delete from people where id = $1 returning *"),
    };
    host.run("readonly", all).await;
    let stores = Rig::new()
        .query(&database, write)
        .query(&database, "select name from people where id = $1")
        .stores();
    let error = crate::rig::find(&stores, 0, "7").await;
    assert!(
        matches!(error, Err(StoreError::Refused { .. })),
        "{error:?}"
    );
    let ada = crate::rig::find(&stores, 1, "7").await.unwrap().unwrap();
    assert_eq!(ada.name.as_deref(), Some("ada"));
}

async fn what_is_missing_is_told(host: &Host) {
    let database = host.make("empty", &[]).await;
    let stores = Rig::new()
        .django_db(&database, "django_session")
        .users(&database, "auth_user", crate::rig::roles(true, true, &[]))
        .query(&database, "select roles from people where id = $1")
        .stores();
    for error in [
        told(load(&stores, 0, "expired1").await),
        told(crate::rig::find(&stores, 0, "7").await),
        told(crate::rig::find(&stores, 1, "7").await),
    ] {
        assert!(error.contains("refuses the question"), "{error}");
    }
    let error = told(crate::rig::find(&stores, 0, "7").await);
    assert!(error.contains("auth_user"), "{error}");

    // What was refused is answered as soon as the table is there: an error is not remembered.
    let make = "create table people (id integer primary key, roles varchar(20)); insert into people values (7, 'admin');";
    host.run("empty", make).await;
    host.grant_all("empty").await;
    let ada = crate::rig::find(&stores, 1, "7").await.unwrap().unwrap();
    assert_eq!(ada.roles, ["admin"]);
}
