//! Layers and whole files: what is loaded, what the environment changes, what no file may be.

use proptest::prelude::*;

use super::*;

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
fn an_escape_behind_letters_beyond_ascii_is_refused_in_words_and_read_where_they_are_escaped() {
    let report = |name, value| {
        let loaded = load_with(GOOD, &[(name, value)]);
        loaded.map_or_else(|report| report.to_string(), |_| String::new())
    };
    for value in [r#""é\n""#, r#""ᎀோ \a""#, r#"["ab", "éé\t"]"#] {
        let told = report("PORTCULLIS_SERVER__HTTPS", value);
        assert!(
            told.contains("PORTCULLIS_SERVER__HTTPS: has a backslash"),
            "{told}"
        );
    }
    for value in [r#""\u00e9\n""#, r"é\n", r#""é""#, r#""\té""#] {
        let told = report("PORTCULLIS_SERVER__HTTPS", value);
        assert!(!told.contains("has a backslash"), "{told}");
    }
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
    assert!(report("PORTCULLIS_TRACING__SAMPLE", "1").contains("tracing.otlp"));
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
fn the_example_at_the_root_of_the_project_holds_no_mistake() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let secret = [("DJANGO_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")];
    let loaded = load(&folder.join("gateway.toml"), &environment(&secret)).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.policy.routes.all().len(), 3);
    assert_eq!(loaded.policy.expectations.len(), 3);
}

#[test]
fn the_seed_of_the_fuzz_target_holds_no_mistake() {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config/example.toml");
    let seed = std::fs::read_to_string(seed).unwrap();
    let (_, text) = seed.split_once('\n').unwrap();
    let loaded = good(text);
    assert_eq!(loaded.settings.authenticators.len(), 7);
    assert_eq!(loaded.settings.directories.len(), 3);
}

#[test]
/// The example of the contract.
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
health  = { path = "/health/", every = "5s" }

[auth.edms-token]
type   = "jwt"
preset = "simplejwt"
secret = { env = "KEY" }
directory = "edms"

[auth.edms-session]
type      = "django-session"
secret    = { env = "KEY" }
database  = { env = "DATABASE_URL" }
directory = "edms"

[directory.edms]
type     = "django"
database = { env = "DATABASE_URL" }

[cors.web]
origins     = ["https://tiktrue.com", "https://*.tiktrue.com", "http://localhost:3000"]
credentials = true

[[route]]
path     = "/api/v1/backup/{*rest}"
upstream = "edms"
auth     = ["edms-token", "edms-session"]
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
    let address = [("DATABASE_URL", "postgres://edms:hunter2@db.example/edms")];
    let loaded =
        load_text(&file, text, &environment(&address)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.watched.len(), 3);
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let certificate = &loaded.settings.tls.certificates[0];
    assert_eq!(certificate.key, folder.path().join("certs/app.key"));
}

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused(text in "\\PC{0,200}") {
        let _ = load_with(&text, &[]).map_err(|report| report.to_string());
    }

    #[test]
    fn a_file_with_a_few_letters_changed_is_loaded_or_refused_with_a_place(
        edits in proptest::collection::vec((0_usize..600, proptest::char::range(' ', '~')), 1..8),
    ) {
        let mut letters: Vec<char> = GOOD.chars().collect();
        for (at, letter) in edits {
            let at = at % letters.len();
            letters[at] = letter;
        }
        let text: String = letters.into_iter().collect();
        if let Err(report) = load_with(&text, &[]) {
            prop_assert!(!report.problems.is_empty());
            prop_assert!(report.problems.iter().any(|problem| problem.place.is_some() || problem.key == "tls.certificate" || problem.key == "route"));
            prop_assert!(report.to_string().len() < 100_000);
        }
    }

    #[test]
    fn any_environment_is_loaded_or_refused(
        name in "PORTCULLIS_(SERVER|AUTH|DIRECTORY|ROUTE|TLS|UPSTREAM)__[A-Z_]{0,12}",
        value in "\\PC{0,60}",
    ) {
        let _ = load_with(GOOD, &[(&name, &value)]).map_err(|report| report.to_string());
    }

    #[test]
    fn any_value_for_any_key_is_taken_or_refused(
        key in prop::sample::select(vec![
            "path", "hosts", "methods", "upstream", "respond", "redirect", "files", "auth", "roles", "users",
            "claims", "cors", "csrf", "unauthenticated", "strip_prefix", "add_prefix", "timeout", "body_limit",
            "observe", "request_headers", "response_headers", "websocket",
        ]),
        value in prop::sample::select(vec![
            "1", "-1", "1.5", "nan", "true", "\"\"", "\"x\"", "[]", "{}", "[[]]", "[1]", "[\"\"]", "{ a = 1 }",
            "{ set = { a = 1 } }", "{ env = \"KEY\" }", "{ to = 1 }", "{ optional = 1 }", "{ any = 1 }",
            "{ redirect = 1 }", "{ status = 99999 }", "{ dir = \"..\" }", "1979-05-27", "\"\\u0000\"",
        ]),
    ) {
        let _ = load_with(&format!("{GOOD}\n[[route]]\n{key} = {value}\n"), &[]);
        let _ = load_with(&format!("{GOOD}\n[auth.more]\ntype = \"jwt\"\n{key} = {value}\nsecret = {value}\nrequire = {value}\nsources = {value}\n"), &[]);
    }

    #[test]
    fn any_value_for_any_key_of_sessions_and_directories_is_taken_or_refused(
        kind in prop::sample::select(vec![
            "auth.more:django-session", "auth.more:flask-session", "auth.more:flask-cookie", "auth.more:forward",
            "directory.more:django", "directory.more:sql", "directory.more:endpoint",
        ]),
        key in prop::sample::select(vec![
            "secret", "backend", "database", "redis", "key_prefix", "key_version", "cookie", "table", "cache",
            "lifetime", "time_zone", "directory", "store", "signer", "identity", "url", "send", "timeout",
            "identity_headers", "user_table", "roles", "query", "user", "active",
        ]),
        value in prop::sample::select(vec![
            "1", "-1", "1.5", "nan", "true", "\"\"", "\"x\"", "[]", "{}", "[[]]", "[1]", "[\"\"]", "{ user = 1 }",
            "{ user = [] }", "{ env = \"KEY\" }", "{ file = \"..\" }", "\"sqlite:\"", "\"redis://\"", "\"1s\"",
            "\"column:\"", "\"/~\"", "\"\\u0000\"", "1979-05-27",
        ]),
    ) {
        let (table, kind) = kind.split_once(':').unwrap();
        let _ = load_with(&format!("{GOOD}\n[{table}]\ntype = \"{kind}\"\n{key} = {value}\n"), &[]);
    }
}

#[test]
fn ten_thousand_routes_load_in_a_moment() {
    let routes: Vec<_> = (0..10_000)
        .map(|index| route(&format!("/r{index}/{{id}}/"), ""))
        .collect();
    let loaded = good(&format!("{GOOD}{}", routes.concat()));
    assert_eq!(loaded.policy.routes.all().len(), 10_001);
}
