//! What was revoked, as it is remembered and told.

use super::*;
use crate::policy::identity::{Identity, IdentityNames};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn mark() -> TokenMark {
    TokenMark::of_jti("app", "7f3")
}

fn caller(user: &str, mark: TokenMark, issued: Timestamp) -> Caller {
    let identity = Identity {
        user: user.to_owned(),
        roles: Vec::new(),
        email: None,
        name: None,
        claims: serde_json::Map::new(),
        expires_at: None,
        authenticator: "app".into(),
    };
    let bond = Bond::Token(Issue {
        mark: *mark.as_bytes(),
        issued,
    });
    IdentityNames::default()
        .introduce(identity)
        .bound(Some(bond))
}

fn standing(revoked: &Revoked, user: &str, issued: Timestamp) -> Standing {
    revoked.standing(&caller(user, mark(), issued))
}

fn known() -> Revoked {
    let revoked = Revoked::default();
    revoked.caught_up();
    revoked
}

fn later() -> Timestamp {
    NOW.saturating_add(HOUR)
}

#[test]
fn before_the_ledger_was_read_nobody_can_say() {
    let revoked = Revoked::default();
    assert_eq!(standing(&revoked, "7", NOW), Standing::Unknown);
    revoked.caught_up();
    assert_eq!(standing(&revoked, "7", NOW), Standing::Holds);
}

#[test]
fn a_revoked_token_is_refused_until_it_is_over() {
    let revoked = known();
    revoked.take(&Revocation::of_token(mark(), later()), NOW);
    assert_eq!(standing(&revoked, "7", NOW), Standing::Revoked);
    let other = caller("7", TokenMark::of_jti("app", "7f4"), NOW);
    assert_eq!(revoked.standing(&other), Standing::Holds);
    revoked.sweep(later());
    assert_eq!(standing(&revoked, "7", NOW), Standing::Holds);
}

#[test]
fn a_users_tokens_are_refused_if_they_are_older() {
    let revoked = known();
    revoked.take(&Revocation::of_user("7", NOW, later()).unwrap(), NOW);
    let before = NOW.saturating_sub(Duration::from_secs(1));
    assert_eq!(standing(&revoked, "7", before), Standing::Revoked);
    assert_eq!(standing(&revoked, "7", NOW), Standing::Holds);
    assert_eq!(standing(&revoked, "8", before), Standing::Holds);
    // An earlier one that is heard of later takes nothing back.
    let earlier = Revocation::of_user("7", before, NOW).unwrap();
    revoked.take(&earlier, NOW);
    assert_eq!(standing(&revoked, "7", before), Standing::Revoked);
}

#[test]
fn where_one_finds_no_room_no_token_passes_until_all_were_read_again() {
    let revoked = Revoked::of_at_most(10);
    revoked.caught_up();
    let short = NOW.saturating_add(Duration::from_mins(1));
    let numbered = |number: u8| TokenMark::from_bytes([number; 32]);
    let take = |number, until| {
        revoked.take(&Revocation::of_token(numbered(number), until), NOW);
    };
    (0..10).for_each(|number| take(number, short));
    assert_eq!(standing(&revoked, "7", NOW), Standing::Holds);
    // One that is known already takes no room.
    take(0, short);
    assert_eq!(standing(&revoked, "7", NOW), Standing::Holds);
    (10..100).for_each(|number| take(number, later()));
    let user = Revocation::of_user("7", later(), later()).unwrap();
    revoked.take(&user, NOW);
    assert!(revoked.tokens.len() <= 10 && revoked.users.is_empty());
    assert_eq!(standing(&revoked, "7", NOW), Standing::Unknown);
    assert!(!revoked.sweep(NOW), "there is no room yet");
    assert_eq!(standing(&revoked, "7", NOW), Standing::Unknown);
    assert!(revoked.sweep(short), "now there is");
    assert_eq!(standing(&revoked, "7", NOW), Standing::Unknown);
    revoked.take(&user, short);
    revoked.caught_up();
    assert_eq!(standing(&revoked, "7", NOW), Standing::Revoked);
    assert_eq!(standing(&revoked, "8", NOW), Standing::Holds);
}

#[test]
fn ends_of_sessions_are_bounded_and_then_all_are_asked_anew() {
    let revoked = known();
    let turn = revoked.turn();
    for number in 0..=MOST_ENDED {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let key = SessionKey::from_bytes(bytes);
        revoked.take(&Revocation::of_session(key, NOW), NOW);
        assert!(revoked.has_ended(key));
    }
    assert_ne!(revoked.turn(), turn);
    assert!(revoked.sessions.len() <= MOST_ENDED);
}

#[tokio::test]
async fn whoever_holds_something_open_is_told_and_nobody_else() {
    let revoked = known();
    let first = caller("7", mark(), NOW);
    let second = caller("8", TokenMark::of_jti("app", "7f4"), NOW);
    let (mut one, mut two) = (
        revoked.watch(&first).unwrap(),
        revoked.watch(&second).unwrap(),
    );
    revoked.take(&Revocation::of_token(mark(), later()), NOW);
    (&mut one).await;
    let short = Duration::from_millis(5);
    assert!(tokio::time::timeout(short, &mut two).await.is_err());
    let user = Revocation::of_user("8", later(), later()).unwrap();
    revoked.take(&user, NOW);
    two.await;
    // One that comes too late is told at once.
    revoked.watch(&first).unwrap().await;
    drop(one);
    assert!(revoked.watch(&caller("9", mark(), NOW)).is_some());
}

#[tokio::test]
async fn what_a_session_holds_open_is_told_when_its_token_is_revoked() {
    let revoked = known();
    let session = |key| {
        let token = caller("7", mark(), NOW).bond().and_then(Bond::token);
        caller("7", mark(), NOW).bound(Some(Bond::Session { key, token }))
    };
    let watch = revoked.watch(&session([1; 32])).unwrap();
    revoked.take(&Revocation::of_token(mark(), later()), NOW);
    assert!(is_told(watch).await);
    // One that comes too late, too.
    let watch = revoked.watch(&session([2; 32])).unwrap();
    assert!(is_told(watch).await);
}

async fn is_told(watch: Watch) -> bool {
    let patience = Duration::from_secs(5);
    tokio::time::timeout(patience, watch).await.is_ok()
}

#[tokio::test]
async fn who_opens_something_while_not_all_is_known_is_told_what_is() {
    let revoked = Revoked::default();
    let revocation = Revocation::of_token(mark(), later());
    revoked.take(&revocation, NOW);
    let watch = revoked.watch(&caller("7", mark(), NOW)).unwrap();
    // Read once more, which is no news.
    revoked.take(&revocation, NOW);
    revoked.caught_up();
    assert!(is_told(watch).await);
}

#[test]
fn who_lets_go_is_not_kept() {
    let revoked = known();
    for _ in 0..100 {
        drop(revoked.watch(&caller("7", mark(), NOW)));
    }
    assert_eq!(revoked.watchers.len(), 0);
}
