//! Stores that are down, frozen, crowded, wrongly addressed, and stores over a reload.

use std::time::{Duration, Instant};

use portcullis::auth::ports::StoreError;
use portcullis::config::settings::{Database, DatabaseKind, SessionStore};
use portcullis::secret::Secret;
use portcullis::store::{Stores, assemble};

use crate::hosts::Host;
use crate::rig::{PASSWORD, Rig, database, find, load, roles, sessions, told, until};
use crate::servers::free_port;

/// The deadline, and as much again for a machine under load.
const BOUND: Duration = Duration::from_secs(4);
const KEY: &str = "v9kg9ladqdla4rsjdncdw47zp8juu04o";

#[tokio::test]
async fn postgresql_may_fail_and_come_back() {
    let Some(mut host) = Host::postgres("md5").await else {
        return;
    };
    fails_and_comes_back(&mut host).await;
}

#[tokio::test]
async fn mariadb_may_fail_and_come_back() {
    let Some(mut host) = Host::mariadb().await else {
        return;
    };
    fails_and_comes_back(&mut host).await;
}

async fn fails_and_comes_back(host: &mut Host) {
    let database = host.make("django", &["django_auth"]).await;
    let rig = Rig::new().django_db(&database, "django_session").users(
        &database,
        "auth_user",
        roles(true, true, &[]),
    );
    let stores = rig.stores();
    one_pool_is_shared_and_bounded(host, &stores).await;
    survives_a_restart(host, &stores).await;
    survives_a_freeze(host, &stores).await;
    is_carried_over_a_reload(host, rig, stores).await;
    says_which_login_is_wrong(host, &database).await;
}

/// Asks many times at once; all must be answered well.
async fn asks(stores: &Stores, times: usize) {
    let source = sessions(stores, 0);
    let waiting: Vec<_> = (0..times).map(|_| tokio::spawn(source.load(KEY))).collect();
    for one in waiting {
        assert!(one.await.unwrap().unwrap().is_some());
    }
}

async fn one_pool_is_shared_and_bounded(host: &Host, stores: &Stores) {
    asks(stores, 200).await;
    find(stores, 0, "4").await.unwrap().unwrap();
    let open = host.connections().await;
    assert!((1..=8).contains(&open), "{open} connections");
}

async fn survives_a_restart(host: &mut Host, stores: &Stores) {
    // All connections of the pool are in use once, and break together.
    asks(stores, 50).await;
    host.server.as_mut().unwrap().down();
    let began = Instant::now();
    let error = load(stores, 0, KEY).await;
    assert!(
        matches!(error, Err(StoreError::Unreachable { .. })),
        "{error:?}"
    );
    assert!(began.elapsed() < BOUND);
    let error = told(error);
    assert!(
        error.contains("127.0.0.1") && error.contains("refused"),
        "{error}"
    );
    assert!(stores.statuses()[0].problem.is_some());
    host.server.as_mut().unwrap().up();
    host.ready().await;
    // The first question after it works.
    asks(stores, 1).await;
    asks(stores, 50).await;
    assert_eq!(stores.statuses()[0].problem, None);

    // Without a failure between: what was kept is broken, and nobody notices.
    let server = host.server.as_mut().unwrap();
    server.down();
    server.up();
    host.ready().await;
    asks(stores, 50).await;
    find(stores, 0, "4").await.unwrap().unwrap();
}

async fn survives_a_freeze(host: &Host, stores: &Stores) {
    let server = host.server.as_ref().unwrap();
    asks(stores, 50).await;
    server.freeze();
    // More than the pool has, so that some wait for a connection and some on one.
    for _ in 0..2 {
        let began = Instant::now();
        let source = sessions(stores, 0);
        let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(source.load(KEY))).collect();
        for one in waiting {
            let error = one.await.unwrap();
            assert!(
                matches!(error, Err(StoreError::TimedOut { .. })),
                "{error:?}"
            );
        }
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    }
    server.thaw();
    host.ready().await;
    asks(stores, 1).await;
    asks(stores, 50).await;
    until("the connections that hung are closed", || async {
        host.connections().await <= 8
    })
    .await;
}

async fn is_carried_over_a_reload(host: &Host, rig: Rig, stores: Stores) {
    let before = stores.statuses();
    let kept = host.connections().await;
    assert!(kept > 0);
    let after = rig.stores_after(Some(&stores));
    drop(stores);
    assert_eq!(after.statuses()[0].answered, before[0].answered);
    assert_eq!(after.statuses()[1].answered, before[1].answered);
    asks(&after, 1).await;
    assert_eq!(host.connections().await, kept);

    // Another address: the old connections are closed, though the old thread goes on.
    let elsewhere = host.make("elsewhere", &["django_auth"]).await;
    let other = Rig::new().django_db(&elsewhere, "django_session");
    let other = other.stores_after(Some(&after));
    drop(after);
    until("the old connections are closed", || async {
        host.connections().await == 0
    })
    .await;
    asks(&other, 1).await;
    assert_eq!(host.connections().await, 1);

    // Who holds a source of stores that are gone is still answered; then all is closed.
    let source = sessions(&other, 0);
    drop(other);
    assert!(source.load(KEY).await.unwrap().is_some());
    drop(source);
    until("the last connection is closed", || async {
        host.connections().await == 0
    })
    .await;
}

