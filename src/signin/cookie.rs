//! The lines that give a browser the session's cookie and take it away.

use http::HeaderValue;

use crate::auth::ledger::SessionId;
use crate::config::settings::{GatewaySessions, SameSite};

/// Gives the cookie. Neither scripts nor plain http nor another host ever see it.
pub(super) fn give(sessions: &GatewaySessions, id: &SessionId) -> Option<HeaderValue> {
    let age = sessions.lifetime.as_secs();
    line(sessions, id.cookie().expose(), age)
}

/// Takes it away.
pub(super) fn take(sessions: &GatewaySessions) -> Option<HeaderValue> {
    line(sessions, "", 0)
}

fn line(sessions: &GatewaySessions, value: &str, age: u64) -> Option<HeaderValue> {
    let same_site = match sessions.same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let name = &sessions.cookie;
    let line =
        format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={age}");
    let mut line = HeaderValue::try_from(line).ok()?;
    line.set_sensitive(true);
    Some(line)
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::signin::tests::sessions;

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_of_other_hosts() {
        let id = SessionId::draw().unwrap();
        let line = give(&sessions(), &id).unwrap();
        let line = line.to_str().unwrap();
        let value = id.cookie();
        let rest = format!(
            "__Host-portcullis={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600",
            value.expose()
        );
        assert_eq!(line, rest);
    }

    #[test]
    fn taking_it_away_names_the_same_attributes() {
        let line = take(&sessions()).unwrap();
        let wanted = "__Host-portcullis=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(line.to_str().unwrap(), wanted);
    }
}
