//! What `init` writes, from findings made by hand and by chance; the code that reads it takes all of it.

use std::fs;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::config::{Environment, Loaded};
use crate::policy::requirement::Admission;

fn django(changes: &Value) -> Findings {
    let mut found = json!({
        "framework": "django", "version": "5.2.1", "python": "3.13.1", "settings": "shop.settings",
        "secret": { "env": "DJANGO_SECRET_KEY", "short": false },
        "fallbacks": [],
        "sessions": {
            "kind": "db", "cookie": "sessionid", "age": 1_209_600, "table": "django_session",
            "database": { "engine": "django.db.backends.postgresql", "kind": "postgres", "env": null,
                          "shown": "postgres://shop:PASSWORD@db:5432/shop" },
        },
        "users": {
            "model": "accounts.User", "table": "accounts_user", "groups": true, "flags": true,
            "columns": [{ "column": "role", "values": ["host", "technician"] }],
            "database": { "engine": "django.db.backends.postgresql", "kind": "postgres", "env": null,
                          "shown": "postgres://shop:PASSWORD@db:5432/shop" },
        },
        "tokens": {
            "algorithm": "HS256", "same_key": true, "secret": { "env": "DJANGO_SECRET_KEY" },
            "header_types": ["Bearer"], "header_name": "HTTP_AUTHORIZATION", "user_claim": "user_id",
            "user_field": "id", "by_primary_key": true, "type_claim": "token_type",
            "types": ["access"], "jti_claim": "jti", "leeway": 0, "checks_active": true,
        },
        "allowed_hosts": [".example.com"], "endpoints": [],
    });
    merge(&mut found, changes);
    serde_json::from_value(found).unwrap()
}

