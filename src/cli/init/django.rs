//! From what was found of a Django app to its gateway.toml. Pure.

use super::blocks::{
    APP, Around, Asked, address, cors, doors, expectations, routes, secret, secrets,
};
use super::findings::{Database, Django, DjangoSessions, Kind, Level, Location, SimpleJwt, Users};
use super::sheet::{Block, Refused, Sheet, Variables, list, one_line, quote, seconds};
use super::tree::{Available, Gate, Planned, plan};

/// Where the development server listens.
pub(super) const UPSTREAM: &str = "http://127.0.0.1:8000";
/// The algorithms of the gateway that take a secret, and those that take a public key.
const HMAC: &[&str] = &["HS256", "HS384", "HS512"];
const SIGNED: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];
/// The longest leeway that the gateway takes, in seconds.
const LEEWAY: u64 = 600;

/// The file for an app.
pub(super) fn sheet(found: &Django, asked: &Asked, refused: &Refused) -> Sheet {
    let mut variables = Variables::default();
    let directory = directory(found, refused, &mut variables);
    let has_directory = directory.as_ref().is_some_and(|block| !block.is_comment);
    let session = session(found, has_directory, refused, &mut variables);
    let token = token(found, has_directory, refused, &mut variables);
    let available = Available {
        token: token.as_ref().is_some_and(|block| !block.is_comment),
        token_cookie: cookie_of(found.tokens.as_ref()).is_some(),
        session: session.as_ref().is_some_and(|block| !block.is_comment),
        double_submit: false,
    };
    let planned = plan(&found.endpoints, available, !found.truncated);
    let mut auth: Vec<_> = token.into_iter().chain(session).collect();
    quieten(&mut auth, &planned);
    let names_directory =
        |block: &Block| !block.is_comment && block.keys.iter().any(|(key, _)| *key == "directory");
    let mut directory: Vec<_> = directory.into_iter().collect();
    for block in &mut directory {
        block.is_comment |= !auth.iter().any(names_directory);
    }
    let rest_cors = found.endpoints.iter().any(|one| one.cors);
    let cross = cors(
        found.cors.as_ref(),
        found.cors_elsewhere,
        &found.trusted_origins,
        rest_cors,
        refused,
        &mut variables,
    );
    let has_cors = cross.block.as_ref().is_some_and(|block| !block.is_comment);
    let around = Around {
        hosts: &asked.hosts,
        has_cors,
        preflights_pass: cross.is_the_apps,
        rest_words: rest_words(found, &planned),
        rest_cors,
        rest_gate: Gate::OPEN,
        rest_observes: false,
        csrf_words: "The app takes its session cookie here without a CSRF token; take `csrf` away where \
                     browsers alone use these addresses.",
    };
    let mut blocks = doors(asked, cookie_words(found).as_deref());
    blocks.extend(auth);
    blocks.extend(directory);
    blocks.extend(cross.block);
    blocks.extend(routes(&planned, &fixed(found), &around));
    blocks.extend(expectations(&planned, &asked.hosts));
    blocks.push(Block::words(settings(found, asked)));
    variables.keep_named(&blocks);
    Sheet {
        title: title(found),
        blocks,
        variables,
    }
}

fn title(found: &Django) -> Vec<String> {
    let mut title = vec![format!(
        "Written by `portcullis init --django` from {} (Django {}, Python {}). The app changes nothing; \
         read the routes before you trust them.",
        found.settings, found.version, found.python
    )];
    if found.truncated {
        let words =
            "The app has more addresses than were walked: those left out are under the last route.";
        title.push(words.to_owned());
    }
    title
}

/// An authenticator that no route names is a comment: `check` warns of it otherwise.
pub(super) fn quieten(auth: &mut [Block], planned: &[Planned]) {
    for block in auth.iter_mut().filter(|block| !block.is_comment) {
        let used = planned.iter().any(|route| match block.head.as_str() {
            "[auth.token]" => route.gate.token,
            _ => route.gate.session,
        });
        if !used {
            block.is_comment = true;
            block.says.push(
                "No route asks for it, for no view is known to refuse strangers; take these lines up and \
                 name it in a route's `auth`, with `observe = true` to see first whom it would refuse."
                    .to_owned(),
            );
        }
    }
}

