//! What is made of an app's answers.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::app::{Answered, Framework, Told, host, links, scheme, unslashed_links};
use super::finding::{Finding, Verdict};
use crate::upstream::look::Seen;

const DJANGO_400: &str = "\n<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>Bad Request</title>\n\
                          </head>\n<body>\n  <h1>Bad Request (400)</h1><p></p>\n</body>\n</html>\n";

fn told() -> Told {
    Told {
        host: "shop.example".to_owned(),
        sent: "shop.example".to_owned(),
        https: true,
    }
}

fn seen(status: u16, body: &str) -> Seen {
    Seen {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn answered(status: u16, body: &str) -> Answered {
    Answered {
        target: "/x".to_owned(),
        seen: seen(status, body),
    }
}

fn redirect(status: u16, to: &'static str) -> Answered {
    let mut answer = answered(status, "");
    let to = HeaderValue::from_static(to);
    answer.seen.headers.insert(LOCATION, to);
    answer
}

fn advice(finding: &Finding) -> &str {
    finding.advice.as_deref().unwrap_or_default()
}

#[test]
fn a_host_that_django_refuses_is_named_with_the_setting() {
    for body in [DJANGO_400, "<title>DisallowedHost\n at /</title>"] {
        let found = host("x", &told(), &answered(400, body), Some(&seen(400, body)));
        assert_eq!(found.verdict, Verdict::Problem);
        let advice = advice(&found);
        assert!(
            advice.contains("\"shop.example\" to ALLOWED_HOSTS"),
            "{advice}"
        );
    }
}

#[test]
fn a_fixed_host_is_the_one_to_add_and_the_forwarded_one_only_where_it_is_read() {
    let told = Told {
        sent: "inner:8000".to_owned(),
        ..told()
    };
    let found = host("x", &told, &answered(400, DJANGO_400), None);
    let advice = advice(&found);
    assert!(
        advice.contains("add \"inner\" to ALLOWED_HOSTS"),
        "{advice}"
    );
    assert!(advice.contains("USE_X_FORWARDED_HOST"), "{advice}");
}

#[test]
fn an_app_that_takes_its_own_name_alone_refuses_the_host() {
    let found = host("x", &told(), &answered(400, "no"), Some(&seen(200, "")));
    assert_eq!(found.verdict, Verdict::Problem);
    let found = host("x", &told(), &answered(404, "no"), Some(&seen(200, "")));
    assert_eq!(found.verdict, Verdict::Warning);
    assert!(advice(&found).contains("SERVER_NAME"));
}

#[test]
fn an_answer_that_does_not_depend_on_the_host_is_no_refusal_of_it() {
    for status in [200, 301, 401, 403, 404, 500] {
        let found = host("x", &told(), &answered(status, ""), Some(&seen(status, "")));
        assert_eq!(found.verdict, Verdict::Ok, "{status}");
    }
    let found = host(
        "x",
        &told(),
        &answered(400, "a parameter is missing"),
        Some(&seen(400, "")),
    );
    assert_eq!(found.verdict, Verdict::Warning);
}

#[test]
fn a_redirect_to_what_was_asked_for_is_a_circle() {
    let found = scheme("x", &told(), &[redirect(301, "https://shop.example/x")]);
    assert_eq!(found.verdict, Verdict::Problem);
    assert!(found.evidence.contains("circle"), "{}", found.evidence);
    assert!(advice(&found).contains("SECURE_PROXY_SSL_HEADER"));
}

#[test]
fn a_redirect_to_http_tells_that_the_app_believes_in_http() {
    let found = scheme("x", &told(), &[redirect(308, "http://shop.example/x/")]);
    assert_eq!(found.verdict, Verdict::Problem);
    assert!(advice(&found).contains("ProxyFix"));
    let page = answered(200, "<a href=\"http://shop.example/y\">");
    assert_eq!(scheme("x", &told(), &[page]).verdict, Verdict::Problem);
}

#[test]
fn redirects_that_stay_or_lead_elsewhere_are_well() {
    for to in [
        "/x/",
        "https://shop.example/x/",
        "http://other.example/x",
        "https://login.example/",
    ] {
        let found = scheme("x", &told(), &[redirect(302, to)]);
        assert_eq!(found.verdict, Verdict::Ok, "{to}");
    }
    let page = answered(200, "http://shop.example.evil/ http://www.shop.example/");
    assert_eq!(scheme("x", &told(), &[page]).verdict, Verdict::Ok);
}

#[test]
fn without_an_https_door_nothing_is_said_of_the_scheme() {
    let told = Told {
        https: false,
        ..told()
    };
    let found = scheme("x", &told, &[redirect(308, "http://shop.example/x/")]);
    assert_eq!(found.verdict, Verdict::Skipped);
}

#[test]
fn a_redirect_to_a_name_of_the_inside_is_worth_a_word() {
    let told = Told {
        sent: "127.0.0.1:8000".to_owned(),
        ..told()
    };
    let found = links("x", &told, &[redirect(308, "http://127.0.0.1:8000/x/")]);
    assert_eq!(found.verdict, Verdict::Warning);
    let found = links("x", &told, &[redirect(308, "http://shop.example/x/")]);
    assert_eq!(found.verdict, Verdict::Ok);
}

#[test]
fn frameworks_are_known_by_their_own_pages() {
    assert_eq!(Framework::of(&seen(400, DJANGO_400)), Framework::Django);
    let werkzeug = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n";
    assert_eq!(Framework::of(&seen(404, werkzeug)), Framework::Flask);
    assert_eq!(Framework::of(&seen(200, "hello")), Framework::Unknown);
}

#[test]
fn links_of_a_page_are_tried_without_their_last_slash() {
    let page = "<a href=\"/tickets/\"> <a href='/a/b/'> <a href=\"/tickets/\"> <a href=\"//evil/\"> \
                <a href=\"/x?y=/\"> <a href=\"/plain\"> <a href=\"https://e.example/z/\"> <a href=/u/>";
    assert_eq!(unslashed_links(&seen(200, page), 4), ["/tickets", "/a/b"]);
    assert_eq!(unslashed_links(&seen(200, page), 1), ["/tickets"]);
}

proptest! {
    #[test]
    fn whatever_a_page_holds_only_plain_paths_are_tried(body in "(href=[\"'].{0,20}[\"']|.{0,9}){0,20}") {
        for path in unslashed_links(&seen(200, &body), 4) {
            prop_assert!(path.starts_with('/') && !path.starts_with("//"), "{path:?}");
            prop_assert!(path.parse::<http::Uri>().is_ok(), "{path:?}");
        }
    }
}
