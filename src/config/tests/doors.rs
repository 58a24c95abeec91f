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