// ---- [auth.token] ----

fn cookie_of(tokens: Option<&SimpleJwt>) -> Option<&str> {
    tokens?.cookie.as_deref().filter(|name| is_token(name))
}

/// A name as cookies and headers have them (RFC 9110 §5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Why SimpleJWT's tokens cannot be checked here.
fn token_lacks(found: &SimpleJwt) -> Option<String> {
    let is_hmac = HMAC.contains(&&*found.algorithm);
    if !is_hmac && !SIGNED.contains(&&*found.algorithm) {
        return Some(format!("ALGORITHM {} is not known here", found.algorithm));
    }
    if !found.header_types.iter().any(|kind| kind == "Bearer") {
        return Some(format!(
            "AUTH_HEADER_TYPES is {}",
            found.header_types.join(", ")
        ));
    }
    if found.header_name != "HTTP_AUTHORIZATION" {
        return Some(format!("AUTH_HEADER_NAME is {}", found.header_name));
    }
    if found.user_claim.is_empty() {
        return Some("USER_ID_CLAIM is not set".to_owned());
    }
    if found.type_claim.is_some() && found.types.len() > 1 {
        return Some("AUTH_TOKEN_CLASSES names more than one kind of token".to_owned());
    }
    if is_hmac && found.secret.as_ref().is_none_or(|secret| secret.short) {
        return Some(
            "its SIGNING_KEY has fewer than 32 bytes and can be found by trying".to_owned(),
        );
    }
    let foreign = |location: &Location| location.hidden || !is_web(&location.shown);
    if found.jwk_url.as_ref().is_some_and(foreign) {
        return Some("JWK_URL is not a plain https:// address".to_owned());
    }
    None
}

fn is_web(text: &str) -> bool {
    let parsed = url::Url::parse(text).ok();
    parsed.is_some_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "https" | "http") && url.has_host() && plain
    })
}

fn token(
    found: &Django,
    has_directory: bool,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let tokens = found.tokens.as_ref()?;
    let mut block = Block::new("[auth.token]").saying(
        "The bearer tokens that the app's SimpleJWT issues, checked as SimpleJWT checks them.",
    );
    if let Some(why) = token_lacks(tokens).or_else(|| refused.why("auth.token")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot check them as the app is set: {why}."
        ));
    }
    block.key("type", quote("jwt"));
    claims(tokens, &mut block);
    keys(found, tokens, &mut block, variables);
    let not_by_id = !tokens.by_primary_key;
    let unlike = tokens.stateless || !tokens.checks_active;
    if has_directory && !not_by_id && !unlike {
        block.says.push(
            "They carry a user id alone: roles, and whether the user is active, come from the app's table."
                .to_owned(),
        );
        block.key("directory", quote(APP));
        if let Some(claim) = tokens
            .revoke_claim
            .as_ref()
            .filter(|claim| !claim.is_empty())
        {
            block.key("revoke_claim", quote(claim));
        }
    } else if not_by_id {
        block.says.push(format!(
            "They name the user by {}, not by the table's key: no `directory` finds them.",
            tokens.user_field
        ));
    } else if unlike {
        block.says.push(
            "The app takes tokens here without asking whether the user is active: with `directory` the \
             gateway would be stricter than it."
                .to_owned(),
        );
    }
    Some(block)
}

