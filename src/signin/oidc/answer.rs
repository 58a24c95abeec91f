//! PURE: what a browser brings back from a provider, in one reading only (RFC 6749 §4.1.2, RFC 9207).

use url::form_urlencoded;

use crate::auth::words::quoted;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::secret::Secret;

/// Longest value of a parameter, in bytes.
const LONGEST: usize = 4 * 1024;

/// A provider's answer, of which nothing is known to be true.
#[derive(Debug)]
pub struct Returned {
    /// Which sign-in it belongs to.
    pub state: Secret<String>,
    /// Which issuer it says it is from.
    pub issuer: Option<String>,
    /// The code, or why there is none.
    pub code: Result<Secret<String>, Refused>,
}

/// Why a provider gives no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    error: String,
    description: Option<String>,
}

/// What is no answer of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// A parameter stands twice.
    #[error("a parameter of the provider's answer stands twice")]
    Repeated,
    /// A parameter is too long.
    #[error("a parameter of the provider's answer is longer than 4 KiB")]
    TooLong,
    /// There is no `state`.
    #[error("the provider's answer has no `state`: begin the sign-in at the page you want")]
    NoState,
    /// There is neither a `code` nor an `error`, or both.
    #[error("the provider's answer needs a `code` or an `error`, and not both")]
    NoCode,
}

impl Returned {
    /// Reads the query of the address that the browser came back with.
    ///
    /// # Errors
    ///
    /// [`BadAnswer`].
    pub fn parse(query: &str) -> Result<Self, BadAnswer> {
        let (mut state, mut issuer, mut code) = (None, None, None);
        let (mut error, mut description) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "iss" => &mut issuer,
                "code" => &mut code,
                "error" => &mut error,
                "error_description" => &mut description,
                _ => continue,
            };
            if value.len() > LONGEST {
                return Err(BadAnswer::TooLong);
            }
            if place.replace(value.into_owned()).is_some() {
                return Err(BadAnswer::Repeated);
            }
        }
        let filled = |text: &String| !text.is_empty();
        let state = state.filter(filled).ok_or(BadAnswer::NoState)?;
        let code = match (code.filter(filled), error.filter(filled)) {
            (Some(code), None) => Ok(Secret::new(code)),
            (None, Some(error)) => Err(Refused { error, description }),
            (None, None) | (Some(_), Some(_)) => return Err(BadAnswer::NoCode),
        };
        Ok(Self {
            state: Secret::new(state),
            issuer,
            code,
        })
    }
}

impl From<BadAnswer> for Denial {
    fn from(bad: BadAnswer) -> Self {
        Self::new(Code::BadRequest, bad.to_string())
    }
}

impl Refused {
    /// The refusal that it stands for (RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6).
    pub(super) fn denial(&self) -> Denial {
        let (code, detail) = match self.error.as_str() {
            "access_denied" => (
                Code::UserNotAllowed,
                "the sign-in was declined at the provider",
            ),
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required" => (
                Code::CredentialsMissing,
                "the provider wants you to sign in there first",
            ),
            _ => (
                Code::AuthUnavailable,
                "the provider could not sign you in right now",
            ),
        };
        let said = self.description.as_deref().unwrap_or_default();
        let denial = Denial::new(code, detail).note(format!(
            "the provider answered {} {}",
            quoted(&self.error),
            quoted(said)
        ));
        if code == Code::AuthUnavailable {
            denial.retry_after(super::RETRY)
        } else {
            denial.challenge(Challenge::Bearer)
        }
    }
}

#[cfg(test)]
mod unit {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_has_a_state_and_a_code() {
        let answer =
            Returned::parse("state=s%20t&code=c%2B&session_state=x&iss=https%3A%2F%2Fi").unwrap();
        assert_eq!(answer.state.expose(), "s t");
        assert_eq!(answer.issuer.as_deref(), Some("https://i"));
        assert_eq!(answer.code.unwrap().expose(), "c+");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_answer() {
        for (query, bad) in [
            ("", BadAnswer::NoState),
            ("code=c", BadAnswer::NoState),
            ("state=&code=c", BadAnswer::NoState),
            ("state=s", BadAnswer::NoCode),
            ("state=s&code=", BadAnswer::NoCode),
            ("state=s&code=c&error=e", BadAnswer::NoCode),
            ("state=s&code=c&code=c", BadAnswer::Repeated),
            ("state=s&state=t&code=c", BadAnswer::Repeated),
            ("state=s&code=c&iss=a&iss=b", BadAnswer::Repeated),
        ] {
            assert_eq!(Returned::parse(query).unwrap_err(), bad, "{query}");
        }
        let long = format!("state=s&code={}", "c".repeat(LONGEST + 1));
        assert_eq!(Returned::parse(&long).unwrap_err(), BadAnswer::TooLong);
    }

    #[test]
    fn each_error_of_a_provider_has_its_refusal() {
        for (error, code) in [
            ("access_denied", Code::UserNotAllowed),
            ("login_required", Code::CredentialsMissing),
            ("temporarily_unavailable", Code::AuthUnavailable),
            ("server_error", Code::AuthUnavailable),
            ("invalid_scope", Code::AuthUnavailable),
            ("<script>", Code::AuthUnavailable),
        ] {
            let query = format!("state=s&error={error}&error_description=why");
            let refused = Returned::parse(&query).unwrap().code.unwrap_err();
            let denial = refused.denial();
            assert_eq!(denial.code(), code, "{error}");
            // A stranger's words are not repeated on a page of this host.
            assert!(!denial.detail().contains("why") && !denial.detail().contains('<'));
        }
    }

    proptest! {
        #[test]
        fn any_query_gets_an_answer(query in "[a-z=&%+0-9]{0,60}|.{0,60}") {
            let _ = Returned::parse(&query);
        }
    }
}
