//! The app asked who is calling: what is sent along, and where the answer says it.

use std::time::Duration;

use super::*;

#[test]
fn an_endpoint_is_asked_with_the_callers_credential() {
    let forward =
        |more: &str| authenticator("forward", &format!("url = \"http://h:1/me?x=1\"\n{more}"));
    let AuthenticatorKind::Forward(by_body) = kind_of(&forward(
        "identity = { user = \"user.id\", roles = \"role\" }",
    )) else {
        panic!()
    };
    assert_eq!(by_body.url.as_str(), "http://h:1/me?x=1");
    assert_eq!(by_body.send, ["cookie", "authorization"]);
    assert_eq!(
        (by_body.cache, by_body.timeout),
        (Duration::from_secs(2), Duration::from_secs(2))
    );
    let ForwardIdentity::Body(map) = &by_body.identity else {
        panic!()
    };
    assert_eq!(
        (map.user.as_str(), &map.roles[..], &map.email),
        ("user.id", &["role".to_owned()][..], &None)
    );
    let AuthenticatorKind::Forward(by_headers) = kind_of(&forward(
        "send = [\"X-Session\"]\nidentity_headers = { user = \"X-User\", roles = \"X-Roles\" }",
    )) else {
        panic!()
    };
    assert_eq!(by_headers.send, ["x-session"]);
    assert!(
        matches!(&by_headers.identity, ForwardIdentity::Headers(names) if names.user == "x-user" && names.email.is_none())
    );
}

#[test]
fn an_endpoint_that_says_nobody_or_is_none_is_a_mistake() {
    let forward = |more: &str| authenticator("forward", more);
    refused(
        &forward("url = \"http://h/\"").replace("[auth.more]", "◆[auth.more]"),
        &[
            "`identity` and `identity_headers` is required",
            "identity = { user = \"id\" }",
        ],
    );
    refused(
        &forward("identity = { user = \"id\" }").replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.url"],
    );
    let whole = "url = \"http://h/\"\nidentity = { user = \"id\" }";
    for (keys, word) in [
        (
            format!("{whole}\n◆identity_headers = {{ user = \"X-User\" }}"),
            "only one of",
        ),
        (format!("{whole}\ntimeout = ◆\"31s\""), "\"1ms\" to \"30s\""),
        (format!("{whole}\nsend = ◆[]"), "about nobody"),
        (
            format!("{whole}\nsend = [◆\"X-Forwarded-For\"]"),
            "is no credential",
        ),
        (
            format!("{whole}\nsend = [\"cookie\", ◆\"Cookie\"]"),
            "twice",
        ),
        (
            format!("{whole}\nsend = ◆[\"X-Auth-User\"]"),
            "cannot sit in an identity header",
        ),
        (
            "url = \"http://h/\"\nidentity = ◆{ roles = \"role\" }".to_owned(),
            "identity.user",
        ),
        (
            "url = \"http://h/\"\nidentity_headers = ◆{ roles = \"X\" }".to_owned(),
            "identity_headers.user",
        ),
        (
            "identity = { user = \"id\" }\nurl = ◆\"http://u:hunter2@h/\"".to_owned(),
            "endpoint",
        ),
        (
            "identity = { user = \"id\" }\nurl = ◆\"unix:/run/x\"".to_owned(),
            "endpoint",
        ),
    ] {
        refused(&forward(&keys), &[word]);
        assert!(!bad(&format!("{GOOD}{}", forward(&keys).replace('◆', ""))).contains("hunter2"));
    }
}
