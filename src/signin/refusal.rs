//! The refusals of this room, each in one place.

use std::borrow::Cow;
use std::time::Duration;

use crate::policy::denial::{Challenge, Code, Denial};

/// How soon it is worth to try again.
const RETRY: Duration = Duration::from_secs(2);

/// No such session.
pub(super) fn unknown(note: impl Into<Cow<'static, str>>) -> Denial {
    Denial::new(Code::SessionUnknown, "there is no such session")
        .challenge(Challenge::Bearer)
        .note(note)
}

/// A session whose time is over.
pub(super) fn expired(note: impl Into<Cow<'static, str>>) -> Denial {
    Denial::new(Code::SessionExpired, "the session is over: sign in again")
        .challenge(Challenge::Bearer)
        .note(note)
}

/// Nobody can say now.
pub(super) fn unavailable(note: impl Into<Cow<'static, str>>) -> Denial {
    let detail = "the session cannot be looked up right now";
    Denial::new(Code::AuthUnavailable, detail)
        .note(note)
        .retry_after(RETRY)
}

/// An app's answer that a session cannot be made of.
pub(crate) fn useless(note: impl Into<Cow<'static, str>>) -> Denial {
    let detail = "the app's answer to the sign-in cannot be used";
    Denial::new(Code::UpstreamInvalid, detail).note(note)
}
