//! Whole files, good and bad: what `load` makes of them and what it says.

use std::collections::BTreeMap;

use super::settings::*;
use super::*;

/// A file without a mistake.
const GOOD: &str = r#"
[tls]
development = true

[upstream.app]
servers = ["http://127.0.0.1:8000"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "KEY" }

[cors.web]
origins = ["https://page.example.com"]
credentials = true

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["staff"]
cors = "web"
"#;

fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let key = ("KEY", "0123456789abcdefghijklmnopqrstuvwxyz");
    [key]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_with(text: &str, more: &[(&str, &str)]) -> Result<Loaded, Report> {
    load_text(Path::new("gateway.toml"), text, &environment(more))
}

fn good(text: &str) -> Loaded {
    load_with(text, &[]).unwrap_or_else(|report| panic!("{report}"))
}

fn bad(text: &str) -> String {
    load_with(text, &[]).map_or_else(|report| report.to_string(), |_| panic!("was loaded"))
}

#[test]
fn a_file_without_a_mistake_becomes_policy_and_settings() {
    let loaded = good(GOOD);
    assert_eq!(loaded.warnings, []);
    let [upstream] = &loaded.settings.upstreams[..] else {
        panic!("{:?}", loaded.settings.upstreams)
    };
    assert_eq!(upstream.connections, 256);
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(jwt.algorithms, [Algorithm::HS256]);
    assert_eq!(jwt.identity.user, "user_id");
}

/// Loads `GOOD` with `more` behind it. `◆` in `more` marks where the mistake stands; the report
/// must name that line and column, and every one of `words`.
#[track_caller]
fn refused(more: &str, words: &[&str]) {
    let marked = format!("{GOOD}{more}");
    let before = marked.split('◆').next().unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let report = bad(&marked.replace('◆', ""));
    let place = format!("gateway.toml:{line}:{column}: ");
    assert!(report.contains(&place), "{place} is not in:\n{report}");
    for word in words {
        assert!(report.contains(word), "{word} is not in:\n{report}");
    }
}

/// A route that goes to the app, with more keys.
fn route(path: &str, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\nauth = [\"token\"]\n{more}\n")
}

/// An authenticator for tokens, with more keys.
fn jwt(more: &str) -> String {
    format!("[auth.more]\ntype = \"jwt\"\n{more}\n")
}

/// An upstream, with more keys.
fn upstream(more: &str) -> String {
    format!("[upstream.more]\nservers = [\"http://127.0.0.1:1\"]\n{more}\n")
}

#[test]
fn an_unknown_key_is_told_with_its_place_what_is_allowed_and_the_nearest() {
    refused(
        "[server]\n◆htps = \"0.0.0.0:1\"",
        &[
            "server.htps",
            "\"htps\"",
            "allowed: https, http, plain",
            "did you mean https?",
        ],
    );
    refused(
        "[◆sever]",
        &["sever: is not a key of this file", "did you mean server?"],
    );
    refused(
        &route("/x", "◆role = [\"a\"]"),
        &["route[1].role", "did you mean roles?"],
    );
    refused(
        &jwt("◆algorithm = \"HS256\""),
        &["auth.more.algorithm", "did you mean algorithms?"],
    );
    refused(
        &upstream("timeouts = { ◆conect = \"1s\" }"),
        &["upstream.more.timeouts.conect", "connect"],
    );
    refused(
        "[[expect]]\nrequest = \"GET https://a.example/\"\nanswer = { ◆stauts = 403 }",
        &["expect[0].answer.stauts", "did you mean status?"],
    );
}

#[test]
fn a_wrong_type_names_what_was_found_and_what_is_expected() {
    refused(
        "[server]\nworkers = ◆\"four\"",
        &["must be a whole number, not a string", "\"four\""],
    );
    refused("[server]\nworkers = ◆-1", &["must not be negative", "-1"]);
    refused(
        "[server]\nmerge_slashes = ◆\"yes\"",
        &["must be true or false", "\"yes\""],
    );
    refused(
        "[server]\nhttps = ◆true",
        &["must be a string, not a boolean"],
    );
    refused(
        "[server]\ntimeouts = ◆3",
        &["must be a table, not a whole number"],
    );
    refused(
        "[server.timeouts]\ndrain = ◆30",
        &["must be a duration", "30", "\"30s\""],
    );
    refused(
        "[server.limits]\nbody = ◆\"10MB\"",
        &["must be a size", "\"10MB\"", "MiB"],
    );
    refused(
        &route("/x", "roles = ◆\"staff\""),
        &["must be a list of strings", "\"staff\""],
    );
    refused(
        &route("/x", "claims = { level = ◆{ a = 1 } }"),
        &["route[1].claims.level"],
    );
    refused(
        "[server]\nrequest_id = ◆2026-01-02",
        &["must not be a date"],
    );
    refused("[log]\nlevel = ◆\"loud\"", &["\"loud\"", "\"info\""]);
    refused("[log]\nlevel = ◆\"wran\"", &["did you mean warn?"]);
}

