//! Whether the gateway's certificates are those that its routes need. PURE.

use std::path::Path;

use super::finding::Finding;
use super::servers::{FEW_DAYS, days_left};
use crate::clock::Timestamp;
use crate::tls::{Known, Looked, Trust, Warning};

/// Pairs that were looked at, each with what keeps it from serving where something does.
pub(super) type Pairs = [(Known, Result<Looked, String>)];

/// Every verdict on them. `hosts` are those that routes take.
pub(super) fn verdicts(pairs: &Pairs, hosts: &[String], now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    if pairs.is_empty() {
        let why = "there are none yet: the gateway makes one for development when it first starts, or orders \
                   those of [tls.acme] once it runs";
        found.push(Finding::skipped("certificate.files", "certificates", why));
    }
    for (known, looked) in pairs {
        let about = about(&known.files.cert);
        match looked {
            Err(words) => found.push(Finding::problem(
                "certificate.files",
                &about,
                words,
                "give it the pair of files that belong together: the chain, leaf first, and the key \
                 that was made for it",
            )),
            Ok(looked) => found.extend(of_pair(&about, known, looked, now)),
        }
    }
    found.extend(names(pairs, hosts));
    found
}

fn about(file: &Path) -> String {
    format!("certificate {}", file.display())
}

fn of_pair(about: &str, known: &Known, looked: &Looked, now: Timestamp) -> Vec<Finding> {
    let mut found = vec![expiry(about, looked, now), chain(about, known, looked)];
    for warning in &looked.warnings {
        match warning {
            Warning::NoAlternativeNames { .. } | Warning::Nameless { .. } => {
                found.push(Finding::problem(
                    "certificate.names",
                    about,
                    &warning.to_string(),
                    "have one issued with the hosts as subject alternative names",
                ));
            }
            // Told by `expiry`, by `chain` and with the files; one that is awaited is no pair yet.
            Warning::Expired { .. }
            | Warning::ExpiresSoon { .. }
            | Warning::NotYetValid { .. }
            | Warning::ChainOrder { .. }
            | Warning::Awaited { .. }
            | Warning::KeyReadable { .. } => {}
        }
    }
    found
}

fn expiry(about: &str, looked: &Looked, now: Timestamp) -> Finding {
    const CHECK: &str = "certificate.expiry";
    let info = &looked.info;
    if now > info.not_after {
        let evidence = format!("expired at {}: clients refuse it", info.not_after);
        let advice = "renew it now; the running gateway takes up the new files by itself";
        return Finding::problem(CHECK, about, &evidence, advice);
    }
    if now < info.not_before {
        let evidence = format!(
            "not valid before {}: clients refuse it until then",
            info.not_before
        );
        let advice = "see whether this machine's clock is right";
        return Finding::problem(CHECK, about, &evidence, advice);
    }
    let days = days_left(info, now);
    let evidence = format!("{days} days left, until {}", info.not_after);
    if days < FEW_DAYS {
        let advice = "renew it; the running gateway takes up the new files by itself";
        Finding::warning(CHECK, about, &evidence, advice)
    } else {
        Finding::ok(CHECK, about, &evidence)
    }
}

fn chain(about: &str, known: &Known, looked: &Looked) -> Finding {
    const CHECK: &str = "certificate.chain";
    let out_of_order = looked
        .warnings
        .iter()
        .find(|warning| matches!(warning, Warning::ChainOrder { .. }));
    if let Some(warning) = out_of_order {
        let advice = "put the leaf first, behind it the certificate that signed it, and so on";
        return Finding::problem(CHECK, about, &warning.to_string(), advice);
    }
    match &looked.trust {
        Trust::Trusted => Finding::ok(CHECK, about, "leads to a root that this machine trusts"),
        Trust::Private { issuer } if known.made_here => {
            let words =
                format!("made here for development, signed by {issuer}: clients must trust that");
            Finding::ok(CHECK, about, &words)
        }
        Trust::Private { issuer } => Finding::warning(
            CHECK,
            about,
            &format!("ends at {issuer}, which this machine does not know"),
            "an authority of your own: have clients trust it; a public one: the file lacks what stands \
             between, append the authority's intermediate certificate",
        ),
        Trust::Incomplete { issuer } => Finding::problem(
            CHECK,
            about,
            &format!("incomplete: it ends with a certificate of {issuer}, whose own is missing"),
            "use the full chain (fullchain.pem), or append the authority's intermediate certificate",
        ),
        Trust::SelfSigned => Finding::warning(
            CHECK,
            about,
            "signed by itself: browsers warn of it",
            "have one issued by an authority that clients trust",
        ),
        Trust::Unsound(words) => Finding::problem(
            CHECK,
            about,
            &format!("clients refuse it: {words}"),
            "have another issued, for a server (serverAuth)",
        ),
        Trust::Unknown(why) => Finding::skipped(CHECK, about, why),
    }
}

/// Whether each host of the routes is covered by one of the certificates.
fn names(pairs: &Pairs, hosts: &[String]) -> Vec<Finding> {
    const CHECK: &str = "certificate.names";
    let looked: Vec<_> = pairs
        .iter()
        .filter_map(|(_, looked)| looked.as_ref().ok())
        .collect();
    if looked.is_empty() {
        return Vec::new();
    }
    let all: Vec<_> = looked.iter().map(|one| one.names.to_string()).collect();
    let all = all.join(", ");
    let missing = hosts.iter().filter(|host| {
        // A wildcard stands for at least one label.
        let example = host
            .strip_prefix('*')
            .map_or_else(|| (*host).clone(), |rest| format!("portcullis{rest}"));
        !looked.iter().any(|one| one.names.covers(&example))
    });
    let problems: Vec<_> = missing
        .map(|host| {
            Finding::problem(
                CHECK,
                &format!("host {host}"),
                &format!("no certificate has it; they have {all}: browsers warn, and the gateway answers 421"),
                &format!("have a certificate issued with {host}, or take the host out of the routes"),
            )
        })
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    let words = if hosts.is_empty() {
        format!("{all}; routes take every host that these cover")
    } else {
        format!("{all}; every host of the routes is among them")
    };
    vec![Finding::ok(CHECK, "certificates", &words)]
}
