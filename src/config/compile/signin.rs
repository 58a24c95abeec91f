//! `[session]`, `[token_handler.NAME]` and `type = "gateway-session"`: the gateway's own sessions.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::auth::is_token;
use super::context::{Context, check_table_name, idle};
use super::database::{self, Address};
use super::session::cache;
use crate::config::problem::Problem;
use crate::config::raw::auth::Auth;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Named, RawSecret};
use crate::config::raw::signin as raw;
use crate::config::settings::{
    DatabaseKind, GatewaySession, GatewaySessions, LedgerHome, Pointer, REDIS_HOMES, RedisHome,
    RefreshBy, SameSite, TokenHandler,
};
use crate::policy::path::CanonicalPath;
use crate::policy::route::{Action, AuthenticatorId, Route, UpstreamId};
use crate::policy::sign_in::{HandlerId, SignInPaths};

/// A session lives for a second at the least and ten years at the most.
const LIVES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(3_650 * 24);
/// How the store is written.
const STORES: &str = "\"memory\", \"embedded\", \"redis://…\", \"rediss://…\" or \"postgres://…\"";
/// How a pointer is written.
const POINTER: &str = "a JSON pointer, such as \"/access\" or \"/data/tokens/access\"";

/// What the tables here need to know of `[auth.*]`, before that is compiled.
pub(super) struct Readers {
    names: Vec<String>,
    kinds: Vec<Reader>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A jwt authenticator, and whether its preset is Flask-JWT-Extended's.
    Jwt {
        of_flask: bool,
    },
    Other,
}

/// The token handlers, by name. One that is wrong has its name all the same.
pub(super) struct Handlers {
    names: Vec<String>,
    list: Vec<Option<TokenHandler>>,
}

/// Whether a token may be revoked, which is kept where sessions are, or sessions are made here.
pub(super) fn needs_sessions(auth: &Named<Auth>) -> bool {
    let revocable = |auth: &Auth| auth.jwt()?.revocable.as_ref().map(|given| given.value);
    let needs = |auth: &Auth| revocable(auth) == Some(true) || matches!(auth, Auth::Oidc(_));
    auth.0.iter().any(|(_, auth)| needs(&auth.value))
}

impl Readers {
    pub(super) fn of(auth: &Named<Auth>) -> Self {
        let kind = |auth: &Auth| match auth.jwt() {
            Some(jwt) => Reader::Jwt {
                of_flask: (jwt.preset.as_ref())
                    .is_some_and(|preset| preset.value == "flask-jwt-extended"),
            },
            None => Reader::Other,
        };
        Self {
            names: auth.0.iter().map(|(name, _)| name.clone()).collect(),
            kinds: auth.0.iter().map(|(_, auth)| kind(&auth.value)).collect(),
        }
    }
}

impl Handlers {
    /// Each of `[token_handler.*]`.
    pub(super) fn compile(
        raw: Named<raw::TokenHandler>,
        upstreams: &[String],
        readers: &Readers,
        cx: &mut Context<'_>,
    ) -> Self {
        let names = raw.0.iter().map(|(name, _)| name.clone()).collect();
        let mut list: Vec<Option<TokenHandler>> = Vec::with_capacity(raw.0.len());
        for (name, At { key, value }) in raw.0 {
            check_table_name(&name, &key, cx);
            let handler = handler(&name, &key, value, (upstreams, readers), cx);
            if let Some(handler) = &handler
                && let Some(other) =
                    (list.iter().flatten()).find(|other| other.upstream == handler.upstream)
            {
                let message = format!(
                    "the tokens of this app are kept by [token_handler.{}] already; one app has one",
                    other.name
                );
                cx.error(Problem::new(format!("{key}.upstream"), message));
            }
            list.push(handler);
        }
        Self { names, list }
    }

    /// The place behind the last.
    pub(super) const fn behind(&self) -> HandlerId {
        HandlerId(self.names.len())
    }

    /// All of them, where none is wrong.
    pub(super) fn into_list(self) -> Vec<TokenHandler> {
        self.list.into_iter().flatten().collect()
    }

