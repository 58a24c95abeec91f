//! The blocks of the routes, and the rules as tests. Pure.

use super::blocks::APP;
use super::findings::{Endpoint, Kind, Level};
use super::plan::Planned;
use super::sheet::{Block, list, one_line, quote};
use super::tree::Gate;
use crate::policy::path::PathPattern;

/// The path of everything.
const REST: &str = "/{*rest}";

/// The route for everything else.
#[derive(Debug)]
pub(super) struct Rest {
    /// What is said of it.
    pub(super) words: Vec<String>,
    pub(super) gate: Gate,
    pub(super) cors: bool,
    pub(super) observes: bool,
}

/// What goes for every route.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) hosts: &'a [String],
    /// There is a `[cors.web]`.
    pub(super) has_cors: bool,
    /// Preflights go to the app.
    pub(super) preflights_pass: bool,
    pub(super) rest: Rest,
    /// Why the gateway's same-site rule is off where it is.
    pub(super) csrf_words: &'a str,
}

impl Around<'_> {
    fn finish(&self, block: &mut Block, gate: Gate, cors: bool) {
        if !self.hosts.is_empty() {
            block.key("hosts", list(self.hosts));
        }
        block.key("upstream", quote(APP));
        block.key("auth", auth(gate));
        if !gate.csrf {
            block.key("csrf", "false".to_owned());
        }
        if cors && self.has_cors {
            block.key("cors", quote("web"));
        }
    }
}

/// The routes, and one for everything else.
pub(super) fn routes(
    planned: &[Planned],
    fixed: &[(String, String)],
    around: &Around<'_>,
) -> Vec<Block> {
    let mut blocks = vec![Block::words(vec![
        "Routes: the most specific wins, whatever the order. Every route says who may use it. What the \
         app checks it goes on checking."
            .to_owned(),
    ])];
    let segments = |path: &str| {
        PathPattern::parse(path)
            .map(|path| path.segments().to_vec())
            .ok()
    };
    let taken = |path: &str| {
        let wanted = segments(path);
        planned.iter().any(|route| segments(&route.path) == wanted)
    };
    for route in planned {
        blocks.push(route_block(route, around));
        if route.gate.level == Level::Required && around.preflights_pass {
            let mut block = Block::new("[[route]]")
                .saying("Preflights carry no credential; the app answers them.");
            block.key("path", quote(&route.path));
            block.key("methods", list(&["OPTIONS"]));
            around.finish(&mut block, Gate::OPEN, false);
            blocks.push(block);
        }
    }
    for (path, words) in fixed {
        if !taken(path) && path != REST {
            let mut block = Block::new("[[route]]").saying(words.as_str());
            block.key("path", quote(path));
            around.finish(&mut block, Gate::OPEN, around.rest.cors);
            blocks.push(block);
        }
    }
    let mut rest = Block::new("[[route]]");
    rest.says.extend(around.rest.words.iter().cloned());
    rest.key("path", quote(REST));
    around.finish(&mut rest, around.rest.gate, around.rest.cors);
    if around.rest.observes {
        rest.key("observe", "true".to_owned());
    }
    blocks.push(rest);
    blocks
}

fn route_block(route: &Planned, around: &Around<'_>) -> Block {
    let mut block = Block::new("[[route]]");
    let mut views = route.views.join(", ");
    if views.is_empty() {
        "views of the addresses around".clone_into(&mut views);
    } else if route.count > route.views.len() {
        views.push_str(" and others");
    }
    block.says.push(match route.gate.level {
        Level::Required => format!("Every view here wants to know who is calling: {views}."),
        Level::Optional => format!("Anyone may come, but not with a bad token: {views}."),
        Level::Public => format!("Open, or for the app alone to judge: {views}."),
    });
    if !route.gate.csrf {
        block.says.push(around.csrf_words.to_owned());
    }
    block.key("path", quote(&route.path));
    around.finish(&mut block, route.gate, route.cors);
    block
}

fn auth(gate: Gate) -> String {
    let mut names = Vec::new();
    if gate.token {
        names.push("token");
    }
    if gate.session {
        names.push("session");
    }
    match gate.level {
        Level::Required => list(&names),
        Level::Optional => format!("{{ optional = {} }}", list(&names)),
        Level::Public => quote("public"),
    }
}

/// The rules as tests, of the first routes that want a caller.
pub(super) fn expectations(planned: &[Planned], hosts: &[String]) -> Vec<Block> {
    let host = match hosts.first().map(|host| host.replacen('*', "www", 1)) {
        Some(host) => host,
        None => "localhost:8443".to_owned(),
    };
    let wanted = planned
        .iter()
        .filter(|route| route.gate.level == Level::Required);
    let paths: Vec<_> = wanted
        .filter_map(|route| route.example.as_ref())
        .take(2)
        .collect();
    let mut blocks = Vec::new();
    for path in paths {
        let request = quote(&format!("GET https://{host}{path}"));
        let mut nobody = Block::new("[[expect]]");
        if blocks.is_empty() {
            let words = "The rules as tests: `portcullis test` runs them without a network, and `check` with them.";
            nobody.says.push(words.to_owned());
        }
        nobody.key("request", request.clone());
        nobody.key(
            "answer",
            "{ status = 401, code = \"credentials_missing\" }".to_owned(),
        );
        let mut someone = Block::new("[[expect]]");
        someone.key("request", request);
        someone.key("as", "{ user = \"7\" }".to_owned());
        someone.key("answer", format!("{{ forward = {} }}", quote(APP)));
        blocks.extend([nobody, someone]);
    }
    blocks
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

/// Views whose credentials or permissions could not be told.
pub(super) fn unknown(endpoints: &[Endpoint]) -> Option<String> {
    let unclear = |one: &&Endpoint| {
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
