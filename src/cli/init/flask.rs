//! From what was found of a Flask app to its gateway.toml. Pure.

use super::blocks::{Around, Asked, address, cors, doors, expectations, routes, secret, secrets};
use super::django::{is_address, is_redis, is_table, is_token, quieten, unknown};
use super::findings::{Flask, FlaskJwt, FlaskSessions, Kind, Level};
use super::sheet::{Block, Refused, Sheet, Variables, list, one_line, quote, seconds};
use super::tree::{Available, Gate, plan};

/// Where the development server listens.
pub(super) const UPSTREAM: &str = "http://127.0.0.1:5000";
/// The algorithms of the gateway that take a secret.
const HMAC: &[&str] = &["HS256", "HS384", "HS512"];
/// Those that take a public key.
const SIGNED: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// The file for an app.
pub(super) fn sheet(found: &Flask, asked: &Asked, refused: &Refused) -> Sheet {
    let mut variables = Variables::default();
    let token = token(found, refused, &mut variables);
    let session = session(found, refused, &mut variables);
    let double_submit = found.tokens.as_ref().is_some_and(has_double_submit);
    let available = Available {
        token: token.as_ref().is_some_and(|block| !block.is_comment),
        token_cookie: false,
        session: false,
        double_submit,
    };
    let planned = plan(&found.endpoints, available, !found.truncated);
    let mut auth: Vec<_> = token.into_iter().collect();
    quieten(&mut auth, &planned);
    let kept = found
        .sessions
        .as_ref()
        .and_then(|sessions| sessions.kind.as_deref());
    let on_server = matches!(kept, Some("redis" | "table"));
    let watches =
        session.as_ref().is_some_and(|block| !block.is_comment) && (on_server || found.login);
    let mut session: Vec<_> = session.into_iter().collect();
    for block in session.iter_mut().filter(|_| !watches) {
        block.is_comment = true;
    }
    auth.extend(session);
    let is_elsewhere = found.cors_elsewhere || found.cors_rules > 1;
    let rule = found.cors.as_ref().filter(|_| found.cors_rules <= 1);
    let rest_cors = found.endpoints.iter().any(|one| one.cors);
    let cross = cors(rule, is_elsewhere, &[], rest_cors, refused, &mut variables);
    let has_cors = cross.block.as_ref().is_some_and(|block| !block.is_comment);
    let around = Around {
        hosts: &asked.hosts,
        has_cors,
        preflights_pass: cross.is_the_apps,
        rest_words: rest_words(found, watches),
        rest_cors,
        rest_gate: if watches { WATCHED } else { Gate::OPEN },
        rest_observes: watches,
        csrf_words: "Cookies are guarded by the token's own double submit (X-CSRF-TOKEN), here and in the \
                     app; take `csrf` away to ask for a same-site request as well.",
    };
    let mut blocks = doors(asked, cookie_words(found).as_deref());
    blocks.extend(auth);
    if found.cors_rules > 1 {
        blocks.push(Block::words(vec![
            "Flask-CORS has several rules: the app goes on answering preflights. Write a [cors.NAME] for \
             each, and name it in the routes, to have the gateway do it."
                .to_owned(),
        ]));
    }
    blocks.extend(cross.block);
    blocks.extend(routes(&planned, &logins(found, watches), &around));
    blocks.extend(expectations(&planned, &asked.hosts));
    blocks.push(Block::words(app_words(found, asked)));
    variables.keep_named(&blocks);
    Sheet {
        title: title(found),
        blocks,
        variables,
    }
}

/// The session is looked at, and nobody refused.
const WATCHED: Gate = Gate {
    level: Level::Required,
    token: false,
    session: true,
    csrf: true,
};

fn title(found: &Flask) -> Vec<String> {
    vec![format!(
        "Written by `portcullis init --flask` (Flask {}, Python {}). The app changes nothing; read the \
         routes before you trust them.",
        found.version, found.python
    )]
}