#[test]
fn what_comes_later_is_not_unknown_but_not_in_this_version() {
    let later = &["not in this version of Portcullis"];
    for table in [
        "directory.a",
        "session",
        "token_handler.a",
        "rate_limit.a",
        "tracing",
    ] {
        let (name, rest) = table
            .split_once('.')
            .map_or((table, ""), |(name, _)| (name, ".a"));
        refused(&format!("[◆{name}{rest}]\nanything = 1"), later);
    }
    refused("[tls.◆acme]\ndomains = [\"a\"]", later);
    for key in [
        "health = { path = \"/\" }",
        "eject = { failures = 5 }",
        "cookies = { secure = true }",
    ] {
        refused(&upstream(&format!("◆{key}")), later);
    }
    for kind in [
        "django-session",
        "flask-session",
        "flask-cookie",
        "forward",
        "gateway-session",
        "oidc",
    ] {
        refused(
            &format!("[auth.more]\ntype = ◆\"{kind}\"\ncookie = \"x\""),
            later,
        );
    }
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\n◆directory = \"a\""),
        later,
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\n◆revocable = true"),
        later,
    );
    refused(&route("/x", "◆rate_limit = \"login\""), later);
    refused(&route("/x", "websocket = { refuse = ◆\"close\" }"), later);
    refused(&route("/x", "websocket = { refuse = ◆\"auto\" }"), later);
    // A misspelt one is led there too.
    refused(&upstream("◆helth = 1"), &["did you mean health?"]);
}

