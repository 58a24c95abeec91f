//! What is kept and found again, what is answered, and what serves, without a CA.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::testing::{Authority, Client, Ends, Issued, tls};
use super::super::{TlsState, Warning};
use super::*;
use crate::clock;
use crate::config::settings::{AcmeChallenge, Tls};

fn settings(folder: &TempDir, domains: &[&str]) -> Settings {
    Settings {
        domains: domains.iter().map(|&name| name.to_owned()).collect(),
        contact: Vec::new(),
        directory: "https://ca.example:14000/dir".to_owned(),
        ca: None,
        cache: folder.path().join("acme"),
        challenge: AcmeChallenge::TlsAlpn01,
        external_account: None,
        shared: None,
    }
}

fn with_acme(acme: Settings) -> Tls {
    Tls {
        acme: Some(acme),
        ..tls(Vec::new())
    }
}

fn load(settings: &Tls, previous: Option<&TlsState>) -> TlsState {
    TlsState::load(settings, previous, clock::now()).unwrap()
}

/// Keeps a certificate as an order does.
fn keep(settings: &Settings, issued: &Issued) {
    let home = Home::of(settings);
    let _lock = home.enter().unwrap().unwrap();
    let chain = [issued.der.clone()];
    home.keep(&issued.key.serialize_pem(), &chain).unwrap();
}

fn shown(state: &TlsState, name: &str) -> Option<Vec<u8>> {
    let client = Arc::new(Client::default().config());
    let ends = Ends::shake(state.server_config(), &client, name).ok()?;
    Some(ends.shown().to_vec())
}

#[test]
fn without_a_certificate_handshakes_are_refused_and_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let state = load(&with_acme(settings(&folder, &["a.example"])), None);
    assert_eq!(shown(&state, "a.example"), None);
    let warnings = state.warnings(clock::now());
    assert!(matches!(&warnings[..], [Warning::Awaited { names, .. }] if names == "a.example"));
    assert!(state.certificates().is_empty() && !state.acme().unwrap().serves());
    // To look up what is there makes nothing.
    assert!(!folder.path().join("acme").exists());
}

#[test]
fn what_was_issued_is_kept_for_its_owner_alone_and_serves_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, &["a.example", "b.example"]);
    let issued = Authority::new("ca").issue(&["a.example", "b.example"]);
    keep(&settings, &issued);
    let file = Home::of(&settings).files().cert;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&settings.cache), 0o700);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        load(&with_acme(settings.clone()), None);
        assert_eq!(mode(&file), 0o600);
    }
    let state = load(&with_acme(settings), None);
    assert_eq!(shown(&state, "b.example"), Some(issued.der.to_vec()));
    assert!(state.warnings(clock::now()).is_empty());
}

#[test]
fn a_further_name_keeps_the_certificate_that_there_is_and_another_ca_does_not_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = settings(&folder, &["a.example"]);
    let issued = Authority::new("ca").issue(&["a.example"]);
    keep(&one, &issued);
    let two = settings(&folder, &["b.example", "a.example"]);
    let state = load(&with_acme(two), None);
    assert_eq!(shown(&state, "a.example"), Some(issued.der.to_vec()));
    let elsewhere = Settings {
        directory: "https://ca.example:14000/dir2".to_owned(),
        ..one.clone()
    };
    let fresh = load(&with_acme(elsewhere.clone()), None);
    assert_eq!(shown(&fresh, "a.example"), None);
    // While it runs, the other CA's goes on until there is a new one.
    let before = load(&with_acme(one), None);
    let after = load(&with_acme(elsewhere), Some(&before));
    assert_eq!(shown(&after, "a.example"), Some(issued.der.to_vec()));
    // And one for other names alone is of no use.
    let other = load(&with_acme(settings(&folder, &["c.example"])), None);
    assert_eq!(shown(&other, "c.example"), None);
}

#[test]
fn the_order_of_the_names_makes_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let one = Home::of(&settings(&folder, &["a.example", "b.example"]));
    let two = Home::of(&settings(&folder, &["b.example", "a.example"]));
    let three = Home::of(&settings(&folder, &["a.example", "c.example"]));
    assert_eq!(one.files().cert, two.files().cert);
    assert_ne!(one.files().cert, three.files().cert);
}

#[test]
fn a_path_stays_in_the_cache_whatever_the_directory_is_called() {
    let folder = tempfile::tempdir().unwrap();
    for directory in ["https://[::1]/x", "https://a..b/../../etc", "nonsense", ""] {
        let settings = Settings {
            directory: directory.to_owned(),
            ..settings(&folder, &["../../a"])
        };
        let file = Home::of(&settings).files().cert;
        let inner = file.strip_prefix(&settings.cache).unwrap();
        assert_eq!(inner.components().count(), 2, "{}", inner.display());
        assert!(
            !inner.to_str().unwrap().contains(".."),
            "{}",
            inner.display()
        );
    }
}

