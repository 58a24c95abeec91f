//! Tests of ids, records, sealing and their bytes.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn session(sealed: Sealed) -> Session {
    Session::begin(Start {
        user: "7",
        handler: "edms",
        client: "192.0.2.7",
        now: NOW,
        lifetime: Duration::from_hours(24),
        idle: Duration::from_hours(1),
        sealed,
    })
    .unwrap()
}

#[test]
fn a_cookie_reads_back_as_the_same_session_and_nothing_else_reads() {
    let id = SessionId::draw().unwrap();
    let cookie = id.cookie();
    assert_eq!(cookie.expose().len(), 43);
    assert_eq!(SessionId::parse(cookie.expose()).as_ref(), Some(&id));
    let longer = format!("{}A", cookie.expose());
    let padded = format!("{}=", cookie.expose());
    // The last character holds four bits; another that ends in other unused bits is not taken.
    let stretched = format!("{}B", "A".repeat(42));
    for other in [
        "",
        "x",
        &longer,
        &padded,
        cookie.expose().get(1..).unwrap(),
        &stretched,
    ] {
        assert_eq!(SessionId::parse(other), None, "{other:?}");
    }
}

#[test]
fn neither_debug_nor_the_key_shows_the_cookie() {
    let id = SessionId::draw().unwrap();
    let shown = format!("{id:?} {:?} {}", id.key(), id.key());
    assert!(!shown.contains(id.cookie().expose()), "{shown}");
    assert_eq!(id.key().to_string().parse(), Ok(id.key()));
}

#[test]
fn a_successor_is_another_session_of_the_same_shard() {
    let id = SessionId::draw().unwrap();
    let (next, step) = SessionId::succeed(id.key()).unwrap();
    assert_eq!((step.old(), step.next()), (id.key(), next.key()));
    assert_ne!(id, next);
    assert_eq!(id.key().shard(), next.key().shard());
}

#[test]
fn what_is_sealed_opens_with_the_same_id_and_generation_alone() {
    let (id, other) = (SessionId::draw().unwrap(), SessionId::draw().unwrap());
    let first = Generation::FIRST;
    let sealed = seal(&id, first, b"tokens").unwrap();
    assert_eq!(open(&id, first, &sealed).unwrap().expose(), b"tokens");
    assert_eq!(open(&other, first, &sealed), Err(SealError::Broken));
    assert_eq!(open(&id, first.next(), &sealed), Err(SealError::Broken));
    assert_ne!(seal(&id, first, b"tokens").unwrap(), sealed);
    let large = vec![0; MOST_SEALED];
    assert_eq!(seal(&id, first, &large), Err(SealError::TooLarge));
    assert!(seal(&id, first, &large[28..]).is_ok());
}

#[test]
fn a_session_ends_when_its_life_or_its_idle_time_is_over() {
    let session = session(Sealed::from_bytes(b"x").unwrap());
    let hour = Duration::from_hours(1);
    let second = Duration::from_secs(1);
    let idle_over = NOW.saturating_add(hour);
    assert!(session.lives(idle_over.saturating_sub(second)));
    assert!(!session.lives(idle_over));
    let used = session.clone().seen_at(NOW.saturating_add(hour * 23));
    assert!(used.lives(NOW.saturating_add(hour * 24).saturating_sub(second)));
    assert!(!used.lives(NOW.saturating_add(hour * 24)));
    // Time that goes back makes nothing older.
    assert_eq!(used.clone().seen_at(NOW), used);
}

#[test]
fn a_session_is_touched_once_a_minute() {
    let session = session(Sealed::from_bytes(b"x").unwrap());
    assert!(!session.wants_touch(NOW.saturating_add(Duration::from_secs(59))));
    assert!(session.wants_touch(NOW.saturating_add(TOUCH_EVERY)));
}

