//! Directories: a user's roles and state, looked up by the id that a credential names.
//!
//! A user who is missing or inactive is refused; a directory that cannot be asked is
//! `auth_unavailable`, never a pass.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::ask::{Carried, Endpoint};
use crate::auth::forward::object;
use crate::auth::ports::{DirectorySource, User};
use crate::auth::words::{quoted, unavailable};
use crate::clock::{self, Timestamp};
use crate::config::settings::EndpointDirectory;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Identity;

/// One directory, as one authenticator asks it.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) name: Arc<str>,
    pub(crate) source: Source,
    /// How long an answer may be reused.
    pub(crate) cache: Duration,
    /// A number for the settings of the authenticator and the directory together.
    pub(crate) epoch: u64,
}

/// Who is asked.
#[derive(Debug)]
pub(crate) enum Source {
    /// A database.
    Store(Arc<dyn DirectorySource>),
    /// An endpoint of the app, with the caller's own credential.
    Endpoint(Box<EndpointDirectory>, Box<Endpoint>),
}

/// How a user is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Whether what the directory remembers is too old.
    pub(crate) fresh: bool,
    /// Whether the app lets users in who are not active (Django's `AllowAllUsersModelBackend`).
    pub(crate) inactive_too: bool,
}

impl Look {
    /// The same look at the directory itself, not at what it remembers.
    pub(crate) fn afresh(self) -> Self {
        Self {
            fresh: true,
            ..self
        }
    }
}

impl Directory {
    /// The user of an id, who may sign in.
    ///
    /// # Errors
    ///
    /// `user_unknown`, `user_inactive`, `auth_unavailable`.
    pub(crate) async fn user(
        &self,
        id: &str,
        carried: &Carried,
        look: Look,
    ) -> Result<User, Denial> {
        let found = match &self.source {
            Source::Store(source) => source.find(id, look.fresh).await,
            Source::Endpoint(settings, endpoint) => {
                return ask(settings, endpoint, id, carried).await;
            }
        };
        let user = found.map_err(|error| unavailable(&error))?;
        let user = user.ok_or_else(|| {
            let note = format!(
                "[directory.{}] has no user with the id {}",
                self.name,
                quoted(id)
            );
            refused(Code::UserUnknown).note(note)
        })?;
        if user.active || look.inactive_too {
            Ok(user)
        } else {
            let note = format!(
                "[directory.{}] says that {} is not active",
                self.name,
                quoted(id)
            );
            Err(refused(Code::UserInactive).note(note))
        }
    }

    /// Until when a verdict that rests on this user may be reused.
    pub(crate) fn reusable_until(&self, user: &User) -> Timestamp {
        user.read_at.saturating_add(self.cache)
    }
}

/// Neither code nor words tell a client which of the two it was in more than the code.
fn refused(code: Code) -> Denial {
    Denial::new(code, "the account cannot be used").challenge(Challenge::InvalidToken)
}

/// What the directory knows, added to what the credential says. Roles of both count; where both
/// have a value for a claim, the directory's is the newer one.
pub(crate) fn joined(identity: &Identity, user: &User) -> Identity {
    let roles = identity.roles.iter().chain(&user.roles).cloned();
    let mut claims = identity.claims.clone();
    claims.extend(user.claims.clone());
    let whole = Identity {
        user: identity.user.clone(),
        roles: Vec::new(),
        email: identity.email.clone().or_else(|| user.email.clone()),
        name: identity.name.clone().or_else(|| user.name.clone()),
        claims,
        expires_at: identity.expires_at,
        authenticator: Arc::clone(&identity.authenticator),
    };
    whole.with_roles(roles)
}

async fn ask(
    settings: &EndpointDirectory,
    endpoint: &Endpoint,
    id: &str,
    carried: &Carried,
) -> Result<User, Denial> {
    let read_at = clock::now();
    let reply = endpoint.ask(carried).await;
    let reply = reply.map_err(|error| unavailable(&error))?;
    let unreadable = |what: String| Err(unavailable(&endpoint.unreadable(what)));
    match reply.status.as_u16() {
        200..=299 => {}
        401 | 403 | 404 => {
            let note = format!("{} answered {}", settings.url.path(), reply.status);
            return Err(refused(Code::UserUnknown).note(note));
        }
        other => return unreadable(format!("it answered {other}, where 2xx or 401 belongs")),
    }
    match object(&reply.body) {
        None => unreadable("its body is not a JSON object".to_owned()),
        Some(body) => read(settings, id, body, read_at),
    }
}

