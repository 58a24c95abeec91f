//! What a route asks of its caller, and the proof that it was met.
//!
//! [`Requirement::check`] alone makes a [`Permit`], and nothing is sent to an app without one.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Caller;

/// Which roles a caller must have. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleRule {
    /// At least one of these.
    pub any: Vec<String>,
    /// All of these.
    pub all: Vec<String>,
    /// None of these.
    pub none: Vec<String>,
}

/// Whether a caller must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Anyone, and no credential is looked at.
    Public,
    /// Anyone, but a credential that is there must be good.
    Optional,
    /// Only a caller with a valid credential.
    Required,
}

/// What a route asks of its caller. All of it must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// Whether a caller must be known.
    pub admission: Admission,
    /// The roles wanted.
    pub roles: RoleRule,
    /// The users allowed; empty allows all.
    pub users: Vec<String>,
    /// Claims (dotted paths) and the values of which each must have one.
    pub claims: Vec<(String, Vec<Value>)>,
    /// Decide everything, refuse nothing.
    pub observe: bool,
}

/// Proof that a [`Requirement`] was met, or that its route only observes.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Option<Arc<Caller>>,
}

impl Permit {
    /// Who was permitted; `None` for an anonymous caller.
    #[must_use]
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// When the permission ends; `None` when it does not.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.caller
            .as_ref()
            .and_then(|caller| caller.identity().expires_at)
    }
}

impl Requirement {
    /// Asks nothing of anyone.
    pub const PUBLIC: Self = Self {
        admission: Admission::Public,
        roles: RoleRule {
            any: Vec::new(),
            all: Vec::new(),
            none: Vec::new(),
        },
        users: Vec::new(),
        claims: Vec::new(),
        observe: false,
    };

    /// Checks a caller at a point in time.
    ///
    /// # Errors
    ///
    /// `credentials_missing`, `token_expired`, `role_missing`, `user_not_allowed` or
    /// `claim_mismatch`: the first that does not hold.
    pub fn check(&self, caller: Option<Arc<Caller>>, now: Timestamp) -> Result<Permit, Denial> {
        let Some(known) = &caller else {
            return match self.admission {
                Admission::Public | Admission::Optional => Ok(Permit { caller }),
                Admission::Required => Err(Denial::new(
                    Code::CredentialsMissing,
                    "no credential was found in this request",
                )
                .challenge(Challenge::Bearer)),
            };
        };
        if known.identity().is_over(now) {
            let detail = "the credential expired while the request was on its way";
            return Err(Denial::new(Code::TokenExpired, detail).challenge(Challenge::InvalidToken));
        }
        self.check_roles(known)?;
        self.check_user(known)?;
        self.check_claims(known)?;
        Ok(Permit { caller })
    }

    /// Lets a refused request pass on a route that only observes; gives the refusal back on any
    /// other. The caller that was refused is not told to the app.
    ///
    /// # Errors
    ///
    /// The `denial` itself, unless [`Requirement::observe`] is set.
    pub fn overlook(&self, denial: Denial) -> Result<(Permit, Denial), Denial> {
        if self.observe {
            Ok((Permit { caller: None }, denial))
        } else {
            Err(denial)
        }
    }

    fn check_roles(&self, caller: &Caller) -> Result<(), Denial> {
        let who = caller.identity();
        let RoleRule { any, all, none } = &self.roles;
        let refuse = |detail: &'static str, wanted: String| {
            let have = who.roles.join(", ");
            let have = if have.is_empty() {
                "none".to_owned()
            } else {
                have
            };
            let note = format!("{wanted}; user {} has: {have}", who.user);
            Err(Denial::new(Code::RoleMissing, detail).note(note))
        };
        if !any.is_empty() && !any.iter().any(|role| who.has_role(role)) {
            return refuse(
                "none of the roles wanted here is held",
                format!("wanted one of: {}", any.join(", ")),
            );
        }
        if !all.iter().all(|role| who.has_role(role)) {
            return refuse(
                "not all of the roles wanted here are held",
                format!("wanted all of: {}", all.join(", ")),
            );
        }
        if none.iter().any(|role| who.has_role(role)) {
            return refuse(
                "a role that is shut out here is held",
                format!("shut out: {}", none.join(", ")),
            );
        }
        Ok(())
    }

    fn check_user(&self, caller: &Caller) -> Result<(), Denial> {
        let who = caller.identity();
        if self.users.is_empty() || self.users.contains(&who.user) {
            return Ok(());
        }
        let note = format!("user {} is not in the route's `users`", who.user);
        Err(Denial::new(Code::UserNotAllowed, "this user is not on the route's list").note(note))
    }

    fn check_claims(&self, caller: &Caller) -> Result<(), Denial> {
        for (path, wanted) in &self.claims {
            let held = match caller.identity().claim(path) {
                None => false,
                Some(Value::Array(items)) => items.iter().any(|item| wanted.contains(item)),
                Some(value) => wanted.contains(value),
            };
            if !held {
                let note = format!(
                    "claim {path} is not one of the route's {} values",
                    wanted.len()
                );
                let detail = format!("the claim `{path}` has not a value wanted here");
                return Err(Denial::new(Code::ClaimMismatch, detail).note(note));
            }
        }
        Ok(())
    }
}