async fn says_which_login_is_wrong(host: &Host, right: &Database) {
    let wrong = right.url.expose().replace(PASSWORD, "wrong");
    let nowhere = right.url.expose().replace("/django", "/nowhere");
    for url in [wrong, nowhere] {
        let stores = Rig::new()
            .django_db(&database(host.kind, &url), "django_session")
            .stores();
        let error = load(&stores, 0, KEY).await;
        assert!(
            matches!(error, Err(StoreError::Refused { .. })),
            "{error:?}"
        );
        let error = told(error);
        assert!(
            !error.contains("wrong@") && error.contains("check the user"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_deadline() {
    // Takes connections and says nothing, as behind a firewall.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let postgres = database(
        DatabaseKind::Postgres,
        &format!("postgres://a:{PASSWORD}@127.0.0.1:{port}/a?sslmode=disable"),
    );
    let mysql = database(
        DatabaseKind::MySql,
        &format!("mysql://a:{PASSWORD}@127.0.0.1:{port}/a"),
    );
    let redis = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0");
    let rediss = format!("rediss://:{PASSWORD}@127.0.0.1:{port}/0");
    let stores = Rig::new()
        .django_db(&postgres, "django_session")
        .django_db(&mysql, "django_session")
        .flask(SessionStore::Redis(Secret::new(redis)))
        .flask(SessionStore::Redis(Secret::new(rediss)))
        .stores();
    for at in 0..4 {
        let began = Instant::now();
        let error = load(&stores, at, KEY).await;
        assert!(
            matches!(error, Err(StoreError::TimedOut { .. })),
            "{error:?}"
        );
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        told(error);
    }
}

#[tokio::test]
async fn a_port_that_is_closed_is_told_at_once() {
    let port = free_port();
    let postgres = database(
        DatabaseKind::Postgres,
        &format!("postgres://a:{PASSWORD}@127.0.0.1:{port}/a"),
    );
    let mysql = database(
        DatabaseKind::MySql,
        &format!("mysql://a:{PASSWORD}@127.0.0.1:{port}/a"),
    );
    let sqlite = database(DatabaseKind::Sqlite, "sqlite:/nonexistent/app.db");
    let redis = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0");
    let stores = Rig::new()
        .django_db(&postgres, "django_session")
        .django_db(&mysql, "django_session")
        .django_db(&sqlite, "django_session")
        .flask(SessionStore::Redis(Secret::new(redis)))
        .stores();
    for at in 0..4 {
        let began = Instant::now();
        let error = load(&stores, at, KEY).await;
        assert!(
            matches!(error, Err(StoreError::Unreachable { .. })),
            "{error:?}"
        );
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
        told(error);
    }
    let debug = format!("{stores:?}");
    assert!(!debug.contains(PASSWORD), "{debug}");
}

#[tokio::test]
async fn a_file_of_sqlite_that_comes_later_is_read_then_and_never_made() {
    let host = Host::sqlite();
    let reader = host.reader("later");
    let stores = Rig::new().django_db(&reader, "django_session").stores();
    let error = load(&stores, 0, KEY).await;
    assert!(
        matches!(error, Err(StoreError::Unreachable { .. })),
        "{error:?}"
    );
    host.make("later", &["django_auth"]).await;
    assert!(load(&stores, 0, KEY).await.unwrap().is_some());
}

#[tokio::test]
async fn a_statement_of_sqlite_that_takes_too_long_is_stopped() {
    let host = Host::sqlite();
    let reader = host.make("slow", &["flask_sessions"]).await;
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as roles from n where i <> $1";
    let stores = Rig::new().query(&reader, endless).stores();
    let error = find(&stores, 0, "7").await;
    assert!(
        matches!(error, Err(StoreError::TimedOut { .. })),
        "{error:?}"
    );
    // Its thread, which the library owns, ends and no longer takes a core.
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|one| std::fs::read_to_string(one.path().join("stat")).ok());
        let busy = names.filter(|stat| stat.contains("(store-sqlite-") && stat.contains(") R "));
        busy.count()
    };
    until("no statement runs any more", || async { threads() == 0 }).await;
}

#[test]
fn addresses_and_queries_that_are_none_are_all_told_and_not_shown() {
    let bad = |kind| database(kind, &format!("nonsense:{PASSWORD}"));
    let good = database(DatabaseKind::Sqlite, "sqlite:app.db");
    let rig = Rig::new()
        .django_db(&bad(DatabaseKind::Postgres), "django_session")
        .flask_table(&bad(DatabaseKind::MySql), "sessions")
        .flask(SessionStore::Redis(Secret::new(format!(
            "http://{PASSWORD}"
        ))))
        .query(&good, "select 1");
    let problems = assemble(&rig.settings, None).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "auth.a0.database",
            "auth.a1.store",
            "auth.a2.store",
            "directory.d0.query"
        ]
    );
    let told = format!("{problems:?}");
    assert!(!told.contains(PASSWORD), "{told}");
}

#[test]
fn without_a_store_there_is_no_thread() {
    let stores = Rig::new().stores();
    assert!(stores.handle().is_none());
    assert!(stores.statuses().is_empty());
    assert!(stores.sessions(0).is_none());
}

#[test]
fn stores_may_be_dropped_anywhere_and_nobody_waits() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let postgres = database(
        DatabaseKind::Postgres,
        &format!("postgres://a@127.0.0.1:{port}/a?sslmode=disable"),
    );
    let stores = Rig::new().django_db(&postgres, "django_session").stores();
    assert!(stores.handle().is_some());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let mut hanging = sessions(&stores, 0).load(KEY);
        tokio::select! {
            _ = &mut hanging => panic!("nobody answers there"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        drop(stores);
        drop(hanging);
    });
    drop(runtime);
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}
