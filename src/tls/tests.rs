//! What the room promises as a whole, by real handshakes.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::{ClientConfig, ServerConnection, SignatureScheme, SupportedCipherSuite};
use tempfile::TempDir;

use super::testing::{Authority, Client, Ends, files, indiscriminate_resumption, tls};
use super::*;
use crate::clock::Timestamp;
use crate::config::settings::{CertificateFiles, ClientAuth, Tls, UpstreamTls};

/// In 2026.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn load(settings: &Tls) -> TlsState {
    TlsState::load(settings, None, NOW).unwrap()
}

fn client() -> Arc<ClientConfig> {
    Arc::new(Client::default().config())
}

fn shake(state: &TlsState, client: &Arc<ClientConfig>, name: &str) -> Ends {
    Ends::shake(state.server_config(), client, name).unwrap()
}

#[test]
fn the_certificate_follows_the_name_that_is_asked_for() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let first = ca.issue(&["first.example"]);
    let exact = ca.issue(&["a.example.com", "other.example"]);
    let wildcard = ca.issue(&["*.example.com"]);
    let state = load(&tls(vec![
        first.put(folder.path(), "first"),
        wildcard.put(folder.path(), "wildcard"),
        exact.put(folder.path(), "exact"),
    ]));
    for (name, expected) in [
        ("first.example", &first),
        ("a.example.com", &exact),
        ("other.example", &exact),
        ("b.example.com", &wildcard),
        ("example.com", &first),
        ("x.b.example.com", &first),
        ("unknown.test", &first),
    ] {
        assert_eq!(
            shake(&state, &client(), name).shown(),
            &expected.der,
            "{name}"
        );
    }
    let without_sni = Client {
        no_sni: true,
        ..Client::default()
    };
    let ends = shake(&state, &Arc::new(without_sni.config()), "a.example.com");
    assert_eq!(ends.shown(), &first.der);
}

#[test]
fn a_host_that_the_sni_names_certificate_does_not_cover_is_told_apart() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let state = load(&tls(vec![
        ca.issue(&["www.example", "example", "192.0.2.1"])
            .put(folder.path(), "a"),
        ca.issue(&["*.api.example"]).put(folder.path(), "b"),
    ]));
    assert!(state.covers(Some("www.example"), "example"));
    assert!(state.covers(Some("v1.api.example"), "v2.api.example"));
    assert!(state.covers(None, "www.example"));
    assert!(state.covers(None, "192.0.2.1"));
    assert!(state.covers(Some("unknown.test"), "www.example"));
    assert!(!state.covers(Some("unknown.test"), "unknown.test"));
    assert!(!state.covers(Some("www.example"), "v1.api.example"));
    assert!(!state.covers(Some("v1.api.example"), "www.example"));
    assert!(!state.covers(None, "v1.api.example"));
}

#[test]
fn with_two_keys_for_one_name_each_client_gets_what_it_can_verify() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let rsa_key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let rsa = ca.issue_with(&["a.example"], rsa_key, |_| {});
    let ecdsa = ca.issue(&["a.example", "b.example"]);
    let state = load(&tls(vec![
        ecdsa.put(folder.path(), "ecdsa"),
        rsa.put(folder.path(), "rsa"),
    ]));
    let old = Client {
        schemes: &[SignatureScheme::RSA_PSS_SHA256],
        ..Client::default()
    };
    let ends = shake(&state, &Arc::new(old.config()), "a.example");
    assert_eq!(ends.shown(), &rsa.der);
    assert_eq!(shake(&state, &client(), "a.example").shown(), &ecdsa.der);
    // Either may have been served, so only what both vouch for is covered.
    assert!(state.covers(Some("a.example"), "a.example"));
    assert!(!state.covers(Some("a.example"), "b.example"));
}

