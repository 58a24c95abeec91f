//! `[cors.NAME]`.

use super::*;
use http::HeaderValue;

fn cors(more: &str) -> String {
    format!("[cors.other]\n{more}\n")
}

#[test]
fn a_rule_without_good_origins_is_refused() {
    refused(
        "◆[cors.other]\ncredentials = true\n",
        &["origins", "is required"],
    );
    refused(&cors("origins = ◆[]"), &["must not be empty"]);
    refused(&cors("origins = [◆\"null\"]"), &["sandboxed"]);
    refused(
        &cors("origins = [◆\"https://a.example/\"]"),
        &["path", "without `/`"],
    );
    refused(&cors("origins = [◆\"a.example\"]"), &["no scheme"]);
    refused(
        &cors("origins = [◆\"https://a.*.example\"]"),
        &["whole labels"],
    );
}

#[test]
fn everyone_with_credentials_is_refused() {
    let text = cors("origins = ◆[\"*\"]\ncredentials = true");
    refused(&text, &["cannot go with `credentials = true`"]);
}

#[test]
fn a_rule_is_compiled_with_its_defaults() {
    let loaded = good(GOOD);
    let route = loaded.policy.routes.all().first().unwrap();
    let rule = route.cors.as_ref().unwrap();
    assert!(rule.allows(&HeaderValue::from_static("https://page.example.com")));
    assert!(!rule.allows(&HeaderValue::from_static("https://page.example.com.evil")));
}

#[test]
fn origins_may_come_from_the_environment() {
    let text = GOOD.replace(
        "origins = [\"https://page.example.com\"]",
        "origins = { env = \"ORIGINS\" }",
    );
    let loaded = load_with(
        &text,
        &[("ORIGINS", "https://a.example, https://b.example")],
    );
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    let route = loaded.policy.routes.all().first().unwrap();
    let rule = route.cors.as_ref().unwrap();
    assert!(rule.allows(&HeaderValue::from_static("https://b.example")));
}

#[test]
fn a_header_name_that_is_none_is_refused() {
    let text = cors("origins = [\"https://a.example\"]\nheaders = [◆\"x y\"]");
    refused(&text, &["is not a header name"]);
}
