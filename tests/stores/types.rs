//! Types and rights that only one of the databases has.

use portcullis::auth::ports::{StoreError, User};
use portcullis::config::settings::Database;
use serde_json::{Value, json};

use crate::hosts::Host;
use crate::rig::{Rig, find, roles, told};
use crate::users::sorted;

async fn one(database: &Database, query: &str, id: &str) -> Result<Option<User>, StoreError> {
    let stores = Rig::new().query(database, query).stores();
    find(&stores, 0, id).await
}

/// Types that only PostgreSQL has.
pub(crate) async fn of_postgresql(host: &Host) {
    let database = host.make("types", &[]).await;
    host.run(
        "types",
        "create type mood as enum ('ops', 'admin');
         create schema shop;
         create table shop.people (id bigint primary key, key uuid, code char(8), roles text[], moods mood[], mood mood, numbers int[], seen timestamptz, born timestamp, more jsonb, price numeric, small smallint, yes boolean, ratio real);
         insert into shop.people values (7, '6f9619ff-8b86-d011-b42d-00c04fc964ff', 'ada', '{ops,\"a b\",null}', '{admin}', 'ops', '{1,2}', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05', '[\"x\"]', 1.5, 3, true, 0.5);
         grant usage on schema shop to reader; grant select on shop.people to reader;",
    )
    .await;
    let ada =
        |columns: &str, place: &str| format!("select {columns} from shop.people where {place}");
    for (place, id) in [
        ("id = $1", "7"),
        ("key = $1", "6F9619FF8B86D011B42D00C04FC964FF"),
        ("code = $1", "ada"),
        ("small = $1::int2 + 0", "3"),
        ("id::text = $1", "7"),
        ("mood = $1", "ops"),
    ] {
        let user = one(&database, &ada("roles", place), id).await.unwrap();
        assert_eq!(user.unwrap().roles, ["a b", "ops"], "{place}");
    }
    for (place, id) in [
        ("id = $1", "x"),
        ("key = $1", "7"),
        ("small = $1::int2", "70000"),
    ] {
        let user = one(&database, &ada("roles", place), id).await.unwrap();
        assert_eq!(user, None, "{place}");
    }
    for (column, roles) in [
        ("moods as roles", vec!["admin"]),
        ("mood as roles", vec!["ops"]),
        ("numbers as roles", vec!["1", "2"]),
        ("more as roles", vec!["x"]),
    ] {
        let user = one(&database, &ada(column, "id = $1"), "7").await.unwrap();
        assert_eq!(user.unwrap().roles, roles, "{column}");
    }
    let query = ada("seen, born, more, small, yes, ratio, key", "id = $1");
    let user = one(&database, &query, "7").await.unwrap().unwrap();
    let claims = json!({
        "seen": "2026-01-02T03:04:05Z", "born": "2026-01-02T03:04:05", "more": ["x"],
        "small": 3, "yes": true, "ratio": 0.5, "key": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    });
    assert_eq!(Value::Object(user.claims), claims);
    let error = told(one(&database, &ada("price", "id = $1"), "7").await);
    assert!(
        error.contains("price") && error.contains("NUMERIC") && error.contains("cast"),
        "{error}"
    );
    let error = told(one(&database, &ada("id", "price = $1"), "7").await);
    assert!(
        error.contains("NUMERIC") && error.contains("$1::text"),
        "{error}"
    );

    // Django's tables in a schema of their own; rights to single columns are enough.
    host.run(
        "types",
        "create table shop.member (id int primary key, password text, email text, salary int);
         insert into shop.member values (7, 'hash', 'ada@example.test', 1);
         grant select (id, password, email) on shop.member to reader;",
    )
    .await;
    let stores = Rig::new()
        .users(&database, "shop.member", roles(false, false, &[]))
        .users(&database, "shop.member", roles(false, false, &["salary"]))
        .users(&database, "shop.member", roles(true, false, &[]))
        .stores();
    let user = find(&stores, 0, "7").await.unwrap().unwrap();
    assert_eq!(user.email.as_deref(), Some("ada@example.test"));
    let error = told(find(&stores, 1, "7").await);
    assert!(
        error.contains("salary") && error.contains("GRANT SELECT"),
        "{error}"
    );
    let error = told(find(&stores, 2, "7").await);
    assert!(error.contains("shop.member_groups"), "{error}");

    // An end that never comes.
    host.run(
        "types",
        "create table django_session (session_key varchar(40), session_data text, expire_date timestamptz);
         insert into django_session values ('forever1', 'x', 'infinity');",
    )
    .await;
    let stores = Rig::new().django_db(&database, "django_session").stores();
    let error = told(crate::rig::load(&stores, 0, "forever1").await);
    assert!(error.contains("GRANT SELECT ON django_session"), "{error}");
    host.grant_all("types").await;
    let session = crate::rig::load(&stores, 0, "forever1")
        .await
        .unwrap()
        .unwrap();
    let never = portcullis::clock::Timestamp::MAX;
    assert_eq!(session.expiry, portcullis::auth::ports::Expiry::At(never));
}

/// What only MariaDB has: a type for UUIDs, collations without regard to case.
pub(crate) async fn of_mariadb(host: &Host) {
    let database = host.make("types", &[]).await;
    host.run(
        "types",
        "create table core_user (id uuid primary key, password varchar(128), is_active tinyint(1), is_staff bit(1));
         insert into core_user values ('6f9619ff-8b86-d011-b42d-00c04fc964ff', 'hash', 1, b'1');
         create table people (id bigint unsigned primary key, big bigint unsigned, price decimal(8,2), ratio double, role varchar(20) collate utf8mb4_bin, doc json, born date);
         insert into people values (7, 18446744073709551615, 1.50, 0.5, 'admin', '[\"x\"]', '2026-01-02');",
    )
    .await;
    let stores = Rig::new()
        .users(&database, "core_user", roles(false, true, &[]))
        .users(&database, "types.core_user", roles(false, true, &[]))
        .stores();
    for at in [0, 1] {
        for id in [
            "6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "6F9619FF8B86D011B42D00C04FC964FF",
        ] {
            let user = find(&stores, at, id).await.unwrap().unwrap();
            assert_eq!(user.id, "6f9619ff-8b86-d011-b42d-00c04fc964ff");
            assert_eq!(sorted(user.roles), ["active", "staff"]);
        }
    }
    let query = "select big, price, ratio, role as roles, doc from people where id = ?";
    let user = one(&database, query, "7").await.unwrap().unwrap();
    assert_eq!(user.roles, ["admin"]);
    let claims =
        json!({"big": "18446744073709551615", "price": "1.50", "ratio": 0.5, "doc": "[\"x\"]"});
    assert_eq!(Value::Object(user.claims), claims);
    let user = one(
        &database,
        "select doc as roles from people where id = ? and ? > 0",
        "7",
    )
    .await;
    assert_eq!(user.unwrap().unwrap().roles, ["x"]);
    let error = told(one(&database, "select born from people where id = $1", "7").await);
    assert!(error.contains("born") && error.contains("DATE"), "{error}");

    host.run("", "revoke select on types.* from reader@'127.0.0.1'")
        .await;
    host.run("", "grant select on types.core_user to reader@'127.0.0.1'")
        .await;
    let error = told(one(&database, query, "7").await);
    assert!(error.contains("GRANT SELECT"), "{error}");
}
