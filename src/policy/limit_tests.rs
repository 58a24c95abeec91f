//! Rates, accounts, and what clients are told.

use std::collections::hash_map::DefaultHasher;

use proptest::prelude::*;

use super::*;

fn limit(per: Per) -> RateLimit {
    RateLimit {
        name: "login".into(),
        rate: Rate {
            count: NonZeroU32::new(10).unwrap(),
            unit: Unit::Minute,
        },
        burst: NonZeroU32::new(5).unwrap(),
        per,
        shared: false,
    }
}

/// What tells accounts apart here, and at all gateways.
fn hashed(account: &Account<'_>) -> (u64, Vec<u8>) {
    let mut state = DefaultHasher::new();
    account.hash(&mut state);
    (state.finish(), account.to_bytes())
}

fn address(ip: &str) -> (u64, Vec<u8>) {
    let (limit, headers) = (limit(Per::Ip), HeaderMap::new());
    hashed(&limit.account(ip.parse().unwrap(), None, &headers))
}

fn by_header(lines: &[(&'static str, &'static str)]) -> (u64, Vec<u8>) {
    let limit = limit(Per::Header(HeaderName::from_static("x-key")));
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    hashed(&limit.account("192.0.2.7".parse().unwrap(), None, &headers))
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_account() {
    assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:f::9"));
    assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
}

#[test]
fn an_ipv4_address_is_the_same_account_in_ipv6_form() {
    assert_eq!(address("192.0.2.7"), address("::ffff:192.0.2.7"));
    assert_ne!(address("192.0.2.7"), address("192.0.2.8"));
}

#[test]
fn a_user_is_an_account_wherever_the_user_is() {
    let (limit, headers) = (limit(Per::User), HeaderMap::new());
    let of = |ip: &str, user| hashed(&limit.account(ip.parse().unwrap(), user, &headers));
    assert_eq!(of("192.0.2.7", Some("7")), of("198.51.100.1", Some("7")));
    assert_ne!(of("192.0.2.7", Some("7")), of("192.0.2.7", Some("8")));
    assert_eq!(of("192.0.2.7", None), address("192.0.2.7"));
}

#[test]
fn every_line_of_a_header_counts_and_without_it_the_address_does() {
    assert_eq!(by_header(&[]), address("192.0.2.7"));
    assert_eq!(by_header(&[("x-key", "a")]), by_header(&[("x-key", "a")]));
    assert_ne!(by_header(&[("x-key", "a")]), by_header(&[("x-key", "b")]));
    let twice = by_header(&[("x-key", "a"), ("x-key", "b")]);
    assert_ne!(twice, by_header(&[("x-key", "a")]));
    assert_ne!(twice, by_header(&[("x-key", "ab")]));
}

#[test]
fn at_all_gateways_an_account_has_the_same_bytes_and_no_other_has_them() {
    let (headers, ip) = (HeaderMap::new(), "192.0.2.7".parse().unwrap());
    let by_user = limit(Per::User);
    let user = by_user.account(ip, Some("7"), &headers).to_bytes();
    assert_eq!(user, b"\x017");
    assert_eq!(address("192.0.2.7").1, [4, 192, 0, 2, 7]);
    let network = address("2001:db8:1:2::1").1;
    assert_eq!(network, [6, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2]);
    assert_eq!(by_header(&[("x-key", "ab")]).1, b"\x02\0\0\0\0\0\0\0\x02ab");
}

#[test]
fn whether_it_is_over_all_gateways_is_told() {
    let mut limit = limit(Per::Ip);
    assert_eq!(limit.to_string(), "10/m per ip, 5 at once");
    limit.shared = true;
    assert_eq!(
        limit.to_string(),
        "10/m per ip, 5 at once, over all gateways"
    );
}

#[test]
fn what_a_header_says_stands_in_no_words() {
    let limit = limit(Per::Header(HeaderName::from_static("authorization")));
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer of-a-secret"),
    );
    let account = limit.account("192.0.2.7".parse().unwrap(), None, &headers);
    let over = Over {
        wait: Duration::from_millis(5_001),
        standing: Standing {
            burst: 5,
            remaining: 0,
            whole_in: Duration::from_secs(30),
        },
    };
    let denial = limit.refusal(&over, &account);
    assert_eq!(
        denial.operator_note(),
        Some(
            "limit login: 10/m per header:authorization, 5 at once; counted for a value of authorization"
        )
    );
    assert!(!format!("{account:?} {denial:?}").contains("of-a-secret"));
}

#[test]
fn who_waits_as_long_as_told_has_waited_long_enough() {
    let limit = limit(Per::Ip);
    let headers = HeaderMap::new();
    let account = limit.account("192.0.2.7".parse().unwrap(), None, &headers);
    for (millis, told) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (5_999, 6)] {
        let wait = Duration::from_millis(millis);
        let standing = Standing {
            burst: 5,
            remaining: 0,
            whole_in: wait,
        };
        let denial = limit.refusal(&Over { wait, standing }, &account);
        assert_eq!(denial.retry_wait(), Some(Duration::from_secs(told)));
        assert!(denial.detail().ends_with(&format!("try again in {told} s")));
    }
}

#[test]
fn the_limit_that_leaves_least_is_told() {
    let standing = |remaining, seconds| Standing {
        burst: 5,
        remaining,
        whole_in: Duration::from_secs(seconds),
    };
    let (few, many) = (standing(1, 5), standing(3, 60));
    assert_eq!(few.or_tighter(many), few);
    assert_eq!(many.or_tighter(few), few);
    let longer = standing(1, 60);
    assert_eq!(few.or_tighter(longer), longer);
    assert_eq!(longer.or_tighter(few), longer);
}

#[test]
fn what_the_app_says_of_its_own_limit_is_replaced() {
    let mut headers = HeaderMap::new();
    for value in ["100", "200"] {
        headers.append("ratelimit-limit", HeaderValue::from_static(value));
    }
    let standing = Standing {
        burst: 5,
        remaining: 4,
        whole_in: Duration::from_millis(5_500),
    };
    standing.tell(&mut headers);
    let all: Vec<_> = headers.get_all("ratelimit-limit").iter().collect();
    assert_eq!(all, ["5"]);
    assert_eq!(headers["ratelimit-remaining"], "4");
    assert_eq!(headers["ratelimit-reset"], "6");
}

proptest! {
    #[test]
    fn a_period_is_never_shorter_than_the_rate_says(count in 1_u32..=1_000_000, unit in 0..3_usize) {
        let unit = [Unit::Second, Unit::Minute, Unit::Hour][unit];
        let rate = Rate { count: NonZeroU32::new(count).unwrap(), unit };
        prop_assert!(rate.period() * count >= unit.length());
        let shorter = rate.period().saturating_sub(Duration::from_nanos(1));
        prop_assert!(shorter * count < unit.length());
    }
}
