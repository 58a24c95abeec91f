//! Keys and types, routes, identity headers, expectations: each mistake with its words.

use super::*;
use crate::policy::websocket::close::Refuse;

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
fn a_misspelt_key_is_led_to_the_nearest() {
    refused(&upstream("◆helth = 1"), &["did you mean health?"]);
}

#[test]
fn a_way_to_refuse_a_handshake_is_one_of_three() {
    refused(
        &route("/x", "websocket = { refuse = ◆\"1006\" }"),
        &[
            "is not a way to refuse",
            "\"1006\"",
            "\"close\"",
            "\"status\"",
        ],
    );
    for (word, means) in [
        ("auto", Refuse::Auto),
        ("close", Refuse::Close),
        ("status", Refuse::Status),
    ] {
        let text =
            GOOD.to_owned() + &route("/x", &format!("websocket = {{ refuse = \"{word}\" }}"));
        let loaded = good(&text);
        let [.., last] = loaded.policy.routes.all() else {
            panic!()
        };
        assert_eq!(last.websocket.refuse, means);
    }
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
    assert_eq!(all.websocket.refuse, Refuse::Status);
    assert!(!who.websocket.allowed && who.websocket.refuse == Refuse::Auto);
    let crate::policy::route::Action::Files(files) = &spa.action else {
        panic!()
    };
    assert_eq!(files.dir, folder.path().join("site"));
    assert_eq!(&*files.prefix, "/spa");
    let names = loaded.settings.tls.development.unwrap().names;
    assert_eq!(names, ["*.example.com", "app.example.com"]);
}

#[test]
fn cross_origin_rules_name_origins_and_nobody_elses() {
    let cors = |origins: &str, more: &str| format!("[cors.more]\norigins = {origins}\n{more}\n");
    for origin in [
        "null",
        "https://a.example/path",
        "a.example",
        "https://*",
        "https://*.com",
        "https://a*.example.com",
        "https://me@a.example",
        "",
    ] {
        refused(
            &cors(&format!("[◆\"{origin}\"]"), ""),
            &["cors.more.origins"],
        );
    }
    refused(&cors("◆[]", ""), &["must not be empty"]);
    refused(
        &cors("◆[\"*\"]", "credentials = true"),
        &["credentials = true"],
    );
    refused(
        &cors("[\"https://a.example\", ◆\"https://a.example\"]", ""),
        &["twice"],
    );
    refused("◆[cors.more]", &["cors.more.origins", "is required"]);
    refused(&cors("[\"*\"]", "headers = ◆\"all\""), &["\"any\""]);
    refused(
        &cors("[\"*\"]", "headers = [◆\"a b\"]"),
        &["not a header name"],
    );
    refused(
        &cors("[\"*\"]", "methods = [◆\"get\"]"),
        &["did you mean GET?"],
    );
    refused(&cors("[\"*\"]", "max_age = ◆7200"), &["must be a duration"]);
    refused(&cors("{ env = ◆\"NOT_SET\" }", ""), &["not set"]);
}

#[test]
fn origins_may_come_from_the_environment() {
    let text = GOOD.replace("[\"https://page.example.com\"]", "{ env = \"PAGES\" }");
    let loaded = load_with(&text, &[("PAGES", "https://a.example, https://b.example")]).unwrap();
    let rule = loaded.policy.routes.all()[0].cors.clone().unwrap();
    for (origin, allowed) in [
        ("https://a.example", true),
        ("https://b.example", true),
        ("https://c.example", false),
    ] {
        assert_eq!(
            rule.allows(&http::HeaderValue::from_static(origin)),
            allowed
        );
    }
    let report = load_with(&text, &[("PAGES", "https://a.example, null")]).unwrap_err();
    assert!(
        report.to_string().contains("gateway.toml:14:11"),
        "{report}"
    );
}
