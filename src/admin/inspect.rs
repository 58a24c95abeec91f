//! What the admin address needs to know of the running gateway.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::rules;
use crate::auth::Assertions;
use crate::config::settings::Settings;
use crate::gateway::{Gateway, Snapshot};
use crate::policy::requirement::{Admission, Requirement};
use crate::policy::route::{Action, AuthenticatorId, Route};
use crate::secret::Secret;

/// The running gateway, as the admin address sees it. What can be measured comes by
/// [`crate::telemetry::Probe`].
pub trait Inspect: Send + Sync {
    /// The `[admin] token` in force.
    fn token(&self) -> Option<Secret<String>>;

    /// Whether the gateway is stopping.
    fn is_draining(&self) -> bool;

    /// The routes, in the order in which they win. See [`RouteRow::of`].
    fn routes(&self) -> Vec<RouteRow>;

    /// The public keys of the assertion as a JWKS (RFC 7517 §5); `None` where none is configured.
    fn assertion_keys(&self) -> Option<String>;

    /// The snapshot in force, for what is asked of its sessions; `None` where nothing runs.
    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        None
    }
}

impl Inspect for Gateway {
    fn token(&self) -> Option<Secret<String>> {
        self.snapshot().settings.admin.token.clone()
    }

    fn is_draining(&self) -> bool {
        Gateway::is_draining(self)
    }

    fn routes(&self) -> Vec<RouteRow> {
        let gate = self.snapshot();
        // A route with several hosts stands where the first of them does.
        let mut seen = HashSet::new();
        let ordered = gate.policy.routes.ordered().into_iter();
        ordered
            .filter(|(_, route)| seen.insert(route.id))
            .map(|(_, route)| RouteRow::of(route, &gate))
            .collect()
    }

    fn assertion_keys(&self) -> Option<String> {
        self.snapshot().assertions.as_ref().map(Assertions::jwks)
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        Some(Self::snapshot(self))
    }
}

impl fmt::Debug for dyn Inspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspect")
    }
}

/// One route in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// Its label, as in logs and metrics.
    pub route: String,
    /// Where its requests go.
    pub to: String,
    /// Who may.
    pub access: String,
    /// Its cross-origin rule.
    pub cors: Option<String>,
    /// What else it asks and changes, in words.
    pub rules: Vec<String>,
    /// Whether it refuses nobody.
    pub observes: bool,
}

impl RouteRow {
    /// A route in words.
    #[must_use]
    pub fn of(route: &Route, gate: &Snapshot) -> Self {
        let settings = &gate.settings;
        Self {
            rules: rules::of(route, gate),
            route: route.label.to_string(),
            to: destination(&route.action, settings),
            access: access(&route.authenticators, &route.requirement, settings),
            cors: route.cors.as_ref().map(|rule| rule.name.to_string()),
            observes: route.requirement.observe,
        }
    }
}

fn destination(action: &Action, settings: &Settings) -> String {
    match action {
        Action::Forward(forward) => settings
            .upstreams
            .get(forward.upstream.0)
            .map_or_else(String::new, |upstream| {
                format!("upstream {}", upstream.name)
            }),
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
        Action::Redirect { status, .. } => format!("redirect {}", status.as_u16()),
        Action::Files(files) => format!("files {}", files.dir.display()),
        Action::Provider(door) => format!("sign-in of {}", door.name),
    }
}

fn access(
    authenticators: &[AuthenticatorId],
    requirement: &Requirement,
    settings: &Settings,
) -> String {
    let names: Vec<&str> = (authenticators.iter())
        .filter_map(|id| settings.authenticators.get(id.0))
        .map(|known| &*known.name)
        .collect();
    let mut words = match requirement.admission {
        Admission::Public => vec!["public".to_owned()],
        Admission::Optional => vec![format!("optional: {}", names.join(" or "))],
        Admission::Required => vec![names.join(" or ")],
    };
    let mut add = |what: &str, list: &[String]| {
        if !list.is_empty() {
            words.push(format!("{what}: {}", list.join(", ")));
        }
    };
    add("any role of", &requirement.roles.any);
    add("all roles of", &requirement.roles.all);
    add("no role of", &requirement.roles.none);
    add("users", &requirement.users);
    let claims: Vec<String> = (requirement.claims.iter())
        .map(|(path, values)| {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            format!("{path} = {}", values.join(" or "))
        })
        .collect();
    add("claims", &claims);
    words.join("; ")
}