/// `preset` where the claims are SimpleJWT's own, else each claim.
fn claims(tokens: &SimpleJwt, block: &mut Block) {
    let kind = tokens.types.first().map_or("access", String::as_str);
    let usual = tokens.type_claim.as_deref() == Some("token_type")
        && kind == "access"
        && tokens.jti_claim.as_deref() == Some("jti");
    if usual {
        block.key("preset", quote("simplejwt"));
    } else if let Some(claim) = &tokens.type_claim {
        block.key(
            "require",
            format!("{{ {} = {} }}", quote(claim), quote(kind)),
        );
    }
    if !usual || tokens.algorithm != "HS256" {
        block.key("algorithms", list(&[&tokens.algorithm]));
    }
    if !usual || tokens.user_claim != "user_id" {
        block.key(
            "identity",
            format!("{{ user = {} }}", quote(&tokens.user_claim)),
        );
    }
    if tokens.leeway > 0 || !usual {
        block.key("leeway", seconds(tokens.leeway.min(LEEWAY)));
    }
    if tokens.leeway > LEEWAY {
        let words = format!(
            "The app's LEEWAY is {} s; ten minutes are the most here.",
            tokens.leeway
        );
        block.says.push(words);
    }
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
    match cookie_of(Some(tokens)) {
        Some(cookie) => {
            let cookie = format!("cookie:{cookie}");
            let sources = [
                "header:authorization",
                &cookie,
                "websocket:token",
                "websocket:access",
            ];
            block.key("sources", list(&sources));
        }
        None if !usual => {
            let sources = [
                "header:authorization",
                "websocket:token",
                "websocket:access",
            ];
            block.key("sources", list(&sources));
        }
        None => {}
    }
}

fn keys(found: &Django, tokens: &SimpleJwt, block: &mut Block, variables: &mut Variables) {
    if HMAC.contains(&&*tokens.algorithm) {
        // SimpleJWT verifies with one key: SECRET_KEY_FALLBACKS are not for tokens.
        let value = if tokens.same_key {
            secret(
                found.secret.as_ref(),
                "DJANGO_SECRET_KEY",
                "the app's SECRET_KEY",
                variables,
            )
        } else {
            let holds = "SIGNING_KEY of SIMPLE_JWT";
            secret(
                tokens.secret.as_ref(),
                "SIMPLE_JWT_SIGNING_KEY",
                holds,
                variables,
            )
        };
        block.key("secret", value);
        if found.secret.as_ref().is_some_and(|secret| secret.insecure) && tokens.same_key {
            let words =
                "The SECRET_KEY is the one that `startproject` made: give the app another one.";
            block.says.push(words.to_owned());
        }
        return;
    }
    if let Some(url) = &tokens.jwk_url {
        block.key("jwks", quote(&url.shown));
        return;
    }
    block
        .says
        .push("Write the app's public key into the file first:".to_owned());
    block.says.push(
        "  python manage.py shell -c 'from rest_framework_simplejwt.settings import api_settings as s; \
         print(s.VERIFYING_KEY)' > certs/simplejwt.pem"
            .to_owned(),
    );
    block.key("public_key", quote("certs/simplejwt.pem"));
}

// ---- [auth.session], [directory.app] ----

/// Whether a name is one that the gateway takes for a table: letters, digits, `_` and `$`, or `schema.table`.
pub(super) fn is_table(name: &str) -> bool {
    let parts: Vec<_> = name.split('.').collect();
    parts.len() <= 2 && name.len() <= 63 && parts.iter().all(|part| is_column(part))
}

fn is_column(name: &str) -> bool {
    let starts = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let goes_on = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$');
    name.len() <= 63 && name.starts_with(starts) && name.chars().all(goes_on)
}

fn database(found: &Database, variables: &mut Variables) -> String {
    let location = Location {
        env: found.env.clone(),
        shown: found.shown.clone(),
        // An address with a host stays out of the file, password or not.
        hidden: found.kind.as_deref() != Some("sqlite"),
    };
    address(&location, "DATABASE_URL", "the app's database", variables)
}

fn users_of(found: &Django) -> Option<(&Users, &Database)> {
    let users = found.users.as_ref()?;
    let database = users.database.as_ref()?;
    let readable = database.kind.is_some() && is_address(&database.shown) && is_table(&users.table);
    readable.then_some((users, database))
}

/// Whether an address is one that the gateway reads, as far as can be told here.
pub(super) fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("sqlite:///") else {
        let schemes = ["postgres", "mysql"];
        let parsed = url::Url::parse(text).ok();
        return parsed.is_some_and(|url| {
            schemes.contains(&url.scheme()) && url.has_host() && url.path().len() > 1
        });
    };
    rest.len() > 1 && rest.is_ascii() && !rest.contains(char::is_control)
}

