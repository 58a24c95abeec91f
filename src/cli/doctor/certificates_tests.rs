//! What is made of certificates.

use std::path::PathBuf;

use super::certificates::verdicts;
use super::finding::{Finding, Verdict};
use crate::clock::Timestamp;
use crate::config::settings::CertificateFiles;
use crate::tls::{CertificateInfo, CertificateNames, Known, Looked, Trust, Warning};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);
const DAY: i64 = 86_400;

fn days(days: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + days * DAY)
}

fn known() -> Known {
    Known {
        key: "tls.certificate[0]".to_owned(),
        files: CertificateFiles {
            cert: "a.pem".into(),
            key: "a.key".into(),
        },
        made_here: false,
    }
}

fn looked(left: i64, trust: Trust, warnings: Vec<Warning>) -> Looked {
    Looked {
        info: CertificateInfo {
            path: PathBuf::new(),
            names: vec!["a.example".to_owned(), "*.b.example".to_owned()],
            serial: String::new(),
            issuer: "CN=ca".to_owned(),
            not_before: days(-10),
            not_after: days(left),
        },
        names: CertificateNames::of_texts(["a.example", "*.b.example"]),
        warnings,
        trust,
    }
}

fn found(looked: Looked, hosts: &[&str]) -> Vec<Finding> {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    verdicts(&[(known(), Ok(looked))], &hosts, NOW)
}

fn of(check: &str, findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .find(|one| one.check == check)
        .unwrap()
        .verdict
}

#[test]
fn a_host_that_no_certificate_has_is_a_problem_and_a_covered_wildcard_is_none() {
    let hosts = ["a.example", "www.b.example", "*.b.example", "c.example"];
    let found = found(looked(90, Trust::Trusted, Vec::new()), &hosts);
    let wrong: Vec<_> = found
        .iter()
        .filter(|one| one.verdict != Verdict::Ok)
        .map(|one| (one.check, one.about.as_str(), one.verdict))
        .collect();
    assert_eq!(
        wrong,
        [("certificate.names", "host c.example", Verdict::Problem)]
    );
}

#[test]
fn the_days_that_are_left_decide() {
    for (left, verdict) in [
        (90, Verdict::Ok),
        (30, Verdict::Ok),
        (29, Verdict::Warning),
        (0, Verdict::Warning),
        (-1, Verdict::Problem),
    ] {
        let found = found(looked(left, Trust::Trusted, Vec::new()), &[]);
        assert_eq!(of("certificate.expiry", &found), verdict, "{left}");
    }
}

#[test]
fn a_chain_that_clients_cannot_follow_is_a_problem() {
    let issuer = || "CN=ca".to_owned();
    for (trust, verdict) in [
        (Trust::Trusted, Verdict::Ok),
        (Trust::Incomplete { issuer: issuer() }, Verdict::Problem),
        (Trust::Private { issuer: issuer() }, Verdict::Warning),
        (Trust::SelfSigned, Verdict::Warning),
        (Trust::Unsound("x".to_owned()), Verdict::Problem),
        (Trust::Unknown("no roots"), Verdict::Skipped),
    ] {
        let found = found(looked(90, trust, Vec::new()), &[]);
        assert_eq!(of("certificate.chain", &found), verdict);
    }
    let order = Warning::ChainOrder {
        path: "a.pem".into(),
        position: 1,
    };
    let found = found(looked(90, Trust::Trusted, vec![order]), &[]);
    assert_eq!(of("certificate.chain", &found), Verdict::Problem);
}

#[test]
fn a_pair_that_cannot_serve_is_told_with_why() {
    let words = "a.key is not the key of the certificate in a.pem".to_owned();
    let found = verdicts(&[(known(), Err(words))], &["a.example".to_owned()], NOW);
    assert_eq!(of("certificate.files", &found), Verdict::Problem);
    assert!(found[0].evidence.contains("is not the key"));
}
