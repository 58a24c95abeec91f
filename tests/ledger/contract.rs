//! What every home promises. `one` and `other` are two gateways on the same store; a home of one
//! process alone is both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::ledger::{
    Change, Cursor, Event, Lease, Ledger, Page, Revocation, Revoked, SessionId, SharedLedger,
    TokenMark, holder,
};
use portcullis::clock;

use crate::rig::{HOUR, begin, begin_at, hears, kept, list, load, renewed, tokens};

/// Within which every gateway hears what another was told.
const HEARD: Duration = Duration::from_secs(1);

/// The whole contract.
pub(crate) async fn keeps(one: &SharedLedger, other: &SharedLedger) {
    a_session_is_known_at_all(&**one, &**other).await;
    time_is_judged_by_the_caller(&**one).await;
    touching_moves_the_idle_end_and_nothing_else(&**one, &**other).await;
    only_the_next_generation_replaces(&**one, &**other).await;
    of_many_who_replace_one_wins(one, other).await;
    a_rotation_is_one_step(&**one, &**other).await;
    of_many_who_want_a_lease_one_gets_it(one, other).await;
    a_lease_ends_by_itself(&**one, &**other).await;
    lists_are_paged_and_bounded(&**one, &**other).await;
    all_of_a_user_end(&**one, &**other).await;
    all_of_a_user_end_while_they_move(one, other).await;
    what_is_revoked_is_heard_and_caught_up(&**one, &**other).await;
    sweeping_takes_what_is_over(&**one).await;
    assert_eq!(one.status().problem, None);
}

async fn a_session_is_known_at_all(one: &dyn Ledger, other: &dyn Ledger) {
    let (id, session) = kept(one, "sarah@example.com").await;
    assert_eq!(load(one, id.key()).await, Some(session.clone()));
    let there = load(other, id.key()).await.unwrap();
    assert_eq!(there, session);
    assert_eq!(tokens(&id, &there), "sarah@example.com");
    // Asking again after an error that was none changes nothing.
    one.create(id.key(), session.clone()).await.unwrap();
    assert_eq!(load(other, id.key()).await, Some(session));
    let unknown = SessionId::draw().unwrap().key();
    assert_eq!(load(one, unknown).await, None);

    let mut events = other.subscribe();
    one.end(id.key(), clock::now()).await.unwrap();
    assert_eq!(load(one, id.key()).await, None);
    assert_eq!(load(other, id.key()).await, None);
    hears(&mut events, &Revoked::Session(id.key()), HEARD * 3).await;
    // A session that is gone ends once more without an error.
    other.end(id.key(), clock::now()).await.unwrap();
}

async fn time_is_judged_by_the_caller(ledger: &dyn Ledger) {
    let now = clock::now();
    let (id, session) = begin_at("timer", now, HOUR * 24, HOUR);
    ledger.create(id.key(), session).await.unwrap();
    let at = |after: Duration| ledger.load(id.key(), now.saturating_add(after));
    assert!(at(HOUR / 2).await.unwrap().is_some());
    assert!(at(HOUR).await.unwrap().is_none());
    let later = now.saturating_add(HOUR / 2);
    assert!(ledger.touch(id.key(), later).await.unwrap());
    assert!(at(HOUR).await.unwrap().is_some());
    assert!(
        !ledger
            .touch(id.key(), now.saturating_add(HOUR * 2))
            .await
            .unwrap()
    );
    ledger.end(id.key(), now).await.unwrap();
    assert!(!ledger.touch(id.key(), later).await.unwrap());
}

