use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::line::{Attribute, Line};
use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);
const GONE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
const LATER: &str = "Sat, 02 Jan 2027 03:04:05 GMT";

fn all(wanted: Wanted) -> Repairs {
    Repairs::compile([wanted])
}

/// What should have been there from the start.
fn usual() -> Wanted {
    Wanted {
        secure: Some(true),
        http_only: Some(true),
        same_site: Some("Lax"),
        max_age: Some(3600),
        ..Wanted::default()
    }
}

fn repaired(wanted: Wanted, line: &str) -> String {
    let made = all(wanted).repair(line.as_bytes(), NOW);
    made.map_or_else(|| line.to_owned(), |made| String::from_utf8(made).unwrap())
}

fn domain(name: &str) -> Wanted {
    Wanted {
        domain: Some(name.into()),
        ..Wanted::default()
    }
}

fn secure(there: bool) -> Wanted {
    Wanted {
        secure: Some(there),
        ..Wanted::default()
    }
}

fn same_site(value: &'static str) -> Wanted {
    Wanted {
        same_site: Some(value),
        ..Wanted::default()
    }
}

#[test]
fn what_is_missing_is_added_and_the_rest_stays_byte_for_byte() {
    assert_eq!(
        repaired(
            usual(),
            "a=b c=\"d\"; Path=/x;partitioned ; Priority=High;; Secure"
        ),
        "a=b c=\"d\"; Path=/x;partitioned ; Priority=High;; Secure\
         ; Max-Age=3600; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn what_says_something_else_is_replaced_wherever_it_stands() {
    assert_eq!(
        repaired(
            usual(),
            &format!(
                "a=b; expires={LATER}; SAMESITE=none; max-age=9; Path=/; SameSite=Strict; httponly=no"
            )
        ),
        "a=b; Path=/; httponly=no; Max-Age=3600; Secure; SameSite=Lax"
    );
}

#[test]
fn what_is_right_already_is_not_touched() {
    let line = "a=b; secure; samesite=LAX; Max-Age=3600; HTTPONLY; Path=/";
    assert_eq!(all(usual()).repair(line.as_bytes(), NOW), None);
}

#[test]
fn nothing_wanted_changes_nothing() {
    let line = b"a=b; Secure; Domain=x; Max-Age=9";
    assert_eq!(all(Wanted::default()).repair(line, NOW), None);
    assert_eq!(Repairs::default().repair(line, NOW), None);
}

#[test]
fn false_and_the_empty_domain_take_off() {
    let wanted = Wanted {
        secure: Some(false),
        http_only: Some(false),
        ..domain("")
    };
    let line = "a=b; secure; Domain=.x.example; Path=/; HttpOnly; Secure=1; domain=y";
    assert_eq!(repaired(wanted.clone(), line), "a=b; Path=/");
    assert_eq!(all(wanted).repair(b"a=b; Path=/", NOW), None);
}

#[test]
fn a_deletion_keeps_its_lifetime_so_that_signing_out_works() {
    let rest = "; Secure; HttpOnly; SameSite=Lax; Path=/";
    for line in [
        "sessionid=; Max-Age=0",
        "sessionid=x; max-age=-1",
        "sessionid=x; Max-Age=000",
        &format!("sessionid=\"\"; expires={GONE}; Max-Age=0"),
        &format!("sessionid=x; Expires={GONE}"),
        "sessionid=; expires=Thu, 01-Jan-1970 00:00:00 GMT",
        &format!("sessionid=; Max-Age=no; Expires={LATER}"),
    ] {
        let line = format!("{line}{rest}");
        assert_eq!(repaired(usual(), &line), line);
    }
}

#[test]
fn a_deletion_is_repaired_in_all_else_so_that_it_finds_its_cookie() {
    let wanted = Wanted {
        domain: Some("example.com".into()),
        ..usual()
    };
    assert_eq!(
        repaired(
            wanted,
            "a=; Max-Age=0; Domain=app.internal; Path=/; Secure; HttpOnly; SameSite=Lax"
        ),
        "a=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax; Domain=example.com"
    );
}

#[test]
fn a_cookie_that_lives_on_gets_the_lifetime_it_should_have_had() {
    let wanted = || Wanted {
        max_age: Some(60),
        ..Wanted::default()
    };
    for (line, made) in [
        ("a=b".to_owned(), "a=b; Max-Age=60"),
        ("a=".to_owned(), "a=; Max-Age=60"),
        (format!("a=b; Expires={LATER}"), "a=b; Max-Age=60"),
        // `Max-Age` counts before `Expires`, and one that cannot be read does not count.
        (format!("a=b; Max-Age=5; Expires={GONE}"), "a=b; Max-Age=60"),
        ("a=b; Max-Age=soon".to_owned(), "a=b; Max-Age=60"),
        ("a=b; Max-Age=0; Max-Age=5".to_owned(), "a=b; Max-Age=60"),
        ("a=b; Expires=never".to_owned(), "a=b; Max-Age=60"),
        (
            format!("a=b; Max-Age=60; Expires={LATER}"),
            "a=b; Max-Age=60",
        ),
    ] {
        assert_eq!(repaired(wanted(), &line), made, "{line}");
    }
}

#[test]
fn same_site_none_brings_secure_with_it() {
    assert_eq!(
        repaired(same_site("None"), "a=b"),
        "a=b; Secure; SameSite=None"
    );
    let both = Wanted {
        secure: Some(false),
        ..same_site("None")
    };
    assert_eq!(repaired(both, "a=b; Secure"), "a=b; Secure; SameSite=None");
}

#[test]
fn secure_stays_where_browsers_would_refuse_the_cookie_without_it() {
    for line in [
        "__Host-a=b; Path=/; Secure",
        "__secure-a=b; Secure",
        "a=b; Secure; Partitioned",
        "a=b; Secure; SameSite=None",
    ] {
        assert_eq!(repaired(secure(false), line), line);
    }
    let lax = Wanted {
        secure: Some(false),
        ..same_site("Lax")
    };
    assert_eq!(
        repaired(lax, "a=b; Secure; SameSite=None"),
        "a=b; SameSite=Lax"
    );
    assert_eq!(repaired(secure(false), "__Hosta=b; Secure"), "__Hosta=b");
}

#[test]
fn a_cookie_bound_to_its_host_gets_no_domain() {
    let line = "__Host-a=b; Path=/; Secure";
    assert_eq!(repaired(domain("example.com"), line), line);
    assert_eq!(
        repaired(domain("example.com"), "a=b"),
        "a=b; Domain=example.com"
    );
    assert_eq!(
        repaired(domain(""), "__Host-a=b; Domain=x; Secure"),
        "__Host-a=b; Secure"
    );
}

#[test]
fn http_only_stays_where_the_name_demands_it() {
    let off = || Wanted {
        http_only: Some(false),
        ..Wanted::default()
    };
    let line = "__Host-Http-a=b; Path=/; Secure; HttpOnly";
    assert_eq!(repaired(off(), line), line);
    assert_eq!(repaired(off(), "__Host-a=b; HttpOnly"), "__Host-a=b");
}

#[test]
fn the_first_repair_that_fits_the_name_holds_and_names_are_told_by_case() {
    let repairs = Repairs::compile([
        Wanted {
            name: Some("session".into()),
            ..same_site("Strict")
        },
        secure(true),
    ]);
    let made = |line: &[u8]| repairs.repair(line, NOW).unwrap();
    assert_eq!(made(b" session =x"), b" session =x; SameSite=Strict");
    assert_eq!(made(b"Session=x"), b"Session=x; Secure");
}

#[test]
fn a_line_that_cannot_be_read_stays() {
    for line in [
        &b""[..],
        b"; Path=/",
        b"novalue; Path=/",
        b"=x; Path=/",
        b"a=b\x01; Path=/",
    ] {
        assert_eq!(all(usual()).repair(line, NOW), None);
    }
}

#[test]
fn every_line_of_an_answer_is_repaired_in_its_place() {
    let mut answer = HeaderMap::new();
    for line in ["a=1", "novalue", "b=\u{e9}; secure"] {
        answer.append(
            SET_COOKIE,
            HeaderValue::from_bytes(line.as_bytes()).unwrap(),
        );
    }
    all(secure(true)).apply(&mut answer, NOW);
    let lines: Vec<_> = answer
        .get_all(SET_COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    assert_eq!(
        lines,
        [
            &b"a=1; Secure"[..],
            b"novalue",
            "b=\u{e9}; secure".as_bytes()
        ]
    );
}

#[test]
fn a_domain_that_no_header_can_hold_leaves_the_line_alone() {
    let mut answer = HeaderMap::new();
    answer.insert(SET_COOKIE, HeaderValue::from_static("a=b"));
    all(domain("x\ny")).apply(&mut answer, NOW);
    assert_eq!(answer.get(SET_COOKIE).unwrap(), "a=b");
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let flag = || proptest::option::of(any::<bool>());
    let same_site = proptest::option::of(prop_oneof![Just("Strict"), Just("Lax"), Just("None")]);
    let max_age = proptest::option::of(0..10_000_u64);
    let domain = proptest::option::of(prop_oneof![Just(""), Just("example.com")]);
    (flag(), flag(), same_site, max_age, domain).prop_map(
        |(secure, http_only, same_site, max_age, domain)| Wanted {
            name: None,
            secure,
            http_only,
            same_site,
            max_age,
            domain: domain.map(Into::into),
        },
    )
}

/// Lines that look like cookies, with the odd thing among their attributes.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        "[a-z]{1,4}",
        Just("__Host-x".to_owned()),
        Just("__Secure-x".to_owned())
    ];
    let attribute = prop_oneof![
        "[ \t]?(?i:secure|httponly|partitioned|samesite=(none|lax|x)|max-age=-?[0-9]{0,3}|domain=[.a-z]{0,5})[ ]?",
        Just(format!(" Expires={GONE}")),
        Just(format!(" Expires={LATER}")),
        " Path=/[a-z]{0,3}",
        "[ -:<-~\u{80}-\u{ff}]{0,12}",
    ];
    let rest = proptest::collection::vec(attribute, 0..8);
    (name, "[ -:<-~]{0,12}", rest).prop_map(|(name, value, rest)| {
        let mut line = format!("{name}={value}");
        for one in rest {
            line.push(';');
            line.push_str(&one);
        }
        line.into_bytes()
    })
}

