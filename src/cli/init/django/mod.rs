//! From what was found of a Django app to its gateway.toml. Pure.

mod stores;
mod token;
mod words;

use super::blocks::{Asked, doors};
use super::cross_origin::cors;
use super::findings::Django;
use super::plan::{everywhere, plan};
use super::routes::{Around, Rest, expectations, quieten, routes};
use super::sheet::{Block, Refused, Sheet, Variables};
use super::tree::{Available, Gate};

/// Where the development server listens.
pub(super) const UPSTREAM: &str = "http://127.0.0.1:8000";

/// The file for an app.
pub(super) fn sheet(found: &Django, asked: &Asked, refused: &Refused) -> Sheet {
    let mut variables = Variables::default();
    let directory = stores::directory(found, refused, &mut variables);
    let has_directory = directory.as_ref().is_some_and(|block| !block.is_comment);
    let session = stores::session(found, has_directory, refused, &mut variables);
    let token = token::token(found, has_directory, refused, &mut variables);
    let available = Available {
        token: token.as_ref().is_some_and(|block| !block.is_comment),
        token_cookie: token::cookie_of(found.tokens.as_ref()).is_some(),
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
    let rest_cors = everywhere(&found.endpoints);
    let is_used = rest_cors || planned.iter().any(|route| route.cors);
    let cross = cors(
        found.cors.as_ref(),
        found.cors_elsewhere,
        &found.trusted_origins,
        is_used,
        refused,
        &mut variables,
    );
    let has_cors = cross.block.as_ref().is_some_and(|block| !block.is_comment);
    let around = Around {
        hosts: &asked.hosts,
        has_cors,
        preflights_pass: cross.is_the_apps,
        rest: Rest {
            words: words::rest_words(found, &planned),
            gate: Gate::OPEN,
            cors: rest_cors,
            observes: false,
        },
        csrf_words: "The app takes its session cookie here without a CSRF token; take `csrf` away where \
                     browsers alone use these addresses.",
    };
    let mut blocks = doors(asked, words::cookie_words(found).as_deref());
    blocks.extend(auth);
    blocks.extend(directory);
    blocks.extend(cross.block);
    blocks.extend(routes(&planned, &words::fixed(found), &around));
    blocks.extend(expectations(&planned, &asked.hosts));
    blocks.push(Block::words(words::settings(found, asked)));
    variables.keep_named(&blocks);
    Sheet {
        title: words::title(found),
        blocks,
        variables,
    }
}
