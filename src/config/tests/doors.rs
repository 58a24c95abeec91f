//! In front and behind: addresses, TLS, upstreams, security headers.

use super::*;

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
fn checks_and_ejection_have_times_and_counts_within_bounds() {
    for (key, why) in [
        ("health = ◆{ every = \"5s\" }", "health.path"),
        ("health = { path = ◆\"health\" }", "begins with /"),
        ("health = { path = ◆\"/a b\" }", "not a path to ask for"),
        ("health = { path = ◆\"/#top\" }", "not a path to ask for"),
        (
            "health = { path = \"/\", every = ◆\"1ms\" }",
            "\"100ms\" to \"1h\"",
        ),
        (
            "health = { path = \"/\", timeout = ◆\"0s\" }",
            "\"100ms\" to \"1h\"",
        ),
        ("health = { path = \"/\", healthy = ◆0 }", "1 to 1000"),
        ("health = { path = \"/\", unhealthy = ◆1001 }", "1 to 1000"),
        ("health = { path = \"/\", host = ◆\"a/b\" }", "not a host"),
        (
            "health = { path = \"/\", ◆evry = \"1s\" }",
            "did you mean every?",
        ),
        ("eject = { failures = ◆0 }", "1 to 1000"),
        ("eject = { time = ◆\"2h\" }", "\"100ms\" to \"1h\""),
        ("eject = ◆true", "must be a table"),
        ("◆helth = 1", "did you mean health?"),
    ] {
        refused(&upstream(key), &[why]);
    }
}

#[test]
fn servers_are_ejected_unless_the_file_says_no_and_checked_only_where_it_says_how() {
    let with = |keys: &str| {
        let text = format!("{GOOD}[upstream.more]\nservers = [\"http://x\"]\n{keys}");
        good(&text).settings.upstreams[1].clone()
    };
    let quiet = with("");
    let eject = quiet.eject.unwrap();
    assert_eq!((eject.failures, eject.time.as_secs()), (5, 10));
    assert_eq!(quiet.health, None);
    assert_eq!(with("eject = false").eject, None);
    let partly = with("eject = { failures = 2 }").eject.unwrap();
    assert_eq!((partly.failures, partly.time.as_secs()), (2, 10));
    let check = with("health = { path = \"/up?deep=1\", host = \"app.example\" }").health;
    let check = check.unwrap();
    assert_eq!(
        (check.target.to_string(), check.host.unwrap()),
        ("/up?deep=1".to_owned(), "app.example".parse().unwrap())
    );
    assert_eq!((check.every.as_secs(), check.timeout.as_secs()), (5, 2));
    assert_eq!((check.healthy, check.unhealthy), (2, 3));
}
