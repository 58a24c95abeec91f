//! What a home that gateways share promises of requests that are counted together.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use portcullis::auth::ledger::{AccountKey, Pace, SharedCounts};
use portcullis::config::settings::LedgerHome;
use portcullis::policy::limit::{Over, Standing};
use portcullis::store::ledger::open_counts;

use crate::postgreses::Postgres;
use crate::redises::{Redises, says};
use crate::rig::until;

const HOUR: Duration = Duration::from_hours(1);
/// For a loaded machine, where a server's time and the test's are compared.
const SLACK: Duration = Duration::from_secs(5);

/// Whether it is so much, or a little less.
fn about(told: Duration, expected: Duration) -> bool {
    told <= expected && expected.abs_diff(told) < SLACK
}

fn pace(period: Duration, burst: u32) -> Pace {
    Pace {
        period,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn account(number: u32) -> AccountKey {
    let mut key = [7; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

async fn count(counts: &SharedCounts, number: u32, pace: Pace) -> Result<Standing, Over> {
    counts.count(account(number), pace).await.unwrap()
}

fn opened(home: &LedgerHome) -> SharedCounts {
    open_counts(home).unwrap().unwrap()
}

/// Three gateways on one home, with accounts that nobody used.
pub(crate) async fn keeps(home: &LedgerHome) {
    keeps_from(home, 0).await;
}

/// The same, with accounts from this number on.
pub(crate) async fn keeps_from(home: &LedgerHome, from: u32) {
    let gateways = [opened(home), opened(home), opened(home)];
    for one in &gateways {
        until("it answers", Duration::from_secs(20), async || {
            let asked = one.count(account(0), pace(Duration::from_millis(1), 1));
            asked.await.is_ok()
        })
        .await;
    }
    one_budget_in_turn(&gateways, from).await;
    one_budget_at_once(&gateways, from).await;
    time_brings_it_back(&gateways[0], from).await;
    the_extremes_fit(&gateways[0], from).await;
}

/// Each request is told where all of them together stand.
async fn one_budget_in_turn(gateways: &[SharedCounts], from: u32) {
    let hourly = pace(HOUR, 5);
    for (left, gateway) in (0..5).rev().zip(gateways.iter().cycle()) {
        let standing = count(gateway, from + 1, hourly).await.unwrap();
        assert_eq!((standing.burst, standing.remaining), (5, left));
        let owed = HOUR * (5 - left);
        assert!(about(standing.whole_in, owed), "{standing:?}");
    }
    for gateway in gateways {
        let over = count(gateway, from + 1, hourly).await.unwrap_err();
        assert!(about(over.wait, HOUR), "{over:?}");
        assert_eq!(over.standing.remaining, 0);
        assert!(about(over.standing.whole_in, HOUR * 5), "{over:?}");
    }
    // Another account has a budget of its own.
    assert!(count(&gateways[0], from + 2, hourly).await.is_ok());
}

/// However many come at once and to whichever gateway, the burst passes and not one more.
async fn one_budget_at_once(gateways: &[SharedCounts], from: u32) {
    crowd(gateways, from + 3, 50).await;
}

/// Six times as many as may come, at once.
async fn crowd(gateways: &[SharedCounts], number: u32, burst: u32) {
    let hourly = pace(HOUR, burst);
    let asked: Vec<_> = (0..6 * burst as usize)
        .map(|each| tokio::spawn(gateways[each % gateways.len()].count(account(number), hourly)))
        .collect();
    let (mut passed, mut left) = (0, HashSet::new());
    for one in asked {
        if let Ok(standing) = one.await.unwrap().unwrap() {
            passed += 1;
            left.insert(standing.remaining);
        }
    }
    assert_eq!(passed, burst);
    let all = (0..burst).collect::<HashSet<_>>();
    assert_eq!(left, all, "each was told another number");
}

async fn time_brings_it_back(counts: &SharedCounts, from: u32) {
    let quick = pace(Duration::from_millis(400), 2);
    let began = Instant::now();
    let mut passed = 0_u32;
    while began.elapsed() < Duration::from_secs(2) {
        match count(counts, from + 4, quick).await {
            Ok(_) => passed += 1,
            Err(over) => {
                assert!(over.wait <= Duration::from_millis(400), "{over:?}");
                tokio::time::sleep(over.wait).await;
            }
        }
    }
    let most = began.elapsed().as_millis() / 400 + 2;
    assert!(u128::from(passed) <= most, "{passed} of {most}");
    assert!(passed >= 4, "{passed}: who waits as long as told passes");
}

async fn the_extremes_fit(counts: &SharedCounts, from: u32) {
    let most = count(counts, from + 5, pace(HOUR, 1_000_000))
        .await
        .unwrap();
    assert_eq!(most.remaining, 999_999);
    assert!(about(most.whole_in, HOUR), "{most:?}");
    let fastest = pace(Duration::from_micros(1), 1_000_000);
    for _ in 0..3 {
        assert!(count(counts, from + 6, fastest).await.unwrap().remaining >= 999_990);
    }
    let uneven = pace(Duration::from_nanos(333_333_334), 3);
    for left in [2, 1, 0] {
        assert_eq!(
            count(counts, from + 7, uneven).await.unwrap().remaining,
            left
        );
    }
}

/// Keys of a hash, which go by themselves when their account is whole.
pub(crate) async fn stands_there_hashed_and_goes(redis: &Redises) {
    let counts = opened(&LedgerHome::Redis(Box::new(redis.home.clone())));
    let port = redis.servers[0].port;
    let key = "portcullis:limit:AAAACAcHBwcHBwcHBwcHBw";
    count(&counts, 8, pace(Duration::from_secs(1), 3))
        .await
        .unwrap();
    assert_eq!(says(port, &format!("TYPE {key}")).await.unwrap(), "string");
    let left = says(port, &format!("PTTL {key}")).await.unwrap();
    assert!((1..=1000).contains(&left.parse::<i64>().unwrap()), "{left}");
    until("it goes", Duration::from_secs(5), async || {
        says(port, &format!("EXISTS {key}")).await.unwrap() == "0"
    })
    .await;

    // From before the server's clock was set back: it owes its burst and no more.
    let hourly = pace(HOUR, 2);
    says(port, &format!("SET {key} 9007199254740000")).await;
    let over = count(&counts, 8, hourly).await.unwrap_err();
    assert!(about(over.wait, HOUR), "{over:?}");
    let over = count(&counts, 8, hourly).await.unwrap_err();
    assert!(
        over.wait <= HOUR && over.standing.whole_in <= HOUR * 2,
        "{over:?}"
    );

    // What is no number there is not taken for one, and what is no text is told.
    says(port, &format!("SET {key} strange")).await;
    assert!(count(&counts, 8, hourly).await.is_ok());
    says(port, &format!("DEL {key}")).await;
    says(port, &format!("HSET {key} a b")).await;
    let error = counts.count(account(8), hourly).await.unwrap_err();
    assert!(error.to_string().contains("others use keys"), "{error}");
}

/// Those that waited for the row, and go on in no order, are counted as exactly as others.
pub(crate) async fn is_exact_behind_a_wait(host: &Postgres) {
    let home = LedgerHome::Postgres(host.database.clone());
    let gateways = [opened(&home), opened(&home), opened(&home)];
    for number in 60..65 {
        let row = format!("'\\x{number:08x}070707070707070707070707'");
        let held = format!(
            "begin; select from portcullis.account where key = {row} for update;
             select pg_sleep(0.5); commit"
        );
        let row = format!("insert into portcullis.account values ({row}, 0)");
        host.run("shop", &row).await;
        let ((), ()) = tokio::join!(host.run("shop", &held), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            crowd(&gateways, number, 12).await;
        });
    }
}

/// Rows that are whole are taken out, and others not.
pub(crate) async fn goes_when_it_is_swept(host: &Postgres) {
    let counts = opened(&LedgerHome::Postgres(host.database.clone()));
    for number in 100..200 {
        let quick = pace(Duration::from_millis(100), 1);
        count(&counts, number, quick).await.unwrap();
    }
    count(&counts, 200, pace(HOUR, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(counts.sweep().await.unwrap() >= 100);
    let left = "select count(*) from portcullis.account where key > '\\x00000063'";
    assert_eq!(host.number(left).await, 1);
    let over = count(&counts, 200, pace(HOUR, 1)).await.unwrap_err();
    assert!(about(over.wait, HOUR), "{over:?}");

    // From before the server's clock was set back: it owes its burst and no more.
    let ahead =
        "update portcullis.account set whole = whole + 1000000000000000 where key > '\\x00000063'";
    host.run("shop", ahead).await;
    for _ in 0..2 {
        let over = count(&counts, 200, pace(HOUR, 2)).await.unwrap_err();
        assert!(
            over.wait <= HOUR && over.standing.whole_in <= HOUR * 2,
            "{over:?}"
        );
    }
}

/// What a user may not, and what to give it.
pub(crate) async fn says_which_right_is_missing(redis: &Redises) {
    let port = redis.servers[0].port;
    says(port, "ACL SETUSER gateway -time").await.unwrap();
    let counts = opened(&LedgerHome::Redis(Box::new(redis.home.clone())));
    let asked = counts.count(account(9), pace(HOUR, 2)).await;
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("+@connection +time`"), "{error}");
    says(port, "ACL SETUSER gateway +time").await.unwrap();
    assert!(count(&counts, 9, pace(HOUR, 2)).await.is_ok());
}