async fn touching_moves_the_idle_end_and_nothing_else(one: &dyn Ledger, other: &dyn Ledger) {
    let (id, session) = kept(one, "toucher").await;
    let soon = session.seen().saturating_add(Duration::from_secs(30));
    assert!(other.touch(id.key(), soon).await.unwrap());
    assert_eq!(
        load(one, id.key()).await.unwrap(),
        session,
        "not once a minute"
    );
    let later = session.seen().saturating_add(Duration::from_secs(90));
    assert!(other.touch(id.key(), later).await.unwrap());
    let touched = load(one, id.key()).await.unwrap();
    assert_eq!(touched, session.clone().seen_at(later));
    // One whose clock is behind takes nothing back.
    assert!(one.touch(id.key(), soon).await.unwrap());
    assert_eq!(load(other, id.key()).await.unwrap().seen(), later);
    // A refresh that began before keeps what was seen meanwhile.
    let next = renewed(&id, &session, "fresh");
    assert_eq!(one.replace(id.key(), next).await.unwrap(), Change::Done);
    assert_eq!(load(other, id.key()).await.unwrap().seen(), later);
}

async fn only_the_next_generation_replaces(one: &dyn Ledger, other: &dyn Ledger) {
    let (id, first) = kept(one, "renewer").await;
    let second = renewed(&id, &first, "second");
    let third = renewed(&id, &second, "third");
    assert_eq!(
        one.replace(id.key(), third.clone()).await.unwrap(),
        Change::Stale
    );
    assert_eq!(
        one.replace(id.key(), first.clone()).await.unwrap(),
        Change::Stale
    );
    assert_eq!(
        one.replace(id.key(), second.clone()).await.unwrap(),
        Change::Done
    );
    assert_eq!(
        other.replace(id.key(), second.clone()).await.unwrap(),
        Change::Stale
    );
    assert_eq!(tokens(&id, &load(other, id.key()).await.unwrap()), "second");
    assert_eq!(other.replace(id.key(), third).await.unwrap(), Change::Done);
    one.end(id.key(), clock::now()).await.unwrap();
    // A refresh never brings back a session that ended.
    assert_eq!(other.replace(id.key(), second).await.unwrap(), Change::Gone);
    assert_eq!(load(one, id.key()).await, None);
}

