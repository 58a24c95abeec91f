//! The values of a pickle, by number: one value may stand in many places.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::auth::session::pickle::Flaw;
use crate::auth::session::pickle::globals::Global;
use crate::auth::session::{Data, MAX_BYTES, MAX_DEPTH, plain};

/// Most values that are written out.
const MAX_VALUES: usize = 100_000;

/// A value's number.
pub(super) type Id = usize;

/// One value.
pub(super) enum Node<'a> {
    /// `None`, a boolean or a number.
    Plain(Value),
    /// `str`.
    Text(Cow<'a, str>),
    /// `bytes` or `bytearray`.
    Bytes(&'a [u8]),
    /// `list`.
    List(Vec<Id>),
    /// `tuple`.
    Tuple(Vec<Id>),
    /// `set` or `frozenset`.
    Set(Vec<Id>),
    /// `dict`.
    Dict(Vec<(Id, Id)>),
    /// An object that is known.
    Global(Global),
}

/// All values.
#[derive(Default)]
pub(super) struct Arena<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Arena<'a> {
    pub(super) fn add(&mut self, node: Node<'a>) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub(super) fn get(&self, id: Id) -> Option<&Node<'a>> {
        self.nodes.get(id)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Node<'a>> {
        self.nodes.get_mut(id)
    }

    /// The dict at `root` with all that is in it.
    pub(super) fn into_data(self, root: Id) -> Result<Data, Flaw> {
        let mut writer = Writer {
            arena: &self,
            values: MAX_VALUES,
            bytes: MAX_BYTES,
        };
        match writer.value(root, MAX_DEPTH)? {
            Value::Object(data) => Ok(data),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(Flaw::Broken("it holds no dict")),
        }
    }
}

/// Writes values out, within bounds: sharing lets a few bytes stand for very much.
struct Writer<'n, 'a> {
    arena: &'n Arena<'a>,
    values: usize,
    bytes: usize,
}

impl Writer<'_, '_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Flaw> {
        let depth = depth
            .checked_sub(1)
            .ok_or(Flaw::TooLarge("is nested deeper than 128, or holds itself"))?;
        let left = self.values.checked_sub(1);
        self.values = left.ok_or(Flaw::TooLarge("holds more than 100,000 values"))?;
        let node = self
            .arena
            .get(id)
            .ok_or(Flaw::Broken("a value is missing"))?;
        Ok(match node {
            Node::Plain(value) => value.clone(),
            Node::Text(text) => {
                self.spend(text.len())?;
                Value::String(text.clone().into_owned())
            }
            Node::Bytes(bytes) => {
                self.spend(bytes.len())?;
                plain::bytes(bytes)
            }
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => items
                .iter()
                .map(|item| self.value(*item, depth))
                .collect::<Result<_, _>>()
                .map(Value::Array)?,
            Node::Dict(members) => self.object(members, depth)?,
            Node::Global(global) => {
                let text = global.as_text();
                Value::String(text.ok_or_else(|| Flaw::Object(global.name().to_owned()))?)
            }
        })
    }

    /// The last of a key that stands twice counts. A key that is no text is left out: no path in
    /// the configuration could name it.
    fn object(&mut self, members: &[(Id, Id)], depth: usize) -> Result<Value, Flaw> {
        let mut object = Map::new();
        for (key, member) in members {
            let member = self.value(*member, depth)?;
            if let Some(Node::Text(key)) = self.arena.get(*key) {
                self.spend(key.len())?;
                object.insert(key.clone().into_owned(), member);
            }
        }
        Ok(Value::Object(object))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Flaw> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or(Flaw::TooLarge("holds more than 1 MiB of text"))?;
        Ok(())
    }
}