// ---- [auth.token] ----

fn has(tokens: &FlaskJwt, location: &str) -> bool {
    tokens.locations.iter().any(|one| one == location)
}

fn has_double_submit(tokens: &FlaskJwt) -> bool {
    has(tokens, "cookies") && tokens.csrf && tokens.csrf_usual && tokens.user_claim == "sub"
}

/// Why Flask-JWT-Extended's tokens cannot be checked here.
fn token_lacks(found: &FlaskJwt) -> Option<String> {
    let all = |known: &[&str]| {
        !found.algorithms.is_empty() && found.algorithms.iter().all(|name| known.contains(&&**name))
    };
    if let Some(why) = &found.why_not {
        return Some(one_line(why));
    }
    if !all(HMAC) && !all(SIGNED) {
        return Some(format!(
            "its algorithms are {}",
            found.algorithms.join(", ")
        ));
    }
    if all(HMAC) && found.secret.as_ref().is_none_or(|secret| secret.short) {
        return Some("its key has fewer than 32 bytes and can be found by trying".to_owned());
    }
    if has(found, "json") {
        return Some("tokens may come in a JSON body, which the gateway does not read".to_owned());
    }
    let is_usual = found.header_name.eq_ignore_ascii_case("authorization");
    if has(found, "headers") && !(is_usual && found.header_type == "Bearer") {
        return Some("its tokens do not come as `Authorization: Bearer`".to_owned());
    }
    if has(found, "query_string") && !found.query_prefix.is_empty() {
        return Some("JWT_QUERY_STRING_VALUE_PREFIX is set".to_owned());
    }
    if sources(found).is_empty() {
        return Some("where its tokens come is not known".to_owned());
    }
    if found.user_claim.is_empty() {
        return Some("JWT_IDENTITY_CLAIM is not set".to_owned());
    }
    None
}

fn sources(found: &FlaskJwt) -> Vec<String> {
    let mut sources = Vec::new();
    for location in &found.locations {
        let source = match location.as_str() {
            "headers" => "header:authorization".to_owned(),
            "cookies" if is_token(&found.cookie) => format!("cookie:{}", found.cookie),
            "query_string" if is_token(&found.query) => format!("query:{}", found.query),
            _ => continue,
        };
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

fn token(found: &Flask, refused: &Refused, variables: &mut Variables) -> Option<Block> {
    let tokens = found.tokens.as_ref()?;
    let mut block = Block::new("[auth.token]")
        .saying("The tokens that the app's Flask-JWT-Extended issues, checked as it checks them.");
    if let Some(why) = token_lacks(tokens).or_else(|| refused.why("auth.token")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot check them as the app is set: {why}."
        ));
    }
    block.key("type", quote("jwt"));
    let double = has_double_submit(tokens);
    let header_only = !has(tokens, "cookies");
    if double || header_only {
        block.key("preset", quote("flask-jwt-extended"));
    } else {
        block.key("require", "{ type = \"access\" }".to_owned());
        let words =
            "The app checks the double submit of its cookies in a way of its own, or not at all.";
        block.says.push(words.to_owned());
    }
    let with_preset = double || header_only;
    if !with_preset || tokens.algorithms != ["HS256"] {
        block.key("algorithms", list(&tokens.algorithms));
    }
    let usual = ["header:authorization", "cookie:access_token_cookie"];
    let sources = sources(tokens);
    if !with_preset || sources != usual {
        block.key("sources", list(&sources));
    }
    if !with_preset || tokens.user_claim != "sub" {
        block.key(
            "identity",
            format!("{{ user = {} }}", quote(&tokens.user_claim)),
        );
    }
    // The library's own leeway is 0, the gateway's without a preset for it 30 s.
    block.key("leeway", seconds(tokens.leeway.min(600)));
    for (key, given) in [("audience", &tokens.audience), ("issuer", &tokens.issuer)] {
        let mut kept: Vec<&String> = Vec::new();
        for one in given.iter().filter(|one| !one.is_empty()) {
            if !kept.contains(&one) {
                kept.push(one);
            }
        }
        if !kept.is_empty() {
            block.key(key, list(&kept));
        }
    }
    key_of(found, tokens, &mut block, variables);
    Some(block)
}

