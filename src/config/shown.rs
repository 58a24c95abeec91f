//! The configuration as it may be shown: what the layers came to, without a secret in it.
//!
//! Whatever was read as a secret is left out by its place, not by how it looks. Other values are free
//! text, in which people put secrets too: those of headers, keys and parameters whose names say so are
//! left out, and passwords in URLs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::node::{Data, Node};
use super::places::{child, element};

/// Stands for what is left out.
const HIDDEN: &str = "…";
/// Characters of a text that are shown.
const LONGEST: usize = 400;
/// What is in the name of a header, key or parameter whose value is not shown.
const TELLING: [&str; 10] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "pwd",
    "credential",
    "session",
    "key",
    "sha256",
];
/// Secrets that are addresses: where a store is may be shown.
const STORES: [&str; 3] = ["store", "database", "redis"];
/// The tables whose keys are names of headers.
const HEADERS: [&str; 2] = ["set", "headers"];

/// A configuration as it may be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The file it was read from, as named on the command line.
    pub file: PathBuf,
    /// Every key in force, defaults and environment included.
    pub values: Value,
}

impl Shown {
    /// What the layers came to; `secrets` are the paths of keys that hold one.
    pub(super) fn of(file: &Path, root: &Node, secrets: &BTreeSet<String>) -> Self {
        Self {
            file: file.to_owned(),
            values: Showing { secrets }.value(root, "", Kind::Plain),
        }
    }

    /// As TOML, cut off behind about so many bytes.
    #[must_use]
    pub fn text(&self, most_bytes: usize) -> String {
        let mut text = String::new();
        if let Value::Object(root) = &self.values {
            table(&mut text, "", root, most_bytes);
        }
        if text.len() > most_bytes {
            text.truncate(text.floor_char_boundary(most_bytes));
            text.push_str("\n# and more\n");
        }
        text
    }
}

/// What the keys of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    HeaderNames,
}

struct Showing<'a> {
    secrets: &'a BTreeSet<String>,
}

impl Showing<'_> {
    fn value(&self, node: &Node, path: &str, kind: Kind) -> Value {
        if self.secrets.contains(path) {
            return Value::from(hint(node, path));
        }
        match &node.data {
            Data::Table(members) => {
                let shown = members.iter().map(|(name, node)| {
                    let path = child(path, name);
                    let telling = match kind {
                        Kind::HeaderNames => tells(name),
                        // A reference to a secret is a table; a file of one is a path.
                        Kind::Plain => {
                            matches!(&**name, "secret" | "token" | "password" | "sha256")
                        }
                    };
                    let is_text = matches!(node.data, Data::Text(_) | Data::Whole(_));
                    let is_table = matches!(node.data, Data::Table(_));
                    let below = if is_table && HEADERS.contains(&&**name) {
                        Kind::HeaderNames
                    } else {
                        Kind::Plain
                    };
                    let value = if telling && is_text {
                        Value::from(HIDDEN)
                    } else {
                        self.value(node, &path, below)
                    };
                    (name.clone(), value)
                });
                Value::Object(shown.collect::<Map<_, _>>())
            }
            Data::List(list) => {
                let shown = list.iter().enumerate();
                let shown = shown.map(|(at, node)| self.value(node, &element(path, at), kind));
                Value::Array(shown.collect())
            }
            Data::Text(text) => Value::from(cut(&without_passwords(text))),
            Data::Whole(number) => Value::from(*number),
            Data::Float(number) => Value::from(*number),
            Data::Bool(truth) => Value::from(*truth),
        }
    }
}

fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|telling| name.contains(telling))
}

/// A text without the password of a URL in it, and without the values of telling parameters.
fn without_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    // A password may hold what ends it and is not escaped: all before the last `@` is left out.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) if user.contains(':') => {
            let user = user.split(':').next().unwrap_or_default();
            (format!("{user}:{HIDDEN}@"), rest)
        }
        Some(_) | None => (String::new(), rest),
    };
    let Some((rest, query)) = rest.split_once('?') else {
        return format!("{scheme}://{user}{rest}");
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if tells(name) => format!("{name}={HIDDEN}"),
        Some(_) | None => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    format!("{scheme}://{user}{rest}?{query}")
}

