//! What a session takes in each home, and how fast they come and are found: figures for README.
//! Not a check, so it runs only when asked for:
//! `cargo test --release --test ledger -- --ignored --nocapture measure`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::auth::ledger::{
    Generation, Pace, Session, SessionId, SharedCounts, SharedLedger, Start, seal,
};
use portcullis::clock;
use portcullis::config::settings::LedgerHome;
use portcullis::store::ledger;
use portcullis::store::ledger::open_counts;
use tempfile::TempDir;

use crate::postgreses::Postgres;
use crate::redises::{Redises, says};
use crate::rig::HOUR;

/// Sessions that are made.
const SESSIONS: usize = 50_000;
/// An access and a refresh token as SimpleJWT makes them, and some bytes around.
const TOKENS: usize = 700;
/// At a time.
const TOGETHER: usize = 64;

/// Makes sessions, each of another user, and loads them; how many a second of either.
async fn fill(ledger: &SharedLedger) -> (f64, f64) {
    let mut ids = Vec::new();
    let began = Instant::now();
    let mut making = Vec::new();
    for task in 0..TOGETHER {
        let ledger = Arc::clone(ledger);
        making.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..SESSIONS / TOGETHER {
                let id = SessionId::draw().unwrap();
                let session = Session::begin(Start {
                    user: &format!("user-{task}-{number}"),
                    handler: "edms",
                    client: "192.0.2.17",
                    now: clock::now(),
                    lifetime: HOUR * 24 * 31,
                    idle: HOUR * 12,
                    sealed: seal(&id, Generation::FIRST, &[7; TOKENS]).unwrap(),
                });
                ledger.create(id.key(), session.unwrap()).await.unwrap();
                ids.push(id.key());
            }
            ids
        }));
    }
    for one in making {
        ids.extend(one.await.unwrap());
    }
    let made = began.elapsed();
    let began = Instant::now();
    let loading: Vec<_> = ids
        .chunks(SESSIONS.div_ceil(TOGETHER))
        .map(|keys| {
            let (ledger, keys) = (Arc::clone(ledger), keys.to_vec());
            tokio::spawn(async move {
                for key in keys {
                    assert!(ledger.load(key, clock::now()).await.unwrap().is_some());
                }
            })
        })
        .collect();
    for one in loading {
        one.await.unwrap();
    }
    let each = |took: Duration| f64::from(u32::try_from(ids.len()).unwrap()) / took.as_secs_f64();
    (each(made), each(began.elapsed()))
}

fn tell(home: &str, before: u64, after: u64, (made, loaded): (f64, f64)) {
    let bytes = (after - before) / (SESSIONS as u64 / TOGETHER as u64 * TOGETHER as u64);
    eprintln!("{home}: {bytes} bytes a session, {made:.0} made and {loaded:.0} loaded a second");
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn redis_bytes(port: u16) -> u64 {
    let told = says(port, "INFO memory").await.unwrap();
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures and checks nothing"]
async fn measure() {
    let memory = ledger::in_memory().unwrap();
    let before = resident();
    let speed = fill(&memory).await;
    tell("memory", before, resident(), speed);
    drop(memory);

    let folder = TempDir::with_prefix("ledger-").unwrap();
    let path = folder.path().join("portcullis.db");
    let file = ledger::in_file(&path).unwrap();
    let speed = fill(&file).await;
    tell("file", 0, std::fs::metadata(&path).unwrap().len(), speed);
    drop(file);

    let redis = Redises::single().await.unwrap();
    let port = redis.servers[0].port;
    let shared = ledger::in_redis(&redis.home).unwrap();
    let before = redis_bytes(port).await;
    let speed = fill(&shared).await;
    tell("redis", before, redis_bytes(port).await, speed);

    let host = Postgres::start().await.unwrap();
    host.run("shop", "create schema portcullis authorization gateway")
        .await;
    let shared = ledger::in_postgres(&host.database).unwrap();
    let speed = fill(&shared).await;
    let after = host
        .number("select pg_total_relation_size('portcullis.session')")
        .await;
    tell("postgres", 0, u64::try_from(after).unwrap(), speed);
}

/// Accounts of one limit that are counted together.
const ACCOUNTS: u32 = 1_000_000;

/// A request of each of so many addresses; how many a second.
async fn flood(counts: &SharedCounts, accounts: u32) -> f64 {
    let pace = Pace {
        period: HOUR,
        burst: NonZeroU32::new(10).unwrap(),
    };
    let began = Instant::now();
    let mut counting = Vec::new();
    for task in 0..TOGETHER {
        let (counts, task) = (Arc::clone(counts), u32::try_from(task).unwrap());
        counting.push(tokio::spawn(async move {
            for number in (task..accounts).step_by(TOGETHER) {
                // As the bytes of a hash would be.
                let spread = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835_u128;
                let spread = u128::from(number).wrapping_mul(spread);
                counts
                    .count(spread.to_be_bytes(), pace)
                    .await
                    .unwrap()
                    .unwrap();
            }
        }));
    }
    for one in counting {
        one.await.unwrap();
    }
    f64::from(accounts) / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures and checks nothing"]
async fn measure_counts() {
    let redis = Redises::single().await.unwrap();
    let port = redis.servers[0].port;
    let counts = open_counts(&LedgerHome::Redis(Box::new(redis.home.clone())));
    let counts = counts.unwrap().unwrap();
    let (before, here) = (redis_bytes(port).await, resident());
    let speed = flood(&counts, ACCOUNTS).await;
    let bytes = (redis_bytes(port).await - before) / u64::from(ACCOUNTS);
    let more = resident().saturating_sub(here) / 1024;
    eprintln!("redis: {bytes} bytes an account, {speed:.0} counted a second, {more} KiB more here");

    let host = Postgres::start().await.unwrap();
    host.run("shop", "create schema portcullis authorization gateway")
        .await;
    let counts = open_counts(&LedgerHome::Postgres(host.database.clone()));
    let accounts = ACCOUNTS / 10;
    let speed = flood(&counts.unwrap().unwrap(), accounts).await;
    let bytes = host
        .number("select pg_total_relation_size('portcullis.account')")
        .await;
    let bytes = bytes / i64::from(accounts);
    eprintln!("postgres: {bytes} bytes an account, {speed:.0} counted a second");
}
