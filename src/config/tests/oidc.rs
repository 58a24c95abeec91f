//! `type = "oidc"`: sign-in at an OpenID provider, and the routes that it takes.

use std::time::Duration;

use super::*;
use crate::policy::route::Unauthenticated;
use crate::policy::sign_in::{HandlerId, ProviderStep};

const KEYS: &str = "issuer = \"https://id.example/realm\"\nclient_id = \"gate\"\nclient_secret = { env = \"KEY\" }";

/// A provider with more keys, and a route that takes it.
fn provider(keys: &str, route: &str) -> String {
    let table = authenticator("oidc", &format!("{KEYS}\n{keys}"));
    let path = "[[route]]\npath = \"/x/{*rest}\"\nupstream = \"app\"\nauth = [\"token\", \"more\"]";
    format!("{table}{path}\n{route}\n")
}

fn settings(keys: &str) -> Oidc {
    provider_of(&good(&format!("{GOOD}{}", provider(keys, ""))))
}

fn provider_of(loaded: &Loaded) -> Oidc {
    let mut all = loaded.settings.authenticators.iter();
    all.find_map(Authenticator::provider).unwrap().clone()
}

/// The steps of the sign-in, with the text of their hosts and paths.
fn doors(text: &str) -> Vec<(ProviderStep, String)> {
    let loaded = good(&format!("{GOOD}{text}"));
    let all = loaded.policy.routes.all();
    let doors = all.iter().filter_map(|route| {
        let door = route.action.provider()?;
        Some((door.step, route.label.to_string()))
    });
    doors.collect()
}

#[test]
fn a_provider_is_known_by_three_keys() {
    let oidc = settings("");
    assert_eq!(&*oidc.name, "auth.more");
    assert_eq!(oidc.handler, HandlerId(0));
    assert_eq!(&*oidc.issuer, "https://id.example/realm");
    assert_eq!(oidc.scopes, ["openid", "profile", "email"].map(Box::from));
    assert_eq!(oidc.identity.user, "sub");
    assert_eq!(oidc.forward_token, ForwardedToken::None);
    assert!(oidc.userinfo);
    assert_eq!(&*oidc.prefix, "/.portcullis/oidc/more");
    assert_eq!(&*oidc.after_logout, "/");
    assert_eq!(oidc.refresh_before, Duration::from_mins(1));
    assert_eq!(&*oidc.cookie, "__Host-portcullis");
    // Exactly the issuer and the client, and never a shared secret.
    assert_eq!(oidc.id_token.issuer, ["https://id.example/realm"]);
    assert_eq!(oidc.id_token.audience, ["gate"]);
    assert!(!oidc.id_token.algorithms.contains(&Algorithm::HS256));
    assert!(!format!("{oidc:?}").contains("0123456789"));
}

#[test]
fn openid_is_always_asked_for_and_once() {
    let scopes = settings("scopes = [\"groups\", \"openid\"]").scopes;
    assert_eq!(scopes, ["openid", "groups"].map(Box::from));
}

#[test]
fn it_stands_behind_the_token_handlers() {
    let handler = "[token_handler.app]\nupstream = \"app\"\nlogin = \"/in\"\nauth = \"token\"\n";
    let loaded = good(&format!("{GOOD}{handler}{}", provider("", "")));
    assert_eq!(provider_of(&loaded).handler, HandlerId(1));
    assert!(loaded.settings.sessions.is_some());
}

#[test]
fn its_paths_stand_where_its_routes_do() {
    let any = doors(&provider("", ""));
    let steps: Vec<_> = any.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, ProviderStep::ALL);
    assert_eq!(any[1].1, "GET /.portcullis/oidc/more/callback");
    let hosts = doors(&provider(
        "prefix = \"/oauth2\"",
        "hosts = [\"a.example\", \"*.b.example\"]",
    ));
    assert_eq!(hosts[2].1, "GET,POST a.example,*.b.example /oauth2/logout");
    assert_eq!(hosts.len(), 4);
}

#[test]
fn a_page_load_is_sent_there_unless_the_route_says_otherwise() {
    let of = |more: &str| {
        let loaded = good(&format!("{GOOD}{}", provider("", more)));
        loaded.policy.routes.all()[1].unauthenticated.clone()
    };
    assert_eq!(of(""), Unauthenticated::SignIn(HandlerId(0)));
    let own = of("unauthenticated = { redirect = \"/choose\" }");
    assert!(matches!(own, Unauthenticated::Redirect(_)));
}

#[test]
fn what_is_wrong_with_a_provider_is_said_at_its_place() {
    let of = |key: &str, value: &str| {
        let keys: Vec<_> = KEYS.lines().filter(|line| !line.starts_with(key)).collect();
        let keys = keys.join("\n");
        format!("[auth.more]\ntype = \"oidc\"\n{keys}\n{key} = ◆{value}\n")
    };
    for issuer in [
        "http://id.example",
        "https://id.example/?a=b",
        "https://user:word@id.example",
        "id.example",
    ] {
        refused(
            &of("issuer", &format!("\"{issuer}\"")),
            &["OpenID provider"],
        );
    }
    refused(&of("client_id", "\"é\""), &["client id"]);
    refused(&of("scopes", "[]"), &["must not be empty"]);
    refused(&of("forward_token", "\"acess\""), &["\"access\""]);
    for prefix in ["/", "/x/", "x", "/a/../b", "/{x}", "//x"] {
        refused(&of("prefix", &format!("\"{prefix}\"")), &["path"]);
    }
    for page in [
        "https://evil.example/",
        "//evil.example",
        "x",
        "/.portcullis/oidc/more/logout",
    ] {
        refused(
            &of("post_logout_redirect", &format!("\"{page}\"")),
            &["page of the host"],
        );
    }
    let lacks = bad(&format!("{GOOD}{}", authenticator("oidc", "")));
    for key in ["issuer", "client_id", "client_secret"] {
        assert!(lacks.contains(&format!("auth.more.{key}")), "{lacks}");
    }
}

#[test]
fn an_issuer_on_this_machine_may_do_without_tls() {
    let local = KEYS.replace("https://id.example/realm", "http://127.0.0.1:3000");
    let text = format!("{GOOD}{}", authenticator("oidc", &local));
    assert!(load_with(&text, &[]).is_ok());
}

#[test]
fn a_short_secret_is_warned_of() {
    let text = format!("{GOOD}{}", provider("", "").replace("\"KEY\"", "\"SHORT\""));
    let loaded = load_with(&text, &[("SHORT", "secret")]).unwrap();
    let warned = loaded
        .warnings
        .iter()
        .any(|problem| problem.to_string().contains("6 bytes"));
    assert!(warned, "{:?}", loaded.warnings);
}

#[test]
fn a_route_on_one_of_its_paths_is_a_conflict() {
    let own = "[[route]]\npath = \"/.portcullis/oidc/more/login\"\nupstream = \"app\"\nauth = \"public\"\nmethods = [\"GET\"]\n";
    let report = bad(&format!("{GOOD}{}{own}", provider("", "")));
    assert!(report.contains("sign-in of [auth.more]"), "{report}");
}