/// What is shown of a secret: nothing, but for the kind and the host of a store.
fn hint(node: &Node, path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or_default();
    let ((Some(text), _) | (None, Data::Text(text))) = (&node.written, &node.data) else {
        return HIDDEN.to_owned();
    };
    if !STORES.contains(&name) {
        return HIDDEN.to_owned();
    }
    if matches!(&**text, "memory" | "embedded") {
        return text.clone();
    }
    match text.split_once("://") {
        Some((scheme, rest))
            if scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') =>
        {
            // What stands before the last `@` and behind a `?` may be or hold a password.
            let host = rest.rsplit('@').next().unwrap_or_default();
            let host = host.split('?').next().unwrap_or_default();
            let user = if rest.contains('@') { "…@" } else { "" };
            cut(&format!("{scheme}://{user}{host}"))
        }
        Some(_) | None => HIDDEN.to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}{HIDDEN}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A table: its own keys first, then the tables below it.
fn table(text: &mut String, path: &str, members: &Map<String, Value>, most_bytes: usize) {
    let has_tables = |value: &Value| match value {
        Value::Object(_) => depth(path) < 2,
        Value::Array(list) => path.is_empty() && list.iter().any(Value::is_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    let (below, own): (Vec<_>, Vec<_>) = members.iter().partition(|(_, value)| has_tables(value));
    for (name, value) in own {
        text.push_str(&child("", name));
        text.push_str(" = ");
        inline(text, value);
        text.push('\n');
    }
    for (name, value) in below {
        if text.len() > most_bytes {
            return;
        }
        let path = child(path, name);
        match value {
            Value::Object(members) => {
                // A table of tables alone needs no line of its own.
                if members.is_empty() || !members.values().all(Value::is_object) {
                    header(text, &format!("[{path}]"));
                }
                table(text, &path, members, most_bytes);
            }
            Value::Array(list) => {
                for members in list.iter().filter_map(Value::as_object) {
                    header(text, &format!("[[{path}]]"));
                    table(text, &format!("{path}.."), members, most_bytes);
                    if text.len() > most_bytes {
                        return;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn header(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// How many tables a path leads through.
fn depth(path: &str) -> usize {
    if path.is_empty() {
        0
    } else {
        path.matches('.').count() + 1
    }
}

/// A value on one line.
fn inline(text: &mut String, value: &Value) {
    match value {
        Value::Object(members) => {
            text.push_str("{ ");
            for (place, (name, value)) in members.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                text.push_str(&child("", name));
                text.push_str(" = ");
                inline(text, value);
            }
            text.push_str(" }");
        }
        Value::Array(list) => {
            text.push('[');
            for (place, value) in list.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                inline(text, value);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_text;

    const TEXT: &str = r#"
        [tls]
        development = true
        [upstream.app]
        servers = ["http://user:hunter2@127.0.0.1:8000"]
        [auth.token]
        type = "jwt"
        algorithms = ["HS256"]
        secret = ["hunter2-hunter2-hunter2-hunter2-hunter2", { env = "OLD" }]
        identity = { user = "sub" }
        [auth.key]
        type = "api-key"
        sources = ["header:x-api-key"]
        keys = [{ sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", user = "robot" }]
        [admin]
        token = "hunter2-hunter2-hunter2"
        [[route]]
        path = "/<script>/{*rest}"
        upstream = "app"
        auth = ["token", "key"]
        request_headers = { set = { Authorization = "Basic hunter2", X-Plain = "plain" } }
        [[expect]]
        request = "GET https://localhost/"
        headers = { Cookie = "sessionid=hunter2" }
        answer = { status = 404 }
    "#;

    fn shown(text: &str, environment: &[(&str, &str)]) -> Shown {
        let environment: BTreeMap<String, String> = (environment.iter())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        load_text(Path::new("gateway.toml"), text, &environment)
            .unwrap()
            .shown
    }

    const OLD: (&str, &str) = ("OLD", "an-old-secret-of-more-than-32-bytes-hunter3");

    #[test]
    fn nothing_that_is_a_secret_is_shown_and_all_else_is() {
        let shown = shown(&TEXT.replace("user:hunter2@", ""), &[OLD]);
        let text = shown.text(1 << 20);
        assert!(
            !text.contains("hunter") && !text.contains("9f86d0"),
            "{text}"
        );
        for words in [
            "[auth.token]",
            "secret = [\"…\", { env = \"OLD\" }]",
            "token = \"…\"",
            "X-Plain = \"plain\"",
            "path = \"/<script>/{*rest}\"",
            "user = \"robot\"",
            // A default.
            "admin = \"127.0.0.1:9090\"",
        ] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
        assert!(!shown.values.to_string().contains("hunter"));
        assert!(text.parse::<toml_edit::DocumentMut>().is_ok(), "{text}");
    }

    #[test]
    fn a_secret_that_the_environment_gives_is_not_shown_either() {
        let given = [OLD, ("PORTCULLIS_ADMIN__TOKEN", "hunter4-hunter4-hunter4")];
        let shown = shown(&TEXT.replace("user:hunter2@", ""), &given);
        assert!(!shown.text(1 << 20).contains("hunter4"));
    }

    #[test]
    fn passwords_in_urls_are_left_out() {
        for (text, expected) in [
            ("postgres://app:p@ss/w@h/db", "postgres://app:…@h/db"),
            ("postgres://app:p?w@h/db", "postgres://app:…@h/db"),
            (
                "https://h/keys?api_key=x&v=1",
                "https://h/keys?api_key=…&v=1",
            ),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("Authorization: x", "Authorization: x"),
        ] {
            assert_eq!(without_passwords(text), expected);
        }
    }

    #[test]
    fn of_a_store_its_kind_and_host_are_shown() {
        let node = |text: &str| Node {
            data: Data::Text(text.to_owned()),
            written: None,
        };
        for (text, expected) in [
            ("embedded", "embedded"),
            ("redis://:p?ss@h:6379/0", "redis://…@h:6379/0"),
            ("postgres://h/db?password=x", "postgres://h/db"),
            ("hunter2", HIDDEN),
        ] {
            assert_eq!(hint(&node(text), "session.store"), expected);
        }
        assert_eq!(hint(&node("embedded"), "admin.token"), HIDDEN);
    }

    #[test]
    fn a_long_file_is_cut_off() {
        let shown = shown(&TEXT.replace("user:hunter2@", ""), &[OLD]);
        let text = shown.text(100);
        assert!(text.len() < 130 && text.ends_with("# and more\n"), "{text}");
        assert!(cut(&"ä".repeat(1_000)).chars().count() == LONGEST + 1);
    }
}