#[test]
fn a_dangling_name_is_told_with_the_nearest() {
    refused(
        "[[route]]\npath = \"/x\"\nauth = \"public\"\nupstream = ◆\"ap\"",
        &[
            "there is no [upstream.ap]",
            "allowed: app",
            "did you mean app?",
        ],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = [◆\"tokn\"]",
        &["there is no [auth.tokn]", "did you mean token?"],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = { optional = [◆\"tokn\"] }",
        &["route[1].auth.optional[0]", "did you mean token?"],
    );
    refused(
        &route("/x", "cors = ◆\"wbe\""),
        &["there is no [cors.wbe]", "did you mean web?"],
    );
    refused(
        "[[expect]]\nrequest = \"GET https://a.example/\"\nanswer = { forward = ◆\"aps\" }",
        &["there is no [upstream.aps]"],
    );
}

#[test]
fn every_route_says_who_may_use_it_and_what_it_does() {
    refused(
        "◆[[route]]\npath = \"/x\"\nupstream = \"app\"",
        &["route[1].auth", "is required", "\"public\""],
    );
    refused(
        "◆[[route]]\npath = \"/x\"\nauth = \"public\"",
        &["`upstream`, `respond`, `redirect` and `files`"],
    );
    refused(
        "◆[[route]]\nupstream = \"app\"\nauth = \"public\"",
        &["route[1].path", "is required"],
    );
    refused(
        &route("/x", "respond = ◆{ status = 200 }"),
        &["cannot stand beside `upstream`"],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = ◆[]",
        &["must not be empty"],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = ◆\"none\"",
        &["\"none\"", "\"public\""],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = ◆\"token\"",
        &["did you mean [\"token\"]?"],
    );
    refused(
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nauth = ◆true",
        &["must be \"public\", a list"],
    );
    assert!(bad("").contains("route: at least one is required"));
}

#[test]
fn conditions_on_a_caller_need_one() {
    for more in [
        "roles = ◆[\"a\"]",
        "roles = { none = ◆[\"a\"] }",
        "users = ◆[\"7\"]",
        "claims = { city = ◆\"x\" }",
    ] {
        let head = "[[route]]\npath = \"/x\"\nupstream = \"app\"\n";
        refused(
            &format!("{head}auth = \"public\"\n{more}"),
            &["route that is public"],
        );
        refused(
            &format!("{head}auth = {{ optional = [\"token\"] }}\n{more}"),
            &["who is anonymous passes"],
        );
    }
    refused(&route("/x", "roles = ◆[]"), &["must not be empty"]);
    refused(&route("/x", "users = ◆[]"), &["must not be empty"]);
    refused(
        &route("/x", "claims = { level = ◆[] }"),
        &["must not be empty"],
    );
    refused(&route("/x", "roles = [\"a\", ◆\"a\"]"), &["twice"]);
}

#[test]
fn two_routes_that_match_the_same_requests_are_told_with_both_places() {
    refused(
        "[[route]]\nupstream = \"app\"\nauth = \"public\"\npath = ◆\"/api/{*other}\"",
        &[
            "route[1].path",
            "matches the same requests as route[0] at gateway.toml:17:1",
            "/api/{*other}",
        ],
    );
}

#[test]
fn paths_hosts_and_methods_that_no_request_could_match_are_refused() {
    let refused_key = |key: &str, words: &[&str]| {
        refused(
            &format!("[[route]]\nupstream = \"app\"\nauth = \"public\"\npath = \"/x\"\n{key}"),
            words,
        );
    };
    let path = |path: &str, words: &[&str]| {
        refused(
            &format!("[[route]]\nupstream = \"app\"\nauth = \"public\"\npath = ◆\"{path}\""),
            words,
        );
    };
    path("api", &["must begin with `/`"]);
    path("/a/../b", &[".."]);
    path("/a/%2e%2e/b", &["route[1].path"]);
    path("/a//b", &["route[1].path"]);
    path("/a/{*rest}/b", &["must be the last"]);
    path("/a/x{id}", &["braces"]);
    refused_key("hosts = [◆\"https://a.example\"]", &["only its host"]);
    refused_key("hosts = [◆\"a.*.example\"]", &["*"]);
    refused_key("hosts = [\"a.example\", ◆\"A.example\"]", &["twice"]);
    refused_key("hosts = ◆[]", &["must not be empty"]);
    refused_key("methods = [◆\"get\"]", &["did you mean GET?"]);
    refused_key("methods = [◆\"PSOT\"]", &["did you mean POST?"]);
    refused_key(
        "methods = [◆\"TRACE\"]",
        &["not a method that a route can take"],
    );
    refused_key("methods = [◆\"G T\"]", &["not a method"]);
}

#[test]
fn prefixes_are_the_front_of_the_path_in_whole_segments() {
    refused(
        &route("/api/v1/{*rest}", "strip_prefix = ◆\"/ap\""),
        &["not the front of the route's path"],
    );
    refused(
        &route("/api/v1/{*rest}", "strip_prefix = ◆\"/other\""),
        &["not the front"],
    );
    refused(
        &route("/api/v1/{*rest}", "add_prefix = ◆\"v2\""),
        &["not a prefix"],
    );
    refused(
        &route("/api/v1/{*rest}", "add_prefix = ◆\"/a/../b\""),
        &["not a prefix"],
    );
    let loaded = good(&format!(
        "{GOOD}{}",
        route(
            "/api/v1/{*rest}",
            "strip_prefix = \"/api/\"\nadd_prefix = \"/v2/\""
        )
    ));
    let route = &loaded.policy.routes.all()[1];
    let crate::policy::route::Action::Forward(forward) = &route.action else {
        panic!()
    };
    assert_eq!(forward.strip_prefix.as_deref(), Some("/api"));
    assert_eq!(forward.add_prefix.as_deref(), Some("/v2"));
}

#[test]
fn a_redirect_stays_on_the_operators_hosts() {
    let redirect = |to: &str| {
        format!("[[route]]\npath = \"/x\"\nauth = \"public\"\nredirect = {{ to = ◆\"{to}\" }}")
    };
    for wrong in [
        "//evil.example/",
        "/{path}",
        "{uri}",
        "{query}",
        "https://",
        "https://{path}",
        "https://a.example{uri}",
        "https://user@a.example/",
        "javascript:alert(1)",
        "/a\\\\b",
        "/a b",
        "/é",
        "ftp://a.example/",
        "x",
        "",
    ] {
        refused(&redirect(wrong), &["route[1].redirect.to"]);
    }
    refused(
        &redirect("/{urii}"),
        &["{urii} is not known here", "did you mean uri?"],
    );
    refused(&redirect("/a{uri"), &["{ without its }"]);
    for right in [
        "/login/?next={uri}",
        "https://a.example{path}{query}",
        "http://a.example/x",
        "{path}/",
        "/x{path}",
    ] {
        good(&format!("{GOOD}{}", redirect(right).replace('◆', "")));
    }
    let login = |to: &str| {
        route(
            "/x",
            &format!("unauthenticated = {{ redirect = ◆\"{to}\" }}"),
        )
    };
    for wrong in ["{path}", "http://a.example/", "//a.example/"] {
        refused(&login(wrong), &["route[1].unauthenticated.redirect"]);
    }
    good(&format!(
        "{GOOD}{}",
        login("https://login.example/?next={uri}").replace('◆', "")
    ));
    refused(&route("/x", "redirect = ◆3"), &["must be a table"]);
    refused(
        "[[route]]\npath = \"/x\"\nauth = \"public\"\nredirect = { to = \"/\", status = ◆200 }",
        &["301, 302"],
    );
}

#[test]
fn algorithms_and_keys_must_fit_each_other() {
    let secret = "secret = { env = \"KEY\" }";
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"RS256\"]")),
        &["RS256 does not fit `secret`", "`public_key`"],
    );
    refused(
        &jwt("jwks = \"https://a.example/jwks\"\nalgorithms = [◆\"HS256\"]"),
        &["HS256 does not fit `jwks`"],
    );
    refused(
        &jwt("public_key = ◆\"missing.pem\"\nalgorithms = \"ES256\""),
        &["there is no file", "missing.pem"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\npublic_key = ◆\"missing.pem\""),
        &["preset simplejwt's HS256 does not fit `public_key`"],
    );
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"none\"]")),
        &["\"none\"", "\"HS256\""],
    );
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"HS265\"]")),
        &["did you mean HS256?"],
    );
    refused(
        &format!("◆[auth.more]\ntype = \"jwt\"\n{secret}"),
        &["auth.more.algorithms", "required without a preset"],
    );
    refused(
        "◆[auth.more]\ntype = \"jwt\"\npreset = \"simplejwt\"",
        &["`secret`, `public_key` and `jwks` is required"],
    );
    refused(
        &jwt(
            &format!("preset = \"simplejwt\"\n{secret}\n◆jwks = \"https://a.example/\"")
                .replace("◆jwks = ", "jwks = ◆"),
        ),
        &["only one of"],
    );
    refused(
        &jwt(&format!("{secret}\npreset = ◆\"simple-jwt\"")),
        &["did you mean simplejwt?"],
    );
    refused(
        "◆[auth.more]\ntype = \"jwt\"\npreset = \"oidc\"",
        &["auth.more.issuer", "keys are found through it"],
    );
    refused("[auth.more]\ntype = ◆\"jtw\"", &["did you mean jwt?"]);
    refused(
        "◆[auth.more]\nsecret = \"x\"",
        &["auth.more.type", "is required"],
    );
}

