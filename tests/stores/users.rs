//! What a directory in a database promises.

use std::time::Duration;

use portcullis::auth::ports::{StoreError, User};
use portcullis::config::settings::DatabaseKind;
use serde_json::{Value, json};

use crate::hosts::Host;
use crate::rig::{Rig, VECTORS, find, roles, told, until, users};

pub(crate) fn sorted(mut roles: Vec<String>) -> Vec<String> {
    roles.sort();
    roles
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    sorted(list.map(|one| one.as_str().unwrap().to_owned()).collect())
}

/// Compares a user with what the vectors say.
fn is(user: &User, wanted: &Value) {
    assert_eq!(
        user.password.as_ref().map(|one| one.expose().as_str()),
        wanted["password"].as_str()
    );
    assert_eq!(Value::from(user.active), wanted["is_active"]);
    assert_eq!(user.email.as_deref(), wanted["email"].as_str());
    assert_eq!(user.name.as_deref(), wanted["username"].as_str());
    for claim in ["username", "is_staff", "is_superuser"] {
        assert_eq!(user.claims.get(claim), Some(&wanted[claim]), "{claim}");
    }
}

pub(crate) async fn of_django(host: &Host) {
    let database = host.reader("django");
    let stores = Rig::new()
        .users(&database, "auth_user", roles(true, false, &[]))
        .users(&database, "auth_user", roles(true, true, &[]))
        .users(
            &database,
            "auth_user",
            roles(false, false, &["username", "last_name"]),
        )
        .stores();
    for wanted in VECTORS["users"].as_array().unwrap() {
        let id = wanted["id"].to_string();
        let user = find(&stores, 0, &id).await.unwrap().unwrap();
        assert_eq!(user.id, id);
        is(&user, wanted);
        assert_eq!(sorted(user.roles), texts(&wanted["groups"]));
        let named = find(&stores, 2, &id).await.unwrap().unwrap();
        // An empty column is no role.
        assert_eq!(named.roles, [wanted["username"].as_str().unwrap()]);
    }
    let roles = |id| {
        let stores = &stores;
        async move { sorted(find(stores, 1, id).await.unwrap().unwrap().roles) }
    };
    assert_eq!(roles("1").await, ["active", "staff", "superuser"]);
    assert_eq!(roles("3").await, ["editors"]);
    assert_eq!(roles("4").await, ["active", "editors", "ops team", "staff"]);
    for nobody in [
        "99",
        "02",
        "+2",
        " 2",
        "2 ",
        "2.0",
        "alice",
        "",
        "2abc",
        "9223372036854775808",
    ] {
        assert_eq!(find(&stores, 0, nobody).await.unwrap(), None, "{nobody:?}");
    }
    // A role column that the table does not have is the operator's mistake, and is named.
    let stores = Rig::new()
        .users(
            &database,
            "auth_user",
            crate::rig::roles(false, false, &["role"]),
        )
        .stores();
    let error = told(find(&stores, 0, "1").await);
    assert!(
        error.contains("auth_user has no column") && error.contains("role"),
        "{error}"
    );

    let many: Vec<_> = (100..1110)
        .map(|number| format!("insert into auth_group (id, name) values ({number}, 'g{number}'); insert into auth_user_groups (id, user_id, group_id) values ({number}, 5, {number});"))
        .collect();
    host.run("django", &many.concat()).await;
    let stores = Rig::new()
        .users(&database, "auth_user", crate::rig::roles(true, false, &[]))
        .stores();
    let error = find(&stores, 0, "5").await;
    assert!(
        matches!(error, Err(StoreError::Unreadable { .. })),
        "{error:?}"
    );
    let user = find(&stores, 0, "4").await.unwrap().unwrap();
    assert_eq!(user.roles.len(), 2);
}

