//! What a route asks and changes beside who may: in words, for the list of routes.

use crate::gateway::Snapshot;
use crate::policy::route::{Action, HeaderEdits, Route, Unauthenticated};

/// The rules of a route that are not told elsewhere.
pub(super) fn of(route: &Route, gate: &Snapshot) -> Vec<String> {
    let mut rules = Vec::new();
    for limit in route
        .limits
        .iter()
        .filter_map(|id| gate.policy.limits.get(id.0))
    {
        rules.push(format!("limit {}: {limit}", limit.name));
    }
    if !route.csrf && !route.authenticators.is_empty() {
        rules.push("cookies count on requests from other sites too".to_owned());
    }
    if let Action::Forward(forward) = &route.action {
        if let Some(prefix) = &forward.strip_prefix {
            rules.push(format!("cuts off {prefix}"));
        }
        if let Some(prefix) = &forward.add_prefix {
            rules.push(format!("puts {prefix} before"));
        }
        if let Some(timeout) = forward.timeout {
            rules.push(format!("answers within {timeout:?}"));
        }
        if !route.websocket.allowed {
            rules.push("no WebSockets".to_owned());
        }
        rules.push(format!("bodies up to {}", bytes(route.body_limit)));
    }
    if matches!(route.unauthenticated, Unauthenticated::Redirect(_)) {
        rules.push("pages without sign-in are sent to one".to_owned());
    }
    edits("request", &route.request_headers, &mut rules);
    edits("answer", &route.response_headers, &mut rules);
    rules
}

/// The names alone: a value may be a secret.
fn edits(whose: &str, edits: &HeaderEdits, rules: &mut Vec<String>) {
    let set: Vec<_> = edits.set.iter().map(|(name, _)| name.as_str()).collect();
    if !set.is_empty() {
        rules.push(format!("sets of the {whose}: {}", set.join(", ")));
    }
    let removed: Vec<_> = edits.remove.iter().map(http::HeaderName::as_str).collect();
    if !removed.is_empty() {
        rules.push(format!("removes of the {whose}: {}", removed.join(", ")));
    }
}

/// Bytes as they are written in the file.
fn bytes(count: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size && count.is_multiple_of(size) {
            return format!("{} {unit}", count / size);
        }
    }
    format!("{count} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_in_the_file() {
        assert_eq!(bytes(100 << 20), "100 MiB");
        assert_eq!(bytes(1536), "1536 bytes");
        assert_eq!(bytes(0), "0 bytes");
    }
}