#[test]
fn a_renewed_pair_serves_new_connections_while_old_ones_live_on() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let old = ca.issue(&["a.example", "b.example"]);
    let state = load(&tls(vec![old.put(folder.path(), "a")]));
    let mut living = shake(&state, &client(), "a.example");
    let served = state.served(Some("a.example"));

    let new = ca.issue(&["a.example"]);
    new.put(folder.path(), "a");
    let report = state.refresh(NOW);
    assert!(matches!(report[0].outcome, Outcome::Renewed));
    assert_eq!(report[0].key, "tls.certificate[0]");
    assert!(matches!(state.refresh(NOW)[0].outcome, Outcome::Unchanged));

    assert_eq!(shake(&state, &client(), "a.example").shown(), &new.der);
    assert_eq!(state.certificates()[0].names, ["a.example"]);
    living.client.writer().write_all(b"still here").unwrap();
    living.carry().unwrap();
    let mut heard = [0; 10];
    living.server.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    // The living connection goes by the certificate that it was shown.
    assert!(served.covers("b.example"));
    assert!(!state.covers(Some("a.example"), "b.example"));
}

#[test]
fn a_bad_pair_is_refused_and_the_old_one_stays() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let old = ca.issue(&["a.example"]);
    let state = load(&tls(vec![old.put(folder.path(), "a")]));
    let files = files(folder.path(), "a");
    let other = ca.issue(&["a.example"]);

    fs::write(&files.cert, &other.pem).unwrap();
    let report = state.refresh(NOW);
    let Outcome::Refused(error) = &report[0].outcome else {
        panic!("{report:?}");
    };
    assert!(matches!(error, TlsError::Mismatch { .. }));

    let broken: [&[u8]; 3] = [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n"];
    for content in broken {
        fs::write(&files.cert, content).unwrap();
        let report = state.refresh(NOW);
        assert!(
            matches!(report[0].outcome, Outcome::Refused(_)),
            "{report:?}"
        );
        assert_eq!(shake(&state, &client(), "a.example").shown(), &old.der);
    }
    fs::remove_file(&files.cert).unwrap();
    assert!(matches!(state.refresh(NOW)[0].outcome, Outcome::Refused(_)));
    assert_eq!(shake(&state, &client(), "a.example").shown(), &old.der);
    // Loading anew, as a reload does, is refused whole.
    assert!(TlsState::load(&tls(vec![files.clone()]), Some(&state), NOW).is_err());

    other.put(folder.path(), "a");
    assert!(matches!(state.refresh(NOW)[0].outcome, Outcome::Renewed));
    assert_eq!(shake(&state, &client(), "a.example").shown(), &other.der);
}

#[test]
fn every_problem_is_told_at_once_each_at_its_key() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let good = ca.issue(&["a.example"]).put(folder.path(), "good");
    let other = ca.issue(&["a.example"]).put(folder.path(), "other");
    let mut settings = tls(vec![
        files(folder.path(), "missing"),
        good.clone(),
        CertificateFiles {
            cert: good.cert.clone(),
            key: other.key,
        },
        CertificateFiles {
            cert: good.key.clone(),
            key: good.cert.clone(),
        },
        CertificateFiles {
            cert: good.cert.clone(),
            key: good.cert,
        },
    ]);
    settings.client_auth = ClientAuth::Required(folder.path().join("no-ca.pem"));
    let problems = TlsState::load(&settings, None, NOW).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "tls.certificate[0].cert",
            "tls.certificate[2].key",
            "tls.certificate[3].cert",
            "tls.certificate[4].key",
            "tls.client_ca",
        ]
    );
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(text[0].contains("missing.pem does not exist"), "{text:?}");
    assert!(text[1].contains("other.key is not the key of"), "{text:?}");
    assert!(
        text[2].contains("are `cert` and `key` swapped?"),
        "{text:?}"
    );
    assert!(
        text[3].contains("are `cert` and `key` swapped?"),
        "{text:?}"
    );
    assert!(text[4].contains("no-ca.pem does not exist"), "{text:?}");
}