pub(crate) async fn of_a_custom_model(host: &Host) {
    let database = host.make("custom", &["django_custom"]).await;
    let stores = Rig::new()
        .users(
            &database,
            "core_user",
            roles(true, false, &["role", "city"]),
        )
        .stores();
    let group = match host.kind {
        DatabaseKind::Postgres => {
            "insert into core_user_groups (user_id, group_id) values ('6f9619ff-8b86-d011-b42d-00c04fc964ff', 1);"
        }
        DatabaseKind::MySql | DatabaseKind::Sqlite => {
            "insert into core_user_groups (user_id, group_id) values ('6f9619ff8b86d011b42d00c04fc964ff', 1);"
        }
    };
    host.run("custom", group).await;
    for wanted in VECTORS["custom_users"].as_array().unwrap() {
        let id = wanted["id"].as_str().unwrap();
        for asked in [id.to_owned(), id.replace('-', ""), id.to_uppercase()] {
            let user = find(&stores, 0, &asked).await.unwrap().unwrap();
            assert_eq!(user.id, id);
            is(&user, wanted);
            let mut roles = vec![wanted["role"].as_str().unwrap()];
            roles.extend(wanted["city"].as_str().filter(|city| !city.is_empty()));
            if wanted["nick"] == "host" {
                roles.push("editors");
            }
            roles.sort_unstable();
            assert_eq!(sorted(user.roles), roles);
            assert_eq!(user.claims.get("role"), Some(&wanted["role"]));
        }
    }
    let unknown = "6f9619ff-8b86-d011-b42d-00c04fc96400";
    for nobody in [
        unknown,
        "1",
        "",
        "6f9619ff",
        "{6f9619ff-8b86-d011-b42d-00c04fc964ff}",
    ] {
        assert_eq!(find(&stores, 0, nobody).await.unwrap(), None, "{nobody:?}");
    }
}

/// A user class with a text key of another name, and without most columns.
pub(crate) async fn of_a_model_with_other_columns(host: &Host) {
    let database = host.make("lean", &[]).await;
    host.run(
        "lean",
        "create table shop_member (login varchar(40) primary key, password varchar(128), level integer);
         create table auth_group (id integer primary key, name varchar(150));
         create table shop_member_groups (id integer primary key, member_id varchar(40), group_id integer);
         insert into shop_member values ('ada', 'hash', 3), ('bob', null, null);
         insert into auth_group values (1, 'ops');
         insert into shop_member_groups values (1, 'ada', 1);",
    )
    .await;
    host.grant_all("lean").await;
    let stores = Rig::new()
        .users(&database, "shop_member", roles(true, true, &["level"]))
        .stores();
    let ada = find(&stores, 0, "ada").await.unwrap().unwrap();
    assert_eq!(sorted(ada.roles), ["3", "active", "ops"]);
    assert_eq!(ada.password.unwrap().expose(), "hash");
    assert_eq!((ada.name, ada.email), (None, None));
    let bob = find(&stores, 0, "bob").await.unwrap().unwrap();
    assert_eq!(bob.roles, ["active"]);
    assert!(bob.password.is_none());
    for nobody in ["Ada", "ADA", "ada ", "eve", "7"] {
        assert_eq!(find(&stores, 0, nobody).await.unwrap(), None, "{nobody:?}");
    }

    // A migration takes a column away while the gateway runs: it looks again.
    let stores = Rig::new()
        .users(&database, "shop_member", roles(false, true, &[]))
        .stores();
    host.run(
        "lean",
        "alter table shop_member add column email varchar(40)",
    )
    .await;
    host.run(
        "lean",
        "update shop_member set email = 'ada@example.test' where login = 'ada'",
    )
    .await;
    host.grant_all("lean").await;
    let ada = find(&stores, 0, "ada").await.unwrap().unwrap();
    assert_eq!(ada.email.as_deref(), Some("ada@example.test"));
    host.run("lean", "alter table shop_member drop column email")
        .await;
    let ada = find(&stores, 0, "ada").await.unwrap().unwrap();
    assert_eq!(ada.email, None);
}

