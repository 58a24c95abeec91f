//! Sessions in a Redis, alone and before a table.

use std::time::{Duration, Instant};

use ::redis::AsyncCommands;
use portcullis::auth::ports::{Expiry, StoreError};
use portcullis::config::settings::{Database, DjangoBackend, SessionStore};
use portcullis::secret::Secret;

use crate::hosts::{Host, RedisHost};
use crate::rig::{PASSWORD, Rig, load, told};

/// The deadline, and as much again for a machine under load.
const BOUND: Duration = Duration::from_secs(4);
const KEY: &str = "v9kg9ladqdla4rsjdncdw47zp8juu04o";

fn cached_db(url: &str, database: &Database) -> DjangoBackend {
    DjangoBackend::CachedDb {
        redis: Secret::new(url.to_owned()),
        key_prefix: ":1:".into(),
        database: database.clone(),
        table: "django_session".into(),
        time_zone: jiff::tz::TimeZone::UTC,
    }
}

fn cache(url: &str) -> DjangoBackend {
    DjangoBackend::Cache {
        redis: Secret::new(url.to_owned()),
        key_prefix: ":1:".into(),
    }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let Some(host) = RedisHost::start().await else {
        return;
    };
    let url = host.url();
    let stores = Rig::new()
        .django(cache(&url))
        .flask(SessionStore::Redis(Secret::new(url.clone())))
        .stores();
    let mut app = host.app().await.unwrap();
    let django = format!(":1:django.contrib.sessions.cache{KEY}");
    let pickle = b"\x80\x05}\x94.\0\xff".to_vec();
    let _: () = app.set_ex(&django, &pickle, 500).await.unwrap();
    let _: () = app
        .set_ex(format!("session:{KEY}"), b"\x80", 500)
        .await
        .unwrap();

    let session = load(&stores, 0, KEY).await.unwrap().unwrap();
    assert_eq!(session.data, pickle);
    assert_eq!((session.expiry, session.cached), (Expiry::ByStore, true));
    let session = load(&stores, 1, KEY).await.unwrap().unwrap();
    assert_eq!(session.data, b"\x80");

    // Reading leaves the time to live alone.
    let _: () = app.expire(&django, 100).await.unwrap();
    load(&stores, 0, KEY).await.unwrap().unwrap();
    let left: i64 = app.ttl(&django).await.unwrap();
    assert!((1..=100).contains(&left), "{left}");

    for other in [
        KEY.to_uppercase().as_str(),
        "unknown1",
        "",
        "*",
        "a\0b",
        "a\r\nSET x y",
    ] {
        assert_eq!(load(&stores, 0, other).await.unwrap(), None, "{other:?}");
    }
    let _: () = app.set("session:gone", "").await.unwrap();
    assert_eq!(load(&stores, 1, "gone").await.unwrap(), None);

    let mib = 1024 * 1024;
    let _: () = app.set("session:fits", vec![b'x'; mib]).await.unwrap();
    let _: () = app.set("session:long", vec![b'x'; mib + 1]).await.unwrap();
    let _: () = app.rpush("session:list", "x").await.unwrap();
    let fits = load(&stores, 1, "fits").await.unwrap().unwrap();
    assert_eq!(fits.data.len(), mib);
    for unreadable in ["long", "list"] {
        let error = load(&stores, 1, unreadable).await;
        assert!(
            matches!(error, Err(StoreError::Unreadable { .. })),
            "{error:?}"
        );
        let error = told(error);
        assert!(!error.contains("session:"), "{error}");
    }
    let statuses = stores.statuses();
    assert_eq!((statuses[0].kind, &*statuses[1].name), ("redis", "auth.a1"));

    // The least rights that are enough, and what is said where they are not.
    let rules = [
        "reader",
        "on",
        ">secret",
        "~session:*",
        "+getrange",
        "+select",
    ];
    let _: () = ::redis::cmd("ACL")
        .arg("SETUSER")
        .arg(&rules)
        .query_async(&mut app)
        .await
        .unwrap();
    let reader = |password: &str| {
        let url = format!("redis://reader:{password}@127.0.0.1:{}/3", host.server.port);
        Rig::new()
            .flask(SessionStore::Redis(Secret::new(url.clone())))
            .django(cache(&url))
            .stores()
    };
    let stores = reader("secret");
    load(&stores, 0, KEY).await.unwrap().unwrap();
    let error = load(&stores, 1, KEY).await;
    assert!(
        matches!(error, Err(StoreError::Refused { .. })),
        "{error:?}"
    );
    let error = told(error);
    assert!(error.contains("+getrange"), "{error}");

    // A wrong password is told, and once it is right, no restart is needed.
    let stores = reader("changed");
    let error = load(&stores, 0, KEY).await;
    assert!(
        matches!(error, Err(StoreError::Refused { .. })),
        "{error:?}"
    );
    let rules = ["reader", ">changed"];
    let _: () = ::redis::cmd("ACL")
        .arg("SETUSER")
        .arg(&rules)
        .query_async(&mut app)
        .await
        .unwrap();
    load(&stores, 0, KEY).await.unwrap().unwrap();
}

