//! The commands as they are typed, on small files.

use std::ffi::OsString;
use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;

const TOML: &str = r#"
[server]
https = false
plain = "127.0.0.1:18080"

[upstream.edms]
servers = ["http://127.0.0.1:8000"]

[auth.token]
type = "api-key"
sources = ["header:x-api-key", "cookie:key"]
# SHA-256 of "tara-key"
keys = [{ sha256 = "9dded1ac3defbeeee800ecdbdd74af5377f9c3aa591c96e6b55f8e7751000bc6", user = "tara", roles = ["technician"] }]

[cors.web]
origins = ["https://page.example.com"]

[[route]]
path = "/api/{*rest}"
upstream = "edms"
auth = ["token"]
roles = ["staff"]
cors = "web"

[[route]]
path = "/api/{name}/open"
upstream = "edms"
auth = ["token"]

[[route]]
path = "/watched/{*rest}"
upstream = "edms"
auth = ["token"]
roles = ["staff"]
observe = true

[[route]]
path = "/hello"
hosts = ["www.example.com"]
auth = "public"
respond = { status = 418, body = "tea" }

[[expect]]
request = "GET http://localhost/api/x"
as = { user = "7", roles = ["technician"] }
answer = { status = 403, code = "role_missing" }

[[expect]]
request = "GET http://localhost/api/x"
as = { user = "7", roles = ["staff"] }
answer = { forward = "edms", headers = { X-Auth-User = "7" } }

[[expect]]
request = "GET http://www.example.com/hello"
answer = { status = 418 }
"#;

/// A folder with a gateway.toml.
struct Folder(TempDir);

/// What a command said.
struct Said {
    code: ExitCode,
    out: String,
    err: String,
}

impl Folder {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), toml).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let file = self.0.path().join("gateway.toml");
        let mut line = vec![OsString::from("portcullis")];
        line.extend(arguments.iter().map(OsString::from));
        line.extend([OsString::from("--config"), file.into_os_string()]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(line, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code,
            out: text(out),
            err: text(err),
        }
    }

    fn explain(&self, request: &[&str]) -> Value {
        let arguments = [&["explain", "--json"], request].concat();
        serde_json::from_str(&self.run(&arguments).out).unwrap()
    }
}

fn words(explained: &Value, step: &str) -> String {
    let steps = explained["steps"].as_array().unwrap().iter();
    let found = steps.filter(|known| known["name"] == step);
    found.map(|step| step["words"].as_str().unwrap()).collect()
}

#[test]
fn check_counts_what_is_there_and_test_says_what_came() {
    let folder = Folder::new(TOML);
    let checked = folder.run(&["check"]);
    assert_eq!(checked.code, ExitCode::SUCCESS, "{}", checked.err);
    let wanted =
        "gateway.toml is fine: 4 routes, 1 upstream, 1 authenticator, 3 expectations that hold\n";
    assert_eq!(checked.out, wanted);
    let tested = folder.run(&["test"]);
    assert_eq!(tested.code, ExitCode::SUCCESS);
    assert!(tested.out.contains(
        "ok  expect[0]: GET http://localhost/api/x as user 7 with technician: 403 role_missing"
    ));
    assert!(tested.out.ends_with("3 hold, 0 do not\n"));
}

#[test]
fn an_expectation_that_fails_is_told_with_its_place() {
    let folder = Folder::new(&TOML.replace("status = 418 }\n", "status = 200 }\n"));
    let checked = folder.run(&["check"]);
    assert_eq!(checked.code, ExitCode::FAILURE);
    let place = checked.err.split("gateway.toml:").nth(1).unwrap();
    assert!(place.split(':').next().unwrap().parse::<u32>().is_ok());
    assert!(checked.err.contains("expect[2]") && checked.err.contains("expected 200, got 418"));
    assert_eq!(folder.run(&["test"]).code, ExitCode::FAILURE);
}

