//! Why a request to an app failed, and whose fault it was.

use std::io;
use std::time::Duration;

use crate::policy::denial::{Code, Denial};

/// Why no answer of the app can be passed on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The server's name has no address yet, so that there is nowhere to connect to.
    #[error("the name of {server} does not resolve")]
    Unresolved {
        /// The server's label.
        server: Box<str>,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The server refused or reset the connection.
    #[error("no connection to {server}")]
    Connect {
        /// The server's label.
        server: Box<str>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No connection within the connect timeout.
    #[error("{server} did not take the connection in time")]
    ConnectTimeout {
        /// The server's label.
        server: Box<str>,
    },
    /// The TLS handshake with the server failed.
    #[error("the TLS handshake with {server} failed")]
    Tls {
        /// The server's label.
        server: Box<str>,
        /// What the handshake said.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer's head was there.
    #[error("{server} closed the connection before it answered")]
    Reset {
        /// The server's label.
        server: Box<str>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer is not HTTP, or can be read in two ways.
    #[error("the answer of {server} cannot be read: {found}")]
    Invalid {
        /// The server's label.
        server: Box<str>,
        /// What was found.
        found: Box<str>,
    },
    /// No answer's head within the timeout.
    #[error("{server} did not answer in time")]
    Timeout {
        /// The server's label.
        server: Box<str>,
    },
    /// Every connection was in use until the queue's time was over.
    #[error("every connection to {upstream} is in use")]
    Busy {
        /// The upstream's name.
        upstream: Box<str>,
    },
    /// Every server is left out.
    #[error("every server of {upstream} is out")]
    Down {
        /// The upstream's name.
        upstream: Box<str>,
        /// When one may be there again.
        again: Duration,
    },
    /// The client's body broke a rule or stopped coming.
    #[error("the request's body failed")]
    RequestBody(#[source] Denial),
}

/// Why a client's body was not taken to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// More bytes than the route allows.
    TooLarge,
    /// Nothing came for too long.
    Timeout,
    /// The client went away or broke its framing.
    Broken,
}

impl UpstreamError {
    /// The refusal that the client gets. What the system said stays with the operator.
    #[must_use]
    pub fn denial(&self) -> Denial {
        let note = self.chain();
        let (code, detail) = match self {
            Self::Unresolved { .. } => (
                Code::UpstreamUnreachable,
                "the app's address is not known now; try again",
            ),
            Self::Connect { .. } | Self::Tls { .. } => (
                Code::UpstreamUnreachable,
                "no connection to the app could be made",
            ),
            Self::Reset { .. } => (
                Code::UpstreamUnreachable,
                "the app closed the connection before it answered",
            ),
            Self::Invalid { .. } => (Code::UpstreamInvalid, "the app's answer is not valid HTTP"),
            Self::ConnectTimeout { .. } => (
                Code::UpstreamTimeout,
                "the app did not take the connection in time",
            ),
            Self::Timeout { .. } => (Code::UpstreamTimeout, "the app did not answer in time"),
            Self::Busy { .. } => (
                Code::UpstreamBusy,
                "every connection to the app is in use; try again",
            ),
            Self::Down { .. } => (Code::UpstreamDown, "the app is down; try again"),
            Self::RequestBody(denial) => return denial.clone(),
        };
        let denial = Denial::new(code, detail).note(note);
        match self {
            Self::Busy { .. } => denial.retry_after(Duration::from_secs(1)),
            Self::Down { again, .. } => denial.retry_after(*again),
            Self::Unresolved { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::Reset { .. }
            | Self::Invalid { .. }
            | Self::Timeout { .. }
            | Self::RequestBody(_) => denial,
        }
    }

    /// This error and its causes in one line, for the operator.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl BodyFault {
    /// The refusal that the client gets. The rest of the body cannot be told from a next request.
    #[must_use]
    pub fn denial(self) -> Denial {
        let (code, detail) = match self {
            Self::TooLarge => (
                Code::BodyTooLarge,
                "the body is larger than this route allows",
            ),
            Self::Timeout => (Code::RequestTimeout, "the body stopped coming"),
            Self::Broken => (Code::BadRequest, "the body ended before it was complete"),
        };
        Denial::new(code, detail).closing()
    }
}
