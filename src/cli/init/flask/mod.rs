//! From what was found of a Flask app to its gateway.toml. Pure.

mod session;
mod token;

use super::blocks::{Asked, doors};
use super::cross_origin::cors;
use super::findings::{Flask, Kind, Level};
use super::plan::{everywhere, plan};
use super::routes::{Around, Rest, expectations, quieten, routes, unknown};
use super::sheet::{Block, Refused, Sheet, Variables, one_line};
use super::tree::{Available, Gate};

/// Where the development server listens.
pub(super) const UPSTREAM: &str = "http://127.0.0.1:5000";

/// The file for an app.
pub(super) fn sheet(found: &Flask, asked: &Asked, refused: &Refused) -> Sheet {
    let mut variables = Variables::default();
    let token = token::token(found, refused, &mut variables);
    let session = session::session(found, refused, &mut variables);
    let double_submit = found.tokens.as_ref().is_some_and(token::has_double_submit);
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
    let rest_cors = everywhere(&found.endpoints);
    let is_used = rest_cors || planned.iter().any(|route| route.cors);
    let cross = cors(rule, is_elsewhere, &[], is_used, refused, &mut variables);
    let has_cors = cross.block.as_ref().is_some_and(|block| !block.is_comment);
    let around = Around {
        hosts: &asked.hosts,
        has_cors,
        preflights_pass: cross.is_the_apps,
        rest: Rest {
            words: rest_words(found, watches),
            gate: if watches { WATCHED } else { Gate::OPEN },
            cors: rest_cors,
            observes: watches,
        },
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
