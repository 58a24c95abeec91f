//! Reads values of the merged layers as the types the file's tables are made of.
//!
//! Every mistake is noted and reading goes on, so that all of them are told at once. What could
//! not be read is `None`, and the mistake stands in the problems.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::config::node::{Data, Node, quote};
use crate::config::places::{child, element};
use crate::config::problem::{Problem, Problems, nearest};
use crate::config::units;
use crate::policy::limit::Unit;

/// A value and the path of its key.
#[derive(Clone, Debug)]
pub(in crate::config) struct At<T> {
    pub(in crate::config) key: String,
    pub(in crate::config) value: T,
}

impl<T> At<T> {
    /// A mistake in this value.
    pub(in crate::config) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.key.as_str(), message)
    }
}

impl At<String> {
    /// A mistake in this text, which is no secret: it is repeated as what was found.
    pub(in crate::config) fn wrong(&self, message: impl Into<String>) -> Problem {
        self.problem(message).found(quote(&self.value))
    }
}

/// What can be read from a value.
pub(in crate::config) trait Decode: Sized {
    /// Reads the value at `key`, noting what is wrong with it.
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self>;
}

/// Notes that a value is of the wrong type.
pub(in crate::config) fn wrong_type<T>(
    node: &Node,
    key: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let message = format!("must be {expected}, not {}", node.kind());
    problems.error(Problem::new(key, message).found(node.describe()));
    None
}

fn unknown_key(table: &str, name: &str, keys: &[&str]) -> Problem {
    let path = child(table, name);
    let whose = if table.is_empty() {
        "of this file"
    } else {
        "of this table"
    };
    Problem::new(path, format!("is not a key {whose}"))
        .found(quote(name))
        .allowed(keys.join(", "))
        .nearest(nearest(name, keys.iter().copied()))
        .of_the_key()
}

/// A table that is being read: knows its keys, so that no other is taken.
pub(in crate::config) struct Table<'n> {
    pub(in crate::config) members: &'n BTreeMap<String, Node>,
    pub(in crate::config) key: &'n str,
}

impl<'n> Table<'n> {
    /// Opens a table, noting every key that is not one of `keys`.
    pub(in crate::config) fn open(
        node: &'n Node,
        key: &'n str,
        keys: &[&str],
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let Data::Table(members) = &node.data else {
            return wrong_type(node, key, "a table", problems);
        };
        for name in members.keys() {
            if keys.contains(&name.as_str()) {
                continue;
            }
            problems.error_with(|| unknown_key(key, name, keys));
        }
        Some(Self { members, key })
    }

    /// Reads one key, where it is there.
    pub(in crate::config) fn take<T: Decode>(
        &self,
        name: &str,
        problems: &mut Problems<'_>,
    ) -> Option<At<T>> {
        let node = self.members.get(name)?;
        At::<T>::read(node, child(self.key, name), problems)
    }

    /// Reads one key that must be there.
    pub(in crate::config) fn required<T: Decode>(
        &self,
        name: &str,
        problems: &mut Problems<'_>,
    ) -> Option<At<T>> {
        if !self.members.contains_key(name) {
            problems.error(missing(self.key, name));
        }
        self.take(name, problems)
    }
}

/// A key that must be there and is not.
pub(in crate::config) fn missing(table: &str, name: &str) -> Problem {
    Problem::new(child(table, name), "is required and is not there")
}

impl<T: Decode> At<T> {
    /// Reads a value at a key.
    pub(in crate::config) fn read(
        node: &Node,
        key: String,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let value = T::decode(node, &key, problems)?;
        Some(Self { key, value })
    }
}

/// The name of a key whose field had to be written as `r#type`.
pub(in crate::config) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(plain) => plain,
            Err(_) => name,
        },
        _ => name,
    }
}