fn directory(found: &Django, refused: &Refused, variables: &mut Variables) -> Option<Block> {
    let (users, database) = users_of(found)?;
    let mut block = Block::new(format!("[directory.{APP}]")).saying(format!(
        "Roles and state of a user, from the table of {}. SELECT is all that the gateway needs.",
        users.model
    ));
    if let Some(why) = refused.why("directory.app") {
        block.says.push(format!(
            "The gateway cannot ask it as it is: {}.",
            one_line(&why)
        ));
        block.is_comment = true;
    }
    block.key("type", quote("django"));
    block.key("database", self::database(database, variables));
    if users.table != "auth_user" {
        block.key("user_table", quote(&users.table));
    }
    let mut roles = Vec::new();
    if users.groups {
        roles.push("groups".to_owned());
    }
    if users.flags {
        roles.push("flags".to_owned());
    }
    for column in users
        .columns
        .iter()
        .filter(|column| is_column(&column.column))
    {
        let role = format!("column:{}", column.column);
        if roles.contains(&role) {
            continue;
        }
        roles.push(role);
        if !column.values.is_empty() {
            let values: Vec<_> = column.values.iter().map(|value| one_line(value)).collect();
            let words = format!("`{}` is one of: {}.", column.column, values.join(", "));
            block.says.push(words);
        }
    }
    block.key("roles", list(&roles));
    Some(block)
}

fn session(
    found: &Django,
    has_directory: bool,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let sessions = found.sessions.as_ref()?;
    let mut block = Block::new("[auth.session]")
        .saying("The session cookie that the app's login sets, checked as Django checks it.");
    let users = found.users.as_ref();
    let own = users.filter(|users| users.own_hash || users.inactive_may_pass);
    let why = sessions.why_not.clone().or_else(|| {
        if !has_directory {
            Some("the gateway cannot ask the table of users".to_owned())
        } else if own.is_some() {
            Some("the app judges a session's user in a way of its own".to_owned())
        } else {
            unreadable(sessions)
        }
    });
    let why = why.or_else(|| refused.why("auth.session"));
    if let Some(why) = why {
        block.says.push(format!(
            "The gateway cannot read it as the app is set: {}.",
            one_line(&why)
        ));
        block.is_comment = true;
    }
    block.key("type", quote("django-session"));
    let key = secrets(
        found.secret.as_ref(),
        &found.fallbacks,
        "DJANGO_SECRET_KEY",
        variables,
    );
    block.key("secret", key);
    place(found, sessions, &mut block, variables);
    if sessions.cookie != "sessionid" {
        block.key("cookie", quote(&sessions.cookie));
    }
    block.key("directory", quote(APP));
    Some(block)
}

/// What of a session's place cannot be written.
fn unreadable(sessions: &DjangoSessions) -> Option<String> {
    let table = || sessions.table.as_deref().is_some_and(is_table);
    let database = || {
        let found = sessions.database.as_ref();
        found.is_some_and(|found| found.kind.is_some() && is_address(&found.shown))
    };
    let cache = || {
        let cache = sessions.cache.as_ref();
        cache.is_some_and(|cache| {
            let prefix =
                !cache.key_prefix.contains(char::is_control) && cache.key_prefix.len() <= 200;
            let version = u32::try_from(cache.version).is_ok();
            let location = cache.location.as_ref();
            prefix && version && location.is_some_and(|found| is_redis(&found.shown))
        })
    };
    let good = match sessions.kind.as_deref() {
        Some("db") => table() && database(),
        Some("cached_db") => table() && database() && cache(),
        Some("cache") => cache(),
        Some("signed_cookies") => true,
        _ => false,
    };
    if !is_token(&sessions.cookie) {
        return Some("SESSION_COOKIE_NAME is no name of a cookie".to_owned());
    }
    (!good).then(|| "where sessions are kept is not known".to_owned())
}