#[test]
fn tls_1_1_is_refused_with_an_alert() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let state = load(&tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]));
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    // Signature algorithms, so that the version is all there is to object to.
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut wire = vec![0x16, 0x03, 0x01, 0, 4 + 53, 1, 0, 0, 53];
    wire.extend(hello);
    let mut server = ServerConnection::new(state.server_config()).unwrap();
    server.read_tls(&mut &wire[..]).unwrap();
    assert!(server.process_new_packets().is_err());
    let mut answer = Vec::new();
    server.write_tls(&mut answer).unwrap();
    // A fatal alert, protocol_version.
    assert_eq!(answer[0], 0x15);
    assert_eq!(answer[5..], [2, 70], "{answer:?}");
}

#[test]
fn tls_1_2_is_refused_where_only_1_3_is_wanted() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let mut settings = tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]);
    let old = Client {
        only_tls12: true,
        ..Client::default()
    };
    let old = Arc::new(old.config());
    shake(&load(&settings), &old, "a.example");
    settings.only_tls13 = true;
    let state = load(&settings);
    assert!(Ends::shake(state.server_config(), &old, "a.example").is_err());
    shake(&state, &client(), "a.example");
}

#[test]
fn every_suite_is_aead_with_ephemeral_keys() {
    for suite in &provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        match suite {
            SupportedCipherSuite::Tls13(_) => {}
            SupportedCipherSuite::Tls12(_) => assert!(name.contains("ECDHE"), "{name}"),
        }
        let aead = ["AES_128_GCM", "AES_256_GCM", "CHACHA20_POLY1305"];
        assert!(aead.iter().any(|part| name.contains(part)), "{name}");
    }
}

#[test]
fn plain_text_and_garbage_end_the_handshake_and_nothing_else() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let state = load(&tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]));
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        &[0; 512],
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0, 0, 0],
    ];
    for bytes in garbage {
        let mut server = ServerConnection::new(state.server_config()).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        assert!(server.process_new_packets().is_err(), "{bytes:?}");
    }
    shake(&state, &client(), "a.example");
}

#[test]
fn alpn_chooses_h2_first_and_fails_without_overlap() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let state = load(&tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]));
    let with = |alpn: &[&[u8]]| {
        let client = Client {
            alpn,
            ..Client::default()
        };
        Ends::shake(
            state.server_config(),
            &Arc::new(client.config()),
            "a.example",
        )
    };
    let chosen = |alpn: &[&[u8]]| {
        with(alpn)
            .unwrap()
            .server
            .alpn_protocol()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(chosen(&[b"http/1.1", b"h2"]), Some(b"h2".to_vec()));
    assert_eq!(chosen(&[b"http/1.1"]), Some(b"http/1.1".to_vec()));
    assert_eq!(chosen(&[]), None);
    assert!(with(&[b"smtp"]).is_err());
}

#[test]
fn a_session_is_resumed_by_both_versions_and_over_swaps_and_reloads() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let settings = tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]);
    for only_tls12 in [false, true] {
        let state = load(&settings);
        let client = Client {
            only_tls12,
            ..Client::default()
        };
        let client = Arc::new(client.config());
        assert!(!shake(&state, &client, "a.example").is_resumed());
        assert!(shake(&state, &client, "a.example").is_resumed());
        ca.issue(&["a.example"]).put(folder.path(), "a");
        assert!(matches!(state.refresh(NOW)[0].outcome, Outcome::Renewed));
        assert!(shake(&state, &client, "a.example").is_resumed());
        let reloaded = TlsState::load(&settings, Some(&state), NOW).unwrap();
        assert!(shake(&reloaded, &client, "a.example").is_resumed());
        // Another process has other keys, and shakes hands in full.
        assert!(!shake(&load(&settings), &client, "a.example").is_resumed());
    }
}

#[test]
fn one_ticket_is_sent_for_a_handshake() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let state = load(&tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]));
    let ends = shake(&state, &client(), "a.example");
    assert_eq!(ends.client.tls13_tickets_received(), 1);
}

