//! The file from one process to the next: both are played by this one, because the lock does not tell
//! one process's two openings apart.

use std::path::PathBuf;
use std::time::Duration;

use portcullis::auth::ledger::{Lease, Revocation, SharedLedger, TokenMark};
use portcullis::clock;
use portcullis::config::settings::LedgerHome;
use portcullis::store::ledger::{self, Opening};
use tempfile::TempDir;

use crate::rig::{HOUR, kept, load};

const SOON: Duration = Duration::from_secs(10);

fn home() -> (TempDir, LedgerHome, PathBuf) {
    let folder = TempDir::with_prefix("ledger-").unwrap();
    let path = folder.path().join("portcullis.db");
    (folder, LedgerHome::File(path.clone()), path)
}

fn next(home: &LedgerHome) -> SharedLedger {
    ledger::open(home, Opening::After(std::process::id())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_has_the_file_when_the_one_before_has_given_it_up() {
    let (_folder, home, _) = home();
    let old = ledger::open(&home, Opening::AtOnce).unwrap();
    assert!(old.opening().is_none());
    let (id, _) = kept(&*old, "sarah").await;
    let now = clock::now();
    let token = Revocation::of_token(TokenMark::of_token(b"x"), now.saturating_add(HOUR));
    let cursor = old.revoke(token, now).await.unwrap();
    let new = next(&home);
    let opening = new.opening().unwrap();
    assert!(
        new.load(id.key(), now).await.is_err(),
        "it is the old one's"
    );
    assert!(load(&*old, id.key()).await.is_some());
    old.give_up(SOON).await.unwrap();
    tokio::time::timeout(SOON, opening).await.unwrap().unwrap();
    assert!(new.opening().is_none());
    assert!(load(&*new, id.key()).await.is_some());
    let start = portcullis::auth::ledger::Cursor::START;
    let caught = new.revocations_since(start, now).await.unwrap();
    assert_eq!(caught.cursor, cursor);
    let told = old.load(id.key(), now).await.unwrap_err();
    let told = std::error::Error::source(&told).map(ToString::to_string);
    let words = "the file was left to the process that took over";
    assert_eq!(told.as_deref(), Some(words));
    assert!(old.end(id.key(), now).await.is_err());
    assert!(load(&*new, id.key()).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_under_way_ends_before_the_file_is_given_up() {
    let (_folder, home, _) = home();
    let old = ledger::open(&home, Opening::AtOnce).unwrap();
    let (id, _) = kept(&*old, "sarah").await;
    let holder = [7; 16];
    let lease = old.lease(id.key(), holder, HOUR).await.unwrap();
    assert_eq!(lease, Lease::Yours);
    let new = next(&home);
    let giving = tokio::spawn(old.give_up(SOON));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!giving.is_finished() && new.opening().is_some());
    old.release(id.key(), holder).await.unwrap();
    tokio::time::timeout(SOON, giving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    tokio::time::timeout(
        SOON,
        new.opening().unwrap_or_else(|| Box::pin(async { Ok(()) })),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(load(&*new, id.key()).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_does_not_end_keeps_the_file_for_a_bounded_time() {
    let (_folder, home, _) = home();
    let old = ledger::open(&home, Opening::AtOnce).unwrap();
    let (id, _) = kept(&*old, "sarah").await;
    old.lease(id.key(), [7; 16], HOUR).await.unwrap();
    let patience = Duration::from_millis(100);
    let giving = old.give_up(patience);
    tokio::time::timeout(SOON, giving).await.unwrap().unwrap();
    let new = next(&home);
    assert!(new.opening().is_none() && load(&*new, id.key()).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_process_than_the_one_before_is_refused() {
    let (_folder, home, _) = home();
    let _other = ledger::open(&home, Opening::AtOnce).unwrap();
    let error = ledger::open(&home, Opening::After(1)).unwrap_err();
    assert!(error.message.contains("in use by the process"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_turns_out_damaged_is_not_begun_anew() {
    let (_folder, home, path) = home();
    let old = ledger::open(&home, Opening::AtOnce).unwrap();
    let new = next(&home);
    // Replaced behind the old one's back: what it closes is the old file.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"not a database").unwrap();
    old.give_up(SOON).await.unwrap();
    let opening = new.opening().unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), opening).await;
    assert!(waited.is_err());
    assert!(new.end_all_of_user("sarah", clock::now()).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"not a database");
}
