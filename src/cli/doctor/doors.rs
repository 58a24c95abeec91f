//! Whether the gateway's doors can be opened, or are held by a gateway that runs. PURE.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use http::StatusCode;
use http::header::LOCATION;

use super::finding::Finding;
use crate::upstream::look::Seen;

/// One door of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// `https`, `http`, `plain` or `admin`.
    pub(super) kind: &'static str,
    /// Its address.
    pub(super) address: SocketAddr,
}

impl Door {
    /// As findings name it.
    pub(super) fn about(&self) -> String {
        format!("{} {}", self.kind, self.address)
    }
}

/// The verdict on one door. `runs`: whether a gateway answers at the admin address.
pub(super) fn port(door: &Door, bound: &io::Result<()>, runs: bool) -> Finding {
    const CHECK: &str = "door.port";
    let about = door.about();
    let port = door.address.port();
    match bound.as_ref().map_err(io::Error::kind) {
        Ok(()) if runs => Finding::warning(
            CHECK,
            &about,
            "free, though a gateway runs: it has other doors",
            "doors are opened at the start: restart the gateway to have it take this one",
        ),
        Ok(()) => Finding::ok(CHECK, &about, "free"),
        Err(ErrorKind::AddrInUse) if runs => {
            Finding::ok(CHECK, &about, "held by the gateway that runs")
        }
        Err(ErrorKind::AddrInUse) => Finding::problem(
            CHECK,
            &about,
            "held by another program",
            &format!(
                "`ss -ltnp 'sport = :{port}'` says by which; end it, or give the door another port"
            ),
        ),
        Err(ErrorKind::PermissionDenied) => Finding::problem(
            CHECK,
            &about,
            "this user may not open it",
            "ports below 1024 want CAP_NET_BIND_SERVICE (AmbientCapabilities of systemd), or a port above",
        ),
        Err(ErrorKind::AddrNotAvailable) => Finding::problem(
            CHECK,
            &about,
            "this machine has no such address",
            "write an address of this machine, or 0.0.0.0 for all of them",
        ),
        Err(other) => Finding::problem(
            CHECK,
            &about,
            &format!("cannot be opened: {other}"),
            "write another address",
        ),
    }
}

/// Whether what answered at the admin address is a gateway, by its `/health`.
pub(super) fn is_gateway(health: &Seen) -> bool {
    health.status == StatusCode::OK && health.body.trim_ascii() == b"alive"
}

/// The verdict on the gateway that runs, by its `/ready`.
pub(super) fn ready(address: SocketAddr, ready: Option<&Seen>) -> Finding {
    const CHECK: &str = "gateway.ready";
    let about = format!("admin {address}");
    match ready {
        None => Finding::ok(CHECK, &about, "no gateway runs here"),
        Some(seen) if seen.status == StatusCode::OK => {
            Finding::ok(CHECK, &about, "a gateway runs and is ready")
        }
        Some(seen) => Finding::problem(
            CHECK,
            &about,
            &format!(
                "a gateway runs and is not ready: {}",
                String::from_utf8_lossy(&seen.body)
            ),
            "what it lacks stands there; the findings below say why",
        ),
    }
}

/// The verdict on the door that redirects, asked for a host.
pub(super) fn redirect(door: &Door, host: &str, answer: &io::Result<Seen>) -> Finding {
    const CHECK: &str = "door.redirect";
    let about = door.about();
    let advice =
        "see who answers there: the gateway's http door answers 308 to https and nothing else";
    let seen = match answer {
        Ok(seen) => seen,
        Err(error) => return Finding::problem(CHECK, &about, &error.to_string(), advice),
    };
    let to = seen.headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let status = seen.status.as_u16();
    match to {
        Some(to) if status == 308 && to.starts_with("https://") => {
            Finding::ok(CHECK, &about, &format!("308 from {host} to {to}"))
        }
        Some(_) | None => Finding::problem(CHECK, &about, &format!("{status} for {host}"), advice),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::super::finding::Verdict;
    use super::*;

    fn door() -> Door {
        Door {
            kind: "https",
            address: "127.0.0.1:8443".parse().unwrap(),
        }
    }

    fn seen(status: u16, body: &str) -> Seen {
        Seen {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_port_is_free_or_held_by_the_gateway_or_by_someone_else() {
        let told = |bound: Result<(), ErrorKind>, runs| {
            port(&door(), &bound.map_err(io::Error::from), runs).verdict
        };
        assert_eq!(told(Ok(()), false), Verdict::Ok);
        assert_eq!(told(Err(ErrorKind::AddrInUse), true), Verdict::Ok);
        assert_eq!(told(Err(ErrorKind::AddrInUse), false), Verdict::Problem);
        assert_eq!(told(Ok(()), true), Verdict::Warning);
        for kind in [ErrorKind::PermissionDenied, ErrorKind::AddrNotAvailable] {
            assert_eq!(told(Err(kind), false), Verdict::Problem);
        }
    }

    #[test]
    fn only_what_says_that_it_is_alive_is_taken_for_a_gateway() {
        assert!(is_gateway(&seen(200, "alive\n")));
        assert!(!is_gateway(&seen(200, "<html>alive</html>")));
        assert!(!is_gateway(&seen(404, "alive\n")));
    }

    #[test]
    fn a_gateway_that_is_not_ready_says_what_it_lacks() {
        let admin = "127.0.0.1:9090".parse().unwrap();
        let found = ready(admin, Some(&seen(503, "{\"ready\": false}")));
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.evidence.contains("\"ready\": false"));
        assert_eq!(ready(admin, None).verdict, Verdict::Ok);
    }

    #[test]
    fn the_door_that_redirects_must_lead_to_https() {
        let mut answer = seen(308, "");
        let told = |answer: Seen| redirect(&door(), "a.example", &Ok(answer)).verdict;
        assert_eq!(told(answer.clone()), Verdict::Problem);
        let to = HeaderValue::from_static("https://a.example/");
        answer.headers.insert(LOCATION, to);
        assert_eq!(told(answer.clone()), Verdict::Ok);
        answer.status = StatusCode::FOUND;
        assert_eq!(told(answer), Verdict::Problem);
    }
}
