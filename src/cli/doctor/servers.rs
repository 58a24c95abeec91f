//! Whether the apps' servers are where the file says they are. PURE.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use super::finding::Finding;
use crate::clock::Timestamp;
use crate::tls::CertificateInfo;

/// A certificate with fewer days left is to be renewed.
pub(super) const FEW_DAYS: u64 = 30;

/// The verdict on the addresses of a name.
pub(super) fn resolved(about: &str, found: &io::Result<Vec<SocketAddr>>) -> Finding {
    const CHECK: &str = "upstream.resolve";
    match found {
        Ok(addresses) if addresses.is_empty() => Finding::ok(CHECK, about, "a unix socket"),
        Ok(addresses) => {
            let list: Vec<_> = addresses.iter().map(|one| one.ip().to_string()).collect();
            Finding::ok(CHECK, about, &list.join(", "))
        }
        Err(error) => Finding::problem(
            CHECK,
            about,
            &format!("the name does not resolve: {error}"),
            "check the name in `servers`, and this machine's DNS (`getent hosts NAME`); in a container \
             the name must be that of a service on the same network",
        ),
    }
}

/// The verdict on the connections to each address.
pub(super) fn connected(
    about: &str,
    knocks: &[(SocketAddr, io::Result<Duration>)],
) -> Option<Finding> {
    const CHECK: &str = "upstream.connect";
    let open: Vec<_> = knocks.iter().filter(|(_, knock)| knock.is_ok()).collect();
    let told: Vec<_> = knocks
        .iter()
        .map(|(address, knock)| match knock {
            Ok(took) => format!("{address} in {} ms", took.as_millis()),
            Err(error) => format!("{address} {}", words(error)),
        })
        .collect();
    let told = told.join(", ");
    if knocks.is_empty() {
        return None;
    }
    let Some((first, _)) = open.first() else {
        let (_, failed) = knocks.first()?;
        let advice = failed.as_ref().err().map_or("", cure);
        return Some(Finding::problem(CHECK, about, &told, advice));
    };
    if open.len() == knocks.len() {
        return Some(Finding::ok(CHECK, about, &told));
    }
    Some(Finding::warning(
        CHECK,
        about,
        &format!(
            "the name has {} addresses, and the app listens on {} of them: {told}",
            knocks.len(),
            open.len()
        ),
        &format!(
            "write {:?} in `servers` in the place of the name, or have the app listen on every address",
            first.to_string()
        ),
    ))
}

/// Why a connection failed.
fn words(error: &io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused {
        "refuses".to_owned()
    } else if error.kind() == ErrorKind::TimedOut {
        "does not answer".to_owned()
    } else {
        error.to_string()
    }
}

fn cure(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::ConnectionRefused {
        "nothing listens there: start the app, or correct the port; an app in a container must listen on \
         0.0.0.0 and not on its own 127.0.0.1"
    } else {
        "see whether a firewall is between the two, and whether the address is right"
    }
}

/// The verdict on an opened connection, TLS included.
pub(super) fn greeted(
    about: &str,
    greeted: &Result<Option<CertificateInfo>, String>,
    now: Timestamp,
) -> Option<Finding> {
    const CHECK: &str = "upstream.tls";
    let info = match greeted {
        Ok(None) => return None,
        Ok(Some(info)) => info,
        Err(words) => {
            return Some(Finding::problem(
                CHECK,
                about,
                words,
                "name the authority that signed its certificate with `tls = { ca = \"…\" }`, and the \
                 name that stands in it with `server_name`",
            ));
        }
    };
    let days = days_left(info, now);
    let evidence = format!(
        "the handshake holds; {days} days left for {}",
        info.names.join(", ")
    );
    Some(if days < FEW_DAYS {
        Finding::warning(CHECK, about, &evidence, "renew the app's certificate")
    } else {
        Finding::ok(CHECK, about, &evidence)
    })
}

/// Whole days until a certificate ends.
pub(super) fn days_left(info: &CertificateInfo, now: Timestamp) -> u64 {
    info.not_after.saturating_since(now).as_secs() / 86_400
}

/// The verdict on the first answer of a server.
pub(super) fn answered(about: &str, answer: Result<(u16, Duration, &str), &str>) -> Finding {
    const CHECK: &str = "upstream.answer";
    match answer {
        Ok((status, took, target)) => {
            let evidence = format!("{status} for {target} in {} ms", took.as_millis());
            if status >= 500 {
                let advice = "read the app's own log for this request";
                return Finding::problem(CHECK, about, &evidence, advice);
            }
            Finding::ok(CHECK, about, &evidence)
        }
        Err(words) => Finding::problem(
            CHECK,
            about,
            words,
            "ask the app itself with curl; if it speaks another protocol there (https, uwsgi), write \
             the scheme or the port that speaks HTTP",
        ),
    }
}

/// The verdict of the configured health check.
pub(super) fn healthy(about: &str, target: &str, problem: Option<&str>) -> Finding {
    const CHECK: &str = "upstream.health";
    match problem {
        None => Finding::ok(CHECK, about, &format!("{target} says that it is well")),
        Some(words) => Finding::problem(
            CHECK,
            about,
            &format!("{target}: {words}"),
            "a server that fails its checks gets no requests: correct `health` of the upstream, or the app",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn knock(address: &str, outcome: Result<u64, ErrorKind>) -> (SocketAddr, io::Result<Duration>) {
        let outcome = outcome.map(Duration::from_millis).map_err(io::Error::from);
        (address.parse().unwrap(), outcome)
    }

    #[test]
    fn a_name_of_which_the_app_serves_one_address_alone_is_a_trap() {
        let both = [
            knock("[::1]:8000", Err(ErrorKind::ConnectionRefused)),
            knock("127.0.0.1:8000", Ok(1)),
        ];
        let found = connected("x", &both).unwrap();
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(
            found.evidence.contains("[::1]:8000 refuses"),
            "{}",
            found.evidence
        );
        assert!(found.advice.unwrap().contains("127.0.0.1:8000"));
    }

    #[test]
    fn an_app_that_is_not_there_is_a_problem_with_a_cure() {
        let found = connected(
            "x",
            &[knock("127.0.0.1:8000", Err(ErrorKind::ConnectionRefused))],
        );
        let found = found.unwrap();
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.advice.unwrap().contains("start the app"));
        assert_eq!(connected("x", &[]), None);
    }

    #[test]
    fn an_app_that_fails_is_a_problem_and_one_that_refuses_is_there() {
        let answer = |status| answered("x", Ok((status, Duration::ZERO, "/"))).verdict;
        assert_eq!(answer(401), Verdict::Ok);
        assert_eq!(answer(404), Verdict::Ok);
        assert_eq!(answer(502), Verdict::Problem);
        assert_eq!(answered("x", Err("cut off")).verdict, Verdict::Problem);
    }
}