#[test]
fn names_that_do_not_fit_are_told_and_the_client_is_cut() {
    let start = |user: &str, handler: &str, client: &str| {
        let sealed = Sealed::from_bytes(b"x").unwrap();
        Session::begin(Start {
            user,
            handler,
            client,
            now: NOW,
            lifetime: Duration::MAX,
            idle: Duration::MAX,
            sealed,
        })
    };
    assert_eq!(start("", "h", "c"), Err(BadSession::User));
    assert_eq!(start("a\0", "h", "c"), Err(BadSession::User));
    assert_eq!(start(&"u".repeat(513), "h", "c"), Err(BadSession::User));
    assert_eq!(start("u", "", "c"), Err(BadSession::Handler));
    let long = start("u", "h", &"é\n".repeat(100)).unwrap();
    assert_eq!(long.client(), "é".repeat(64));
    assert_eq!(long.expires(), NOW.saturating_add(LONGEST_LIFE));
    assert_eq!(Session::from_bytes(&long.to_bytes()), Ok(long));
}

#[test]
fn marks_of_tokens_do_not_run_together() {
    assert_ne!(TokenMark::of_jti("a", "bc"), TokenMark::of_jti("ab", "c"));
    assert_ne!(TokenMark::of_jti("", "x"), TokenMark::of_token(b"x"));
}

#[test]
fn a_bookmark_reads_back_and_a_long_one_does_not() {
    let mark = Bookmark::from_bytes(&[7; 41]);
    assert_eq!(mark.to_string().parse(), Ok(mark));
    assert!("A".repeat(90).parse::<Bookmark>().is_err());
    assert!("§".parse::<Bookmark>().is_err());
}

proptest! {
    #[test]
    fn a_session_reads_back_from_its_bytes_and_stores_find_their_fields(
        user in "[^\0]{1,100}", handler in "[a-z-]{1,60}", client in ".{0,200}",
        life in 0_u64..10_000_000_000, idle in 0_u64..10_000_000_000,
        sealed in proptest::collection::vec(any::<u8>(), 0..600), at in -1_000_000..2_000_000_000_i64,
    ) {
        let session = Session::begin(Start {
            user: &user,
            handler: &handler,
            client: &client,
            now: Timestamp::from_unix_seconds(at),
            lifetime: Duration::from_micros(life),
            idle: Duration::from_micros(idle),
            sealed: Sealed::from_bytes(&sealed).unwrap(),
        }).unwrap();
        let session = session.renewed(session.sealed().clone(), Timestamp::from_unix_seconds(at + 5));
        let bytes = session.to_bytes();
        prop_assert_eq!(&bytes[Session::GENERATION_AT], session.generation().number().to_be_bytes());
        prop_assert_eq!(&bytes[Session::SEEN_AT], session.seen().unix_micros().to_be_bytes());
        prop_assert_eq!(Session::from_bytes(&bytes), Ok(session));
    }

    #[test]
    fn a_revocation_reads_back_from_its_bytes(user in "[^\0]{1,100}", before: i64, until: i64, mark: [u8; 32]) {
        let (before, until) = (Timestamp::from_unix_micros(before), Timestamp::from_unix_micros(until));
        for revocation in [
            Revocation::of_token(TokenMark::from_bytes(mark), until),
            Revocation::of_user(&user, before, until).unwrap(),
            Revocation::of_session(SessionKey::from_bytes(mark), NOW),
        ] {
            prop_assert_eq!(Revocation::from_bytes(&revocation.to_bytes()), Ok(revocation));
        }
    }

    #[test]
    fn what_is_stored_never_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Either it does not read, or it is what would be written.
        for bytes in [bytes.clone(), [&[1][..], &bytes].concat()] {
            if let Ok(session) = Session::from_bytes(&bytes) {
                prop_assert_eq!(session.to_bytes(), bytes.clone());
            }
            if let Ok(revocation) = Revocation::from_bytes(&bytes) {
                prop_assert_eq!(revocation.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn no_session_opens_with_another_id(plain in proptest::collection::vec(any::<u8>(), 0..100), flip in 0_usize..128) {
        let (id, other) = (SessionId::draw().unwrap(), SessionId::draw().unwrap());
        let sealed = seal(&id, Generation::FIRST, &plain).unwrap();
        prop_assert!(open(&other, Generation::FIRST, &sealed).is_err());
        let mut bytes = sealed.as_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(flip) {
            *byte ^= 1;
            let changed = Sealed::from_bytes(&bytes).unwrap();
            prop_assert!(open(&id, Generation::FIRST, &changed).is_err());
        }
    }
}