/// Reads an endpoint's answer about a user.
fn read(
    settings: &EndpointDirectory,
    id: &str,
    body: Map<String, Value>,
    read_at: Timestamp,
) -> Result<User, Denial> {
    let body = Value::Object(body);
    let at = |pointer: &Option<Box<str>>| pointer.as_deref().and_then(|p| body.pointer(p));
    if settings.user.is_some() && plain(at(&settings.user)).as_deref() != Some(id) {
        let note = "the app's answer is about another user than the credential names";
        return Err(refused(Code::UserUnknown).note(note));
    }
    // Left out of the file it is not asked; named and not there, or no boolean, it is not active.
    if settings.active.is_some() && at(&settings.active) != Some(&Value::Bool(true)) {
        let note = "the app's answer does not say `true` where `active` points";
        return Err(refused(Code::UserInactive).note(note));
    }
    let roles = (settings.roles.iter())
        .filter_map(|pointer| body.pointer(pointer))
        .flat_map(|value| match value {
            Value::Array(items) => items.iter().filter_map(|item| plain(Some(item))).collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => plain(Some(value)).into_iter().collect::<Vec<_>>(),
        })
        .collect();
    Ok(User {
        id: id.to_owned(),
        password: None,
        active: true,
        roles,
        email: plain(at(&settings.email)),
        name: plain(at(&settings.name)),
        claims: Map::new(),
        read_at,
    })
}

/// A string that is not blank, or a whole number.
fn plain(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing::NOW;

    fn settings() -> EndpointDirectory {
        EndpointDirectory {
            url: url::Url::parse("http://127.0.0.1:1/me").unwrap(),
            timeout: Duration::from_secs(1),
            roles: vec!["/user/role".into(), "/user/groups".into()],
            user: Some("/user/id".into()),
            email: Some("/user/email".into()),
            name: None,
            active: Some("/user/active".into()),
        }
    }

    fn answer(user: &Value) -> Result<User, Code> {
        let body = json!({ "user": user });
        read(&settings(), "7", body.as_object().unwrap().clone(), NOW).map_err(|one| one.code())
    }

    #[test]
    fn roles_come_from_every_pointer_as_text_or_list() {
        let user = json!({ "id": 7, "active": true, "role": "host", "groups": ["a", 5, null], "email": "a@b.c" });
        let user = answer(&user).unwrap();
        assert_eq!(user.roles, ["host", "a", "5"]);
        assert_eq!(user.email.as_deref(), Some("a@b.c"));
    }

    #[test]
    fn an_answer_about_another_user_gives_nobody_their_roles() {
        for other in [
            json!({ "id": 8, "active": true }),
            json!({ "active": true }),
            json!({ "id": "", "active": true }),
        ] {
            assert_eq!(answer(&other).unwrap_err(), Code::UserUnknown);
        }
    }

    #[test]
    fn who_is_not_said_to_be_active_is_not() {
        for inactive in [
            json!({ "id": "7" }),
            json!({ "id": "7", "active": false }),
            json!({ "id": "7", "active": "true" }),
        ] {
            assert_eq!(answer(&inactive).unwrap_err(), Code::UserInactive);
        }
    }

    #[test]
    fn the_directory_adds_roles_and_its_claims_are_the_newer_ones() {
        let identity = Identity {
            user: "7".into(),
            roles: vec!["token".into()],
            email: None,
            name: Some("Sina".into()),
            claims: json!({ "city": "Tehran", "jti": "x" })
                .as_object()
                .unwrap()
                .clone(),
            expires_at: Some(NOW),
            authenticator: "a".into(),
        };
        let user = User {
            id: "7".into(),
            password: None,
            active: true,
            roles: vec!["staff".into(), "token".into()],
            email: Some("a@b.c".into()),
            name: Some("other".into()),
            claims: json!({ "city": "Shiraz" }).as_object().unwrap().clone(),
            read_at: NOW,
        };
        let whole = joined(&identity, &user);
        assert_eq!(whole.roles, ["staff", "token"]);
        assert_eq!(whole.email.as_deref(), Some("a@b.c"));
        assert_eq!(whole.name.as_deref(), Some("Sina"));
        assert_eq!(whole.claims["city"], "Shiraz");
        assert_eq!(whole.claims["jti"], "x");
        assert_eq!(whole.expires_at, Some(NOW));
    }
}
