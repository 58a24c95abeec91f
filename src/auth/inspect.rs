//! `token inspect`: what each authenticator would say to a token, in words.

use crate::auth::authenticators::Authenticators;
use crate::auth::token::Checked;
use crate::clock::Timestamp;

/// What one authenticator says to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The authenticator's name.
    pub authenticator: String,
    /// Whether it would take the token.
    pub accepted: bool,
    /// Why, or why not.
    pub words: String,
}

impl Authenticators {
    /// Asks every JWT authenticator about a token. Nothing is fetched: keys of a JWKS are those
    /// loaded by now.
    #[must_use]
    pub fn inspect_token(&self, token: &str, now: Timestamp) -> Vec<Finding> {
        let readers = self.readers().iter();
        let tokens = readers.filter_map(|reader| Some((reader, reader.token()?)));
        tokens
            .map(|(reader, kind)| {
                let (accepted, words) = match kind.check(token, self.verdicts(), self.names(), now)
                {
                    Checked::Valid { caller, .. } => {
                        let who = caller.identity();
                        let until = who
                            .expires_at
                            .map_or_else(String::new, |end| format!(", until {end}"));
                        (true, format!("valid: user {}{until}", who.user))
                    }
                    Checked::Refused(denial) => (false, in_words(&denial)),
                    Checked::Waits(_) => (false, "its key is not loaded".to_owned()),
                };
                Finding {
                    authenticator: reader.name.as_ref().to_owned(),
                    accepted,
                    words,
                }
            })
            .collect()
    }
}

/// A refusal with its note.
pub(crate) fn in_words(denial: &crate::policy::denial::Denial) -> String {
    match denial.operator_note() {
        Some(note) => format!("{denial} ({note})"),
        None => denial.to_string(),
    }
}