/// What no repair may touch.
fn untouchable(line: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let read = Line::read(line).unwrap();
    let pieces = read.pieces.iter();
    let rest = pieces
        .filter(|piece| matches!(piece.attribute, Attribute::Other | Attribute::Partitioned))
        .map(|piece| piece.raw.to_vec());
    (read.pair.to_vec(), rest.collect())
}

proptest! {
    #[test]
    fn whatever_the_line_no_repair_touches_name_value_and_the_rest(
        wanted in any_wanted(),
        line in any_line(),
    ) {
        if let Some(made) = all(wanted).repair(&line, NOW) {
            prop_assert_eq!(untouchable(&line), untouchable(&made));
        }
    }

    #[test]
    fn a_repaired_line_needs_no_further_repair(wanted in any_wanted(), line in any_line()) {
        // `Max-Age=0` turns the line into a deletion, which is read by other rules.
        prop_assume!(wanted.max_age != Some(0));
        let repairs = all(wanted);
        if let Some(made) = repairs.repair(&line, NOW) {
            prop_assert_eq!(repairs.repair(&made, NOW), None);
        }
    }

    #[test]
    fn no_repair_makes_a_cookie_that_browsers_refuse_of_one_they_take(
        wanted in any_wanted(),
        line in any_line(),
    ) {
        let taken = |line: &Line<'_>| {
            let none = line.last(Attribute::SameSite).is_some_and(|text| text.eq_ignore_ascii_case(b"none"));
            let secure = line.has(Attribute::Secure);
            let domain = line.last(Attribute::Domain).is_some();
            (secure || !(none || line.must_be_secure())) && !(line.is_bound_to_host() && domain)
        };
        if let Some(made) = all(wanted).repair(&line, NOW) {
            let (before, after) = (Line::read(&line).unwrap(), Line::read(&made).unwrap());
            prop_assert!(!taken(&before) || taken(&after), "{:?}", String::from_utf8_lossy(&made));
        }
    }

    #[test]
    fn a_deletion_stays_one(wanted in any_wanted(), line in any_line()) {
        prop_assume!(Line::read(&line).unwrap().deletes(NOW));
        if let Some(made) = all(wanted).repair(&line, NOW) {
            prop_assert!(Line::read(&made).unwrap().deletes(NOW));
        }
    }

    #[test]
    fn whatever_bytes_come_they_are_read_or_left(wanted in any_wanted(), line in any::<Vec<u8>>()) {
        let made = all(wanted).repair(&line, NOW);
        prop_assert!(made.is_none_or(|made| made.len() < line.len() + 100));
    }
}