#[test]
fn a_session_of_one_name_is_not_resumed_under_another() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
    let state = load(&tls(vec![
        a.put(folder.path(), "a"),
        b.put(folder.path(), "b"),
    ]));
    for only_tls12 in [false, true] {
        let client = Client {
            only_tls12,
            ..Client::default()
        };
        let mut config = client.config();
        config.resumption = indiscriminate_resumption();
        let config = Arc::new(config);
        shake(&state, &config, "a.example");
        let other = shake(&state, &config, "b.example");
        assert!(!other.is_resumed());
        assert_eq!(other.shown(), &b.der);
        assert_eq!(other.server.server_name(), Some("b.example"));
        // The trick itself works: under the same name the session is taken up.
        assert!(shake(&state, &config, "b.example").is_resumed());
    }
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let (folder, ca, foreign) = (folder(), Authority::new("ca"), Authority::new("foreign"));
    let path = folder.path().join("clients.pem");
    fs::write(&path, &ca.pem).unwrap();
    let mut settings = tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]);
    let (known, unknown) = (ca.issue(&["ci"]), foreign.issue(&["ci"]));
    let expired = ca.issue_with(&["ci"], KeyPair::generate().unwrap(), |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let meet = |settings: &Tls, identity| {
        let client = Client {
            identity,
            ..Client::default()
        };
        let server = load(settings).server_config();
        Ends::shake(server, &Arc::new(client.config()), "a.example")
    };
    let shown = |ends: Ends| {
        ends.server
            .peer_certificates()
            .map(|chain| chain[0].clone())
    };

    assert_eq!(shown(meet(&settings, Some(&known)).unwrap()), None);
    settings.client_auth = ClientAuth::Optional(path.clone());
    assert_eq!(shown(meet(&settings, None).unwrap()), None);
    assert_eq!(
        shown(meet(&settings, Some(&known)).unwrap()),
        Some(known.der.clone())
    );
    settings.client_auth = ClientAuth::Required(path);
    assert_eq!(
        shown(meet(&settings, Some(&known)).unwrap()),
        Some(known.der.clone())
    );
    assert!(meet(&settings, None).is_err());
    for auth in [ClientAuth::Optional as fn(_) -> _, ClientAuth::Required] {
        settings.client_auth = auth(folder.path().join("clients.pem"));
        assert!(meet(&settings, Some(&unknown)).is_err());
        assert!(meet(&settings, Some(&expired)).is_err());
    }
}

#[test]
fn a_session_is_not_resumed_once_other_client_certificates_are_trusted() {
    let (folder, ca, later) = (folder(), Authority::new("ca"), Authority::new("later"));
    let path = folder.path().join("clients.pem");
    fs::write(&path, &ca.pem).unwrap();
    let mut settings = tls(vec![ca.issue(&["a.example"]).put(folder.path(), "a")]);
    let identity = ca.issue(&["ci"]);
    let client = Client {
        identity: Some(&identity),
        ..Client::default()
    };
    let client = Arc::new(client.config());

    let open = load(&settings);
    shake(&open, &client, "a.example");
    settings.client_auth = ClientAuth::Required(path.clone());
    // A session from before certificates were wanted is no way around showing one.
    let closed = TlsState::load(&settings, Some(&open), NOW).unwrap();
    let ends = shake(&closed, &client, "a.example");
    assert!(!ends.is_resumed());
    // A resumed session still tells who the client is.
    let ends = shake(&closed, &client, "a.example");
    assert!(ends.is_resumed());
    assert_eq!(ends.server.peer_certificates().unwrap()[0], identity.der);

    fs::write(&path, &later.pem).unwrap();
    let report = closed.refresh(NOW);
    assert_eq!(report[1].key, "tls.client_ca");
    assert!(matches!(report[1].outcome, Outcome::Renewed), "{report:?}");
    assert!(Ends::shake(closed.server_config(), &client, "a.example").is_err());

    fs::write(&path, "garbage").unwrap();
    let report = closed.refresh(NOW);
    assert!(
        matches!(report[1].outcome, Outcome::Refused(_)),
        "{report:?}"
    );
    assert!(Ends::shake(closed.server_config(), &client, "a.example").is_err());
}

