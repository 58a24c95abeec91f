//! Forgetting what was known of a session as soon as the app sets its cookie anew or takes it away,
//! on any route, so that a sign-out holds here at once.
//!
//! A request that carries no cookie, or comes where no session is read, costs nothing. One that does
//! leaves its cookie lines here until the answer has come.

use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::auth::authenticators::{Authenticators, Kind, Reader};
use crate::auth::session_reader::SessionReader;
use crate::auth::shown::Shown;
use crate::policy::forwarded::Client;

/// What a request carried that sessions are known by.
#[derive(Default)]
pub struct Carrying {
    cookies: SmallVec<[HeaderValue; 1]>,
    user_agents: SmallVec<[HeaderValue; 1]>,
}

impl std::fmt::Debug for Carrying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The lines are credentials.
        write!(f, "Carrying({} lines)", self.cookies.len())
    }
}

impl Authenticators {
    /// What a request carries of sessions, to [`forget`](Self::forget) it by.
    #[must_use]
    pub fn carrying(&self, headers: &HeaderMap) -> Carrying {
        let mut carrying = Carrying::default();
        if self.sessions().next().is_none() || !headers.contains_key(COOKIE) {
            return carrying;
        }
        let lines = |name| headers.get_all(name).iter().cloned();
        carrying.cookies.extend(lines(COOKIE));
        if self.sessions().any(|(_, session)| session.is_strong()) {
            carrying.user_agents.extend(lines(USER_AGENT));
        }
        carrying
    }

    /// Forgets the verdicts of sessions whose cookies, which the request carried, the app's answer
    /// has just set anew or taken away.
    pub fn forget(&self, carried: &Carrying, client: Option<&Client>, answer: &HeaderMap) {
        if carried.cookies.is_empty() || !answer.contains_key(SET_COOKIE) {
            return;
        }
        for (reader, session) in self.sessions() {
            let remember = session.remember();
            if sets(answer, session.cookie()) || remember.is_some_and(|name| sets(answer, name)) {
                let headers = carried.headers();
                for websocket in [false, true] {
                    let shown = Shown::of(session, &headers, client, websocket);
                    if let Ok(Some(shown)) = shown {
                        let key = shown.key(reader.session_epoch(session));
                        self.verdicts().forget(&key);
                    }
                }
            }
        }
    }

    fn sessions(&self) -> impl Iterator<Item = (&Reader, &SessionReader)> {
        self.readers()
            .iter()
            .filter_map(|reader| match &reader.kind {
                Kind::Session(session) => Some((&**reader, &**session)),
                Kind::Token(_)
                | Kind::ApiKey(_)
                | Kind::Basic(_)
                | Kind::Certificate(_)
                | Kind::Gateway(_)
                | Kind::Forward(_) => None,
            })
    }
}

impl Carrying {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in &self.cookies {
            headers.append(COOKIE, line.clone());
        }
        for line in &self.user_agents {
            headers.append(USER_AGENT, line.clone());
        }
        headers
    }
}

/// Whether an answer sets a cookie of this name, to a value or to nothing.
fn sets(answer: &HeaderMap, name: &str) -> bool {
    answer.get_all(SET_COOKIE).iter().any(|line| {
        let rest = line.as_bytes().strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b'='))
    })
}