#[test]
fn weak_and_missing_secrets_are_refused_and_never_repeated() {
    let with = |secret: &str| jwt(&format!("preset = \"simplejwt\"\nsecret = ◆{secret}"));
    for weak in [
        "\"hunter2\"",
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
        "\"\"",
    ] {
        refused(&with(weak), &["auth.more.secret"]);
        assert!(!bad(&format!("{GOOD}{}", with(weak).replace('◆', ""))).contains("hunter2"));
    }
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = ◆\"NOT_SET\" }"),
        &["\"NOT_SET\"", "not set"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { file = ◆\"not-there\" }"),
        &["\"not-there\""],
    );
    refused(&with("{}"), &["`env` and `file`"]);
    refused(
        &with("{ env = \"KEY\", file = \"x\" }"),
        &["`env` and `file`"],
    );
    refused(&with("[]"), &["must not be empty"]);
    let report = bad("[admin]\ntoken = 1234567\n[auth.a]\ntype = \"jwt\"\nsecret = 7654321\n");
    assert!(
        !report.contains("1234567") && !report.contains("7654321"),
        "{report}"
    );
    let report = bad("[admin]\ntoken = \"hunter2");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_secret_in_plain_text_works_and_is_warned_of() {
    let secret = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OQ==";
    let text = GOOD.replace(
        "{ env = \"KEY\" }",
        &format!("[{{ env = \"KEY\" }}, \"{secret}\"]"),
    );
    let loaded = good(&text);
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert_eq!(warning.key, "auth.token.secret[1]");
    assert!(warning.to_string().contains("plain text") && !warning.to_string().contains(secret));
    assert!(!format!("{:?}", loaded.settings).contains(secret));
}

#[test]
fn a_secret_file_is_read_without_its_last_line_break_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "a secret of more than 32 letters, with blanks \n";
    std::fs::write(folder.path().join("key"), format!("{secret}\r\n")).unwrap();
    let text = GOOD.replace("{ env = \"KEY\" }", "{ file = \"key\" }");
    let file = folder.path().join("gateway.toml");
    let loaded = load_text(&file, &text, &environment(&[])).unwrap();
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    let KeySource::Secrets(secrets) = &jwt.keys else {
        panic!()
    };
    assert_eq!(secrets[0].expose(), secret.as_bytes());
    assert_eq!(loaded.settings.watched, [file, folder.path().join("key")]);
}

#[test]
fn an_upstream_is_a_scheme_a_host_and_a_port() {
    let with = |server: &str| format!("[upstream.more]\nservers = [◆\"{server}\"]");
    refused(
        &with("ftp://x"),
        &["scheme is not known", "\"ftp://x\"", "http://"],
    );
    refused(&with("htp://x"), &["did you mean http?"]);
    refused(&with("127.0.0.1:8000"), &["upstream.more.servers[0]"]);
    refused(&with("http://x/path"), &["add_prefix"]);
    refused(&with("http://x:0"), &["1 to 65535"]);
    refused(&with("http://x:99999"), &["port"]);
    refused(&with("http://me:hunter2@x"), &["must not hold a user"]);
    assert!(
        !bad(&format!(
            "{GOOD}{}",
            with("http://me:hunter2@x").replace('◆', "")
        ))
        .contains("hunter2")
    );
    refused("[upstream.more]\nservers = ◆[]", &["must name a server"]);
    refused(
        "◆[upstream.more]",
        &["upstream.more.servers", "is required"],
    );
    refused(
        "[upstream.more]\nservers = [{ url = \"http://x\", weight = ◆0 }]",
        &["1 to 1000"],
    );
    refused(
        "[upstream.more]\nservers = [◆{ weight = 1 }]",
        &["servers[0].url", "is required"],
    );
    refused(
        &upstream("timeouts = { connect = ◆\"-1s\" }"),
        &["must be a duration", "\"-1s\""],
    );
    refused(
        &upstream("timeouts = { connect = ◆\"0s\" }"),
        &["must be more than zero"],
    );
    refused(
        &upstream("balance = ◆\"least-request\""),
        &["did you mean least-requests?"],
    );
    refused(
        &upstream("host = ◆\"preserv\""),
        &["did you mean preserve?"],
    );
    refused(&upstream("host = ◆\"a b\""), &["not a host"]);
    refused(&upstream("host = ◆\"a\\r\\nX: y\""), &["not a host"]);
    refused(
        &upstream("tls = ◆{ server_name = \"a\" }"),
        &["none of the servers is https"],
    );
    refused(&upstream("connections = ◆0"), &["out of range"]);
    refused(
        "[upstream.◆\"a b\"]\nservers = [\"http://x\"]",
        &["is not a name"],
    );
}

#[test]
fn servers_are_read_with_ports_sockets_weights_and_from_the_environment() {
    let text = format!(
        "{GOOD}{}",
        "[upstream.more]\nservers = [\"https://[::1]\", { url = \"unix:app.sock\", weight = 2 }]\n\
         [upstream.env]\nservers = { env = \"SERVERS\" }\nhost = \"app.internal:8080\"\n"
    );
    let loaded = load_with(&text, &[("SERVERS", "http://a:1, http://b:2")]).unwrap();
    let [_, env, more] = &loaded.settings.upstreams[..] else {
        panic!()
    };
    let address = |index: usize| more.servers[index].address.clone();
    assert_eq!(
        address(0),
        ServerAddress::Tcp {
            host: "::1".into(),
            port: 443
        }
    );
    assert_eq!(address(1), ServerAddress::Unix("./app.sock".into()));
    assert_eq!(more.servers[1].weight, 2);
    let labels: Vec<_> = env.servers.iter().map(|server| &*server.label).collect();
    assert_eq!(labels, ["http://a:1", "http://b:2"]);
    assert!(matches!(&env.host, UpstreamHost::Fixed(host) if host == "app.internal:8080"));
    assert_eq!(
        loaded.warnings.len(),
        2,
        "both are not used: {:?}",
        loaded.warnings
    );
}

