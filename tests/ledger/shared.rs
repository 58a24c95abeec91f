//! What only a home that gateways share promises: who is cut off catches up, and a home that is
//! down costs the deadline and no more.

use std::time::{Duration, Instant};

use portcullis::auth::ledger::{Event, Events, Revocation, SharedLedger, TokenMark};
use portcullis::auth::ports::StoreError;
use portcullis::clock;

use crate::rig::{HOUR, begin, hears, kept, load, until};
use crate::servers::Server;

/// The deadline, and as much again for a machine under load.
const BOUND: Duration = Duration::from_secs(4);
/// Within which it works again.
const RECOVERED: Duration = Duration::from_secs(20);

/// Waits until it is told that events may have been missed.
async fn misses(events: &mut Events, within: Duration) {
    let waiting = tokio::time::timeout(within, async {
        while events.next().await != Some(Event::Missed) {}
    });
    assert!(
        waiting.await.is_ok(),
        "nobody says that events may be missed"
    );
}

async fn works(ledger: &SharedLedger) -> bool {
    let (id, session) = begin("back");
    ledger.create(id.key(), session).await.is_ok()
        && ledger
            .load(id.key(), clock::now())
            .await
            .is_ok_and(|found| found.is_some())
}

fn token(name: &str) -> Revocation {
    let until = clock::now().saturating_add(HOUR);
    Revocation::of_token(TokenMark::of_jti("shared", name), until)
}

/// Down, back; frozen, thawed. Sessions that were answered for are there, and revocations are
/// caught up.
pub(crate) async fn fails_and_comes_back(
    server: &mut Server,
    one: &SharedLedger,
    other: &SharedLedger,
) {
    let (id, session) = kept(&**one, "survivor").await;
    let start = other
        .revocations_since(portcullis::auth::ledger::Cursor::START, clock::now())
        .await
        .unwrap()
        .cursor;
    let mut events = other.subscribe();

    server.down();
    let began = Instant::now();
    let error = one.load(id.key(), clock::now()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Unreachable { .. } | StoreError::TimedOut { .. }
        ),
        "{error:?}"
    );
    assert!(one.create(id.key(), session.clone()).await.is_err());
    assert!(one.revoke(token("down"), clock::now()).await.is_err());
    assert!(began.elapsed() < BOUND * 2, "{:?}", began.elapsed());
    assert!(one.status().problem.is_some());
    // Long enough for the follower to notice.
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.up();
    until("it works again", RECOVERED, async || {
        works(one).await && works(other).await
    })
    .await;
    assert_eq!(load(&**other, id.key()).await, Some(session.clone()));
    misses(&mut events, RECOVERED).await;
    one.revoke(token("up"), clock::now()).await.unwrap();
    hears(&mut events, token("up").what(), Duration::from_secs(2)).await;

    server.freeze();
    let began = Instant::now();
    let waiting: Vec<_> = (0..50)
        .map(|_| tokio::spawn(one.load(id.key(), clock::now())))
        .collect();
    for one in waiting {
        assert!(one.await.unwrap().is_err());
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.thaw();
    until("it goes on", RECOVERED, async || {
        works(one).await && works(other).await
    })
    .await;
    one.revoke(token("thawed"), clock::now()).await.unwrap();
    hears(&mut events, token("thawed").what(), RECOVERED).await;

    let caught = other.revocations_since(start, clock::now()).await.unwrap();
    let caught: Vec<_> = caught.revocations.iter().map(Revocation::what).collect();
    for name in ["up", "thawed"] {
        assert!(
            caught.contains(&token(name).what()),
            "{name} is not caught up"
        );
    }
}