    /// Tells the routes of each app which paths have to do with its tokens.
    pub(super) fn mark(&self, routes: &mut [Route]) {
        for (place, handler) in self.list.iter().enumerate() {
            let Some(handler) = handler else { continue };
            let paths = Arc::new(SignInPaths {
                handler: HandlerId(place),
                login: handler.login.clone(),
                refresh: handler.refresh.clone(),
                logout: handler.logout.clone(),
            });
            for route in routes.iter_mut() {
                if let Action::Forward(forward) = &mut route.action
                    && forward.upstream == handler.upstream
                {
                    forward.sign_in = Some(Arc::clone(&paths));
                }
            }
        }
    }

    /// `type = "gateway-session"`.
    pub(super) fn reader(
        &self,
        key: &str,
        raw: raw::GatewaySession,
        cookie: &str,
        cx: &mut Context<'_>,
    ) -> Option<GatewaySession> {
        let cache = cache(raw.cache, cx);
        let place = match (&raw.token_handler, self.names.as_slice()) {
            (Some(name), names) => cx.named(name, "token_handler", names)?,
            (None, [_]) => 0,
            (None, names) => {
                let allowed = if names.is_empty() {
                    "a [token_handler.NAME], which makes the sessions".to_owned()
                } else {
                    format!("whose sessions it reads: {}", names.join(", "))
                };
                cx.lacks(key, "token_handler", Some(&allowed));
                return None;
            }
        };
        let handler = self.list.get(place)?.as_ref()?;
        Some(GatewaySession {
            handler: HandlerId(place),
            auth: handler.auth,
            cookie: cookie.into(),
            cache,
        })
    }
}

fn handler(
    name: &str,
    key: &str,
    raw: raw::TokenHandler,
    (upstreams, readers): (&[String], &Readers),
    cx: &mut Context<'_>,
) -> Option<TokenHandler> {
    for (field, given) in [
        ("upstream", raw.upstream.is_some()),
        ("login", raw.login.is_some()),
        ("auth", raw.auth.is_some()),
    ] {
        if !given {
            cx.lacks(key, field, None);
        }
    }
    let upstream = raw
        .upstream
        .and_then(|name| cx.named(&name, "upstream", upstreams));
    let auth = raw.auth.and_then(|name| jwt(&name, readers, cx));
    let login = raw.login.and_then(|text| path(&text, cx));
    let refresh = raw.refresh.and_then(|text| path(&text, cx));
    let logout = raw.logout.and_then(|text| path(&text, cx));
    let access = pointer(raw.access, "access", cx);
    let refresh_token = pointer(raw.refresh_token, "refresh", cx);
    if refresh.is_none() {
        idle(raw.refresh_by.as_ref(), "without `refresh`", cx);
    }
    let words = &[("body", RefreshBy::Body), ("bearer", RefreshBy::Bearer)];
    let by = cx.word(raw.refresh_by.as_ref(), words);
    let before = cx.bounded(
        raw.refresh_before,
        Duration::from_mins(1),
        Duration::ZERO..=Duration::from_hours(24),
    );
    let (auth, of_flask) = auth?;
    let default = if of_flask {
        RefreshBy::Bearer
    } else {
        RefreshBy::Body
    };
    Some(TokenHandler {
        name: name.into(),
        upstream: UpstreamId(upstream?),
        login: login?,
        refresh,
        logout,
        access: access?,
        refresh_token: refresh_token?,
        auth: AuthenticatorId(auth),
        refresh_by: by.unwrap_or(default),
        refresh_before: before,
        keep_body: raw.keep_body.is_some_and(|keep| keep.value),
    })
}

/// The jwt authenticator of a name, and whether it is of Flask-JWT-Extended.
fn jwt(name: &At<String>, readers: &Readers, cx: &mut Context<'_>) -> Option<(usize, bool)> {
    let place = cx.named(name, "auth", &readers.names)?;
    match readers.kinds.get(place) {
        Some(Reader::Jwt { of_flask }) => Some((place, *of_flask)),
        Some(Reader::Other) | None => {
            let message = "must be an authenticator of type jwt: it checks the access tokens";
            cx.error(name.wrong(message));
            None
        }
    }
}