#[test]
fn the_doors_must_make_sense_together() {
    refused(
        "[server]\nadmin = ◆\"0.0.0.0:9090\"",
        &["needs `token` in [admin]"],
    );
    refused(
        "[server]\nhttps = ◆false",
        &["may be false only where `plain` is set"],
    );
    refused(
        "[server]\nhttps = ◆\"8443\"",
        &["not an address", "0.0.0.0:8443"],
    );
    refused(
        "[server]\nhttps = [\"127.0.0.1:1\", ◆\"localhost:1\"]",
        &["server.https[1]"],
    );
    refused(
        "[server]\nadmin = ◆\"127.0.0.1:8443\"",
        &["same address as server.https"],
    );
    refused(
        "[server]\nproxy_protocol = ◆true",
        &["needs `trusted_proxies`"],
    );
    refused(
        "[server]\ntrusted_proxies = [◆\"10.0.0.0/33\"]",
        &["not a network"],
    );
    refused(
        "[server]\nrequest_id = ◆\"Host\"",
        &["a meaning of its own"],
    );
    refused(
        "[server.limits]\nheader_count = ◆0",
        &["out of range", "1 to 10000"],
    );
    refused(
        "[server.timeouts]\nrequest_body = ◆\"0s\"",
        &["must be more than zero"],
    );
    let report = bad(
        "[upstream.a]\nservers=[\"http://x\"]\n[[route]]\npath=\"/\"\nauth=\"public\"\nupstream=\"a\"",
    );
    assert!(
        report.contains("no certificate is given") && report.contains("development = true"),
        "{report}"
    );
    let plain = GOOD.replace(
        "[tls]\ndevelopment = true",
        "[server]\nhttps = false\nplain = \"127.0.0.1:8080\"",
    );
    assert_eq!(good(&plain).settings.tls, Tls::default());
    let open =
        format!("{GOOD}[server]\nadmin = \"0.0.0.0:9090\"\n[admin]\ntoken = {{ env = \"KEY\" }}");
    assert!(good(&open).settings.admin.token.is_some());
}

#[test]
fn client_certificates_need_tls_that_asks_for_them() {
    let more = "◆[auth.more]\ntype = \"client-certificate\"\nuser = \"cn\"";
    refused(more, &["no client ever shows a certificate"]);
    refused(
        "[auth.more]\ntype = \"client-certificate\"\nuser = ◆\"san\"",
        &["\"san-email\""],
    );
    let required = GOOD.replace(
        "development = true",
        "development = true\nclient_auth = \"required\"",
    );
    assert!(bad(&required).contains("needs `client_ca`"));
    let dangling = GOOD.replace(
        "development = true",
        "development = true\nclient_ca = \"ca.pem\"",
    );
    assert!(bad(&dangling).contains("does nothing while `client_auth`"));
}

#[test]
fn identity_headers_must_be_headers_of_their_own() {
    let identity = |more: &str| format!("[identity]\n{more}");
    refused(
        &identity("user = ◆\"X-Auth\\r\\nUser\""),
        &["identity.user", "not a header name"],
    );
    refused(
        &identity("user = ◆\"Authorization\""),
        &["a meaning of its own"],
    );
    refused(
        &identity("user = ◆\"X-Forwarded-For\""),
        &["a meaning of its own"],
    );
    refused(
        &identity("user = ◆\"X_Auth_User\""),
        &["must be written with `-`"],
    );
    refused(
        &identity("user = ◆\"X-Auth-Roles\""),
        &["another identity header"],
    );
    refused(
        &identity("claims = { X-Auth-User = ◆\"city\" }"),
        &["another identity header"],
    );
    refused(&identity("preset = ◆\"remote\""), &["\"remote-user\""]);
    refused(
        &identity("assertion = ◆{ ttl = \"60s\" }"),
        &["identity.assertion.key"],
    );
    let loaded = good(&format!(
        "{GOOD}{}",
        identity("preset = \"remote-user\"\nemail = false\nclaims = { X-City = \"address.city\" }")
    ));
    let names = &loaded.policy.identity;
    assert_eq!(names.user.as_ref().unwrap(), "remote-user");
    assert_eq!(names.email, None);
    assert_eq!(names.claims[0].1, "address.city");
}

#[test]
fn header_edits_leave_framing_identity_and_cors_alone() {
    let set = |name: &str, value: &str| {
        route(
            "/x",
            &format!("request_headers = {{ set = {{ ◆\"{name}\" = \"{value}\" }} }}"),
        )
    };
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "X-Auth-User",
        "x_auth_user",
        "X-Forwarded-For",
        "X-Request-Id",
        "a b",
        "X\\r\\nY",
    ] {
        refused(&set(name, "x"), &["route[1].request_headers.set"]);
    }
    refused(
        &set("X-Ok", "a\\r\\nb").replace("◆\"X-Ok\" = ", "\"X-Ok\" = ◆"),
        &["not a header value"],
    );
    refused(
        &route("/x", "request_headers = { remove = [◆\"Host\"] }"),
        &["set by the gateway alone"],
    );
    refused(
        &route(
            "/x",
            "cors = \"web\"\nresponse_headers = { set = { ◆Access-Control-Allow-Origin = \"*\" } }",
        ),
        &["belongs to the route's `cors`"],
    );
    good(&format!(
        "{GOOD}{}",
        route(
            "/x",
            "request_headers = { set = { X-Env = \"prod\" }, remove = [\"Cookie\", \"X-Auth-User\"] }\nresponse_headers = { remove = [\"Server\"] }"
        )
    ));
}