fn flask(changes: &Value) -> Findings {
    let mut found = json!({
        "framework": "flask", "version": "3.1.3", "python": "3.13.1",
        "secret": { "env": null, "short": false },
        "sessions": {
            "kind": "table", "cookie": "session", "lifetime": 2_678_400, "table": "sessions",
            "key_prefix": "session:", "signer": true,
            "store": { "env": null, "hidden": true, "shown": "postgres://tickets:PASSWORD@db:5432/tickets" },
        },
        "endpoints": [],
    });
    merge(&mut found, changes);
    serde_json::from_value(found).unwrap()
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

fn endpoint(path: &str, level: &str, accepts: &[&str]) -> Value {
    let kind = if level == "public" { "view" } else { "api" };
    json!({ "path": path, "level": level, "accepts": accepts, "kind": kind, "view": "api.views.x" })
}

fn sheet(findings: &Findings) -> Sheet {
    let asked = asked(django::UPSTREAM, Vec::new());
    accepted(findings, &asked, Path::new("gateway.toml")).unwrap()
}

fn load(sheet: &Sheet) -> Loaded {
    config::load_text(Path::new("gateway.toml"), &sheet.text(), &sheet.variables).unwrap()
}

/// How each path is admitted: the route that takes it, and its authenticators.
fn admitted(loaded: &Loaded, path: &str) -> (Admission, Vec<String>) {
    use crate::policy::path::CanonicalPath;
    let path = CanonicalPath::parse(path, false).unwrap();
    let route = loaded
        .policy
        .routes
        .find("localhost", &path, &http::Method::GET);
    let route = route.unwrap();
    let names = route.authenticators.iter();
    let names = names.map(|id| loaded.settings.authenticators[id.0].name.to_string());
    (route.requirement.admission, names.collect())
}

fn open() -> (Admission, Vec<String>) {
    (Admission::Public, Vec::new())
}

fn wants(names: &[&str]) -> (Admission, Vec<String>) {
    let names = names.iter().map(|name| (*name).to_owned());
    (Admission::Required, names.collect())
}

const BOTH: &[&str] = &["token", "session"];

#[test]
fn an_api_of_views_that_refuse_strangers_is_one_route_and_its_login_is_open() {
    let found = django(&json!({ "endpoints": [
        endpoint("/", "public", &[]),
        endpoint("/api/token/", "public", &[]).tap("kind", "login"),
        endpoint("/api/orders/", "required", BOTH),
        endpoint("/api/orders/{pk}/", "required", BOTH),
        endpoint("/api/me/", "required", BOTH),
        endpoint("/admin/login/", "public", &[]).tap("kind", "admin"),
        endpoint("/admin/", "public", &[]).tap("kind", "admin"),
    ]}));
    let sheet = sheet(&found);
    let loaded = load(&sheet);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    for path in ["/api/orders/", "/api/orders/7/", "/api/me", "/api/other"] {
        assert_eq!(admitted(&loaded, path), wants(BOTH), "{path}");
    }
    for path in ["/", "/api/token", "/api/token/", "/admin/login/", "/else"] {
        assert_eq!(admitted(&loaded, path), open(), "{path}");
    }
    let text = sheet.text();
    for line in [
        "[directory.app]",
        "roles      = [\"groups\", \"flags\", \"column:role\"]",
        "user_table = \"accounts_user\"",
        "directory = \"app\"",
        "#   DATABASE_URL   the app's database: postgres://shop:PASSWORD@db:5432/shop",
        "path     = \"/admin/{*rest}\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

trait Tap {
    fn tap(self, key: &str, value: &str) -> Value;
}

impl Tap for Value {
    fn tap(mut self, key: &str, value: &str) -> Value {
        self[key] = json!(value);
        self
    }
}

#[test]
fn where_few_views_refuse_strangers_only_those_want_a_caller() {
    let found = django(&json!({ "endpoints": [
        endpoint("/api/me/", "required", &["token"]),
        endpoint("/api/echo/", "public", &[]),
        endpoint("/api/echo/{*rest}", "public", &[]),
        endpoint("/api/upload/", "public", &[]),
    ]}));
    let loaded = load(&sheet(&found));
    assert_eq!(admitted(&loaded, "/api/me/"), wants(&["token"]));
    assert_eq!(admitted(&loaded, "/api/me"), wants(&["token"]));
    for path in ["/api/echo", "/api/echo/a/b", "/api/upload/", "/api/x"] {
        assert_eq!(admitted(&loaded, path), open(), "{path}");
    }
}

#[test]
fn an_address_that_two_views_share_asks_what_the_weaker_one_asks() {
    let found = django(&json!({ "endpoints": [
        endpoint("/api/a/{pk}/", "required", &["token"]),
        endpoint("/api/a/{slug}/", "optional", &["token"]),
        endpoint("/api/b/", "required", &["token"]),
        endpoint("/api/c/", "required", &["token"]),
    ]}));
    let loaded = load(&sheet(&found));
    let optional = (Admission::Optional, vec!["token".to_owned()]);
    assert_eq!(admitted(&loaded, "/api/a/7/"), optional);
    assert_eq!(admitted(&loaded, "/api/b/"), wants(&["token"]));
}

#[test]
fn a_page_that_a_part_takes_stays_open_beside_addresses_that_begin_like_it() {
    let found = django(&json!({ "endpoints": [
        endpoint("/x", "public", &[]),
        endpoint("/users/list/", "required", &["token"]),
        endpoint("/{page}/about/", "public", &[]),
        endpoint("/files/secret/", "required", &["token"]),
        endpoint("/files/{*path}", "public", &[]),
        endpoint("/own/{id}/", "required", &["token"]),
        endpoint("/own/help/", "public", &[]),
    ]}));
    let loaded = load(&sheet(&found));
    for path in ["/users/list/", "/users/list", "/files/secret/", "/own/7/"] {
        assert_eq!(admitted(&loaded, path), wants(&["token"]), "{path}");
    }
    for path in [
        "/x",
        "/users/about/",
        "/files/secret/a",
        "/files/b",
        "/own/help/",
    ] {
        assert_eq!(admitted(&loaded, path), open(), "{path}");
    }
}

#[test]
fn a_view_that_takes_a_credential_which_cannot_be_checked_stays_open() {
    for (accepts, changes) in [
        (&["token", "other:shop.KeyAuthentication"][..], json!({})),
        (
            BOTH,
            json!({ "sessions": { "kind": null, "why_not": "SESSION_ENGINE is the app's own" } }),
        ),
        (BOTH, json!({ "users": null })),
        (
            &["token"],
            json!({ "tokens": { "secret": { "short": true } } }),
        ),
        (&["token"], json!({ "tokens": { "header_types": ["JWT"] } })),
        (&["token"], json!({ "tokens": { "algorithm": "ES512" } })),
        (&["token-cookie"], json!({})),
    ] {
        let mut all = changes.clone();
        all["endpoints"] = json!([endpoint("/api/me/", "required", accepts)]);
        let loaded = load(&sheet(&django(&all)));
        assert_eq!(
            admitted(&loaded, "/api/me/"),
            open(),
            "{accepts:?} {changes}"
        );
    }
}

#[test]
fn a_table_that_the_configuration_refuses_is_a_comment_with_the_reason() {
    let cache = json!({ "location": { "shown": "redis://cache:6379/name" }, "version": 1, "key_prefix": "" });
    let found = django(&json!({
        "sessions": { "kind": "cache", "cache": cache },
        "endpoints": [endpoint("/api/me/", "required", BOTH)],
    }));
    let sheet = sheet(&found);
    let loaded = load(&sheet);
    assert_eq!(admitted(&loaded, "/api/me/"), open());
    let text = sheet.text();
    assert!(text.contains("# [auth.session]"), "{text}");
    assert!(text.contains("not a number"), "{text}");
}

#[test]
fn claims_of_ones_own_are_written_out() {
    let found = django(&json!({
        "tokens": { "type_claim": "kind", "jti_claim": null, "user_claim": "uid", "leeway": 10,
                    "audience": ["shop"], "same_key": false, "secret": { "env": null } },
        "endpoints": [endpoint("/api/me/", "required", &["token"])],
    }));
    let text = sheet(&found).text();
    for line in [
        "require    = { \"kind\" = \"access\" }",
        "identity   = { user = \"uid\" }",
        "leeway     = \"10s\"",
        "audience   = [\"shop\"]",
        "secret     = { env = \"SIMPLE_JWT_SIGNING_KEY\" }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("preset"), "{text}");
}

#[test]
fn tokens_that_the_app_takes_without_asking_for_the_user_get_no_directory() {
    for changes in [
        json!({ "stateless": true }),
        json!({ "checks_active": false }),
        json!({ "by_primary_key": false }),
    ] {
        let found = django(&json!({
            "tokens": changes,
            "endpoints": [endpoint("/api/me/", "required", &["token"])],
        }));
        let loaded = load(&sheet(&found));
        assert!(
            loaded.settings.authenticators[0].directory.is_none(),
            "{changes}"
        );
    }
}

#[test]
fn fallbacks_stand_behind_the_key_for_sessions_and_not_for_tokens() {
    let found = django(&json!({
        "fallbacks": [{ "env": "OLD_KEY" }, { "env": null }],
        "endpoints": [endpoint("/api/me/", "required", BOTH)],
    }));
    let text = sheet(&found).text();
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys = "secret = [ { env = \"DJANGO_SECRET_KEY\" }, { env = \"OLD_KEY\" }, \
                { env = \"DJANGO_SECRET_KEY_FALLBACK_2\" }, ]";
    assert!(flat.contains(keys), "{flat}");
    let token = flat
        .split("[auth.token]")
        .nth(1)
        .unwrap()
        .split("[auth.session]")
        .next()
        .unwrap();
    assert!(
        token.contains("secret = { env = \"DJANGO_SECRET_KEY\" }") && !token.contains("OLD_KEY"),
        "{token}"
    );
}

#[test]
fn every_origin_with_cookies_is_left_to_the_app_and_its_preflights_pass() {
    let me = endpoint("/api/me/", "required", &["token"]);
    let found = django(&json!({ "cors": { "any": true, "credentials": true }, "endpoints": [me] }));
    let sheet = sheet(&found);
    let loaded = load(&sheet);
    assert!(sheet.text().contains("# [cors.web]"));
    let routes = loaded.policy.routes.all();
    let passes = |route: &&std::sync::Arc<crate::policy::route::Route>| {
        route.methods.as_deref() == Some(&[http::Method::OPTIONS])
    };
    assert_eq!(routes.iter().filter(passes).count(), 1);
}

#[test]
fn an_origin_rule_is_taken_over_where_it_can_be_said() {
    let me = json!({ "path": "/api/me/", "level": "required", "accepts": ["token"], "kind": "api", "cors": true });
    let rule = json!({
        "origins": ["https://www.example.com", "null"], "regexes": [r"^https://\w+\.example\.org$"],
        "credentials": true, "headers": ["authorization", "x-csrftoken"], "expose": ["x-total"], "max_age": 86_400,
    });
    let found = django(&json!({ "cors": rule, "endpoints": [me] }));
    let text = sheet(&found).text();
    for line in [
        "origins     = [\"https://www.example.com\", \"https://*.example.org\"]",
        "max_age     = \"1d\"",
        "expose      = [\"x-total\", \"x-request-id\"]",
        "cors     = \"web\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let odd =
        json!({ "cors": { "regexes": [r"^https://(a|b)\.example\.org$"] }, "endpoints": [me] });
    assert!(sheet(&django(&odd)).text().contains("# [cors.web]"));
}

#[test]
fn a_rule_for_the_api_is_not_for_the_pages() {
    let at = |path: &str, cors: bool| json!({ "path": path, "level": "public", "accepts": [], "kind": "view", "cors": cors });
    let found = django(&json!({
        "cors": { "origins": ["https://www.example.com"], "credentials": true },
        "endpoints": [at("/", false), at("/api/health", true), at("/notes/", false)],
    }));
    let loaded = load(&sheet(&found));
    let routes = loaded.policy.routes.all().iter();
    let ruled = routes.filter(|route| route.cors.is_some());
    let ruled: Vec<_> = ruled.map(|route| route.label.to_string()).collect();
    assert_eq!(ruled, ["/api/{*rest}"]);
}

#[test]
fn flask_sessions_are_looked_at_and_nobody_is_refused() {
    let found = flask(&json!({ "endpoints": [
        endpoint("/tickets/{id}", "public", &[]),
        endpoint("/login", "public", &[]).tap("kind", "login"),
    ]}));
    let sheet = sheet(&found);
    let loaded = load(&sheet);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(admitted(&loaded, "/login"), open());
    assert_eq!(admitted(&loaded, "/tickets/7"), wants(&["session"]));
    let watched = loaded
        .policy
        .routes
        .all()
        .iter()
        .filter(|route| route.requirement.observe);
    assert_eq!(watched.count(), 1);
    let text = sheet.text();
    assert!(text.contains("signer = true"), "{text}");
    assert!(
        text.contains("store  = { env = \"DATABASE_URL\" }"),
        "{text}"
    );
}

#[test]
fn what_the_apps_own_settings_say_of_a_sessions_user_is_taken_over() {
    let found = django(&json!({ "sessions": {
        "kind": "file", "path": "/srv/sessions", "age": 3_600, "legacy_sha1": true,
        "authentication_backends": ["shop.auth.LdapBackend", "django.contrib.auth.backends.ModelBackend"],
    }}));
    let text = sheet(&found).text();
    for line in [
        "backend                 = \"file\"",
        "path                    = \"/srv/sessions\"",
        "lifetime                = \"1h\"",
        "\"shop.auth.LdapBackend\"",
        "legacy_sha1             = true",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    let store = json!({ "env": null, "hidden": false, "shown": "file:///srv/sessions" });
    let found = flask(&json!({
        "login": true, "protection": "strong", "remember_cookie": "remember_token",
        "sessions": { "kind": "files", "store": store, "file_names": "md5", "signer": false },
    }));
    let text = sheet(&found).text();
    for line in [
        "store              = \"file:///srv/sessions\"",
        "file_names         = \"md5\"",
        "session_protection = \"strong\"",
        "`remember_cookie = \"remember_token\"`",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn a_token_in_a_cookie_keeps_its_double_submit_and_needs_no_second_rule() {
    let tokens = json!({
        "algorithms": ["HS256"], "same_key": true, "secret": { "env": "KEY" }, "locations": ["headers", "cookies"],
        "header_name": "Authorization", "header_type": "Bearer", "cookie": "access_token_cookie", "query": "jwt",
        "csrf": true, "csrf_usual": true, "user_claim": "sub",
    });
    let me = endpoint("/me", "required", &["token"]);
    let text = sheet(&flask(&json!({ "tokens": tokens, "endpoints": [me] }))).text();
    assert!(
        text.contains("preset = \"flask-jwt-extended\"") && text.contains("csrf     = false"),
        "{text}"
    );
    let changes = json!({ "tokens": tokens, "endpoints": [me] });
    let mut changes = changes;
    changes["tokens"]["csrf"] = json!(false);
    let text = sheet(&flask(&changes)).text();
    assert!(
        !text.contains("preset") && !text.contains("csrf     = false"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_there_is_not_written_over_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let run = |force: bool| {
        let options = Options {
            django: None,
            flask: None,
            python: None,
            upstream: Some("http://127.0.0.1:9000".to_owned()),
            hosts: Vec::new(),
            output: file.clone(),
            force,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&options, &mut out, &mut err);
        (code, String::from_utf8([out, err].concat()).unwrap())
    };
    let (code, said) = run(false);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    assert!(
        said.contains("export DJANGO_SECRET_KEY") && said.contains("portcullis check"),
        "{said}"
    );
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("\"http://127.0.0.1:9000\"")
    );
    fs::write(&file, "mine").unwrap();
    let (code, said) = run(false);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(run(true).0, ExitCode::SUCCESS);
}

// ---- by chance ----

/// Text as an app might have it, and as it should not.
fn text() -> impl Strategy<Value = String> {
    const ODD: &[&str] = &[
        "",
        "x",
        "role",
        "auth_user",
        "a.b",
        "\"",
        "\\",
        "a\nb",
        "]",
        "# x",
        "{ env = 1 }",
        "\u{7f}",
        "\u{85}",
        "sessionid",
        "é",
        "HTTP_X",
        "null",
        "*",
        "https://a.example.com",
        "redis://h:1/2",
        "postgres://u:PASSWORD@h:5432/n",
        "sqlite:////tmp/a b?c#d.db",
        "/static/",
        "/%2e%2e/x",
        "UTC",
        "Asia/Tehran",
        "'''",
        "\u{202e}",
        "redis+unix:///run/r.sock?db=1",
        "x-y",
        "www.example.com",
    ];
    prop_oneof![4 => select(ODD).prop_map(str::to_owned), 1 => any::<String>()]
}

fn words(known: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => select(known).prop_map(|word| json!(word)),
        1 => text().prop_map(|word| json!(word)),
    ]
}

fn maybe(strategy: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![4 => strategy.boxed(), 1 => Just(Value::Null).boxed()]
}

fn texts() -> impl Strategy<Value = Value> {
    prop::collection::vec(text(), 0..4).prop_map(|list| json!(list))
}

fn path() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "api",
        "v1",
        "{id}",
        "{pk}",
        "{rest}",
        "{*rest}",
        "{*x}",
        "users",
        "%61pi",
        "caf%C3%A9",
        "é",
        "..",
        "",
        "a;b",
        "{}",
        "{a}{b}",
        "x{y}",
        "%2f",
        "login",
        "{a b}",
        "%zz",
    ];
    let parts = prop_oneof![12 => select(PARTS).prop_map(str::to_owned), 1 => text()];
    (prop::collection::vec(parts, 0..5), any::<bool>())
        .prop_map(|(parts, slash)| format!("/{}{}", parts.join("/"), if slash { "/" } else { "" }))
}

fn endpoints() -> impl Strategy<Value = Value> {
    const ACCEPTS: &[&str] = &[
        "token",
        "session",
        "session-without-csrf",
        "token-cookie",
        "token-stateless",
        "other:x",
    ];
    let accepts = prop::collection::vec(select(ACCEPTS), 0..3);
    let level = select(&["public", "optional", "required", "required"][..]);
    let kind = select(&["view", "api", "page", "login", "admin", "static"][..]);
    let one = (path(), level, accepts, kind, text(), any::<bool>());
    let one = one.prop_map(|(path, level, accepts, kind, text, cors)| {
        json!({ "path": path, "level": level, "accepts": accepts, "kind": kind, "view": text, "why": text, "cors": cors })
    });
    prop::collection::vec(one, 0..12).prop_map(|list| json!(list))
}

fn secret_found() -> impl Strategy<Value = Value> {
    (maybe(text().prop_map(|env| json!(env))), any::<bool>())
        .prop_map(|(env, short)| json!({ "env": env, "short": short }))
}

fn location() -> impl Strategy<Value = Value> {
    let shown = words(&[
        "redis://h:6379/0",
        "postgres://u:PASSWORD@h:5432/n",
        "sqlite:////srv/a.db",
    ]);
    (
        maybe(text().prop_map(|env| json!(env))),
        shown,
        any::<bool>(),
    )
        .prop_map(|(env, shown, hidden)| json!({ "env": env, "shown": shown, "hidden": hidden }))
}

fn database() -> impl Strategy<Value = Value> {
    let kind = maybe(words(&["postgres", "mysql", "sqlite"]));
    let zone = maybe(words(&["UTC", "Asia/Tehran"]));
    (location(), kind, zone).prop_map(|(mut location, kind, zone)| {
        location["kind"] = kind;
        location["time_zone"] = zone;
        location
    })
}

fn cross_origin() -> impl Strategy<Value = Value> {
    let origins = prop::collection::vec(
        words(&["https://a.example.com", "http://localhost:3000"]),
        0..3,
    );
    let lists = (origins, texts(), texts(), texts(), maybe(texts()));
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<Option<u64>>(),
    );
    let env = maybe(text().prop_map(|env| json!(env)));
    (lists, flags, env).prop_map(|((origins, regexes, headers, expose, methods), flags, env)| {
        let (any, credentials, any_header, age) = flags;
        json!({ "any": any, "credentials": credentials, "any_header": any_header, "max_age": age,
                "origins": origins, "regexes": regexes, "headers": headers, "expose": expose,
                "methods": methods, "origins_env": env, "private_network": any_header })
    })
}

fn some_django() -> impl Strategy<Value = Findings> {
    let sessions = (
        maybe(words(&[
            "db",
            "cached_db",
            "cache",
            "file",
            "signed_cookies",
        ])),
        words(&["sessionid"]),
        words(&["django_session"]),
        database(),
        location(),
        text(),
        any::<i64>(),
        any::<Option<u64>>(),
        (maybe(words(&["/srv/sessions"])), texts(), any::<bool>()),
    );
    let sessions = sessions.prop_map(|(kind, cookie, table, database, location, prefix, version, age, rest)| {
        let (path, backends, legacy) = rest;
        json!({ "kind": kind, "cookie": cookie, "table": table, "database": database, "age": age,
                "path": path, "authentication_backends": backends, "legacy_sha1": legacy,
                "cache": { "location": location, "key_prefix": prefix, "version": version } })
    });
    let users = (
        words(&["auth_user"]),
        database(),
        words(&["role"]),
        any::<bool>(),
        text(),
    );
    let users = users.prop_map(|(table, database, column, groups, value)| {
        json!({ "model": value, "table": table, "database": database, "groups": groups, "flags": groups,
                "columns": [{ "column": column, "values": [value] }] })
    });
    let tokens = (
        words(&["HS256", "RS256"]),
        secret_found(),
        maybe(location()),
        words(&["user_id"]),
        maybe(words(&["token_type"])),
        maybe(words(&["jti"])),
        texts(),
        any::<u64>(),
        maybe(text().prop_map(|claim| json!(claim))),
        any::<[bool; 3]>(),
    );
    let tokens = tokens.prop_map(|(algorithm, secret, url, user, kind, jti, list, leeway, claim, flags)| {
        json!({ "algorithm": algorithm, "secret": secret, "jwk_url": url, "user_claim": user, "type_claim": kind,
                "jti_claim": jti, "audience": list, "issuer": list, "leeway": leeway, "revoke_claim": claim,
                "cookie": claim, "header_types": ["Bearer"], "header_name": "HTTP_AUTHORIZATION",
                "types": ["access"], "same_key": flags[0], "by_primary_key": flags[1], "checks_active": flags[2] })
    });
    let around = (
        texts(),
        maybe(text().prop_map(|text| json!(text))),
        maybe(texts()),
        any::<bool>(),
    );
    let whole = (
        secret_found(),
        prop::collection::vec(secret_found(), 0..3),
        maybe(sessions),
        maybe(users),
        maybe(tokens),
        maybe(cross_origin()),
        endpoints(),
        around,
    );
    whole.prop_map(|(secret, fallbacks, sessions, users, tokens, cors, endpoints, around)| {
        let (list, word, sockets, flag) = around;
        django(&json!({ "secret": secret, "fallbacks": fallbacks, "sessions": null, "users": null, "tokens": null,
            "cors": cors, "endpoints": endpoints, "allowed_hosts": list, "trusted_origins": list, "static_url": word,
            "static_root": word, "media_url": word, "login_url": word, "websockets": sockets, "time_zone": word,
            "settings": word.as_str().unwrap_or("x"), "proxy_header": word, "truncated": flag, "cors_elsewhere": flag,
        }).with("sessions", sessions).with("users", users).with("tokens", tokens))
    })
}

const LOCATIONS: &[&str] = &["headers", "cookies", "query_string", "json"];

fn some_flask() -> impl Strategy<Value = Findings> {
    let sessions = (
        maybe(words(&["cookie", "redis", "table", "files"])),
        words(&["session"]),
        maybe(words(&["sessions"])),
        maybe(location()),
        words(&["session:"]),
        any::<Option<u64>>(),
        any::<bool>(),
        maybe(words(&["sha256", "md5"])),
    );
    let sessions = sessions.prop_map(|(kind, cookie, table, store, prefix, lifetime, signer, names)| {
        json!({ "kind": kind, "cookie": cookie, "table": table, "store": store, "key_prefix": prefix,
                "lifetime": lifetime, "signer": signer, "file_names": names })
    });
    let tokens = (
        prop::collection::vec(words(&["HS256", "ES256"]), 0..3),
        secret_found(),
        prop::collection::vec(select(LOCATIONS), 0..3),
        words(&["access_token_cookie"]),
        words(&["jwt"]),
        words(&["sub"]),
        texts(),
        any::<u64>(),
        any::<[bool; 3]>(),
    );
    let tokens = tokens.prop_map(|(algorithms, secret, locations, cookie, query, user, list, leeway, flags)| {
        json!({ "algorithms": algorithms, "secret": secret, "locations": locations, "cookie": cookie, "query": query,
                "user_claim": user, "audience": list, "issuer": list, "leeway": leeway, "csrf": flags[0],
                "csrf_usual": flags[1], "same_key": flags[2], "header_name": "Authorization", "header_type": "Bearer" })
    });
    let whole = (
        maybe(secret_found()),
        maybe(sessions),
        maybe(tokens),
        maybe(cross_origin()),
        endpoints(),
        any::<[bool; 3]>(),
        0_usize..3,
        maybe(text().prop_map(|text| json!(text))),
    );
    whole.prop_map(|(secret, sessions, tokens, cors, endpoints, flags, rules, word)| {
        flask(&json!({ "secret": null, "sessions": null, "tokens": null, "cors": cors, "endpoints": endpoints,
            "login": flags[0], "proxy_fix": flags[1], "cors_elsewhere": flags[2], "cors_rules": rules, "login_view": word,
            "protection": if flags[1] { "strong" } else { "basic" }, "remember_cookie": word,
        }).with("secret", secret).with("sessions", sessions).with("tokens", tokens))
    })
}

trait With {
    fn with(self, key: &str, value: Value) -> Value;
}

impl With for Value {
    fn with(mut self, key: &str, value: Value) -> Value {
        self[key] = value;
        self
    }
}

fn check_all(findings: &Findings) -> Result<(), TestCaseError> {
    let asked = asked(django::UPSTREAM, vec!["www.example.com".to_owned()]);
    let sheet = match accepted(findings, &asked, Path::new("gateway.toml")) {
        Ok(sheet) => sheet,
        Err(report) => {
            let text = match findings {
                Findings::Django(found) => django::sheet(found, &asked, &Refused::default()).text(),
                Findings::Flask(found) => flask::sheet(found, &asked, &Refused::default()).text(),
            };
            return Err(TestCaseError::fail(format!("{report}\n{text}")));
        }
    };
    let unused = |warning: &config::Problem| warning.message.contains("not used");
    let loaded = load(&sheet);
    prop_assert!(!loaded.warnings.iter().any(unused), "{:?}", loaded.warnings);
    for variable in sheet.variables.all() {
        prop_assert!(sheet.variables.variable(&variable.name).is_some());
    }
    let endpoints = match findings {
        Findings::Django(found) => &found.endpoints,
        Findings::Flask(found) => &found.endpoints,
    };
    for one in endpoints {
        no_stranger_is_shut_out(&loaded, one, endpoints)?;
    }
    Ok(())
}

/// Where every view that may have an address is open, so is the route that takes it.
fn no_stranger_is_shut_out(
    loaded: &Loaded,
    one: &findings::Endpoint,
    all: &[findings::Endpoint],
) -> Result<(), TestCaseError> {
    use crate::policy::path::{CanonicalPath, PathPattern};
    // What takes every address of an app casts no shadow, as the planner says.
    if one.level != findings::Level::Public || one.path.starts_with("/{*") {
        return Ok(());
    }
    for word in ["zz", "api", "users", "v1", "login"] {
        let text = one
            .path
            .replace("{*rest}", "zz/users")
            .replace("{*x}", "users/zz");
        let text = ["{id}", "{pk}", "{rest}"]
            .iter()
            .fold(text, |text, part| text.replace(part, word));
        let Ok(path) = CanonicalPath::parse(&text, false) else {
            continue;
        };
        let other = format!("{}/", text.trim_end_matches('/'));
        let other = CanonicalPath::parse(&other, false).unwrap();
        let bare = text.trim_end_matches('/');
        let bare = CanonicalPath::parse(if bare.is_empty() { "/" } else { bare }, false).unwrap();
        let mut takers = all
            .iter()
            .filter(|one| one.level != findings::Level::Public);
        let is_shared = takers.any(|taker| match PathPattern::parse(&taker.path) {
            Ok(pattern) => [&path, &other, &bare]
                .iter()
                .any(|path| pattern.matches(path)),
            // Widened: it may take anything that begins like it.
            Err(_) => true,
        });
        if is_shared {
            continue;
        }
        let route = loaded
            .policy
            .routes
            .find("www.example.com", &path, &http::Method::GET);
        let Ok(route) = route else {
            return Err(TestCaseError::fail(format!("no route for {text}")));
        };
        let refuses =
            route.requirement.admission == Admission::Required && !route.requirement.observe;
        prop_assert!(!refuses, "{text} of {} is behind {}", one.path, route.label);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_file_of_a_django_app_loads_and_shuts_nobody_out(found in some_django()) {
        check_all(&found)?;
    }

    #[test]
    fn every_file_of_a_flask_app_loads_and_shuts_nobody_out(found in some_flask()) {
        check_all(&found)?;
    }

    #[test]
    fn a_quoted_string_is_read_back(text in any::<String>()) {
        let document = format!("a = {}", sheet::quote(&text)).parse::<toml_edit::DocumentMut>();
        let read = document.unwrap()["a"].as_str().unwrap().to_owned();
        prop_assert_eq!(read, text.chars().take(2000).collect::<String>());
    }
}