#[test]
fn every_mistake_of_the_file_is_an_error_of_check() {
    let folder = Folder::new(&TOML.replace("upstream = \"edms\"", "upstream = \"edsm\""));
    let checked = folder.run(&["check"]);
    assert_eq!(checked.code, ExitCode::FAILURE);
    assert_eq!(
        checked.err.matches("did you mean edms?").count(),
        3,
        "{}",
        checked.err
    );
}

#[test]
fn explain_names_the_role_that_is_missing_and_shows_no_credential() {
    let folder = Folder::new(TOML);
    let url = "http://localhost:18080/api/x";
    let request = [
        "GET",
        url,
        "-H",
        "X-API-Key: tara-key",
        "-H",
        "Cookie: a=s3cret",
    ];
    let explained = folder.explain(&request);
    assert_eq!(explained["outcome"], "refused");
    assert_eq!(explained["status"], 403);
    assert_eq!(explained["code"], "role_missing");
    assert_eq!(explained["upstream"], Value::Null);
    let told = explained.to_string();
    assert!(told.contains("technician") && told.contains("staff"));
    assert!(!told.contains("tara-key") && !told.contains("s3cret"));
    let said = folder.run(&[&["explain"], &request[..]].concat());
    assert_eq!(said.code, ExitCode::FAILURE);
    assert!(said.out.contains("role_missing") && !said.out.contains("tara-key"));
}

#[test]
fn explain_shows_what_the_app_gets_and_nothing_a_client_forged() {
    let folder = Folder::new(TOML);
    let url = "http://localhost:18080/api/door/open?access=s3cret&page=2";
    let forged = ["-H", "X-Auth-User: root", "-H", "X_Auth_User: root"];
    let request = [&["GET", url, "-H", "X-API-Key: tara-key"], &forged[..]].concat();
    let explained = folder.explain(&request);
    assert_eq!(explained["outcome"], "forward", "{explained:#}");
    assert_eq!(explained["code"], Value::Null);
    assert_eq!(explained["upstream"], "edms");
    assert_eq!(explained["target"], "/api/door/open?access=…&page=2");
    assert_eq!(explained["headers"]["x-auth-user"], "tara");
    assert!(!explained.to_string().contains("root") && !explained.to_string().contains("s3cret"));
    assert!(words(&explained, "route").contains("wins over"));
}

#[test]
fn explain_says_that_a_route_only_observes() {
    let folder = Folder::new(TOML);
    let request = [
        "GET",
        "http://localhost:18080/watched/",
        "-H",
        "X-API-Key: tara-key",
    ];
    let explained = folder.explain(&request);
    assert_eq!(explained["outcome"], "forward");
    assert_eq!(explained["observed"], "role_missing");
    assert!(
        folder
            .run(&[&["explain"], &request[..]].concat())
            .out
            .contains("would be refused")
    );
}

#[test]
fn explain_names_the_hosts_that_serve_a_path() {
    let folder = Folder::new(TOML);
    let explained = folder.explain(&["GET", "http://other.example:18080/hello"]);
    assert_eq!(explained["code"], "no_route");
    assert!(words(&explained, "route").contains("www.example.com"));
    let here = folder.explain(&["GET", "http://www.example.com:18080/hello"]);
    assert_eq!(
        (&here["outcome"], &here["status"]),
        (&"answer".into(), &418.into())
    );
}

#[test]
fn explain_names_the_rule_that_a_preflight_lacks() {
    let folder = Folder::new(TOML);
    let preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let ask = "Access-Control-Request-Method: POST";
        folder.explain(&[
            "OPTIONS",
            "http://localhost:18080/api/x",
            "-H",
            &origin,
            "-H",
            ask,
        ])
    };
    let refused = preflight("https://www.page.example.com");
    assert_eq!(refused["code"], "origin_not_allowed");
    assert!(
        refused["note"]
            .as_str()
            .unwrap()
            .contains("[cors.web] origins")
    );
    let allowed = preflight("https://page.example.com");
    assert_eq!(allowed["status"], 204);
    assert_eq!(
        allowed["headers"]["access-control-allow-origin"],
        "https://page.example.com"
    );
    assert_eq!(
        words(&allowed, "authorise"),
        "",
        "a preflight needs no credential"
    );
}