/// Whether an address is one of Redis that the gateway reads.
pub(super) fn is_redis(text: &str) -> bool {
    let parsed = url::Url::parse(text).ok();
    parsed.is_some_and(|url| match url.scheme() {
        "redis" | "rediss" => url.has_host(),
        "redis+unix" => url.path().len() > 1,
        _ => false,
    })
}

fn place(found: &Django, sessions: &DjangoSessions, block: &mut Block, variables: &mut Variables) {
    let kind = sessions.kind.as_deref().unwrap_or("db");
    block.key("backend", quote(kind));
    if matches!(kind, "cache" | "cached_db") {
        let cache = sessions.cache.clone().unwrap_or_default();
        if let Some(location) = &cache.location {
            let value = address(
                location,
                "REDIS_URL",
                "the Redis of the app's sessions",
                variables,
            );
            block.key("redis", value);
        }
        if !cache.key_prefix.is_empty() {
            block.key("key_prefix", quote(&cache.key_prefix));
        }
        if cache.version != 1 {
            block.key("key_version", cache.version.to_string());
        }
    }
    if matches!(kind, "db" | "cached_db") {
        let database = sessions.database.clone().unwrap_or_default();
        block.key("database", self::database(&database, variables));
        if let Some(table) = sessions
            .table
            .as_ref()
            .filter(|table| *table != "django_session")
        {
            block.key("table", quote(table));
        }
        let zone = database
            .time_zone
            .as_ref()
            .filter(|_| found.time_zone.is_none());
        let zone = found
            .time_zone
            .as_ref()
            .or(zone)
            .filter(|zone| *zone != "UTC");
        let naive = database.kind.as_deref() != Some("postgres");
        if let Some(zone) = zone.filter(|zone| naive && jiff::tz::TimeZone::get(zone).is_ok()) {
            block.key("time_zone", quote(zone));
        }
    }
    if kind == "signed_cookies" {
        let age = sessions.age.unwrap_or(1_209_600);
        block.key("lifetime", seconds(age.clamp(1, 31_536_000)));
    }
}

// ---- routes, words ----

/// Routes that are public whatever is around them, for the reader to see.
fn fixed(found: &Django) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    if let Some(path) = common(
        found
            .endpoints
            .iter()
            .filter(|one| one.kind == Kind::Admin)
            .map(|one| one.path.as_str()),
    ) {
        routes.push((
            path,
            "Django's admin site: its own login guards it. To let nobody near it but staff, put \
             `auth = [\"session\"]` and `roles = [\"staff\"]` here and a public route for its login page."
                .to_owned(),
        ));
    }
    let root = found.static_root.as_deref().map_or_else(String::new, |root| {
        format!(
            " With `files = {{ dir = {} }}` in the place of `upstream` the gateway serves them itself.",
            quote(&one_line(root))
        )
    });
    for (url, words) in [
        (&found.static_url, format!("Static files.{root}")),
        (&found.media_url, "Uploaded files.".to_owned()),
    ] {
        let path = url
            .as_deref()
            .filter(|url| url.starts_with('/'))
            .and_then(|url| common([url]));
        routes.extend(path.map(|path| (path, words)));
    }
    let sockets = found.websockets.iter().flatten().map(String::as_str);
    if let Some(path) = common(sockets) {
        routes.push((
            path,
            "WebSockets: the app's consumers judge who may connect. With `auth = [\"token\"]` the gateway \
             takes `?token=` or `?access=` and closes with 4401 or 4403. A page of another origin must \
             stand in a `cors` rule of this route."
                .to_owned(),
        ));
    }
    let mut seen = Vec::new();
    routes.retain(|(path, _)| {
        let fresh = !seen.contains(path);
        seen.push(path.clone());
        fresh
    });
    routes
}