pub(crate) async fn of_a_query(host: &Host) {
    let database = host.make("query", &[]).await;
    host.run(
        "query",
        "create table people (id integer primary key, code varchar(40), username varchar(40), email varchar(80), role varchar(80), active integer, secret varchar(80));
         insert into people values (0, 'zero', 'zero', null, 'nobody', 1, null);
         insert into people values (7, 'a7', 'ada', 'ada@example.test', 'ops, admin', 1, 'hash');
         insert into people values (8, '07', 'bob', '', '[\"x\", \"y\"]', 0, null);
         create table jobs (person integer, job varchar(40));
         insert into jobs values (7, 'one'), (7, 'two'), (7, 'one');",
    )
    .await;
    host.grant_all("query").await;
    let by = |query: &str| Rig::new().query(&database, query).stores();

    let stores = by(
        "select username, email, role as roles, active, secret as password, id as number, '$1?' as mark from people where id = $1",
    );
    let ada = find(&stores, 0, "7").await.unwrap().unwrap();
    assert_eq!((&*ada.id, ada.active), ("7", true));
    assert_eq!(ada.roles, ["admin", "ops"]);
    assert_eq!(ada.email.as_deref(), Some("ada@example.test"));
    assert_eq!(ada.name.as_deref(), Some("ada"));
    assert_eq!(ada.password.unwrap().expose(), "hash");
    let claims = json!({"username": "ada", "number": 7, "mark": "$1?"});
    assert_eq!(Value::Object(ada.claims), claims);
    let bob = find(&stores, 0, "8").await.unwrap().unwrap();
    assert!(!bob.active);
    assert_eq!(bob.roles, ["x", "y"]);
    assert_eq!(bob.email, None);
    // Nobody is found by an id that only begins with a number, or is written as none would be.
    for nobody in [
        "9",
        "07",
        "7abc",
        "abc",
        " 7",
        "7 ",
        "7.0",
        "7e0",
        "0x7",
        "' or 1=1 --",
    ] {
        assert_eq!(find(&stores, 0, nobody).await.unwrap(), None, "{nobody:?}");
    }

    let stores = by("select username from people where code = $1");
    for (code, name) in [
        ("a7", Some("ada")),
        ("07", Some("bob")),
        ("7", None),
        ("a", None),
    ] {
        let user = find(&stores, 0, code).await.unwrap();
        assert_eq!(user.and_then(|user| user.name).as_deref(), name, "{code}");
    }

    let stores = by(
        "select username, job as roles from people join jobs on person = id where id = $1 order by job",
    );
    let ada = find(&stores, 0, "7").await.unwrap().unwrap();
    assert_eq!(ada.roles, ["one", "two"]);

    let many = by(
        "select a.id as roles from people a, people b, people c, people d, people e, people f, people g where $1 = 'x' or a.id >= 0",
    );
    if host.kind != DatabaseKind::Postgres {
        let error = find(&many, 0, "x").await;
        assert!(
            matches!(error, Err(StoreError::Unreadable { .. })),
            "{error:?}"
        );
    }
    let broken = by("select nothing from people where id = $1");
    let error = told(find(&broken, 0, "7").await);
    assert!(error.contains("refuses the question"), "{error}");
    // Asked again after an error, the same connection answers.
    assert_eq!(find(&stores, 0, "9").await.unwrap(), None);
}

