//! The contract in each home.

use std::time::Duration;

use portcullis::auth::ledger::SharedLedger;
use portcullis::clock;
use portcullis::config::settings::{LedgerHome, RedisHome};
use portcullis::store::ledger;

use crate::contract::keeps;
use crate::counts;
use crate::postgreses::Postgres;
use crate::redises::{PASSWORD, Redises, raw, says};
use crate::rig::{HOUR, begin, kept, list, load, until};
use crate::shared::fails_and_comes_back;
use crate::shelf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    let memory = ledger::in_memory().unwrap();
    keeps(&memory, &memory).await;
}

/// Two gateways on one Redis.
async fn two(home: &RedisHome) -> (SharedLedger, SharedLedger) {
    let (one, other) = (ledger::in_redis(home), ledger::in_redis(home));
    let (one, other) = (one.unwrap(), other.unwrap());
    for ledger in [&one, &other] {
        until("it answers", Duration::from_secs(20), async || {
            let (id, _) = begin("first");
            ledger.load(id.key(), clock::now()).await.is_ok()
        })
        .await;
    }
    // Until both follow.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = format!("{one:?} {:?}", one.status());
    assert!(!shown.contains(PASSWORD), "{shown}");
    (one, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_contract() {
    let Some(mut redis) = Redises::single().await else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    keeps(&one, &other).await;
    fails_and_comes_back(&mut redis.servers[0], &one, &other).await;
    counts::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    shelf::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    counts::stands_there_hashed_and_goes(&redis).await;
    counts::says_which_right_is_missing(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_lists_what_lives_among_many_that_ended_by_their_idle_time() {
    let Some(redis) = Redises::single().await else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    // What is left of a session that Redis dropped: its place, which is over in a month.
    let leave = redis::Script::new(
        "for number = 1, 400 do
           local place = ARGV[1] .. string.rep('x', 28) .. struct.pack('>I4', number)
           redis.call('ZADD', KEYS[1], 0, place)
         end",
    );
    let over = clock::now().saturating_add(HOUR * 24 * 31).unix_micros();
    let mut connection = raw(redis.servers[0].port).await.unwrap();
    for shard in 0..80_u8 {
        let mut leaving = leave.key(format!("portcullis:{{s{shard:02x}}}:all"));
        leaving.arg(&over.to_be_bytes());
        let left = leaving.invoke_async::<()>(&mut connection).await;
        left.unwrap();
    }
    let (id, _) = kept(&*one, "among them").await;
    let all = list(&*other, None, 500).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0, id.key());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_with_tls_of_a_private_authority_keeps_the_contract() {
    let Some(redis) = Redises::secure() else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    keeps(&one, &other).await;
    counts::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    shelf::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    // Without that authority the server is not believed.
    let strange = RedisHome {
        authorities: None,
        ..redis.home
    };
    let strange = ledger::in_redis(&strange).unwrap();
    let (id, _) = begin("x");
    assert!(strange.load(id.key(), clock::now()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_on_a_socket_keeps_the_contract() {
    let Some(redis) = Redises::socket() else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    keeps(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_with_sentinels_keeps_the_contract_and_a_failover() {
    let Some(mut redis) = Redises::sentinel().await else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    keeps(&one, &other).await;
    counts::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    shelf::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    let (id, session) = kept(&*one, "moved over").await;
    let replica = redis.servers[1].port;
    until("the replica has it", Duration::from_secs(10), async || {
        let told = says(replica, "INFO replication").await.unwrap_or_default();
        told.contains("master_sync_in_progress:0")
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.servers[0].down();
    until(
        "the replica took over",
        Duration::from_secs(40),
        async || {
            let (id, session) = begin("after");
            one.create(id.key(), session).await.is_ok()
                && other
                    .load(id.key(), clock::now())
                    .await
                    .is_ok_and(|found| found.is_some())
        },
    )
    .await;
    assert_eq!(load(&*other, id.key()).await, Some(session));
    counts::keeps_from(&LedgerHome::Redis(Box::new(redis.home.clone())), 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_keeps_the_contract() {
    let Some(redis) = Redises::cluster().await else {
        return;
    };
    let (one, other) = two(&redis.home).await;
    keeps(&one, &other).await;
    counts::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    shelf::keeps(&LedgerHome::Redis(Box::new(redis.home.clone()))).await;
    // Sessions are on all of its servers.
    for server in &redis.servers {
        let keys = says(server.port, "DBSIZE").await.unwrap();
        assert!(keys.parse::<u32>().unwrap() > 10, "{keys} keys");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_keeps_the_contract() {
    let Some(mut host) = Postgres::start().await else {
        return;
    };
    // The user may make nothing: what is missing is told, and mended without a restart.
    let one = ledger::in_postgres(&host.database).unwrap();
    let (id, _) = begin("x");
    let error = one
        .load(id.key(), clock::now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("CREATE SCHEMA portcullis AUTHORIZATION \"gateway\""),
        "{error}"
    );
    host.run("shop", "create schema portcullis authorization gateway")
        .await;

    // Any number may start at once; one makes the tables.
    let many: Vec<_> = (0..6)
        .map(|_| ledger::in_postgres(&host.database).unwrap())
        .collect();
    let asked = many
        .iter()
        .map(|one| tokio::spawn(one.load(id.key(), clock::now())));
    for one in asked.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap().unwrap(), None);
    }
    drop(many);
    let other = ledger::in_postgres(&host.database).unwrap();
    until("both answer", Duration::from_secs(20), async || {
        one.load(id.key(), clock::now()).await.is_ok()
            && other.load(id.key(), clock::now()).await.is_ok()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = format!("{one:?} {:?}", one.status());
    assert!(!shown.contains(PASSWORD), "{shown}");
    keeps(&one, &other).await;
    fails_and_comes_back(&mut host.server, &one, &other).await;
    counts::keeps(&LedgerHome::Postgres(host.database.clone())).await;
    counts::is_exact_behind_a_wait(&host).await;
    shelf::keeps(&LedgerHome::Postgres(host.database.clone())).await;
    counts::goes_when_it_is_swept(&host).await;

    // Rows that are over go.
    let later = clock::now().saturating_add(HOUR * 48);
    one.sweep(later).await.unwrap();
    assert_eq!(
        host.number("select count(*) from portcullis.session").await,
        0
    );
    assert_eq!(
        host.number("select count(*) from portcullis.revocation")
            .await,
        0
    );

    // A schema of a later version is left alone.
    host.run("shop", "update portcullis.version set number = 2")
        .await;
    let old = ledger::in_postgres(&host.database).unwrap();
    let error = old
        .load(id.key(), clock::now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is of version 2, and this gateway knows 1"),
        "{error}"
    );
    // One that was dropped is made anew.
    host.run(
        "shop",
        "drop schema portcullis cascade; create schema portcullis authorization gateway",
    )
    .await;
    until("it is made anew", Duration::from_secs(10), async || {
        one.load(id.key(), clock::now()).await.is_ok()
    })
    .await;
}
