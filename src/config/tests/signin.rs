//! `[session]`, `[token_handler.NAME]` and `type = "gateway-session"`.

use std::time::Duration;

use super::*;
use crate::policy::route::Action;

/// A handler for the app, with more keys, and a reader of its sessions.
fn handler(more: &str) -> String {
    let reader = "[auth.more]\ntype = \"gateway-session\"\n";
    let keys = "upstream = \"app\"\nlogin = \"/api/token/\"\nauth = \"token\"\n";
    format!("{reader}[token_handler.app]\n{keys}{more}\n")
}

fn loaded(more: &str) -> Loaded {
    good(&format!("{GOOD}{}", handler(more)))
}

#[test]
fn a_handler_is_what_simplejwt_needs_by_default() {
    let loaded = loaded("refresh = \"/api/token/refresh/\"");
    let [handler] = loaded.settings.token_handlers.as_slice() else {
        panic!()
    };
    assert_eq!(handler.access.member(), "access");
    assert_eq!(handler.refresh_token.member(), "refresh");
    assert_eq!(handler.refresh_by, RefreshBy::Body);
    assert_eq!(handler.refresh_before, Duration::from_mins(1));
    assert!(!handler.keep_body && handler.logout.is_none());
    let sessions = loaded.settings.sessions.unwrap();
    let file = LedgerHome::File("./data/portcullis.db".into());
    assert_eq!(sessions.home, file);
    assert_eq!(&*sessions.cookie, "__Host-portcullis");
    assert_eq!(sessions.same_site, SameSite::Lax);
    assert_eq!(sessions.idle, Duration::from_hours(12));
    assert_eq!(sessions.lifetime, Duration::from_hours(31 * 24));
    let cookie = loaded.policy.session_cookie.unwrap();
    assert_eq!(&*cookie, "__Host-portcullis");
}

#[test]
fn the_routes_to_its_app_know_the_paths() {
    let loaded = loaded("logout = \"/api/token/blacklist/\"");
    for route in loaded.policy.routes.all() {
        let Action::Forward(forward) = &route.action else {
            continue;
        };
        let paths = forward.sign_in.as_ref().unwrap();
        assert_eq!(&*paths.login, "/api/token/");
        assert_eq!(paths.logout.as_deref(), Some("/api/token/blacklist/"));
    }
}

#[test]
fn an_app_with_flask_jwt_extended_wants_its_refresh_token_as_a_bearer_token() {
    let flask = jwt("preset = \"flask-jwt-extended\"\nsecret = { env = \"KEY\" }");
    let keys = "upstream = \"app\"\nlogin = \"/login\"\nrefresh = \"/refresh\"\nauth = \"more\"\n";
    let pointers = "access = \"/data/access_token\"\nrefresh_token = \"/data/a~1b\"\n";
    let text = format!("{GOOD}{flask}[token_handler.flask]\n{keys}{pointers}");
    let loaded = good(&text);
    let [handler] = loaded.settings.token_handlers.as_slice() else {
        panic!()
    };
    assert_eq!(handler.refresh_by, RefreshBy::Bearer);
    let access: Vec<&str> = handler.access.0.iter().map(|part| &**part).collect();
    assert_eq!(access, ["data", "access_token"]);
    assert_eq!(handler.refresh_token.member(), "a/b");
}

#[test]
fn sessions_may_be_kept_in_every_home() {
    let home = |store: &str| {
        let session = format!("[session]\nstore = \"{store}\"\n");
        let loaded = good(&format!("{GOOD}{session}{}", handler("")));
        loaded.settings.sessions.unwrap().home
    };
    assert_eq!(home("memory"), LedgerHome::Memory);
    assert!(matches!(
        home("redis://redis.example:6379/2"),
        LedgerHome::Redis(_)
    ));
    assert!(matches!(
        home("postgres://app@db.example/app"),
        LedgerHome::Postgres(_)
    ));
}

#[test]
fn what_may_be_revoked_needs_a_store_and_nothing_else_does() {
    let revocable = jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nrevocable = true");
    assert!(
        good(&format!("{GOOD}{revocable}"))
            .settings
            .sessions
            .is_some()
    );
    assert!(good(GOOD).settings.sessions.is_none());
    assert!(good(GOOD).policy.session_cookie.is_none());
}

#[test]
fn a_reader_names_one_of_several_handlers() {
    let other = "[token_handler.other]\nupstream = \"more\"\nlogin = \"/x\"\nauth = \"token\"\n";
    let text = format!("{}{}{other}", upstream(""), handler(""));
    let report = bad(&format!("{GOOD}{text}"));
    assert!(report.contains("auth.more.token_handler"), "{report}");
    assert!(report.contains("app, other"), "{report}");
    let none = authenticator("gateway-session", "");
    let report = bad(&format!("{GOOD}{none}"));
    assert!(report.contains("[token_handler.NAME]"), "{report}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    refused(
        &handler("refresh = ◆\"api/refresh\""),
        &["not a path of the app"],
    );
    refused(
        &handler("access = ◆\"access\""),
        &["not a place in the answer"],
    );
    refused(&handler("◆refresh_by = \"body\""), &["without `refresh`"]);
    refused(&handler("refresh_before = ◆\"2d\""), &["out of range"]);
    let api_key = authenticator("basic", "htpasswd = \"x\"");
    let wrong = "[token_handler.app]\nupstream = \"app\"\nlogin = \"/x\"\nauth = ◆\"more\"\n";
    refused(&format!("{api_key}{wrong}"), &["type jwt"]);
    let twice = "[token_handler.b]\n◆upstream = \"app\"\nlogin = \"/x\"\nauth = \"token\"\n";
    let report = bad(&format!("{GOOD}{}{}", handler(""), twice.replace('◆', "")));
    assert!(report.contains("one app has one"), "{report}");
    let session = |more: &str| format!("{}[session]\n{more}\n", handler(""));
    refused(
        &session("store = ◆\"mysql://app@db/app\""),
        &["not a store of sessions"],
    );
    refused(&session("cookie = ◆\"a b\""), &["not a name for a cookie"]);
    refused(&session("same_site = ◆\"some\""), &["strict"]);
}

#[test]
fn a_cookie_that_other_hosts_can_set_is_warned_of() {
    let session = "[session]\nstore = \"memory\"\ncookie = \"sid\"\n";
    let loaded = good(&format!("{GOOD}{session}{}", handler("")));
    let warned = loaded.warnings.iter().map(ToString::to_string);
    assert!(warned.into_iter().any(|one| one.contains("another host")));
}
