//! A gateway.toml as blocks of commented keys, and its text. Pure.
//!
//! Whatever stands in a block, the text is TOML: strings are escaped, comments stay on their lines.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::config::{Environment, Problem};

/// How wide a comment may be, in characters.
const WIDTH: usize = 100;
/// The longest text that is taken over from an app, in characters.
const LONGEST: usize = 2000;

/// A file to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    /// What stands at the top, a paragraph each.
    pub(super) title: Vec<String>,
    /// In order.
    pub(super) blocks: Vec<Block>,
    /// What must be in the gateway's environment.
    pub(super) variables: Variables,
}

/// A table with what is said of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Paragraphs before it.
    pub(super) says: Vec<String>,
    /// Such as `[auth.token]`; empty for words alone.
    pub(super) head: String,
    /// Key and value, the value as TOML.
    pub(super) keys: Vec<(&'static str, String)>,
    /// As a comment, for the reader to take up.
    pub(super) is_comment: bool,
}

impl Block {
    /// A table.
    pub(super) fn new(head: impl Into<String>) -> Self {
        Self {
            head: head.into(),
            ..Self::default()
        }
    }

    /// Words alone.
    pub(super) fn words(says: Vec<String>) -> Self {
        Self {
            says,
            ..Self::default()
        }
    }

    /// Says something before it.
    pub(super) fn saying(mut self, words: impl Into<String>) -> Self {
        self.says.push(words.into());
        self
    }

    /// Adds a key; the value is TOML, as the functions of this file write it.
    pub(super) fn key(&mut self, key: &'static str, value: String) {
        self.keys.push((key, value));
    }

    /// Adds a list, each of its values once; nothing for an empty one.
    pub(super) fn key_of_list(&mut self, key: &'static str, values: &[String]) {
        let mut kept: Vec<&String> = Vec::new();
        for value in values.iter().filter(|value| !value.is_empty()) {
            if !kept.contains(&value) {
                kept.push(value);
            }
        }
        if !kept.is_empty() {
            self.key(key, list(&kept));
        }
    }

    fn write(&self, out: &mut String) {
        for words in &self.says {
            comment(words, out);
        }
        let mark = if self.is_comment { "# " } else { "" };
        if !self.head.is_empty() {
            put(out, format_args!("{mark}{}\n", self.head));
        }
        let widest = self.keys.iter().map(|(key, _)| key.len()).max();
        for (key, value) in &self.keys {
            let width = widest.unwrap_or_default();
            let value = value.replace('\n', &format!("\n{mark}"));
            put(out, format_args!("{mark}{key:width$} = {value}\n"));
        }
        out.push('\n');
    }
}

impl Sheet {
    /// The file.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for words in &self.title {
            comment(words, &mut out);
        }
        self.variables.write(&mut out);
        out.push('\n');
        for block in &self.blocks {
            block.write(&mut out);
        }
        while out.ends_with("\n\n") {
            out.pop();
        }
        out
    }
}

/// Tables of a sheet that the gateway does not take as they are, with the reason. They become comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused(BTreeMap<String, String>);

impl Refused {
    /// Notes the table that a mistake stands in, where it is one that may be left out.
    pub(super) fn note(&mut self, problem: &Problem) {
        let tables = ["auth.token", "auth.session", "directory.app", "cors.web"];
        let inside = |table: &&&str| {
            let rest = problem.key.strip_prefix(**table);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let Some(table) = tables.iter().find(inside) else {
            return;
        };
        let key = problem.key.rsplit('.').next().unwrap_or_default();
        let why = format!("`{key}` {}", problem.message);
        self.0.entry((*table).to_owned()).or_insert(why);
    }

    /// Why a table is not taken.
    pub(super) fn why(&self, table: &str) -> Option<String> {
        self.0.get(table).cloned()
    }
}

/// The environment that a file asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(Vec<Variable>);

/// One variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    /// What it holds, in words.
    pub(super) holds: String,
    /// Something of the same shape, without a secret.
    pub(super) example: String,
}

impl Variables {
    /// Asks for a variable, once, and gives `{ env = "NAME" }`.
    pub(super) fn ask(&mut self, name: &str, holds: &str, example: &str) -> String {
        if !self.0.iter().any(|known| known.name == name) {
            self.0.push(Variable {
                name: name.to_owned(),
                holds: holds.to_owned(),
                example: example.to_owned(),
            });
        }
        format!("{{ env = {} }}", quote(name))
    }

    /// Forgets those that the blocks do not name.
    pub(super) fn keep_named(&mut self, blocks: &[Block]) {
        let named = |name: &str| {
            let reference = format!("{{ env = {} }}", quote(name));
            let mut live = blocks.iter().filter(|block| !block.is_comment);
            live.any(|block| {
                block
                    .keys
                    .iter()
                    .any(|(_, value)| value.contains(&reference))
            })
        };
        self.0.retain(|variable| named(&variable.name));
    }

    /// Each of them.
    pub(super) fn all(&self) -> &[Variable] {
        &self.0
    }

    fn write(&self, out: &mut String) {
        if self.0.is_empty() {
            return;
        }
        comment(
            "Before `portcullis check`, in the gateway's environment:",
            out,
        );
        for variable in &self.0 {
            let line = format!(
                "  {}   {}",
                one_line(&variable.name),
                one_line(&variable.holds)
            );
            put(out, format_args!("# {}\n", line.trim_end()));
        }
    }
}

/// An environment in which every variable that a file asks for is set to an example.
impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|variable| variable.name == name);
        found.map(|variable| variable.example.clone())
    }

    fn overrides(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A string of TOML (§String, basic).
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars().take(LONGEST) {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => {
                put(&mut out, format_args!("\\u{:04X}", u32::from(other)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A list of strings.
pub(super) fn list<T: AsRef<str>>(items: &[T]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| quote(item.as_ref())).collect();
    array(&quoted)
}

/// A list of values: on one line where it fits, else a line each.
pub(super) fn array(values: &[String]) -> String {
    let line = format!("[{}]", values.join(", "));
    if line.chars().count() <= WIDTH - 20 {
        return line;
    }
    let lines: Vec<_> = values
        .iter()
        .map(|value| format!("    {value},\n"))
        .collect();
    format!("[\n{}]", lines.concat())
}

/// Seconds as a duration is written.
pub(super) fn seconds(number: u64) -> String {
    for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if number >= size && number.is_multiple_of(size) {
            return format!("\"{}{unit}\"", number / size);
        }
    }
    format!("\"{number}s\"")
}

/// Writes on.
fn put(out: &mut String, words: fmt::Arguments<'_>) {
    let _always_fits = out.write_fmt(words);
}

/// Text that stays on its line.
pub(super) fn one_line(text: &str) -> String {
    let letter = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(LONGEST).map(letter).collect()
}

/// A paragraph of comment, wrapped. A blank at its front keeps a line as it is.
fn comment(words: &str, out: &mut String) {
    let words = one_line(words);
    if words.starts_with(' ') {
        put(out, format_args!("# {}\n", words.trim_end()));
        return;
    }
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
            put(out, format_args!("# {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let rest = format!("# {line}");
    out.push_str(rest.trim_end());
    out.push('\n');
}
