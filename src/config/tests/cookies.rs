//! Repairs of the apps' cookies: what they become, and which no browser would take.

use std::time::Duration;

use super::*;

fn repairs(cookies: &str) -> Vec<CookieRepair> {
    let loaded = good(&format!(
        "{GOOD}{}",
        upstream(&format!("cookies = {cookies}"))
    ));
    loaded.settings.upstreams[1].cookies.clone()
}

#[test]
fn one_table_holds_for_every_cookie_and_a_list_by_name() {
    let every = repairs("{ secure = true, same_site = \"lax\", domain = \"\" }");
    let wanted = CookieRepair {
        secure: Some(true),
        same_site: Some(SameSite::Lax),
        domain: Some(Box::default()),
        ..CookieRepair::default()
    };
    assert_eq!(every, [wanted]);
    let listed = repairs(
        "[{ name = \"session\", http_only = true, max_age = \"31d\" }, { domain = \".Example.com\" }]",
    );
    assert_eq!(listed[0].name.as_deref(), Some("session"));
    assert_eq!(listed[0].max_age, Some(Duration::from_hours(31 * 24)));
    assert_eq!(
        (listed[1].name.as_deref(), listed[1].domain.as_deref()),
        (None, Some("example.com"))
    );
    assert_eq!(good(GOOD).settings.upstreams[0].cookies, []);
}

#[test]
fn a_repair_may_stand_in_the_environment() {
    let value = "{secure=true, http_only=true}";
    let loaded = load_with(GOOD, &[("PORTCULLIS_UPSTREAM__APP__COOKIES", value)]).unwrap();
    let [repair] = &loaded.settings.upstreams[0].cookies[..] else {
        panic!()
    };
    assert_eq!((repair.secure, repair.http_only), (Some(true), Some(true)));
}

#[test]
fn what_changes_nothing_or_no_browser_takes_is_a_mistake() {
    for (cookies, word) in [
        ("◆[]", "must not be empty"),
        ("◆{}", "changes nothing"),
        ("[◆{ name = \"a\" }]", "changes nothing"),
        ("{ secure = ◆\"yes\" }", "true or false"),
        ("{ same_site = ◆\"Lax\" }", "did you mean lax?"),
        ("{ ◆samesite = \"lax\" }", "did you mean same_site?"),
        ("{ max_age = ◆\"999ms\" }", "\"1s\" to \"400d\""),
        ("{ max_age = ◆\"401d\" }", "\"1s\" to \"400d\""),
        ("{ domain = ◆\"exa mple.com\" }", "not a domain"),
        ("{ domain = ◆\"127.0.0.1\" }", "not a domain"),
        ("{ domain = ◆\"a..b\" }", "not a domain"),
        (
            "{ name = ◆\"a=b\", secure = true }",
            "not a name for a cookie",
        ),
        (
            "◆{ same_site = \"none\", secure = false }",
            "secure = true alone",
        ),
        (
            "◆{ name = \"__Secure-a\", secure = false }",
            "secure = true alone",
        ),
        (
            "◆{ name = \"__Host-a\", domain = \"a.example\" }",
            "without a domain",
        ),
        (
            "[{ secure = true }, ◆{ name = \"a\", http_only = true }]",
            "never reached",
        ),
        (
            "[{ name = \"a\", secure = true }, ◆{ name = \"a\", http_only = true }]",
            "never reached",
        ),
    ] {
        refused(&upstream(&format!("cookies = {cookies}")), &[word]);
    }
}