#[test]
fn api_keys_are_hashes_with_a_user() {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let keys = |keys: &str| format!("[auth.more]\ntype = \"api-key\"\nkeys = {keys}");
    refused(
        &keys("[{ sha256 = ◆\"hunter2\", user = \"ci\" }]"),
        &["not a SHA-256", "sha256sum"],
    );
    refused(
        &keys(&format!("[◆{{ sha256 = \"{hash}\" }}]")),
        &["keys[0].user", "is required"],
    );
    refused(
        &keys(&format!("[{{ sha256 = \"{hash}\", user = ◆\" \" }}]")),
        &["not a user"],
    );
    refused(
        &keys(&format!(
            "[{{ sha256 = \"{hash}\", user = \"a\" }}, ◆{{ sha256 = \"{hash}\", user = \"b\" }}]"
        )),
        &["is that of \"a\" too"],
    );
    refused(&keys("◆[]"), &["must not be empty"]);
    refused("◆[auth.more]\ntype = \"api-key\"", &["`keys` and `file`"]);
    refused(
        &format!(
            "{}\nsources = [◆\"heder:x\"]",
            keys(&format!("[{{ sha256 = \"{hash}\", user = \"a\" }}]"))
        ),
        &["did you mean header?"],
    );
    refused(
        "◆[auth.more]\ntype = \"basic\"",
        &["auth.more.htpasswd", "is required"],
    );
}

#[test]
fn a_file_of_api_keys_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let file = folder.path().join("gateway.toml");
    let text = format!("{GOOD}[auth.more]\ntype = \"api-key\"\nfile = \"keys\"");
    let load = |keys: &str| {
        std::fs::write(folder.path().join("keys"), keys).unwrap();
        load_text(&file, &text, &environment(&[]))
    };
    let loaded = load(&format!(
        "# comment\n\n{hash} ci deploy,read\n{}  me\n",
        hash.replace('9', "8")
    ))
    .unwrap();
    let AuthenticatorKind::ApiKey(keys) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(keys.keys[0].roles, ["deploy", "read"]);
    assert_eq!(
        (keys.keys[1].user.as_str(), keys.keys[1].roles.len()),
        ("me", 0)
    );
    let report = load(&format!("{hash} ci\nnonsense\n{hash} ci a b\n{hash}"))
        .unwrap_err()
        .to_string();
    for line in ["keys:2:1: ", "keys:3:1: ", "keys:4:1: "] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

#[test]
fn expectations_are_requests_callers_and_answers() {
    let expect = |more: &str| format!("[[expect]]\n{more}");
    refused(
        &expect("request = ◆\"/api/\"\nanswer = { status = 200 }"),
        &["is not a request"],
    );
    refused(
        &expect("request = ◆\"get https://a.example/\"\nanswer = { status = 200 }"),
        &["did you mean GET?"],
    );
    refused(
        &expect("request = \"GET https://a.example/\"\nanswer = { code = ◆\"role_mising\" }"),
        &["did you mean role_missing?"],
    );
    refused(
        &expect("request = \"GET https://a.example/\"\nanswer = ◆{}"),
        &["must say something"],
    );
    refused(
        &expect("request = \"GET https://a.example/\"").replace("[[", "◆[["),
        &["expect[0].answer", "is required"],
    );
    let loaded = good(&format!(
        "{GOOD}{}",
        expect(
            "request = \"POST https://a.example/api/x\"\nas = { user = \"7\", roles = [\"t\"], claims = { city = \"x\" } }\nheaders = { Origin = \"https://b.example\" }\nanswer = { status = 403, code = \"role_missing\" }"
        )
    ));
    let [expectation] = &loaded.policy.expectations[..] else {
        panic!()
    };
    assert_eq!(expectation.method, "POST");
    assert_eq!(expectation.caller.as_ref().unwrap().claims["city"], "x");
    assert_eq!(expectation.headers[0].1, "https://b.example");
}

#[test]
fn security_headers_are_off_until_the_table_is_there() {
    assert!(good(GOOD).policy.security_headers.headers.is_empty());
    let with = |more: &str| {
        good(&format!("{GOOD}[security_headers]\n{more}"))
            .policy
            .security_headers
            .headers
    };
    assert_eq!(with("").len(), 4);
    assert!(
        with("")
            .iter()
            .any(|(_, value)| value == "max-age=31536000")
    );
    assert_eq!(
        with("hsts = false\nframe = false\nreferrer = false\nnosniff = false"),
        []
    );
    refused(
        "[security_headers]\nhsts_preload = ◆true",
        &["hsts_subdomains"],
    );
    refused("[security_headers]\nframe = ◆\"ALLOW\"", &["\"DENY\""]);
    refused(
        "[security_headers]\ncontent_security_policy = ◆\"a\\nb\"",
        &["not a header value"],
    );
}

#[test]
fn the_environment_goes_before_the_file() {
    let loaded = load_with(
        GOOD,
        &[
            ("PORTCULLIS_SERVER__HTTPS", "0.0.0.0:443,[::]:443"),
            (
                "PORTCULLIS_SERVER__TRUSTED_PROXIES",
                "[10.0.0.0/8, 192.168.0.0/16]",
            ),
            ("PORTCULLIS_SERVER__TIMEOUTS__DRAIN", "5s"),
            ("PORTCULLIS_SERVER__WORKERS", "3"),
            ("PORTCULLIS_AUTH__TOKEN__LEEWAY", "7s"),
            (
                "PORTCULLIS_AUTH__TOKEN__SECRET",
                "0123456789,0123456789,0123456789",
            ),
            ("PORTCULLIS_ADMIN__TOKEN", "0123"),
        ],
    )
    .unwrap();
    let server = &loaded.settings.server;
    assert_eq!(server.https.len(), 2);
    assert_eq!(server.workers, 3);
    assert_eq!(server.timeouts.drain.as_secs(), 5);
    assert_eq!(server.timeouts.keep_alive.as_secs(), 75);
    assert_eq!(
        loaded.settings.admin.token.as_ref().unwrap().expose(),
        "0123"
    );
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(jwt.leeway.as_secs(), 7);
    let KeySource::Secrets(secrets) = &jwt.keys else {
        panic!()
    };
    assert_eq!(secrets.len(), 1, "a comma may be part of a secret");
    assert_eq!(
        loaded.warnings,
        [],
        "a secret in the environment is no plain text in the file"
    );
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let report =
        |name: &str, value: &str| load_with(GOOD, &[(name, value)]).unwrap_err().to_string();
    assert!(
        report("PORTCULLIS_SERVER__HTTPS", "443")
            .contains("environment variable PORTCULLIS_SERVER__HTTPS: server.https")
    );
    let unknown = report("PORTCULLIS_SERVER__HTPS", "0.0.0.0:443");
    assert!(
        unknown.contains("PORTCULLIS_SERVER__HTPS: server.htps")
            && unknown.contains("did you mean https?"),
        "{unknown}"
    );
    assert!(report("PORTCULLIS___X", "1").contains("empty part"));
    assert!(report("PORTCULLIS_SESSION__STORE", "memory").contains("not in this version"));
    let loaded = load_with(
        GOOD,
        &[("PORTCULLIS_SERVER_HTTPS", "x"), ("PORTCULLIS_BIN", "x")],
    )
    .unwrap();
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(warning.to_string().contains("two underscores"));
}