pub(crate) async fn are_remembered_and_asked_for_once(host: &Host) {
    let database = host.reader("django");
    let rig = |cache| Rig::new().users_for(&database, "auth_user", roles(true, true, &[]), cache);
    let stores = rig(Duration::from_mins(1)).stores();
    let asked = || stores.statuses()[0].answered;

    // Of many at a time one goes.
    let source = users(&stores, 0);
    let waiting: Vec<_> = (0..50)
        .map(|_| tokio::spawn(source.find("4", false)))
        .collect();
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().unwrap().id, "4");
    }
    assert_eq!(asked(), 1);
    source.find("4", false).await.unwrap().unwrap();
    assert_eq!(asked(), 1);

    // That there is none is remembered too.
    assert_eq!(source.find("404", false).await.unwrap(), None);
    assert_eq!(source.find("404", false).await.unwrap(), None);
    assert_eq!(asked(), 2);

    // Asked afresh, it is asked; and what it says is remembered.
    host.run(
        "django",
        "update auth_user set email = 'new@example.test' where id = 4",
    )
    .await;
    let old = source.find("4", false).await.unwrap().unwrap();
    assert_eq!(old.email.as_deref(), Some("u4@example.test"));
    for fresh in [true, false] {
        let new = source.find("4", fresh).await.unwrap().unwrap();
        assert_eq!(new.email.as_deref(), Some("new@example.test"));
    }
    assert_eq!(asked(), 3);
    host.run(
        "django",
        "update auth_user set email = 'u4@example.test' where id = 4",
    )
    .await;

    // Without `cache` every question goes; with a short one, when it is over.
    let stores = rig(Duration::ZERO).stores();
    for _ in 0..2 {
        users(&stores, 0).find("4", false).await.unwrap();
    }
    assert_eq!(stores.statuses()[0].answered, 2);
    let stores = rig(Duration::from_millis(100)).stores();
    for _ in 0..2 {
        users(&stores, 0).find("4", false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(stores.statuses()[0].answered, 2);
}

/// Among many users one is found by the index, whatever the type of the key.
pub(crate) async fn are_found_by_index(host: &Host) {
    let database = host.make("crowd", &[]).await;
    let (numbers, uuid, hex) = match host.kind {
        DatabaseKind::Postgres => (
            "select generate_series(1, 20000) as i",
            "uuid",
            "md5(i::text)::uuid",
        ),
        DatabaseKind::MySql => ("select seq as i from seq_1_to_20000", "char(32)", "md5(i)"),
        DatabaseKind::Sqlite => return,
    };
    for (table, kind, value) in [
        ("a_user", "integer", "i"),
        ("b_user", uuid, hex),
        ("c_user", "varchar(40)", "concat('u', i)"),
    ] {
        let sql = format!(
            "create table {table} (id {kind} primary key, password varchar(9));
             insert into {table} select {value}, 'hash' from ({numbers}) n;
             create table {table}_groups (id integer primary key, user_id {kind}, group_id integer);
             insert into {table}_groups select i, {value}, 1 from ({numbers}) n;
             create index {table}_of on {table}_groups (user_id);
             analyze {} {table};",
            if host.kind == DatabaseKind::MySql {
                "table"
            } else {
                ""
            },
        );
        host.run("crowd", &sql).await;
    }
    host.run(
        "crowd",
        "create table auth_group (id integer primary key, name varchar(9)); insert into auth_group values (1, 'ops')",
    )
    .await;
    host.grant_all("crowd").await;
    let groups = || roles(true, false, &[]);
    let stores = Rig::new()
        .users(&database, "a_user", groups())
        .users(&database, "b_user", groups())
        .users(&database, "c_user", groups())
        .query(&database, "select password from a_user where id = $1")
        .stores();
    // Rows read one after the other, as long as the server lives; what is read of its own tables
    // and of the one group is little.
    let read = match host.kind {
        DatabaseKind::Postgres => {
            "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname <> 'auth_group'"
        }
        DatabaseKind::MySql | DatabaseKind::Sqlite => {
            "select cast(variable_value as signed) from information_schema.global_status where variable_name = 'Handler_read_rnd_next'"
        }
    };
    let before = host.number("crowd", read).await;
    for (at, id) in [
        (0, "12345"),
        (1, "827ccb0e-ea8a-706c-4c34-a16891f84e7b"),
        (2, "u12345"),
        (3, "12345"),
    ] {
        let user = find(&stores, at, id).await.unwrap().unwrap();
        assert!(user.password.is_some(), "{id}");
        assert!(at == 3 || user.roles == ["ops"], "{id}");
    }
    // PostgreSQL adds up what a connection did when it ends, or seconds later.
    drop(stores);
    until("the connections are closed", || async {
        host.connections().await == 0
    })
    .await;
    let rows = host.number("crowd", read).await - before;
    assert!(rows < 10_000, "{rows} rows were read");
}