#[tokio::test]
async fn redis_may_fail_and_come_back() {
    let Some(mut host) = RedisHost::start().await else {
        return;
    };
    let url = host.url();
    let sqlite = Host::sqlite();
    let database = sqlite.make("django", &["django_auth"]).await;
    let stores = Rig::new()
        .flask(SessionStore::Redis(Secret::new(url.clone())))
        .django(cached_db(&url, &database))
        .stores();
    let put = async |host: &RedisHost| {
        let mut app = host.app().await.unwrap();
        let _: () = app.set(format!("session:{KEY}"), b"flask").await.unwrap();
        let django = format!(":1:django.contrib.sessions.cached_db{KEY}");
        let _: () = app.set(django, b"django").await.unwrap();
    };

    // The cache first, and the table where it has none.
    let row = load(&stores, 1, KEY).await.unwrap().unwrap();
    assert!(!row.cached && row.data.starts_with(b".eJx"), "{row:?}");
    put(&host).await;
    let cached = load(&stores, 1, KEY).await.unwrap().unwrap();
    assert_eq!((&*cached.data, cached.cached), (&b"django"[..], true));
    assert_eq!(load(&stores, 1, "unknown1").await.unwrap(), None);

    // Down: told at once; the table answers in the place of the cache, as Django has it.
    host.server.down();
    let began = Instant::now();
    let error = load(&stores, 0, KEY).await;
    assert!(
        matches!(error, Err(StoreError::Unreachable { .. })),
        "{error:?}"
    );
    assert!(told(error).contains("Redis at 127.0.0.1"));
    let row = load(&stores, 1, KEY).await.unwrap().unwrap();
    assert!(!row.cached);
    assert!(began.elapsed() < BOUND);

    // Back: the next question works, after a failure and without one.
    host.server.up();
    host.ready().await;
    put(&host).await;
    load(&stores, 0, KEY).await.unwrap().unwrap();
    host.server.down();
    host.server.up();
    host.ready().await;
    put(&host).await;
    let session = load(&stores, 0, KEY).await.unwrap().unwrap();
    assert_eq!(session.data, b"flask");

    // Frozen: the deadline and no more; then all is well.
    host.server.freeze();
    let began = Instant::now();
    let source = stores.sessions(0).unwrap();
    let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(source.load(KEY))).collect();
    for one in waiting {
        let error = one.await.unwrap();
        assert!(
            matches!(error, Err(StoreError::TimedOut { .. })),
            "{error:?}"
        );
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    let row = load(&stores, 1, KEY).await.unwrap().unwrap();
    assert!(!row.cached);
    host.server.thaw();
    host.ready().await;
    load(&stores, 0, KEY).await.unwrap().unwrap();
    assert!(load(&stores, 1, KEY).await.unwrap().unwrap().cached);
    let shown = format!("{stores:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}