/// Declares a table of the file: its keys, their types, and the keys that were read before (`also`).
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty,)* } $(also { $($also:literal),* })?) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::config) struct $name {
            $(pub(in crate::config) $field: Option<$crate::config::raw::decode::At<$ty>>,)*
        }

        impl $name {
            /// The keys of this table.
            pub(in crate::config) const KEYS: &[&str] =
                &[$($crate::config::raw::decode::plain(stringify!($field)),)* $($($also),*)?];
        }

        impl $crate::config::raw::decode::Decode for $name {
            fn decode(
                node: &$crate::config::node::Node,
                key: &str,
                problems: &mut $crate::config::problem::Problems<'_>,
            ) -> Option<Self> {
                use $crate::config::raw::decode::{Table, plain};
                let table = Table::open(node, key, Self::KEYS, problems)?;
                Some(Self { $($field: table.take(plain(stringify!($field)), problems),)* })
            }
        }
    };
}
pub(in crate::config) use table;

impl Decode for String {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match (&node.data, &node.written) {
            (Data::Text(text), _) => Some(text.clone()),
            (Data::Whole(_) | Data::Float(_) | Data::Bool(_), Some(written)) => {
                Some(written.clone())
            }
            _ => wrong_type(node, key, "a string", problems),
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if let Data::Bool(truth) = node.data {
            return Some(truth);
        }
        wrong_type(node, key, "true or false", problems)
    }
}

impl Decode for u64 {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Whole(number) = node.data else {
            return wrong_type(node, key, "a whole number", problems);
        };
        let number = Self::try_from(number).ok();
        if number.is_none() {
            problems.error(Problem::new(key, "must not be negative").found(node.describe()));
        }
        number
    }
}

impl Decode for f64 {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match node.data {
            Data::Float(number) => Some(number),
            // Larger ones are no less wrong where a fraction is wanted.
            Data::Whole(number) => Some(i32::try_from(number).map_or(Self::NAN, Self::from)),
            Data::Text(_) | Data::Bool(_) | Data::List(_) | Data::Table(_) => {
                wrong_type(node, key, "a number", problems)
            }
        }
    }
}

impl Decode for Duration {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        measured(
            node,
            key,
            "a duration",
            units::DURATION,
            units::duration,
            problems,
        )
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

impl Decode for Size {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        measured(node, key, "a size", units::SIZE, units::size, problems).map(Self)
    }
}

/// A rate: how many in what time.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RawRate(pub(in crate::config) u64, pub(in crate::config) Unit);

impl Decode for RawRate {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let rate = measured(node, key, "a rate", units::RATE, units::rate, problems)?;
        Some(Self(rate.0, rate.1))
    }
}

fn measured<T>(
    node: &Node,
    key: &str,
    what: &str,
    allowed: &str,
    read: fn(&str) -> Option<T>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let text = match (&node.data, &node.written) {
        (Data::Text(text), _) | (_, Some(text)) => text.as_str(),
        _ => "",
    };
    let value = read(text);
    if value.is_none() {
        let problem = Problem::new(key, format!("must be {what}"));
        problems.error(problem.found(node.describe()).allowed(allowed));
    }
    value
}

/// Any value, as JSON: what a claim is compared with.
impl Decode for Value {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.data {
            Data::Text(text) => Some(text.clone().into()),
            Data::Whole(number) => Some((*number).into()),
            Data::Bool(truth) => Some((*truth).into()),
            Data::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => Some(Self::Number(number)),
                None => wrong_type(node, key, "a number that JSON can write", problems),
            },
            Data::List(list) => {
                let list: Vec<At<Self>> = elements(list, key, problems);
                Some(list.into_iter().map(|item| item.value).collect())
            }
            Data::Table(_) => wrong_type(
                node,
                key,
                "a string, a number, true, false or a list",
                problems,
            ),
        }
    }
}

/// Reads each element of a list.
pub(in crate::config) fn elements<T: Decode>(
    list: &[Node],
    key: &str,
    problems: &mut Problems<'_>,
) -> Vec<At<T>> {
    let read = |(index, node)| At::read(node, element(key, index), problems);
    // The readable ones are kept even beside an unreadable one: each may have more to tell.
    list.iter().enumerate().filter_map(read).collect()
}