async fn of_many_who_replace_one_wins(one: &SharedLedger, other: &SharedLedger) {
    let (id, session) = kept(&**one, "crowd").await;
    let mut trying = Vec::new();
    for number in 0..100 {
        let ledger = Arc::clone(if number % 2 == 0 { one } else { other });
        let next = renewed(&id, &session, &number.to_string());
        let key = id.key();
        trying.push(tokio::spawn(async move {
            (number, ledger.replace(key, next).await.unwrap())
        }));
    }
    let mut winners = Vec::new();
    for one in trying {
        match one.await.unwrap() {
            (number, Change::Done) => winners.push(number),
            (_, Change::Stale) => {}
            (number, Change::Gone) => panic!("{number} found nothing"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let stored = load(&**other, id.key()).await.unwrap();
    assert_eq!(tokens(&id, &stored), winners[0].to_string());
}

async fn a_rotation_is_one_step(one: &dyn Ledger, other: &dyn Ledger) {
    let (old, session) = kept(one, "mover").await;
    let (new, step) = SessionId::succeed(old.key()).unwrap();
    let mut events = other.subscribe();
    let moved = renewed(&new, &session, "moved");
    assert_eq!(one.rotate(step, moved.clone()).await.unwrap(), Change::Done);
    assert_eq!(load(other, old.key()).await, None);
    assert_eq!(
        tokens(&new, &load(other, new.key()).await.unwrap()),
        "moved"
    );
    assert_eq!(list(other, Some("mover"), 10).await.len(), 1);
    hears(&mut events, &Revoked::Session(old.key()), HEARD * 3).await;
    // The old one is gone: neither moved again nor replaced.
    assert_eq!(
        other.rotate(step, moved.clone()).await.unwrap(),
        Change::Gone
    );
    assert_eq!(other.replace(old.key(), moved).await.unwrap(), Change::Gone);
    let (_, step) = SessionId::succeed(new.key()).unwrap();
    assert_eq!(other.rotate(step, session).await.unwrap(), Change::Stale);
    assert!(load(one, new.key()).await.is_some());
}

async fn of_many_who_want_a_lease_one_gets_it(one: &SharedLedger, other: &SharedLedger) {
    let key = SessionId::draw().unwrap().key();
    let mut trying = Vec::new();
    for number in 0..100 {
        let ledger = Arc::clone(if number % 2 == 0 { one } else { other });
        let holder = holder().unwrap();
        trying.push(tokio::spawn(async move {
            ledger.lease(key, holder, HOUR).await.unwrap()
        }));
    }
    let mut holders = 0;
    for one in trying {
        holders += usize::from(one.await.unwrap() == Lease::Yours);
    }
    assert_eq!(holders, 1);
}

async fn a_lease_ends_by_itself(one: &dyn Ledger, other: &dyn Ledger) {
    let key = SessionId::draw().unwrap().key();
    let (dead, alive) = (holder().unwrap(), holder().unwrap());
    let short = Duration::from_millis(400);
    assert_eq!(one.lease(key, dead, short).await.unwrap(), Lease::Yours);
    assert_eq!(other.lease(key, alive, HOUR).await.unwrap(), Lease::Held);
    // Only its holder gives it back.
    other.release(key, alive).await.unwrap();
    assert_eq!(other.lease(key, alive, HOUR).await.unwrap(), Lease::Held);
    tokio::time::sleep(short).await;
    assert_eq!(other.lease(key, alive, HOUR).await.unwrap(), Lease::Yours);
    assert_eq!(other.lease(key, alive, HOUR).await.unwrap(), Lease::Yours);
    one.release(key, dead).await.unwrap();
    assert_eq!(one.lease(key, dead, HOUR).await.unwrap(), Lease::Held);
    other.release(key, alive).await.unwrap();
    assert_eq!(one.lease(key, dead, HOUR).await.unwrap(), Lease::Yours);
}

async fn lists_are_paged_and_bounded(one: &dyn Ledger, other: &dyn Ledger) {
    let before: BTreeSet<_> = list(one, None, 500)
        .await
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let mut made = BTreeSet::new();
    for number in 0..45 {
        let user = if number % 3 == 0 { "lister" } else { "reader" };
        made.insert(kept(one, user).await.0.key());
    }
    let all: Vec<_> = list(other, None, 7).await;
    let keys: BTreeSet<_> = all.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), all.len(), "one is listed twice");
    assert_eq!(keys, before.union(&made).copied().collect());
    let mine = list(other, Some("lister"), 4).await;
    assert_eq!(mine.len(), 15);
    assert!(
        mine.iter()
            .all(|(key, session)| made.contains(key) && session.user() == "lister")
    );
    assert!(list(other, Some("liste"), 4).await.is_empty());
    let page = Page {
        most: usize::MAX,
        ..Page::default()
    };
    assert!(other.list(page, clock::now()).await.unwrap().sessions.len() <= 500);
}

async fn all_of_a_user_end(one: &dyn Ledger, other: &dyn Ledger) {
    let mut events = other.subscribe();
    let mine = [kept(one, "leaver").await, kept(other, "leaver").await];
    let (kept_on, _) = kept(one, "stayer").await;
    assert_eq!(
        one.end_all_of_user("leaver", clock::now()).await.unwrap(),
        2
    );
    for (id, _) in &mine {
        assert_eq!(load(other, id.key()).await, None);
    }
    assert!(load(other, kept_on.key()).await.is_some());
    // Both are heard of, in any order.
    let mut left: BTreeSet<_> = mine.iter().map(|(id, _)| id.key()).collect();
    let all = tokio::time::timeout(HEARD * 3, async {
        while !left.is_empty() {
            if let Some(Event::Revoked { revocation, .. }) = events.next().await
                && let Revoked::Session(key) = revocation.what()
            {
                left.remove(key);
            }
        }
    });
    assert!(all.await.is_ok(), "two ends are not heard of");
    assert_eq!(
        one.end_all_of_user("leaver", clock::now()).await.unwrap(),
        0
    );
}

/// A session that is moving to another key when all of its user end ends too.
async fn all_of_a_user_end_while_they_move(one: &SharedLedger, other: &SharedLedger) {
    for round in 0..20 {
        let user = format!("mover {round}");
        let mut moving = Vec::new();
        for _ in 0..8 {
            let (old, session) = kept(&**one, &user).await;
            let (new, step) = SessionId::succeed(old.key()).unwrap();
            let moved = renewed(&new, &session, "moved");
            moving.push(tokio::spawn(other.rotate(step, moved)));
        }
        one.end_all_of_user(&user, clock::now()).await.unwrap();
        for one in moving {
            assert_ne!(one.await.unwrap().unwrap(), Change::Stale);
        }
        let left = list(&**one, Some(&user), 10).await;
        assert_eq!(left.len(), 0, "round {round}: some live on");
    }
}

async fn what_is_revoked_is_heard_and_caught_up(one: &dyn Ledger, other: &dyn Ledger) {
    let now = clock::now();
    let start = other
        .revocations_since(Cursor::START, now)
        .await
        .unwrap()
        .cursor;
    let token = Revocation::of_token(TokenMark::of_jti("issuer", "7f3"), now.saturating_add(HOUR));
    let user = Revocation::of_user("sarah", now, now.saturating_add(HOUR * 2)).unwrap();
    let mut events = other.subscribe();
    // Until it follows; what is told before is caught up.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = one.revoke(token.clone(), now).await.unwrap();
    hears(&mut events, token.what(), HEARD).await;
    let second = other.revoke(user.clone(), now).await.unwrap();
    hears(&mut events, user.what(), HEARD).await;
    assert!(start < first && first < second);

    let caught = one.revocations_since(start, now).await.unwrap();
    assert_eq!(caught.revocations, [token.clone(), user.clone()]);
    assert!(!caught.more && caught.cursor >= second);
    let caught = other.revocations_since(first, now).await.unwrap();
    assert_eq!(caught.revocations, std::slice::from_ref(&user));
    let caught = other.revocations_since(caught.cursor, now).await.unwrap();
    assert_eq!(caught.revocations, []);
    // What is over does not count any more.
    let later = now.saturating_add(HOUR + Duration::from_secs(1));
    let caught = other.revocations_since(start, later).await.unwrap();
    assert_eq!(caught.revocations, [user]);

    // A cursor of a log that was lost is behind this one's end: all comes, and it goes on from there.
    let lost = Cursor::from_number(1 << 40);
    let caught = other.revocations_since(lost, now).await.unwrap();
    let all = one.revocations_since(Cursor::START, now).await.unwrap();
    assert_eq!(caught, all);
    assert!(caught.cursor < lost && !caught.revocations.is_empty());

    // More than one answer holds comes in several, none twice.
    let start = all.cursor;
    for number in 0..1005 {
        let mark = TokenMark::of_jti("many", &format!("{number}"));
        let many = Revocation::of_token(mark, now.saturating_add(HOUR));
        one.revoke(many, now).await.unwrap();
    }
    let part = other.revocations_since(start, now).await.unwrap();
    assert_eq!((part.revocations.len(), part.more), (1000, true));
    let rest = other.revocations_since(part.cursor, now).await.unwrap();
    assert_eq!((rest.revocations.len(), rest.more), (5, false));
}

async fn sweeping_takes_what_is_over(ledger: &dyn Ledger) {
    let (id, session) = begin("swept");
    ledger.create(id.key(), session).await.unwrap();
    let (stays, session) = begin_at("swept", clock::now(), HOUR * 24, HOUR * 24);
    ledger.create(stays.key(), session).await.unwrap();
    let later = clock::now().saturating_add(HOUR * 3);
    assert!(ledger.sweep(later).await.unwrap() > 1000);
    // All of it at once.
    assert_eq!(ledger.sweep(later).await.unwrap(), 0);
    assert!(load(ledger, stays.key()).await.is_some());
    let caught = ledger
        .revocations_since(Cursor::START, later)
        .await
        .unwrap();
    assert_eq!(caught.revocations, []);
}