/// `/prefix/{*rest}` of some paths: the literal segments that all of them begin with.
fn common<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut prefix: Option<Vec<&str>> = None;
    for path in paths {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let literal: Vec<_> = parts
            .into_iter()
            .take_while(|part| !part.contains('{'))
            .collect();
        prefix = Some(match prefix {
            None => literal,
            Some(before) => {
                let pairs = before.into_iter().zip(literal);
                pairs.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    let prefix = prefix.filter(|parts| parts.iter().any(|part| !part.is_empty()))?;
    let path = format!("/{}/{{*rest}}", prefix.join("/"));
    crate::policy::path::PathPattern::parse(&path).ok()?;
    Some(path)
}

fn rest_words(found: &Django, planned: &[Planned]) -> Vec<String> {
    let mut words =
        vec!["Everything else: pages and files. The app's own login guards them.".to_owned()];
    let closed = |one: &&super::findings::Endpoint| one.kind == Kind::Page;
    let pages: Vec<_> = found
        .endpoints
        .iter()
        .filter(closed)
        .map(|one| one_line(&one.path))
        .take(8)
        .collect();
    if !pages.is_empty() {
        let login = found
            .login_url
            .as_deref()
            .filter(|url| url.starts_with('/'))
            .unwrap_or("/login/");
        words.push(format!(
            "Among them pages behind that login: {}. Once routes of their own have `auth = [\"session\"]` and \
             `unauthenticated = {{ redirect = {} }}`, strangers do not reach the app there.",
            pages.join(", "),
            quote(&format!("{}?next={{uri}}", one_line(login)))
        ));
    }
    words.extend(unknown(&found.endpoints));
    if planned
        .iter()
        .all(|route| route.gate.level == Level::Public)
    {
        words.push("No view was found that is known to refuse strangers.".to_owned());
    }
    words
}

/// Views whose credentials or permissions could not be told.
pub(super) fn unknown(endpoints: &[super::findings::Endpoint]) -> Option<String> {
    let unclear = |one: &&super::findings::Endpoint| {
        one.kind == Kind::Api && one.level == Level::Public && !one.why.is_empty()
    };
    let mut list: Vec<_> = endpoints
        .iter()
        .filter(unclear)
        .map(|one| format!("{} ({})", one_line(&one.path), one_line(&one.why)))
        .collect();
    list.dedup();
    let more = list.len().saturating_sub(6);
    list.truncate(6);
    if list.is_empty() {
        return None;
    }
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "Public because the gateway cannot tell more: {}{more}.",
        list.join("; ")
    ))
}

fn cookie_words(found: &Django) -> Option<String> {
    let insecure = found
        .sessions
        .as_ref()
        .is_some_and(|sessions| !sessions.secure)
        || !found.csrf_secure;
    insecure.then(|| {
        "SESSION_COOKIE_SECURE or CSRF_COOKIE_SECURE is off in the app: set both once it is reached by \
         https alone."
            .to_owned()
    })
}

/// What the app's settings need behind a gateway.
fn settings(found: &Django, asked: &Asked) -> Vec<String> {
    let mut words = Vec::new();
    match found.proxy_header.as_deref() {
        Some("HTTP_X_FORWARDED_PROTO") => {}
        Some(other) => words.push(format!(
            "SECURE_PROXY_SSL_HEADER names {}: the gateway sends X-Forwarded-Proto, so it must be \
             (\"HTTP_X_FORWARDED_PROTO\", \"https\").",
            one_line(other)
        )),
        None => words.push(
            "Add to the app's settings: SECURE_PROXY_SSL_HEADER = (\"HTTP_X_FORWARDED_PROTO\", \"https\"). \
             Without it Django believes that every request came by http, and refuses forms sent by https."
                .to_owned(),
        ),
    }
    if found.ssl_redirect && found.proxy_header.is_none() {
        words.push("Without it SECURE_SSL_REDIRECT sends browsers in a circle.".to_owned());
    }
    if found.forwarded_host {
        words.push("USE_X_FORWARDED_HOST is not needed: the gateway keeps Host.".to_owned());
    }
    let hosts: Vec<_> = found
        .allowed_hosts
        .iter()
        .map(|host| one_line(host))
        .collect();
    if !hosts.is_empty() {
        words.push(format!("ALLOWED_HOSTS takes: {}.", hosts.join(", ")));
    }
    if asked.hosts.is_empty() {
        let hint = "The routes take any host; `portcullis init --host NAME` names yours.";
        words.push(hint.to_owned());
    }
    words
}
