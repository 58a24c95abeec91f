//! `[rate_limit.NAME]`, and `rate_limit` of a route.

use super::*;
use crate::policy::limit::{LimitId, Per, RateLimit};

fn limit(more: &str) -> String {
    format!("[rate_limit.login]\n{more}\n")
}

fn compiled(more: &str) -> RateLimit {
    let loaded = good(&format!(
        "{GOOD}{}{}",
        limit(more),
        route("/x", "rate_limit = \"login\"")
    ));
    (*loaded.policy.limits[0]).clone()
}

#[test]
fn a_limit_is_compiled_with_its_defaults() {
    let whole = compiled("limit = \"10/m\"\nburst = 5\nper = \"user\"\nshared = false");
    assert_eq!(whole.to_string(), "10/m per user, 5 at once");
    let short = compiled("limit = \"600/h\"");
    assert_eq!(short.to_string(), "600/h per ip, 600 at once");
    assert_eq!(&*short.name, "login");
    let by_header = compiled("limit = \"10/s\"\nper = \"header:X-Api-Key\"");
    assert_eq!(by_header.per, Per::Header("x-api-key".parse().unwrap()));
}

#[test]
fn a_route_names_one_limit_or_several() {
    let text = format!(
        "{GOOD}[rate_limit.a]\nlimit = \"1/s\"\n[rate_limit.b]\nlimit = \"2/s\"\n{}{}",
        route("/one", "rate_limit = \"b\""),
        route("/two", "rate_limit = [\"b\", \"a\"]"),
    );
    let loaded = good(&text);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let limits: Vec<_> = (loaded.policy.routes.all().iter())
        .map(|route| route.limits.as_slice())
        .filter(|limits| !limits.is_empty())
        .collect();
    assert!(limits.contains(&&[LimitId(1)][..]));
    assert!(limits.contains(&&[LimitId(1), LimitId(0)][..]));
    assert_eq!(&*loaded.policy.limits[1].name, "b");
}

#[test]
fn a_limit_that_is_none_is_refused() {
    refused(
        "◆[rate_limit.login]\nburst = 5\n",
        &["rate_limit.login.limit", "is required"],
    );
    for wrong in ["10", "10/d", "-1/s", "ten/s", "10 per minute", "1.5/s"] {
        refused(
            &limit(&format!("limit = ◆\"{wrong}\"")),
            &["must be a rate", wrong, "\"600/m\""],
        );
    }
    refused(&limit("limit = ◆10"), &["must be a rate"]);
    for wrong in ["0/s", "1000001/s"] {
        refused(
            &limit(&format!("limit = ◆\"{wrong}\"")),
            &["out of range", "1 to 1000000"],
        );
    }
    for wrong in ["0", "1000001"] {
        refused(
            &limit(&format!("limit = \"1/s\"\nburst = ◆{wrong}")),
            &["out of range", "1 to 1000000"],
        );
    }
}

#[test]
fn what_cannot_be_counted_by_is_refused() {
    let per = |text: &str| limit(&format!("limit = \"1/s\"\nper = ◆\"{text}\""));
    refused(&per("users"), &["did you mean user?", "\"header:NAME\""]);
    refused(&per("cookie:sid"), &["is not something to count by"]);
    refused(&per("header:"), &["is not a header name"]);
    refused(&per("header:x y"), &["is not a header name"]);
    refused(&per("header:x_auth_user"), &["is not believed", "\"user\""]);
}

const SHARED: &str = "[rate_limit.login]\nlimit = \"1/s\"\nshared = ";

#[test]
fn a_shared_limit_is_counted_in_the_store_of_session_and_that_alone_makes_no_sessions() {
    for store in [
        "redis://r/1",
        "rediss://r",
        "postgres://p/d",
        "redis+cluster://a:1,b:2",
    ] {
        let route = route("/x", "rate_limit = \"login\"");
        let loaded = good(&format!(
            "{GOOD}[session]\nstore = \"{store}\"\n{SHARED}true\n{route}"
        ));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let limit = loaded.policy.limits[0].to_string();
        assert_eq!(limit, "1/s per ip, 1 at once, over all gateways");
        assert!(loaded.settings.counts.is_some() && loaded.settings.sessions.is_none());
    }
    let alone = good(&format!("{GOOD}{SHARED}false\n"));
    assert!(alone.settings.counts.is_none());
}

#[test]
fn a_shared_limit_in_a_store_that_others_do_not_see_is_refused_with_what_it_needs() {
    let wanted = |found| {
        [
            "rate_limit.login.shared",
            "in the store of [session], which other gateways do not see",
            found,
            "\"redis://…\"",
            "\"postgres://…\"",
            "`shared = false`: each gateway counts for itself",
        ]
    };
    refused(
        &format!("{SHARED}◆true\n"),
        &wanted("\"embedded\", a file of this gateway alone"),
    );
    refused(
        &format!("[session]\nstore = \"memory\"\n{SHARED}◆true\n"),
        &wanted("\"memory\", which this gateway has to itself"),
    );
    refused(&format!("{SHARED}◆\"yes\"\n"), &["must be"]);
}

#[test]
fn a_limit_that_is_not_there_is_told_with_the_nearest() {
    let with = |more: &str| format!("{}{}", limit("limit = \"1/s\""), route("/x", more));
    refused(
        &with("rate_limit = ◆\"logn\""),
        &["there is no [rate_limit.logn]", "did you mean login?"],
    );
    refused(
        &with("rate_limit = [\"login\", ◆\"api\"]"),
        &["route[1].rate_limit[1]", "there is no [rate_limit.api]"],
    );
    refused(&with("rate_limit = [\"login\", ◆\"login\"]"), &["twice"]);
    refused(&with("rate_limit = ◆[]"), &["must not be empty"]);
    refused(&with("rate_limit = ◆5"), &["must be a string"]);
    refused(
        &limit("limit = \"1/s\"\n◆brust = 5"),
        &["did you mean burst?"],
    );
}

#[test]
fn a_limit_that_no_route_names_is_told() {
    let loaded = good(&format!("{GOOD}{}", limit("limit = \"1/s\"")));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let told = "rate_limit.login: is not used by any route";
    assert!(
        warnings.iter().any(|one| one.contains(told)),
        "{warnings:?}"
    );
}

#[test]
fn a_limit_may_come_from_the_environment() {
    let text = format!("{GOOD}{}", route("/x", "rate_limit = \"login\""));
    let loaded = load_with(
        &text,
        &[
            ("PORTCULLIS_RATE_LIMIT__LOGIN__LIMIT", "10/m"),
            ("PORTCULLIS_RATE_LIMIT__LOGIN__BURST", "3"),
        ],
    );
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        loaded.policy.limits[0].to_string(),
        "10/m per ip, 3 at once"
    );
}
