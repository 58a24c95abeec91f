//! `[tls.acme]`: for which names, from which CA, by which challenge.

use super::*;

/// A file without a certificate of its own.
fn acme(keys: &str) -> String {
    let rest = GOOD.replace("[tls]\ndevelopment = true\n", "");
    format!("{rest}\n[tls.acme]\n{keys}\n")
}

fn told(keys: &str) -> String {
    bad(&acme(keys))
}

fn compiled(keys: &str) -> Acme {
    good(&acme(keys)).settings.tls.acme.unwrap()
}

#[test]
fn names_alone_are_enough() {
    let acme = compiled("domains = [\"App.Example.com\", \"bücher.example\"]");
    assert_eq!(
        acme,
        Acme {
            domains: vec!["app.example.com".into(), "xn--bcher-kva.example".into()],
            contact: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            ca: None,
            cache: "./acme".into(),
            challenge: AcmeChallenge::TlsAlpn01,
            external_account: None,
            shared: None,
        }
    );
}

#[test]
fn a_private_ca_may_be_asked_over_http_01() {
    let acme = compiled(
        "domains = { env = \"KEY\" }\ncontact = [\"ops@example.com\", \"mailto:b@example.com\"]\n\
         directory = \"https://ca.internal:8443/acme\"\ncache = \"/var/lib/acme\"\n\
         challenge = \"http-01\"\n[server]\nhttp = \"0.0.0.0:80\"",
    );
    assert_eq!(
        acme.contact,
        ["mailto:ops@example.com", "mailto:b@example.com"]
    );
    assert_eq!(acme.directory, "https://ca.internal:8443/acme");
    assert_eq!(acme.challenge, AcmeChallenge::Http01);
    assert_eq!(acme.cache, Path::new("/var/lib/acme"));
}

#[test]
fn a_name_that_no_certificate_could_be_ordered_for_is_refused() {
    for (name, why) in [
        ("*.example.com", "neither challenge can prove"),
        ("*", "neither challenge can prove"),
        ("192.0.2.1", "is an address"),
        ("[::1]", "is an address"),
        ("a.example:443", "has no port"),
        ("https://a.example", "is a URL"),
        ("a..example", "labels must have"),
        ("-a.example", "labels must have"),
        ("a_b.example", "no DNS name of a host"),
        ("a b.example", "character"),
        ("", "empty"),
    ] {
        let report = told(&format!("domains = [\"{name}\"]"));
        assert!(report.contains("tls.acme.domains[0]"), "{report}");
        assert!(report.contains(why), "{name}: {report}");
    }
    assert!(told("domains = [\"a.example\", \"A.example\"]").contains("twice"));
    assert!(told("domains = []").contains("at least one name"));
    assert!(told("contact = [\"a@a.example\"]").contains("tls.acme.domains: is required"));
    let many: Vec<_> = (0..101).map(|n| format!("\"n{n}.example\"")).collect();
    assert!(told(&format!("domains = [{}]", many.join(","))).contains("1 to 100"));
}

#[test]
fn a_contact_is_a_mail_address_and_nothing_more() {
    for contact in [
        "ops",
        "@example.com",
        "a@",
        "a@b@example.com",
        "a@example.com?subject=x",
        "a@example.com,b@example.com",
        "A <a@example.com>",
        "tel:+49",
        "a@192.0.2.1",
    ] {
        let report = told(&format!(
            "domains = [\"a.example\"]\ncontact = [\"{contact}\"]"
        ));
        assert!(
            report.contains("is not a mail address"),
            "{contact}: {report}"
        );
    }
}

#[test]
fn a_directory_is_asked_over_https_alone() {
    for directory in [
        "http://ca.example/dir",
        "ca.example/dir",
        "https://user:pass@ca.example/dir",
        "https://ca.example/dir#x",
        "",
    ] {
        let report = told(&format!(
            "domains = [\"a.example\"]\ndirectory = \"{directory}\""
        ));
        assert!(report.contains("tls.acme.directory"), "{report}");
        assert!(
            report.contains("https address of an ACME directory"),
            "{report}"
        );
    }
}

