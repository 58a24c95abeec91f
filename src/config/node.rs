//! A value of the merged layers, with where it came from. Plain data between `source` and `raw`.

use std::collections::BTreeMap;

/// A value and its origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) data: Data,
    /// As written, where an environment variable gave it; figment reads `0123` as a number, and a
    /// secret or a name must keep its letters.
    pub(super) written: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Whole(i64),
    Float(f64),
    Bool(bool),
}

impl Node {
    /// What kind of value it is, without the value.
    pub(super) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Table(_) => "a table",
            Data::List(_) => "a list",
            Data::Text(_) => "a string",
            Data::Whole(_) => "a whole number",
            Data::Float(_) => "a number with a fraction",
            Data::Bool(_) => "a boolean",
        }
    }

    /// The value in words, cut short.
    pub(super) fn describe(&self) -> String {
        match &self.data {
            Data::Text(text) => quote(text),
            Data::Whole(number) => number.to_string(),
            Data::Float(number) => number.to_string(),
            Data::Bool(truth) => truth.to_string(),
            Data::Table(table) if table.is_empty() => "an empty table".to_owned(),
            Data::List(list) if list.is_empty() => "an empty list".to_owned(),
            Data::Table(table) => {
                let keys: Vec<_> = table.keys().take(5).map(String::as_str).collect();
                format!("a table with {}", cut(&keys.join(", ")))
            }
            Data::List(list) => format!("a list of {}", list.len()),
        }
    }
}

/// Text in quotes, escaped and cut short, fit for a message.
pub(super) fn quote(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