#[test]
fn explain_judges_a_path_as_it_was_typed() {
    let folder = Folder::new(TOML);
    for path in [
        "/api/../x",
        "/api/%2e%2e/x",
        "/api/a%2fb",
        "/api/a\\b",
        "/api//x",
    ] {
        let explained = folder.explain(&["GET", &format!("http://localhost:18080{path}")]);
        assert_eq!(explained["code"], "ambiguous_path", "{path}");
    }
}

#[test]
fn what_is_no_request_is_a_mistake_of_the_command_line() {
    let folder = Folder::new(TOML);
    for request in [
        &["GET", "/api/"][..],
        &["GE T", "http://localhost/"],
        &["GET", "http://localhost/", "-H", "no colon"],
    ] {
        let said = folder.run(&[&["explain"], request].concat());
        assert_eq!(
            said.code,
            ExitCode::from(USAGE),
            "{request:?}: {}",
            said.out
        );
    }
}

#[test]
fn routes_are_listed_in_the_order_they_win() {
    let folder = Folder::new(TOML);
    let said = folder.run(&["routes"]);
    let at = |text: &str| said.out.find(text).unwrap();
    assert!(at("/hello") < at("/api/{name}/open") && at("/api/{name}/open") < at("/api/{*rest}"));
    assert!(said.out.contains("respond 418") && said.out.contains("observe"));
    let json: Value = serde_json::from_str(&folder.run(&["routes", "--json"]).out).unwrap();
    let first = &json[0];
    assert_eq!(
        (&first["host"], &first["route"]),
        (&"www.example.com".into(), &3.into())
    );
    assert_eq!(json.as_array().unwrap().len(), 4);
}

#[test]
fn a_token_is_nobodys_where_no_authenticator_reads_tokens() {
    let said = Folder::new(TOML).run(&["token", "inspect", "a.b.c"]);
    assert_eq!(said.code, ExitCode::FAILURE);
    assert!(said.err.contains("no authenticator"));
}