#[test]
fn a_challenge_needs_the_door_that_answers_it() {
    let report = told("domains = [\"a.example\"]\nchallenge = \"http-01\"");
    assert!(report.contains("tls.acme.challenge"), "{report}");
    assert!(report.contains("needs `http` in [server]"), "{report}");
    let report = told("domains = [\"a.example\"]\nchallenge = \"dns-01\"");
    assert!(report.contains("\"tls-alpn-01\", \"http-01\""), "{report}");
    let report =
        told("domains = [\"a.example\"]\n[server]\nhttps = false\nplain = \"127.0.0.1:8000\"");
    assert!(report.contains("tls.acme"), "{report}");
    assert!(report.contains("needs https"), "{report}");
    let report = told("domains = [\"a.example\"]\nca = \"no/such.pem\"");
    assert!(report.contains("tls.acme.ca"), "{report}");
    assert!(told("domains = [\"a.example\"]\ndomain = 1").contains("did you mean domains?"));
}

#[test]
fn a_development_certificate_gives_way() {
    let text = GOOD.to_owned() + "[tls.acme]\ndomains = [\"a.example\"]";
    let loaded = good(&text);
    assert!(loaded.settings.tls.development.is_none());
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("tls.development")),
        "{warnings:?}"
    );
}

#[test]
fn gateways_order_together_in_a_store_that_they_share_and_with_a_secret() {
    let secret = "0123456789abcdef0123456789abcdef";
    let keys = |more: &str| format!("domains = [\"a.example\"]\nshared = true\n{more}");
    let redis = "[session]\nstore = \"redis://127.0.0.1:6379/1\"";
    let acme = compiled(&keys(&format!(
        "secret = [\"{secret}\", \"{secret}x\"]\n{redis}"
    )));
    let shared = acme.shared.unwrap();
    assert!(matches!(shared.home, LedgerHome::Redis(_)));
    assert_eq!(shared.secrets.len(), 2);
    let postgres = "[session]\nstore = \"postgres://127.0.0.1/x\"";
    let acme = compiled(&keys(&format!("secret = \"{secret}\"\n{postgres}")));
    assert!(!format!("{acme:?}").contains(secret));
    assert!(matches!(acme.shared.unwrap().home, LedgerHome::Postgres(_)));
    for (more, why) in [
        (redis.to_owned(), "tls.acme.secret: is required"),
        (format!("secret = \"too short\"\n{redis}"), "9 bytes"),
        (format!("secret = []\n{redis}"), "must not be empty"),
        (
            format!("secret = \"{secret}\""),
            "other gateways do not see",
        ),
        (
            format!("secret = \"{secret}\"\n[session]\nstore = \"memory\""),
            "this gateway has to itself",
        ),
    ] {
        let told = told(&keys(&more));
        assert!(told.contains(why), "{more}: {told}");
        assert!(
            !told.contains(secret) && !told.contains("too short\""),
            "{told}"
        );
    }
}

#[test]
fn an_account_at_the_cas_own_site_has_a_name_and_a_key() {
    let keys =
        "domains = [\"a.example\"]\neab_key_id = \"site-7\"\neab_key = \"MDEyMzQ1Njc4OWFiY2RlZg";
    for padding in ["", "=="] {
        let acme = compiled(&format!("{keys}{padding}\""));
        let external = acme.external_account.unwrap();
        assert_eq!(external.key_id, "site-7");
        assert_eq!(external.key.expose(), b"0123456789abcdef");
        assert!(!format!("{external:?}").contains("0123"));
    }
    let refused = |more: &str| told(&format!("domains = [\"a.example\"]\n{more}"));
    for (more, why) in [
        ("eab_key_id = \"x\"", "tls.acme.eab_key: is required"),
        (
            "eab_key = \"MDEyMzQ1Njc4OWFiY2RlZg\"",
            "tls.acme.eab_key_id: is required",
        ),
        (
            "eab_key_id = \"x y\"\neab_key = \"MDEyMzQ1Njc4OWFiY2RlZg\"",
            "no name of a key",
        ),
        (
            "eab_key_id = \"x\"\neab_key = \"MDEy+zQ1Njc4OWFiY2RlZg\"",
            "is not base64url",
        ),
        ("eab_key_id = \"x\"\neab_key = \"MDEyMzQ1\"", "is too short"),
    ] {
        let told = refused(more);
        assert!(told.contains(why), "{more}: {told}");
        assert!(!told.contains("MDEy"), "{told}");
    }
}