#[test]
fn a_spoilt_certificate_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, &["a.example"]);
    keep(&settings, &Authority::new("ca").issue(&["a.example"]));
    fs::write(Home::of(&settings).files().cert, "spoilt").unwrap();
    assert!(!load(&with_acme(settings), None).acme().unwrap().serves());
}

#[test]
fn one_process_at_a_time_is_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::of(&settings(&folder, &["a.example"]));
    let lock = home.enter().unwrap();
    assert!(lock.is_some());
    assert!(home.enter().unwrap().is_none());
    drop(lock);
    assert!(home.enter().unwrap().is_some());
}

#[test]
fn configured_certificates_come_first_and_a_reload_keeps_what_orders() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let own = ca.issue(&["own.example"]);
    let settings = Tls {
        certificates: vec![own.put(folder.path(), "own")],
        ..with_acme(settings(&folder, &["a.example"]))
    };
    let first = load(&settings, None);
    assert_eq!(shown(&first, "a.example"), Some(own.der.to_vec()));
    let second = load(&settings, Some(&first));
    assert!(Arc::ptr_eq(first.acme().unwrap(), second.acme().unwrap()));
    // Issued while the second was built: whoever comes last takes it up.
    let issued = ca.issue(&["a.example"]);
    keep(settings.acme.as_ref().unwrap(), &issued);
    let acme = Arc::clone(second.acme().unwrap());
    let home = Home::of(settings.acme.as_ref().unwrap());
    let found = home.certificate(acme.domains(), clock::now()).unwrap();
    acme.lock().held = found.map(Arc::new);
    second.take_ordered();
    second.take_ordered();
    assert_eq!(shown(&second, "a.example"), Some(issued.der.to_vec()));
    assert_eq!(shown(&second, "other.example"), Some(own.der.to_vec()));
    assert_eq!(second.certificates().len(), 2);
    // A renewed file of the operator's takes nothing away from it.
    let renewed = ca.issue(&["own.example"]);
    renewed.put(folder.path(), "own");
    second.refresh(clock::now());
    assert_eq!(shown(&second, "own.example"), Some(renewed.der.to_vec()));
    assert_eq!(shown(&second, "a.example"), Some(issued.der.to_vec()));
}

#[test]
fn a_challenge_is_there_from_its_begin_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = load(&with_acme(settings(&folder, &["a.example"])), None);
    let challenges = Arc::clone(&state.acme().unwrap().challenges);
    assert!(state.looks().is_none());
    let one = challenges.in_handshake("a.example", &[7; 32]).unwrap();
    let other = challenges.in_handshake("b.example", &[8; 32]).unwrap();
    assert!(state.looks().is_some());
    drop(one);
    assert!(state.looks().is_some());
    drop(other);
    assert!(state.looks().is_none());
}

#[test]
fn the_newest_answer_for_a_name_counts_and_each_ends_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = load(&with_acme(settings(&folder, &["a.example"])), None);
    let challenges = Arc::clone(&state.acme().unwrap().challenges);
    let old = challenges.in_request("token", "token.old");
    let new = challenges.in_request("other", "other.new");
    let one = challenges.in_handshake("a.example", &[7; 32]).unwrap();
    let two = challenges.in_handshake("a.example", &[8; 32]).unwrap();
    drop(one);
    assert!(state.looks().is_some(), "the other stands there still");
    drop(two);
    assert!(state.looks().is_none());
    drop(old);
    assert_eq!(challenges.request("token"), None);
    assert_eq!(challenges.request("other").as_deref(), Some("other.new"));
    drop(new);
    assert_eq!(challenges.request("other"), None);
}

#[test]
fn a_token_is_known_to_every_gateway_on_the_folder_until_the_challenge_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        challenge: AcmeChallenge::Http01,
        ..settings(&folder, &["a.example"])
    };
    let state = load(&with_acme(settings.clone()), None);
    let other = load(&with_acme(settings.clone()), None);
    let challenges = Arc::clone(&state.acme().unwrap().challenges);
    let home = Home::of(&settings);
    let lock = home.enter().unwrap().unwrap();
    let shown = home.show("token", "token.print").unwrap();
    let request = challenges.in_request("token", "token.print").beside(shown);
    assert!(
        state.looks().is_none(),
        "no handshake is asked about a request"
    );
    for state in [&state, &other] {
        let proof = |host, token| state.proof(host, token);
        assert_eq!(proof("A.example", "token").as_deref(), Some("token.print"));
        assert_eq!(proof("other.example", "token"), None);
        assert_eq!(proof("a.example", "toke"), None);
    }
    drop(request);
    assert_eq!(state.proof("a.example", "token"), None);
    assert_eq!(other.proof("a.example", "token"), None);
    // What a process that was killed left behind goes with the next order.
    std::mem::forget(home.show("token", "token.print"));
    drop(lock);
    let _next = home.enter().unwrap();
    assert_eq!(other.proof("a.example", "token"), None);
}