#[test]
fn variables_reach_names_with_hyphens() {
    let text = GOOD
        .replace("auth.token]", "auth.my-token]")
        .replace("\"token\"", "\"my-token\"");
    let loaded = load_with(&text, &[("PORTCULLIS_AUTH__MY_TOKEN__LEEWAY", "7s")]).unwrap();
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(jwt.leeway.as_secs(), 7);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let report = load_with(
        "[server]\nworkrs = 4\n[server.timeouts]\ndrain = \"thirty\"\n[tls]\ndevelopment = \"yes\"\n\
         [upstream.app]\nservers = [\"http://x\"]\n[[route]]\npath = \"api\"\nupstream = \"ap\"\nauth = [\"tokn\"]\n\
         [[route]]\npath = \"/y\"\nupstream = \"app\"\n",
        &[],
    )
    .unwrap_err();
    let keys: Vec<_> = report
        .problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "server.workrs",
            "server.timeouts.drain",
            "tls.certificate",
            "tls.development",
            "route[0].path",
            "route[0].upstream",
            "route[0].auth[0]",
            "route[1].auth",
        ]
    );
    assert!(report.to_string().ends_with("8 errors"), "{report}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_line_and_column() {
    assert!(bad("[server\nhttps = ").contains("gateway.toml:1:8: not valid TOML"));
    assert!(bad("a = 1\na = 2").contains("gateway.toml:2:1: not valid TOML: duplicate key"));
    let missing = load(Path::new("/nowhere/gateway.toml"), &environment(&[]))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("/nowhere/gateway.toml cannot be read"));
}

#[test]
fn a_file_that_is_too_large_or_not_utf_8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "#".repeat(5 << 20)).unwrap();
    assert!(
        load(&file, &environment(&[]))
            .unwrap_err()
            .to_string()
            .contains("larger than")
    );
    std::fs::write(&file, b"\xff\xfe\x00").unwrap();
    assert!(
        load(&file, &environment(&[]))
            .unwrap_err()
            .to_string()
            .contains("not UTF-8")
    );
}

#[test]
fn a_file_full_of_nonsense_is_refused_in_bounded_time() {
    let dotted = format!("{} = 1", vec!["a"; 50_000].join("."));
    let nested = "a = ".to_owned() + &"[".repeat(50_000);
    let many: Vec<_> = (0..50_000).map(|index| format!("k{index} = 1\n")).collect();
    for text in [dotted, nested, many.concat()] {
        let report = load_with(&text, &[]).unwrap_err();
        assert!(report.problems.len() <= 500);
    }
}

#[test]
fn the_built_in_defaults_are_right_in_themselves() {
    let loaded = good(GOOD);
    let server = &loaded.settings.server;
    assert_eq!(server.https, ["0.0.0.0:8443".parse().unwrap()]);
    assert_eq!(server.admin, "127.0.0.1:9090".parse().unwrap());
    assert_eq!((server.http.len(), server.plain.len()), (0, 0));
    assert_eq!(server.limits.headers, 64 << 10);
    assert_eq!(loaded.policy.request_id, "x-request-id");
    assert_eq!(loaded.policy.routes.all()[0].body_limit, 100 << 20);
    assert!(!loaded.settings.tls.only_tls13 && loaded.settings.log.json);
    let upstream = &loaded.settings.upstreams[0];
    assert_eq!((upstream.retries, upstream.queue.as_secs()), (1, 1));
    assert_eq!(
        (
            upstream.connect_timeout.as_secs(),
            upstream.response_timeout.as_secs()
        ),
        (2, 60)
    );
    let partly =
        format!("{GOOD}[upstream.b]\nservers = [\"http://x\"]\ntimeouts = {{ connect = \"9s\" }}");
    assert_eq!(
        good(&partly).settings.upstreams[1]
            .response_timeout
            .as_secs(),
        60
    );
}

