//! What one authenticator says to a request, before and after it was waited for.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::COOKIE;

use crate::auth::ask::Carried;
use crate::auth::attempt::Request;
use crate::auth::authenticators::{Kind, Reader};
use crate::auth::ledger::SessionId;
use crate::auth::session_reader::SessionReader;
use crate::auth::shown::Shown;
use crate::auth::token::{Checked, Lack, TokenReader};
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::config::settings::Source;
use crate::policy::denial::Denial;
use crate::policy::identity::Caller;
use crate::policy::route::AuthenticatorId;

/// One authenticator's answer, before anything is waited for.
pub(super) enum Answer<'a, 'r> {
    Absent,
    Valid(Held<'a>),
    Refused(Denial, Option<&'a Source>),
    /// Only waiting will tell.
    Waits(Pending<'a, 'r>),
}

/// A credential that holds.
pub(super) struct Held<'a> {
    pub(super) caller: Arc<Caller>,
    pub(super) source: Option<&'a Source>,
    pub(super) reused: bool,
}

/// A credential whose verdict takes time, and what it waits for.
pub(super) enum Pending<'a, 'r> {
    /// A key that a fetch may bring.
    Key {
        source: &'a Source,
        token: Cow<'r, str>,
        lack: Lack,
    },
    /// A password's slow hash.
    Hash(Cow<'r, str>),
    /// A session that is kept elsewhere, or whose user is.
    Session {
        source: Option<&'a Source>,
        shown: Shown<'r>,
        key: VerdictKey,
    },
    /// A session of the gateway's own.
    Own {
        source: &'a Source,
        id: SessionId,
        key: VerdictKey,
    },
    /// The app that says who it is.
    App { carried: Carried, key: VerdictKey },
    /// The user whom a credential names that holds by itself.
    User { held: Held<'a>, key: VerdictKey },
}

impl<'a> Pending<'a, '_> {
    pub(super) fn source(&self) -> Option<&'a Source> {
        match self {
            Self::Key { source, .. } | Self::Own { source, .. } => Some(*source),
            Self::Session { source, .. } => *source,
            Self::User { held, .. } => held.source,
            Self::Hash(_) | Self::App { .. } => None,
        }
    }

    /// Whether credentials that come later in the list may decide before it: an issuer that hangs
    /// holds up nobody who has another one. What the app's own stores say is waited for in turn, so
    /// that it does not hang on what is remembered who the caller is.
    pub(super) fn may_be_overtaken(&self) -> bool {
        matches!(self, Self::Key { .. } | Self::Hash(_))
    }
}

/// One authenticator that was asked, and what it said.
pub(super) type Asked<'a, 'r> = (AuthenticatorId, &'a Arc<Reader>, Answer<'a, 'r>);

pub(super) fn held(
    caller: Arc<Caller>,
    source: Option<&Source>,
    reused: bool,
) -> Answer<'_, 'static> {
    Answer::Valid(Held {
        caller,
        source,
        reused,
    })
}

/// What a lookup came to.
pub(super) fn concluded(
    looked_up: Result<Arc<Caller>, Denial>,
    source: Option<&Source>,
) -> Answer<'_, 'static> {
    match looked_up {
        Ok(caller) => held(caller, source, false),
        Err(denial) => Answer::Refused(denial, source),
    }
}

impl Reader {
    /// The places that may pass to the app where one of them decided: both of a session's cookies,
    /// because the app looks at the same ones in the same order.
    pub(super) fn passing<'a>(&'a self, decided: Option<&'a Source>) -> &'a [Source] {
        match &self.kind {
            Kind::Session(session) => &session.sources,
            Kind::Token(_)
            | Kind::ApiKey(_)
            | Kind::Basic(_)
            | Kind::Certificate(_)
            | Kind::Gateway(_)
            | Kind::Forward(_) => decided.map_or(&[], std::slice::from_ref),
        }
    }

    /// What the verdicts of its sessions stand under.
    pub(super) fn session_epoch(&self, session: &SessionReader) -> Epoch {
        Epoch {
            settings: session.epoch,
            keys: self.directory.as_ref().map_or(0, |one| one.epoch),
        }
    }

    /// Whether a browser may have sent the credential by itself, as it sends cookies.
    pub(super) fn is_by_cookie(&self, source: Option<&Source>, request: &Request<'_>) -> bool {
        match &self.kind {
            // The app may have gone by the cookie, whatever else it was shown.
            Kind::Forward(forward) => {
                forward.settings.send.contains(&COOKIE) && request.headers.contains_key(COOKIE)
            }
            Kind::Token(_)
            | Kind::ApiKey(_)
            | Kind::Basic(_)
            | Kind::Certificate(_)
            | Kind::Session(_)
            | Kind::Gateway(_) => matches!(source, Some(Source::Cookie(_))),
        }
    }
}

/// What came of a token, without its user.
pub(super) fn checked_token<'a, 'r>(
    reader: &TokenReader,
    checked: Checked,
    source: &'a Source,
    credential: Cow<'r, str>,
    request: &Request<'_>,
) -> Answer<'a, 'r> {
    match checked {
        Checked::Valid { caller, reused } => {
            match reader.check_double_submit(source, &caller, request) {
                Ok(()) => held(caller, Some(source), reused),
                Err(denial) => Answer::Refused(denial, Some(source)),
            }
        }
        Checked::Refused(denial) => Answer::Refused(denial, Some(source)),
        Checked::Waits(lack) => Answer::Waits(Pending::Key {
            source,
            token: credential,
            lack,
        }),
    }
}