#[test]
fn an_https_upstream_is_verified_by_its_own_ca_and_shown_a_certificate() {
    let (folder, ca, foreign) = (folder(), Authority::new("ca"), Authority::new("foreign"));
    let path = folder.path().join("ca.pem");
    fs::write(&path, &ca.pem).unwrap();
    let mut server = tls(vec![ca.issue(&["app.internal"]).put(folder.path(), "app")]);
    server.client_auth = ClientAuth::Required(path.clone());
    let server = load(&server);
    let gateway = ca.issue(&["gateway"]);
    let mut settings = UpstreamTls {
        ca: Some(path.clone()),
        server_name: None,
        client: Some(gateway.put(folder.path(), "gateway")),
    };
    let config = client_config(&settings).unwrap();
    let ends = shake(&server, &config, "app.internal");
    assert_eq!(ends.server.peer_certificates().unwrap()[0], gateway.der);
    assert_eq!(ends.server.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(Ends::shake(server.server_config(), &config, "other.internal").is_err());

    fs::write(&path, &foreign.pem).unwrap();
    let config = client_config(&settings).unwrap();
    assert!(Ends::shake(server.server_config(), &config, "app.internal").is_err());

    settings.client = Some(CertificateFiles {
        cert: files(folder.path(), "gateway").cert,
        key: files(folder.path(), "app").key,
    });
    let error = client_config(&settings).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }));
    settings.ca = Some(folder.path().join("none.pem"));
    assert!(
        client_config(&settings)
            .unwrap_err()
            .line()
            .contains("none.pem does not exist")
    );
}

#[test]
fn a_server_name_is_a_dns_name_or_an_address() {
    for name in ["app.internal", "127.0.0.1", "::1"] {
        assert!(server_name(name).is_ok(), "{name}");
    }
    for name in ["", "a b", "http://app", "a:443"] {
        let error = server_name(name).unwrap_err();
        assert!(matches!(error, TlsError::ServerName { .. }), "{name}");
    }
}

#[test]
fn warnings_name_what_should_not_stay_so() {
    let (folder, ca) = (folder(), Authority::new("ca"));
    let life = |from: i32, to: i32| {
        ca.issue_with(&["a.example"], KeyPair::generate().unwrap(), |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 10);
        })
    };
    let warnings = |issued: &testing::Issued, name: &str| {
        let files = issued.put(folder.path(), name);
        restrict(&files.key);
        load(&tls(vec![files])).warnings(NOW)
    };
    assert_eq!(warnings(&life(2020, 2040), "good"), []);
    let expired = warnings(&life(2020, 2025), "expired");
    assert!(
        matches!(expired[..], [Warning::Expired { .. }]),
        "{expired:?}"
    );
    assert!(
        expired[0]
            .to_string()
            .contains("for a.example EXPIRED at 2025-01-10T00:00:00Z")
    );
    let soon = warnings(&life(2020, 2026), "soon");
    assert!(
        matches!(soon[..], [Warning::ExpiresSoon { .. }]),
        "{soon:?}"
    );
    let early = warnings(&life(2030, 2040), "early");
    assert!(
        matches!(early[..], [Warning::NotYetValid { .. }]),
        "{early:?}"
    );
    let nameless = warnings(&ca.issue(&[]), "nameless");
    assert!(matches!(
        nameless[..],
        [Warning::NoAlternativeNames { .. } | Warning::Nameless { .. }]
    ));

    let files = life(2020, 2040).put(folder.path(), "chain");
    restrict(&files.key);
    let chain = fs::read_to_string(&files.cert).unwrap() + &Authority::new("another").pem;
    fs::write(&files.cert, chain).unwrap();
    let unordered = load(&tls(vec![files])).warnings(NOW);
    assert!(matches!(
        unordered[..],
        [Warning::ChainOrder { position: 1, .. }]
    ));
}

#[cfg(unix)]
#[test]
fn a_key_that_everyone_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, ca) = (folder(), Authority::new("ca"));
    let files = ca.issue(&["a.example"]).put(folder.path(), "a");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = load(&tls(vec![files])).warnings(NOW);
    assert!(matches!(warnings[..], [Warning::KeyReadable { .. }]));
}

#[cfg(unix)]
fn restrict(key: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn restrict(_: &std::path::Path) {}