#[test]
fn help_names_every_command_and_the_exit_codes_and_nothing_that_is_not_here() {
    let said = Folder::new("").run(&["--help"]);
    assert_eq!(said.code, ExitCode::SUCCESS);
    for command in [
        "run", "check", "test", "explain", "why", "routes", "token", "demo", "sessions", "doctor",
    ] {
        assert!(said.out.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(said.out.contains("Exit codes:"));
}

#[test]
fn routes_name_the_authenticators_of_every_type() {
    let folder = Folder::new(
        "[tls]\ndevelopment = true\n\
         [auth.django]\ntype = \"django-session\"\nsecret = \"s3cret\"\nbackend = \"signed_cookies\"\ndirectory = \"users\"\n\
         [auth.flask]\ntype = \"flask-session\"\nstore = \"redis://:s3cret@h/0\"\n\
         [auth.cookie]\ntype = \"flask-cookie\"\nsecret = \"s3cret\"\n\
         [auth.asked]\ntype = \"forward\"\nurl = \"http://h/me\"\nidentity = { user = \"id\" }\n\
         [directory.users]\ntype = \"django\"\ndatabase = \"postgres://u:s3cret@h/db\"\n\
         [[route]]\npath = \"/\"\nauth = [\"django\", \"flask\", \"cookie\", \"asked\"]\nrespond = { status = 200 }\n",
    );
    let said = folder.run(&["routes"]);
    assert!(
        said.out.contains("django,flask,cookie,asked"),
        "{}",
        said.out
    );
    assert_eq!((said.code, said.err.as_str()), (ExitCode::SUCCESS, ""));
}

#[test]
fn doctor_tells_every_mistake_of_a_file_as_a_finding() {
    let said = Folder::new("[[route]]\npath = \"api\"\nroels = []\n").run(&["doctor", "--json"]);
    assert_eq!(said.code, ExitCode::FAILURE, "{}", said.err);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let findings = told["findings"].as_array().unwrap();
    let mistakes: Vec<_> = findings
        .iter()
        .filter(|one| one["check"] == "configuration.file" && one["verdict"] == "problem")
        .collect();
    assert!(mistakes.len() >= 2, "{told:#}");
    assert!(said.out.contains("did you mean roles?"), "{}", said.out);
}

#[test]
fn doctor_names_no_check_that_is_not_listed() {
    let toml = TOML.replace("127.0.0.1:8000", "127.0.0.1:1");
    let said = Folder::new(&toml).run(&["doctor", "--json", "--cookie", "a=b"]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let findings = told["findings"].as_array().unwrap();
    assert!(findings.len() > 5, "{told:#}");
    for finding in findings {
        let check = finding["check"].as_str().unwrap();
        assert!(CHECKS.contains(&check), "{check}");
    }
}

#[test]
fn doctor_has_no_report_of_a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.toml");
    let arguments = ["portcullis", "doctor", "--config", file.to_str().unwrap()];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = main(arguments.map(OsString::from), &mut out, &mut err);
    assert_eq!((code, out.len()), (ExitCode::from(USAGE), 0));
    assert!(String::from_utf8(err).unwrap().contains("none.toml"));
}

#[test]
fn an_unknown_command_is_a_mistake_of_the_command_line() {
    assert_eq!(
        Folder::new("").run(&["no-such-command"]).code,
        ExitCode::from(USAGE)
    );
}

#[test]
fn a_closed_pipe_is_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let arguments = ["portcullis", "--help"].map(OsString::from);
    assert_eq!(main(arguments, &mut Closed, &mut Closed), ExitCode::SUCCESS);
}

#[test]
fn the_door_that_only_redirects_is_explained_as_one() {
    let toml = TOML.replace("https = false", "https = false\nhttp = \"127.0.0.1:18081\"");
    let explained = Folder::new(&toml).explain(&["GET", "http://localhost:18081/api/x"]);
    assert_eq!(explained["outcome"], "answer", "{explained:#}");
    assert_eq!(explained["status"], 308);
}

#[test]
fn a_request_comes_from_where_it_is_said_to_come_from() {
    let toml = TOML.replace(
        "https = false",
        "https = false\ntrusted_proxies = [\"10.0.0.0/8\"]",
    );
    let folder = Folder::new(&toml);
    let request = [
        "GET",
        "http://localhost:18080/api/door/open",
        "-H",
        "X-API-Key: tara-key",
        "-H",
        "X-Forwarded-For: 203.0.113.9",
    ];
    let sent_on = |from: &str| {
        let explained = folder.explain(&[&request[..], &["--from", from]].concat());
        explained["headers"]["x-forwarded-for"].clone()
    };
    assert!(
        sent_on("10.0.0.7")
            .as_str()
            .unwrap()
            .starts_with("203.0.113.9")
    );
    assert_eq!(sent_on("198.51.100.4"), "198.51.100.4");
}

#[test]
fn a_handshake_is_explained_as_one() {
    let folder = Folder::new(TOML);
    let url = "ws://localhost:18080/api/door/open";
    let explained = folder.explain(&["GET", url, "-H", "X-API-Key: tara-key"]);
    assert_eq!(explained["outcome"], "forward", "{explained:#}");
    assert_eq!(explained["headers"]["upgrade"], "websocket");
    assert_ne!(words(&explained, "websocket"), "");
    let stranger = [
        "-H",
        "X-API-Key: tara-key",
        "-H",
        "Origin: https://evil.example",
    ];
    let refused = folder.explain(&[&["GET", url], &stranger[..]].concat());
    assert_eq!(refused["code"], "origin_not_allowed");
}
