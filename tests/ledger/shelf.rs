//! What a home that gateways share promises of things that they keep for each other.

use std::time::Duration;

use portcullis::auth::ledger::{Lease, MOST_ON_SHELF, SharedShelf, ShelfKey};
use portcullis::config::settings::LedgerHome;
use portcullis::store::ledger::open_shelf;

use crate::redises::PASSWORD;
use crate::rig::until;

const TIME: Duration = Duration::from_mins(1);

fn opened(home: &LedgerHome) -> SharedShelf {
    open_shelf(home).unwrap().unwrap()
}

fn key(number: u8) -> ShelfKey {
    [number; 32]
}

/// Two gateways on one home.
pub(crate) async fn keeps(home: &LedgerHome) {
    let (one, other) = (opened(home), opened(home));
    for shelf in [&one, &other] {
        until("it answers", Duration::from_secs(20), async || {
            shelf.load(key(0)).await.is_ok()
        })
        .await;
    }
    things_are_seen_by_all(&one, &other).await;
    things_go_when_their_life_is_over(&one, &other).await;
    bytes_of_any_kind_fit_up_to_the_bound(&one, &other).await;
    one_has_the_turn(&one, &other).await;
    let shown = format!("{one:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

async fn things_are_seen_by_all(one: &SharedShelf, other: &SharedShelf) {
    assert_eq!(other.load(key(1)).await.unwrap(), None);
    one.put(key(1), b"first".to_vec(), None).await.unwrap();
    assert_eq!(other.load(key(1)).await.unwrap().unwrap(), b"first");
    other.put(key(1), b"second".to_vec(), None).await.unwrap();
    assert_eq!(one.load(key(1)).await.unwrap().unwrap(), b"second");
    assert_eq!(one.load(key(2)).await.unwrap(), None);
    other.remove(key(1)).await.unwrap();
    other.remove(key(1)).await.unwrap();
    assert_eq!(one.load(key(1)).await.unwrap(), None);
}

async fn things_go_when_their_life_is_over(one: &SharedShelf, other: &SharedShelf) {
    let life = Duration::from_secs(2);
    one.put(key(3), b"soon".to_vec(), Some(life)).await.unwrap();
    one.put(key(4), b"soon".to_vec(), Some(life)).await.unwrap();
    // Put anew without a life, it stays.
    one.put(key(4), b"stays".to_vec(), None).await.unwrap();
    assert_eq!(other.load(key(3)).await.unwrap().unwrap(), b"soon");
    until("it is over", Duration::from_secs(10), async || {
        matches!(other.load(key(3)).await, Ok(None))
    })
    .await;
    assert_eq!(other.load(key(4)).await.unwrap().unwrap(), b"stays");
    one.remove(key(4)).await.unwrap();
}

async fn bytes_of_any_kind_fit_up_to_the_bound(one: &SharedShelf, other: &SharedShelf) {
    let all: Vec<u8> = (0..=255).cycle().take(MOST_ON_SHELF).collect();
    one.put(key(5), all.clone(), None).await.unwrap();
    assert!(other.load(key(5)).await.unwrap().unwrap() == all);
    // What others put there is not read without end.
    let more = vec![7; MOST_ON_SHELF + 1];
    one.put(key(5), more, None).await.unwrap();
    let told = other.load(key(5)).await.unwrap_err().to_string();
    assert!(told.contains("cannot be read"), "{told}");
    one.remove(key(5)).await.unwrap();
}

async fn one_has_the_turn(one: &SharedShelf, other: &SharedShelf) {
    let (ours, theirs) = ([1; 16], [2; 16]);
    let short = Duration::from_millis(1500);
    assert_eq!(one.lease(key(6), ours, short).await.unwrap(), Lease::Yours);
    assert_eq!(
        other.lease(key(6), theirs, TIME).await.unwrap(),
        Lease::Held
    );
    assert_eq!(one.lease(key(6), ours, short).await.unwrap(), Lease::Yours);
    // Who does not have it cannot give it back.
    other.release(key(6), theirs).await.unwrap();
    assert_eq!(
        other.lease(key(6), theirs, TIME).await.unwrap(),
        Lease::Held
    );
    // It goes to another when its holder does not ask again.
    until("it is over", Duration::from_secs(10), async || {
        matches!(other.lease(key(6), theirs, TIME).await, Ok(Lease::Yours))
    })
    .await;
    assert_eq!(one.lease(key(6), ours, TIME).await.unwrap(), Lease::Held);
    other.release(key(6), theirs).await.unwrap();
    assert_eq!(one.lease(key(6), ours, TIME).await.unwrap(), Lease::Yours);
    one.release(key(6), ours).await.unwrap();
}

/// A home that a gateway has to itself is none.
#[test]
fn a_home_of_one_gateway_is_no_shelf() {
    assert!(open_shelf(&LedgerHome::Memory).unwrap().is_none());
    let file = LedgerHome::File("x.db".into());
    assert!(open_shelf(&file).unwrap().is_none());
}