/// A path of the app, as it sees it.
fn path(text: &At<String>, cx: &mut Context<'_>) -> Option<Box<str>> {
    let judged = CanonicalPath::parse(&text.value, false);
    let plain = !text.value.contains(['?', '#', '{', '}', '%', ' ']) && text.value.is_ascii();
    if judged.is_ok() && plain {
        return Some(text.value.as_str().into());
    }
    let problem = text.wrong("is not a path of the app");
    cx.error(problem.allowed("a plain path such as \"/api/token/\", as the app itself sees it"));
    None
}

/// A JSON pointer (RFC 6901 §3) to a member; `name` at the top where none is given.
fn pointer(given: Option<At<String>>, name: &str, cx: &mut Context<'_>) -> Option<Pointer> {
    let Some(text) = given else {
        return Some(Pointer(vec![name.into()]));
    };
    let mut escapes = text.value.split('~').skip(1);
    let mut parts = text.value.split('/');
    let begins = parts.next() == Some("") && text.value.len() > 1;
    if !begins || !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        cx.error(text.wrong("is not a place in the answer").allowed(POINTER));
        return None;
    }
    let unescaped = parts.map(|part| part.replace("~1", "/").replace("~0", "~").into());
    Some(Pointer(unescaped.collect()))
}

/// `[session]`. `needed` says whether anything makes or revokes something.
pub(super) fn sessions(
    raw: Option<At<raw::Session>>,
    needed: bool,
    cx: &mut Context<'_>,
) -> Option<GatewaySessions> {
    // The built-in defaults stand there in any case.
    if !needed && cx.problems.place_of("session").is_some() {
        let message = "is used by nothing: no [token_handler.NAME], no [auth.NAME] of type oidc, no jwt \
                       with `revocable`, and no [rate_limit.NAME] or [tls.acme] with `shared`";
        cx.warn(Problem::new("session", message).of_the_key());
    }
    let raw = raw?.value;
    let home = home(raw.store, raw.path, cx);
    let cookie = cookie(raw.cookie, cx);
    let words = &[
        ("strict", SameSite::Strict),
        ("lax", SameSite::Lax),
        ("none", SameSite::None),
    ];
    let same_site = cx.word(raw.same_site.as_ref(), words);
    let idle = cx.bounded(raw.idle, Duration::from_hours(12), LIVES);
    let lifetime = cx.bounded(raw.lifetime, Duration::from_hours(31 * 24), LIVES);
    let sessions = GatewaySessions {
        home: home?,
        cookie,
        same_site: same_site.unwrap_or(SameSite::Lax),
        idle,
        lifetime,
    };
    needed.then_some(sessions)
}

fn home(
    store: Option<At<RawSecret>>,
    file: Option<At<String>>,
    cx: &mut Context<'_>,
) -> Option<LedgerHome> {
    let address = Address::fetch(store?, cx)?;
    match address.text() {
        "memory" => Some(LedgerHome::Memory),
        "embedded" => {
            let path = cx.path(&file?);
            Some(LedgerHome::File(path))
        }
        text if text.starts_with("redis") || text.starts_with("unix:") => {
            match RedisHome::parse(text) {
                Ok(redis) => {
                    if redis.login.password.is_some() {
                        address.warn_of_password(cx);
                    }
                    Some(LedgerHome::Redis(Box::new(redis)))
                }
                Err(bad) => {
                    let problem = Problem::new(address.key.as_str(), bad.to_string());
                    cx.error(problem.allowed(REDIS_HOMES));
                    None
                }
            }
        }
        _ => {
            let database = database::of_address(&address, STORES, cx)?;
            if database.kind != DatabaseKind::Postgres {
                let problem = Problem::new(address.key.as_str(), "is not a store of sessions");
                cx.error(problem.allowed(STORES));
                return None;
            }
            Some(LedgerHome::Postgres(database))
        }
    }
}

/// The name of the cookie. With `__Host-` a browser takes it from this host alone, over TLS, for
/// all paths (RFC 6265bis §4.1.3.2): no other host of the domain can plant one.
fn cookie(given: Option<At<String>>, cx: &mut Context<'_>) -> Box<str> {
    let Some(given) = given else {
        return "".into();
    };
    if !is_token(&given.value) {
        cx.error(given.wrong("is not a name for a cookie"));
    } else if !given.value.starts_with("__Host-") {
        let problem = given.wrong("another host of the domain can set a cookie of this name");
        cx.warn(problem.allowed("a name that begins with __Host-"));
    }
    given.value.into()
}
