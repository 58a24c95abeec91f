//! Why there is no certificate from the CA, in words for the operator.
//!
//! What a CA says is text of someone else's: it is cut to a length and loses what is no letter
//! before it is told.

use std::error::Error;

use super::schedule::Failure;
use crate::auth::ports::StoreError;
use crate::tls::error::{FileError, TlsError};

/// Most letters of what is told of one failure.
const MOST_TOLD: usize = 600;

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The cache cannot be used.
    #[error("the cache cannot be used")]
    Cache(#[from] FileError),
    /// TLS or a certificate of our own cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The CA, or the way to it.
    #[error("{doing}")]
    Ca {
        /// What was under way.
        doing: &'static str,
        /// What went wrong.
        source: instant_acme::Error,
    },
    /// The CA has accounts of its own, and did not take what was said of one.
    #[error("cannot make an account at the CA: {cure}")]
    External {
        /// What to do.
        cure: String,
        /// What the CA said.
        source: instant_acme::Error,
    },
    /// The CA wants another challenge.
    #[error("the CA offers no {wanted} challenge for {name}, but {offered}")]
    NoChallenge {
        /// The name.
        name: String,
        /// As configured.
        wanted: &'static str,
        /// What there is.
        offered: String,
    },
    /// The CA asks about something else.
    #[error("the CA asks about {name}, which was not ordered")]
    OtherName {
        /// As the CA has it.
        name: String,
    },
    /// A challenge was lost.
    #[error("the CA did not accept the {challenge} challenge: {why}")]
    Lost {
        /// Which kind.
        challenge: &'static str,
        /// Each name that failed, with the CA's reason.
        why: String,
    },
    /// The CA issued something that does not serve.
    #[error("the certificate that the CA issued is of no use: {0}")]
    Useless(String),
    /// The store that gateways share, or the way to it.
    #[error("the store of [session] gives no answer; nothing is ordered until it does")]
    Store(#[source] StoreError),
    /// What is in it is not what a gateway put there.
    #[error(
        "the {0} in the store of [session] does not open: it was changed there, or sealed with another \
         `secret` of [tls.acme]"
    )]
    Spoilt(&'static str),
    /// Another gateway orders.
    #[error("the turn to order was lost to another gateway")]
    TurnLost,
    /// The whole attempt takes too long.
    #[error("the order was not done in {0:?}")]
    TimedOut(std::time::Duration),
    /// The machine, not the CA.
    #[error("the work on files was cut off")]
    CutOff,
}

impl AcmeError {
    pub(super) fn ca(doing: &'static str) -> impl FnOnce(instant_acme::Error) -> Self {
        move |source| Self::Ca { doing, source }
    }

    /// Why no account could be made, with what to do where the CA has accounts of its own; `key_id` of
    /// the one that was named.
    pub(super) fn of_account(source: instant_acme::Error, key_id: Option<&str>) -> Self {
        let instant_acme::Error::Api(problem) = &source else {
            return Self::ca("cannot make an account at the CA")(source);
        };
        let kind = problem.r#type.as_deref();
        let kind = kind.and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"));
        let cure = match (kind, key_id) {
            (Some("externalAccountRequired"), None) => {
                "it wants to know an account of its own site: set `eab_key_id` and `eab_key` in \
                 [tls.acme] to what it shows there"
                    .to_owned()
            }
            (
                Some(
                    "externalAccountRequired"
                    | "unauthorized"
                    | "malformed"
                    | "badSignatureAlgorithm",
                ),
                Some(id),
            ) => format!(
                "it does not take the external account {id:?}: check `eab_key_id` and `eab_key` of \
                 [tls.acme]; some CAs give keys that hold once, or end"
            ),
            (_, _) => return Self::ca("cannot make an account at the CA")(source),
        };
        Self::External { cure, source }
    }

    /// How the wait depends on it.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Ca { source, .. } if is_unreached(source) => Failure::Unreached,
            Self::Store(_) | Self::TurnLost => Failure::Unreached,
            Self::Ca { .. }
            | Self::Cache(_)
            | Self::External { .. }
            | Self::Tls(_)
            | Self::NoChallenge { .. }
            | Self::OtherName { .. }
            | Self::Lost { .. }
            | Self::Useless(_)
            | Self::Spoilt(_)
            | Self::TimedOut(_)
            | Self::CutOff => Failure::Refused,
        }
    }

    /// Whether the CA does not know the account.
    pub(super) fn is_about_account(&self) -> bool {
        let Self::Ca { source, .. } = self else {
            return false;
        };
        let instant_acme::Error::Api(problem) = source else {
            return false;
        };
        let kind = problem.r#type.as_deref();
        kind == Some("urn:ietf:params:acme:error:accountDoesNotExist")
    }

    /// The error and its causes in one line, fit to be logged.
    pub(super) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some libraries repeat the cause in their own words.
            if !line.ends_with(&words) {
                line.push_str(": ");
                line.push_str(&words);
            }
            cause = error.source();
        }
        told(&line)
    }
}

fn is_unreached(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Other(cause) = error else {
        return false;
    };
    cause.is::<super::wire::WireError>()
}

/// Someone else's text, without control characters and not longer than is of use.
pub(super) fn told(text: &str) -> String {
    let mut told: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MOST_TOLD)
        .collect();
    if text.chars().nth(MOST_TOLD).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_ca_says_is_bounded_and_cannot_forge_log_lines() {
        let source = instant_acme::Error::Other("no\r\n\u{1b}[2Jlevel=ERROR".repeat(500).into());
        let error = AcmeError::ca("asking")(source);
        let line = error.line();
        assert!(line.starts_with("asking: no"), "{line}");
        assert!(line.chars().count() <= MOST_TOLD + 1);
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn only_a_way_that_is_broken_is_no_word_of_the_ca() {
        let broken = instant_acme::Error::Other(Box::new(super::super::wire::WireError::TimedOut));
        assert_eq!(AcmeError::ca("x")(broken).failure(), Failure::Unreached);
        let said = instant_acme::Error::Str("no nonce");
        assert_eq!(AcmeError::ca("x")(said).failure(), Failure::Refused);
    }
}
