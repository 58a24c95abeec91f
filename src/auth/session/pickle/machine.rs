//! The stack machine of a pickle, with the operations that plain data needs.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use crate::auth::session::pickle::Flaw;
use crate::auth::session::pickle::arena::{Arena, Id, Node};
use crate::auth::session::pickle::globals::Global;
use crate::auth::session::pickle::input::Input;
use crate::auth::session::plain;
use crate::auth::words::quoted;

/// Most operations of one pickle; each makes at most one value and one entry of the memo.
const MAX_STEPS: usize = 200_000;
/// Most digits of a whole number in decimals, as in Python.
const MAX_DIGITS: usize = 4300;

const STACK: Flaw = Flaw::Broken("its operations do not fit together");
const TEXT: Flaw = Flaw::Broken("a text in it cannot be decoded");
const NUMBER: Flaw = Flaw::Broken("a number in it cannot be read");

struct Machine<'a> {
    input: Input<'a>,
    arena: Arena<'a>,
    stack: Vec<Id>,
    /// Heights of the stack at each `MARK`.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

/// Runs a pickle to its `STOP`; the values, and which is the result.
pub(super) fn run(data: &[u8]) -> Result<(Arena<'_>, Id), Flaw> {
    let mut machine = Machine {
        input: Input::new(data),
        arena: Arena::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _step in 0..MAX_STEPS {
        match machine.input.byte()? {
            b'.' => {
                let root = machine.pop()?;
                return Ok((machine.arena, root));
            }
            operation => machine.step(operation)?,
        }
    }
    Err(Flaw::TooLarge("has more than 200,000 operations"))
}

impl<'a> Machine<'a> {
    fn step(&mut self, operation: u8) -> Result<(), Flaw> {
        match operation {
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => {
                let value = self.scalar(operation)?;
                self.push(Node::Plain(value));
            }
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => {
                let text = self.text(operation)?;
                self.push(Node::Text(text));
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let bytes = match operation {
                    b'B' => self.input.length4()?,
                    b'C' => self.input.length1()?,
                    _ => self.input.length8()?,
                };
                self.push(Node::Bytes(bytes));
            }
            b']' | b'l' | b')' | b't' | 0x85..=0x87 | 0x8f | 0x91 | b'}' | b'd' => {
                let node = self.container(operation)?;
                self.push(node);
            }
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(operation)?,
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.remember(operation)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.drop_top()?,
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            0x80 if self.input.byte()? > 5 => {
                return Err(Flaw::Broken("its protocol is not known"));
            }
            0x80 => {}
            0x95 => {
                let length = u64::from_le_bytes(self.input.fixed()?);
                if !self.input.holds(length) {
                    return Err(Flaw::Broken("it ends too early"));
                }
            }
            _ => self.object(operation)?,
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) {
        let id = self.arena.add(node);
        self.stack.push(id);
    }

    /// How deep the stack may be taken down: to the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Flaw> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Id, Flaw> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above.last().copied().ok_or(STACK)
    }

    fn drop_top(&mut self) -> Result<(), Flaw> {
        if self.pop().is_ok() || self.marks.pop().is_some() {
            Ok(())
        } else {
            Err(STACK)
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Flaw> {
        let mark = self.marks.pop().ok_or(STACK)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn scalar(&mut self, operation: u8) -> Result<Value, Flaw> {
        Ok(match operation {
            b'N' => Value::Null,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => i32::from_le_bytes(self.input.fixed()?).into(),
            b'K' => self.input.byte()?.into(),
            b'M' => u16::from_le_bytes(self.input.fixed()?).into(),
            0x8a => long(self.input.length1()?),
            0x8b => long(self.input.length4()?),
            b'G' => plain::float(f64::from_be_bytes(self.input.fixed()?)),
            b'F' => {
                let line = std::str::from_utf8(self.input.line()?).map_err(|_why| NUMBER)?;
                plain::float(line.parse().map_err(|_why| NUMBER)?)
            }
            _ => match self.input.line()? {
                b"00" if operation == b'I' => Value::Bool(false),
                b"01" if operation == b'I' => Value::Bool(true),
                line => decimal(line.strip_suffix(b"L").unwrap_or(line))?,
            },
        })
    }

    fn text(&mut self, operation: u8) -> Result<Cow<'a, str>, Flaw> {
        let bytes = match operation {
            b'V' => return raw_unicode(self.input.line()?).map(Cow::Owned),
            b'S' => unquoted(self.input.line()?)?,
            b'T' | b'X' => self.input.length4()?,
            0x8d => self.input.length8()?,
            _ => self.input.length1()?,
        };
        // Text of Python 2 (`S`, `T`, `U`) is read as ASCII.
        if matches!(operation, b'S' | b'T' | b'U') && !bytes.is_ascii() {
            return Err(TEXT);
        }
        let text = std::str::from_utf8(bytes).map_err(|_why| TEXT)?;
        Ok(Cow::Borrowed(text))
    }

    fn container(&mut self, operation: u8) -> Result<Node<'a>, Flaw> {
        Ok(match operation {
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            0x8f => Node::Set(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b'l' => Node::List(self.since_mark()?),
            b't' => Node::Tuple(self.since_mark()?),
            0x91 => Node::Set(self.hashable()?),
            b'd' => {
                let items = self.since_mark()?;
                Node::Dict(self.pairs(&items)?)
            }
            _ => {
                let mut items = Vec::with_capacity(3);
                for _item in 0x84..operation {
                    items.push(self.pop()?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        })
    }

    /// The values since the mark, if a set or a dict may hold them as keys.
    fn hashable(&mut self) -> Result<Vec<Id>, Flaw> {
        let items = self.since_mark()?;
        for item in &items {
            self.check_hashable(*item)?;
        }
        Ok(items)
    }

    fn check_hashable(&self, id: Id) -> Result<(), Flaw> {
        match self.arena.get(id) {
            Some(Node::List(_) | Node::Set(_) | Node::Dict(_)) | None => {
                Err(Flaw::Broken("a key in it cannot be one"))
            }
            Some(
                Node::Plain(_) | Node::Text(_) | Node::Bytes(_) | Node::Tuple(_) | Node::Global(_),
            ) => Ok(()),
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, Flaw> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(STACK);
        }
        let mut made = Vec::with_capacity(pairs.len());
        for [key, value] in pairs {
            self.check_hashable(*key)?;
            made.push((*key, *value));
        }
        Ok(made)
    }

    /// Puts what is on the stack into the container below it.
    fn fill(&mut self, operation: u8) -> Result<(), Flaw> {
        let items = match operation {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            0x90 => self.hashable()?,
            _ => self.since_mark()?,
        };
        let pairs = match operation {
            b's' | b'u' => self.pairs(&items)?,
            _ => Vec::new(),
        };
        let target = self.top()?;
        match (operation, self.arena.get_mut(target)) {
            (b'a' | b'e', Some(Node::List(list))) | (0x90, Some(Node::Set(list))) => {
                list.extend(items);
            }
            (b's' | b'u', Some(Node::Dict(members))) => members.extend(pairs),
            _ => return Err(STACK),
        }
        Ok(())
    }

    fn remember(&mut self, operation: u8) -> Result<(), Flaw> {
        let place = match operation {
            b'g' | b'p' => {
                let line = std::str::from_utf8(self.input.line()?).map_err(|_why| NUMBER)?;
                line.parse().map_err(|_why| NUMBER)?
            }
            b'h' | b'q' => self.input.byte()?.into(),
            b'j' | b'r' => u32::from_le_bytes(self.input.fixed()?).into(),
            _ => self.memo.len() as u64,
        };
        if matches!(operation, b'g' | b'h' | b'j') {
            let id = self.memo.get(&place).copied().ok_or(STACK)?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(place, top);
        }
        Ok(())
    }

    /// Everything that is about objects.
    fn object(&mut self, operation: u8) -> Result<(), Flaw> {
        let global = match operation {
            b'c' => {
                let module = String::from_utf8_lossy(self.input.line()?);
                let name = String::from_utf8_lossy(self.input.line()?);
                Global::named(&module, &name)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.arena.get(module), self.arena.get(name)) {
                    (Some(Node::Text(module)), Some(Node::Text(name))) => {
                        Global::named(module, name)?
                    }
                    _ => return Err(STACK),
                }
            }
            b'R' => self.reduced()?,
            b'i' => {
                let module = String::from_utf8_lossy(self.input.line()?);
                let name = String::from_utf8_lossy(self.input.line()?);
                let what = format!(
                    "an instance of {} of module {}",
                    quoted(&name),
                    quoted(&module)
                );
                return Err(Flaw::Object(what));
            }
            b'o' | b'b' | 0x81 | 0x92 => {
                return Err(Flaw::Object(
                    "an object to be made and filled (OBJ, NEWOBJ, BUILD)".to_owned(),
                ));
            }
            0x82..=0x84 => {
                return Err(Flaw::Object(
                    "an object by a registered number (EXT)".to_owned(),
                ));
            }
            b'P' | b'Q' => {
                return Err(Flaw::Object("an object kept elsewhere (PERSID)".to_owned()));
            }
            0x97 | 0x98 => {
                return Err(Flaw::Object(
                    "a buffer kept elsewhere (NEXT_BUFFER)".to_owned(),
                ));
            }
            _ => return Err(Flaw::Broken("it has an operation that no pickle has")),
        };
        self.push(Node::Global(global));
        Ok(())
    }

    fn reduced(&mut self) -> Result<Global, Flaw> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        match (self.arena.get(class), self.arena.get(arguments)) {
            (Some(Node::Global(class)), Some(Node::Tuple(arguments))) => {
                class.made(arguments, &self.arena)
            }
            _ => Err(Flaw::Object(
                "a call of what is no class (REDUCE)".to_owned(),
            )),
        }
    }
}

/// A whole number in little-endian two's complement. Beyond 128 bits it becomes null: it names
/// nobody, and one number must not lose the session.
fn long(bytes: &[u8]) -> Value {
    let fill = match bytes.last() {
        Some(128..) => 0xff,
        Some(_) | None => 0,
    };
    if bytes.len() > 16 {
        return Value::Null;
    }
    let mut whole = [fill; 16];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    plain::whole(i128::from_le_bytes(whole))
}

fn decimal(line: &[u8]) -> Result<Value, Flaw> {
    let text = std::str::from_utf8(line).map_err(|_why| NUMBER)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let ordinary = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !ordinary || digits.len() > MAX_DIGITS {
        return Err(NUMBER);
    }
    let float = || text.parse().map(plain::float).map_err(|_why| NUMBER);
    text.parse().map(plain::whole).or_else(|_too_big| float())
}

/// Python's `raw-unicode-escape`: Latin-1, but for `\uXXXX` and `\UXXXXXXXX`.
fn raw_unicode(line: &[u8]) -> Result<String, Flaw> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let length = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(*byte));
                continue;
            }
        };
        let digits = after.get(1..=length).ok_or(TEXT)?;
        let digits = std::str::from_utf8(digits).map_err(|_why| TEXT)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TEXT);
        }
        let code = u32::from_str_radix(digits, 16).map_err(|_why| TEXT)?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = after.get(1 + length..).unwrap_or_default();
    }
    Ok(text)
}

/// A Python 2 string in its quotes; one with escapes is not read.
fn unquoted(line: &[u8]) -> Result<&[u8], Flaw> {
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else {
        return Err(TEXT);
    };
    if inner.contains(&b'\\') {
        return Err(TEXT);
    }
    Ok(inner)
}