fn key_of(found: &Flask, tokens: &FlaskJwt, block: &mut Block, variables: &mut Variables) {
    if tokens
        .algorithms
        .iter()
        .any(|name| SIGNED.contains(&&**name))
    {
        let words = "Write the app's JWT_PUBLIC_KEY into this file first.";
        block.says.push(words.to_owned());
        block.key("public_key", quote("certs/flask-jwt.pem"));
    } else if tokens.same_key {
        let value = secret(
            found.secret.as_ref(),
            "FLASK_SECRET_KEY",
            "the app's SECRET_KEY",
            variables,
        );
        block.key("secret", value);
    } else {
        let holds = "the app's JWT_SECRET_KEY";
        let value = secret(tokens.secret.as_ref(), "JWT_SECRET_KEY", holds, variables);
        block.key("secret", value);
    }
}

// ---- [auth.session] ----

fn session(found: &Flask, refused: &Refused, variables: &mut Variables) -> Option<Block> {
    let sessions = found.sessions.as_ref()?;
    found
        .secret
        .as_ref()
        .or(sessions.store.as_ref().map(|_| &NO_SECRET))?;
    let mut block = Block::new("[auth.session]");
    let on_server = matches!(sessions.kind.as_deref(), Some("redis" | "table"));
    block.says.push(if on_server {
        "The sessions that Flask-Session keeps for the app, under the id in its cookie.".to_owned()
    } else {
        "The app's signed session cookie.".to_owned()
    });
    let why = sessions.why_not.clone().or_else(|| unreadable(sessions));
    if let Some(why) = why.or_else(|| refused.why("auth.session")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot read it as the app is set: {}.",
            one_line(&why)
        ));
    } else {
        block.says.push(
            "Who is signed in stands under `_user_id` (Flask-Login) or `user_id`; name another key with \
             `identity = { user = \"...\", roles = \"...\" }`."
                .to_owned(),
        );
    }
    if on_server {
        stored(found, sessions, &mut block, variables);
    } else {
        block.key("type", quote("flask-cookie"));
        let key = secrets(
            found.secret.as_ref(),
            &found.fallbacks,
            "FLASK_SECRET_KEY",
            variables,
        );
        block.key("secret", key);
        let lifetime = sessions.lifetime.unwrap_or(2_678_400);
        if lifetime != 2_678_400 {
            block.key("lifetime", seconds(lifetime.clamp(1, 31_536_000)));
        }
    }
    if sessions.cookie != "session" {
        block.key("cookie", quote(&sessions.cookie));
    }
    Some(block)
}

const NO_SECRET: super::findings::SecretFound = super::findings::SecretFound {
    env: None,
    short: false,
    insecure: false,
};

fn stored(found: &Flask, sessions: &FlaskSessions, block: &mut Block, variables: &mut Variables) {
    let (name, what) = match sessions.kind.as_deref() {
        Some("redis") => ("REDIS_URL", "the Redis of the app's sessions"),
        _ => ("DATABASE_URL", "the database of the app's sessions"),
    };
    block.key("type", quote("flask-session"));
    if let Some(store) = &sessions.store {
        block.key("store", address(store, name, what, variables));
    }
    if let Some(table) = sessions.table.as_ref().filter(|table| *table != "sessions")
        && sessions.kind.as_deref() == Some("table")
    {
        block.key("table", quote(table));
    }
    if sessions.key_prefix != "session:" {
        block.key("key_prefix", quote(&sessions.key_prefix));
    }
    if sessions.signer {
        // Flask-Session signs ids with the SECRET_KEY alone.
        block.key("signer", "true".to_owned());
        let value = secret(
            found.secret.as_ref(),
            "FLASK_SECRET_KEY",
            "the app's SECRET_KEY",
            variables,
        );
        block.key("secret", value);
    }
}

