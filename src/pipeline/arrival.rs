//! Who came, and for which host: worked out once, and kept while a connection's requests say the
//! same.

use std::ops::Deref;

use super::judge::{Subject, Who};
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::{self, Client};
use crate::policy::host::{Authority, parse_authority};
use crate::policy::written::Written;
use http::header::HOST;

/// Who came, and for which host.
#[derive(Debug)]
pub struct Arrival {
    client: Client,
    /// The host as routes match it.
    pub host: Box<str>,
    /// What apps are told of it.
    pub forwarded: Written,
    /// The snapshot that it was worked out with.
    serial: u64,
    /// Whether a trusted proxy had its say: then each request may come from another client.
    by_proxy: bool,
}

impl Deref for Arrival {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Arrival {
    /// Works out who came, and for which host.
    ///
    /// # Errors
    ///
    /// `bad_request` for a host that is missing, there twice, or none; `misdirected` for one that
    /// the connection's certificate does not cover.
    pub fn of(gate: &Snapshot, subject: &Subject<'_, '_>, who: &Who) -> Result<Self, Denial> {
        let authority = authority(subject)?;
        // An expectation is about the rules, whatever certificates are there.
        if matches!(who, Who::Bearer) {
            check_server_name(subject, &authority)?;
        }
        let (trusted, peer) = (&gate.policy.trusted_proxies, subject.peer.address.ip());
        let tls = subject.peer.tls.is_some();
        let client = forwarded::resolve(trusted, peer, tls, &authority, subject.headers);
        Ok(Self {
            forwarded: forwarded::fields(&client),
            client,
            host: Box::from(authority.host()),
            serial: gate.serial,
            by_proxy: trusted.trusts(peer),
        })
    }

    /// Whether this is true of another request on the same connection too. The reader of HTTP/1
    /// and the check of framing see to it that there is one `Host`.
    pub(super) fn fits(&self, gate: &Snapshot, subject: &Subject<'_, '_>) -> bool {
        let header = subject.headers.get(HOST);
        let known = self.client.authority.as_bytes();
        let same = match subject.uri.authority() {
            None => header.is_some_and(|host| host.as_bytes() == known),
            Some(target) => target.as_str().as_bytes() == known && header.is_none(),
        };
        same && !self.by_proxy && self.serial == gate.serial
    }
}

/// The one host that the request is for. An authority in the target and a `Host` must agree
/// (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn authority<'h>(subject: &Subject<'h, 'h>) -> Result<Authority<'h>, Denial> {
    let refuse = |detail: String| Denial::new(Code::BadRequest, detail).closing();
    let mut hosts = subject.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(refuse("the Host header is there twice".to_owned()));
    }
    let host = match host {
        Some(value) => {
            let text = value
                .to_str()
                .map_err(|bad| refuse(format!("the Host header is not text: {bad}")))?;
            Some(parse_authority(text).map_err(|bad| refuse(bad.to_string()))?)
        }
        None => None,
    };
    let target = match subject.uri.authority() {
        Some(target) => {
            Some(parse_authority(target.as_str()).map_err(|bad| refuse(bad.to_string()))?)
        }
        None => None,
    };
    match (host, target) {
        (Some(host), Some(target)) if host != target => Err(refuse(
            "the Host header and the address name two different hosts".to_owned(),
        )),
        (_, Some(target)) => Ok(target),
        (Some(host), None) => Ok(host),
        (None, None) => Err(refuse("the Host header is missing".to_owned())),
    }
}

/// RFC 9110 §7.4: a connection serves the hosts that its certificate covers.
fn check_server_name(subject: &Subject<'_, '_>, authority: &Authority<'_>) -> Result<(), Denial> {
    let Some(tls) = &subject.peer.tls else {
        return Ok(());
    };
    if tls.served.covers(authority.host()) {
        return Ok(());
    }
    let note = format!(
        "host {} is not covered by the certificate for {}",
        authority.host(),
        tls.server_name
            .as_deref()
            .unwrap_or("clients without a server name"),
    );
    let detail = "the certificate of this connection does not cover the host; open another one";
    Err(Denial::new(Code::Misdirected, detail).note(note))
}
