//! Sessions for tests, and waiting for what must come.

use std::time::{Duration, Instant};

use portcullis::auth::ledger::{
    Event, Events, Generation, Ledger, Listing, Page, Revoked, Session, SessionId, SessionKey,
    Start, open, seal,
};
use portcullis::clock::{self, Timestamp};

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A session of a user, with its id.
pub(crate) fn begin(user: &str) -> (SessionId, Session) {
    begin_at(user, clock::now(), HOUR * 24, HOUR)
}

pub(crate) fn begin_at(
    user: &str,
    now: Timestamp,
    lifetime: Duration,
    idle: Duration,
) -> (SessionId, Session) {
    let id = SessionId::draw().unwrap();
    let session = Session::begin(Start {
        user,
        handler: "edms",
        client: "192.0.2.7",
        now,
        lifetime,
        idle,
        sealed: seal(&id, Generation::FIRST, user.as_bytes()).unwrap(),
    });
    (id, session.unwrap())
}

/// The next generation, with other tokens.
pub(crate) fn renewed(id: &SessionId, session: &Session, tokens: &str) -> Session {
    let sealed = seal(id, session.generation().next(), tokens.as_bytes()).unwrap();
    session.renewed(sealed, clock::now())
}

/// What a stored session holds.
pub(crate) fn tokens(id: &SessionId, session: &Session) -> String {
    let plain = open(id, session.generation(), session.sealed()).unwrap();
    String::from_utf8(plain.expose().clone()).unwrap()
}

/// Makes and keeps a session.
pub(crate) async fn kept(ledger: &dyn Ledger, user: &str) -> (SessionId, Session) {
    let (id, session) = begin(user);
    ledger.create(id.key(), session.clone()).await.unwrap();
    (id, session)
}

pub(crate) async fn load(ledger: &dyn Ledger, key: SessionKey) -> Option<Session> {
    ledger.load(key, clock::now()).await.unwrap()
}

/// All pages of a list, each of so many at most.
pub(crate) async fn list(
    ledger: &dyn Ledger,
    user: Option<&str>,
    most: usize,
) -> Vec<(SessionKey, Session)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page {
            user: user.map(Into::into),
            after,
            most,
        };
        let Listing { sessions, next } = ledger.list(page, clock::now()).await.unwrap();
        assert!(sessions.len() <= most);
        all.extend(sessions);
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

/// Waits until something is revoked, so long at most.
pub(crate) async fn hears(events: &mut Events, wanted: &Revoked, within: Duration) {
    let waiting = tokio::time::timeout(within, async {
        while let Some(event) = events.next().await {
            if matches!(&event, Event::Revoked { revocation, .. } if revocation.what() == wanted) {
                return;
            }
        }
        panic!("the ledger is gone");
    });
    assert!(waiting.await.is_ok(), "not heard of: {wanted:?}");
}

/// Waits for a condition, so long at most.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut check: impl FnMut() -> F,
) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < within, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