fn unreadable(sessions: &FlaskSessions) -> Option<String> {
    let shown = sessions
        .store
        .as_ref()
        .map_or("", |store| store.shown.as_str());
    let good = match sessions.kind.as_deref() {
        Some("cookie") => true,
        Some("redis") => is_redis(shown),
        Some("table") => is_address(shown) && sessions.table.as_deref().is_some_and(is_table),
        _ => false,
    };
    let prefix =
        sessions.key_prefix.len() <= 200 && !sessions.key_prefix.contains(char::is_control);
    if !is_token(&sessions.cookie) {
        return Some("SESSION_COOKIE_NAME is no name of a cookie".to_owned());
    }
    (!good || !prefix).then(|| "where sessions are kept is not known".to_owned())
}

// ---- routes, words ----

/// The addresses that sign in and out: public beside a route that looks at sessions.
fn logins(found: &Flask, watches: bool) -> Vec<(String, String)> {
    if !watches {
        return Vec::new();
    }
    let mut routes: Vec<(String, String)> = Vec::new();
    for one in &found.endpoints {
        let is_open = matches!(one.kind, Kind::Login | Kind::Static);
        let path = one.path.trim_end_matches('/');
        let path = match path.split_once("/{*") {
            Some((front, _)) => front,
            None => path,
        };
        if !is_open || path.is_empty() || path.contains('{') {
            continue;
        }
        let path = format!("{path}/{{*rest}}");
        let good = crate::policy::path::PathPattern::parse(&path).is_ok();
        if good && !routes.iter().any(|(known, _)| *known == path) {
            routes.push((
                path,
                format!("Needs nobody signed in: {}.", one_line(&one.view)),
            ));
        }
    }
    routes.truncate(40);
    routes
}

fn rest_words(found: &Flask, watches: bool) -> Vec<String> {
    let mut words = if watches {
        vec![
            "Everything else, with the session looked at and nobody refused: `observe` stands here so that \
             the log shows whom this would refuse (`portcullis why` tells the reason). Take it away where \
             a login is needed, and give pages for everyone a route with `auth = \"public\"`."
                .to_owned(),
        ]
    } else {
        vec!["Everything else: the app's own checks guard it.".to_owned()]
    };
    let pages = found.endpoints.iter().filter(|one| one.kind == Kind::Page);
    let pages: Vec<_> = pages.map(|one| one_line(&one.path)).take(8).collect();
    if !pages.is_empty() {
        let view = found
            .login_view
            .as_deref()
            .map_or_else(String::new, |view| {
                format!(" (the login is the view {})", one_line(view))
            });
        words.push(format!("Flask-Login guards {}{view}.", pages.join(", ")));
    }
    words.extend(unknown(&found.endpoints));
    words
}

fn cookie_words(found: &Flask) -> Option<String> {
    (!found.secure_cookie).then(|| {
        "SESSION_COOKIE_SECURE is off in the app: set it once it is reached by https alone."
            .to_owned()
    })
}

/// What the app needs behind a gateway.
fn app_words(found: &Flask, asked: &Asked) -> Vec<String> {
    let mut words = Vec::new();
    if !found.proxy_fix {
        words.push(
            "The app believes http and the gateway's address until it has ProxyFix:".to_owned(),
        );
        words.push("  from werkzeug.middleware.proxy_fix import ProxyFix".to_owned());
        words.push(
            "  app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1)"
                .to_owned(),
        );
    }
    if asked.hosts.is_empty() {
        let hint = "The routes take any host; `portcullis init --host NAME` names yours.";
        words.push(hint.to_owned());
    }
    words
}
