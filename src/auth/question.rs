//! One question to a store or an app, asked once for everyone who waits for its answer.
//!
//! What comes of it is kept as a verdict: a refusal or a failure never is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::auth::ask::Carried;
use crate::auth::authenticators::{Kind, Reader};
use crate::auth::people::{self, Directory, Look};
use crate::auth::ports::User;
use crate::auth::shown::Shown;
use crate::auth::verdicts::{VerdictKey, Verdicts};
use crate::clock::Timestamp;
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::{Bond, Caller, Endings, Identity, IdentityNames};

/// Taken off the first moment at which a verdict holds: workers read the clock apart.
const SLACK: Duration = Duration::from_secs(1);
/// Bytes that a caller holds beside its texts, about.
const CALLER: usize = 1_000;

/// A question, with all that it takes to ask it.
pub(crate) struct Question {
    pub(crate) reader: Arc<Reader>,
    pub(crate) names: Arc<IdentityNames>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) key: VerdictKey,
    pub(crate) now: Timestamp,
}

/// What a verdict stands under, and from when to when.
pub(crate) struct Learned {
    pub(crate) key: VerdictKey,
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
}

/// What may be known of a caller beside the identity.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// What let it in, where that can be revoked.
    pub(crate) bond: Option<Bond>,
    /// The bearer token that its app gets.
    pub(crate) bearer: Option<&'a str>,
    /// Under which names others may end its sign-in.
    pub(crate) endings: Option<Endings>,
}

impl Learned {
    /// Keeps a verdict and makes its caller.
    pub(crate) fn keep(
        &self,
        identity: Identity,
        names: &IdentityNames,
        verdicts: &Verdicts,
    ) -> Arc<Caller> {
        self.keep_bound(identity, Known::default(), names, verdicts)
    }

    /// The same for a caller of whom more is known.
    pub(crate) fn keep_bound(
        &self,
        identity: Identity,
        known: Known<'_>,
        names: &IdentityNames,
        verdicts: &Verdicts,
    ) -> Arc<Caller> {
        let bytes = CALLER + 3 * weight_of(&identity) + 2 * known.bearer.map_or(0, str::len);
        let caller = names.introduce(identity).bound(known.bond);
        let caller = caller.ended_by(known.endings);
        let caller = Arc::new(match known.bearer {
            Some(token) => caller.bearing(token),
            None => caller,
        });
        let from = self.now.saturating_sub(SLACK);
        verdicts.keep(self.key, Arc::clone(&caller), from, self.until, bytes);
        caller
    }
}

impl Question {
    /// Whose session a cookie is.
    pub(crate) async fn about_session(
        self,
        shown: Shown<'static>,
        carried: Carried,
    ) -> Result<Arc<Caller>, Denial> {
        let Kind::Session(session) = &self.reader.kind else {
            return Err(no_reader());
        };
        let directory = self.reader.directory.as_ref();
        let read = session.read(&shown, directory, &carried, self.now);
        let (identity, until) = read.await?;
        Ok(self.learn(identity, until))
    }

    /// Whom the app knows by a request's credential.
    pub(crate) async fn of_app(self, carried: Carried) -> Result<Arc<Caller>, Denial> {
        let Kind::Forward(forward) = &self.reader.kind else {
            return Err(no_reader());
        };
        let (mut identity, mut until) = forward.read(&carried).await?;
        if let Some(directory) = &self.reader.directory {
            let look = Look::default();
            let user = directory.user(&identity.user, &carried, look).await?;
            until = until.min(directory.reusable_until(&user));
            identity = people::joined(&identity, &user);
        }
        Ok(self.learn(identity, until))
    }

    /// The user whom a credential names.
    pub(crate) async fn about_user(
        self,
        caller: Arc<Caller>,
        carried: Carried,
    ) -> Result<Arc<Caller>, Denial> {
        let Some(directory) = &self.reader.directory else {
            return Err(no_reader());
        };
        let identity = caller.identity();
        let user = self
            .user(&self.reader, identity, directory, &carried)
            .await?;
        let until = directory.reusable_until(&user);
        let until = identity.expires_at.map_or(until, |end| end.min(until));
        let whole = people::joined(identity, &user);
        let learned = self.learned(until);
        let known = Known {
            bond: caller.bond(),
            ..Known::default()
        };
        Ok(learned.keep_bound(whole, known, &self.names, &self.verdicts))
    }

    /// The user whom `reader` found a credential of.
    pub(crate) async fn user(
        &self,
        reader: &Reader,
        identity: &Identity,
        directory: &Directory,
        carried: &Carried,
    ) -> Result<User, Denial> {
        let look = Look::default();
        let user = directory.user(&identity.user, carried, look).await?;
        let Kind::Token(token) = &reader.kind else {
            return Ok(user);
        };
        if token.check_unrevoked(identity, &user).is_ok() {
            return Ok(user);
        }
        // The token may be newer than what the directory remembers.
        let user = directory
            .user(&identity.user, carried, look.afresh())
            .await?;
        token.check_unrevoked(identity, &user)?;
        Ok(user)
    }

    fn learn(&self, identity: Identity, until: Timestamp) -> Arc<Caller> {
        self.learned(until)
            .keep(identity, &self.names, &self.verdicts)
    }

    /// Where a verdict is kept, and until when it holds.
    pub(crate) const fn learned(&self, until: Timestamp) -> Learned {
        Learned {
            key: self.key,
            now: self.now,
            until,
        }
    }
}

/// Cannot happen: an answer that waits is settled by the reader that gave it.
fn no_reader() -> Denial {
    Denial::new(Code::AuthUnavailable, "the sign-in cannot be looked up")
}

/// About how many bytes the texts of an identity hold.
fn weight_of(identity: &Identity) -> usize {
    let roles: usize = identity.roles.iter().map(|role| role.len() + 24).sum();
    let claims: usize = (identity.claims.iter())
        .map(|(name, value)| name.len() + 48 + weight(value))
        .sum();
    identity.user.len() + roles + claims
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 24 + text.len(),
        Value::Array(items) => 24 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| 48 + name.len() + weight(value))
            .sum(),
    }
}