#[test]
fn presets_stand_for_what_the_libraries_do_and_any_key_goes_before_them() {
    let kind = |more: &str| {
        let loaded = good(&format!("{GOOD}{}", jwt(more)));
        let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
            panic!()
        };
        jwt.as_ref().clone()
    };
    let secret = "secret = { env = \"KEY\" }\n";
    let flask = kind(&format!("{secret}preset = \"flask-jwt-extended\""));
    assert!(flask.csrf_double_submit);
    assert_eq!(
        flask.sources[1],
        Source::Cookie("access_token_cookie".into())
    );
    assert_eq!(flask.leeway.as_secs(), 30);
    let simple = kind(&format!(
        "{secret}preset = \"simplejwt\"\nrequire = {{ city = \"x\" }}\nidentity = {{ user = \"sub\" }}"
    ));
    assert_eq!(simple.leeway.as_secs(), 0);
    assert_eq!(simple.identity.user, "sub");
    let claims: Vec<_> = simple
        .require
        .iter()
        .map(|(claim, _)| claim.as_str())
        .collect();
    assert_eq!(
        claims,
        ["token_type", "city"],
        "a refresh token never passes as access"
    );
    let oidc = kind("preset = \"oidc\"\nissuer = \"https://issuer.example\"");
    assert!(matches!(
        oidc.keys,
        KeySource::JwksUrl(JwksUrl {
            discovery: true,
            ..
        })
    ));
    let given = kind(
        "preset = \"oidc\"\nissuer = [\"https://a.example\", \"b\"]\njwks = \"https://a.example/keys\"",
    );
    assert!(matches!(
        given.keys,
        KeySource::JwksUrl(JwksUrl {
            discovery: false,
            ..
        })
    ));
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nleeway = ◆\"1h\""),
        &["at most \"10m\""],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = ◆[]"),
        &["must not be empty"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = [◆\"cookie:a b\"]"),
        &["not a name for a cookie"],
    );
    refused(
        &jwt("preset = \"oidc\"\nissuer = \"https://a.example\"\njwks_refresh = ◆\"0s\""),
        &["more than zero"],
    );
}

#[test]
fn the_example_at_the_root_of_the_project_holds_no_mistake() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let secret = [("DJANGO_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")];
    let loaded = load(&folder.join("gateway.toml"), &environment(&secret)).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.policy.routes.all().len(), 3);
    assert_eq!(loaded.policy.expectations.len(), 3);
}

/// The example of the contract, without what later versions bring.
#[test]
fn the_contracts_example_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    for file in ["certs/app.pem", "certs/app.key"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let text = r#"
[server]
https = "0.0.0.0:8443"
http  = "0.0.0.0:8080"
admin = "127.0.0.1:9090"

[[tls.certificate]]
cert = "certs/app.pem"
key  = "certs/app.key"

[upstream.edms]
servers = ["http://127.0.0.1:8000"]

[auth.edms-token]
type   = "jwt"
preset = "simplejwt"
secret = { env = "KEY" }

[cors.web]
origins     = ["https://tiktrue.com", "https://*.tiktrue.com", "http://localhost:3000"]
credentials = true

[[route]]
path     = "/api/v1/backup/{*rest}"
upstream = "edms"
auth     = ["edms-token"]
roles    = ["staff"]
cors     = "web"

[[route]]
path     = "/{*rest}"
upstream = "edms"
auth     = "public"

[[expect]]
request = "POST https://app.example.com/api/v1/backup/restore/"
as      = { user = "7", roles = ["technician"] }
answer  = { status = 403, code = "role_missing" }
"#;
    let file = folder.path().join("gateway.toml");
    let loaded =
        load_text(&file, text, &environment(&[])).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.watched.len(), 3);
    let certificate = &loaded.settings.tls.certificates[0];
    assert_eq!(certificate.key, folder.path().join("certs/app.key"));
}

#[test]
fn every_key_of_a_route_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let text = format!(
        "{GOOD}{}",
        r#"
[[route]]
path = "/all/{id}/{*rest}"
hosts = ["app.example.com", "*.example.com"]
methods = ["GET", "POST"]
upstream = "app"
auth = { optional = ["token"] }
csrf = false
unauthenticated = { redirect = "/login/?next={uri}" }
strip_prefix = "/all"
add_prefix = "/v2"
timeout = "5s"
body_limit = "1GiB"
observe = true
request_headers = { set = { X-Env = "prod" }, remove = ["X-Debug"] }
response_headers = { set = { X-Served = "yes" }, remove = ["Server"] }
websocket = { refuse = "status", close_on_expiry = false, idle = "1h", forward_token = false }

[[route]]
path = "/who/"
upstream = "app"
auth = ["token"]
roles = { any = ["a"], all = ["b"], none = ["c"] }
users = ["7"]
claims = { city = "Tehran", level = [3, 4] }
websocket = false

[[route]]
path = "/teapot"
auth = "public"
respond = { status = 418, body = "short", headers = { X-Kettle = "yes" } }

[[route]]
path = "/spa/{*rest}"
auth = "public"
files = { dir = "site" }
"#
    );
    let file = folder.path().join("gateway.toml");
    let loaded =
        load_text(&file, &text, &environment(&[])).unwrap_or_else(|report| panic!("{report}"));
    let routes = loaded.policy.routes.all();
    let [_, all, who, _, spa] = routes else {
        panic!()
    };
    assert_eq!(
        &*all.label,
        "GET,POST app.example.com,*.example.com /all/{id}/{*rest}"
    );
    assert!(all.requirement.observe && !all.csrf && !all.websocket.forward_token);
    assert_eq!(all.body_limit, 1 << 30);
    assert_eq!(who.requirement.claims[1].1.len(), 2);
    assert_eq!(who.requirement.roles.none, ["c"]);
    assert!(!who.websocket.allowed);
    let crate::policy::route::Action::Files(files) = &spa.action else {
        panic!()
    };
    assert_eq!(files.dir, folder.path().join("site"));
    assert_eq!(&*files.prefix, "/spa");
    let names = loaded.settings.tls.development.unwrap().names;
    assert_eq!(names, ["*.example.com", "app.example.com"]);
}
