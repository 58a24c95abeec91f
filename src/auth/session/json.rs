//! JSON as Python's `json.loads` reads it.
//!
//! It differs from `serde_json` where Python is wider: the last of a name that stands twice
//! counts, `NaN` and `Infinity` are read (as null), whole numbers may have 4300 digits, and a
//! `\ud800` without its other half is read (as U+FFFD). One strange value that an app keeps in a
//! session must not lose the whole session. Nesting ends at 128, which is less than Python's.

use serde_json::{Map, Value};

use crate::auth::session::{MAX_DEPTH, plain};

/// Most digits of a whole number (`sys.int_info.default_max_str_digits`, Python 3.11 and later).
const MAX_DIGITS: usize = 4300;

/// Reads one JSON value and nothing else.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn read(text: &str) -> Result<Value, &'static str> {
    let mut reader = Reader { rest: text };
    let value = reader.value(MAX_DEPTH)?;
    reader.blanks();
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err("something follows its JSON")
    }
}

const BROKEN: &str = "its payload is not JSON";

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes what comes next, if it is this.
    fn took(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes a number of bytes.
    fn take(&mut self, bytes: usize) -> Result<&'a str, &'static str> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(BROKEN)?;
        self.rest = rest;
        Ok(taken)
    }

    fn value(&mut self, depth: usize) -> Result<Value, &'static str> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deep")?;
        self.blanks();
        match self.rest.as_bytes().first() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'0'..=b'9' | b'-') => self.number(),
            Some(_) | None => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value, &'static str> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Null),
            ("Infinity", Value::Null),
            ("-Infinity", Value::Null),
        ];
        let known = words.into_iter().find(|(word, _)| self.took(word));
        known.map(|(_, value)| value).ok_or(BROKEN)
    }

    fn array(&mut self, depth: usize) -> Result<Value, &'static str> {
        let mut items = Vec::new();
        self.took("[");
        self.blanks();
        if self.took("]") {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.blanks();
            if self.took("]") {
                return Ok(Value::Array(items));
            }
            if !self.took(",") {
                return Err(BROKEN);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, &'static str> {
        let mut members = Map::new();
        self.took("{");
        self.blanks();
        if self.took("}") {
            return Ok(Value::Object(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            if !self.took(":") {
                return Err(BROKEN);
            }
            members.insert(name, self.value(depth)?);
            self.blanks();
            if self.took("}") {
                return Ok(Value::Object(members));
            }
            if !self.took(",") {
                return Err(BROKEN);
            }
        }
    }

    fn number(&mut self) -> Result<Value, &'static str> {
        let text = self.rest.as_bytes();
        let digits = |from: usize| {
            let rest = text.get(from..).unwrap_or_default();
            rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let start = usize::from(text.first() == Some(&b'-'));
        let count = match (text.get(start), digits(start)) {
            (_, 0) => return self.word(),
            (Some(b'0'), _) => 1,
            (_, count) => count,
        };
        let mut end = start + count;
        let whole = end;
        if text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(text.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
        let token = self.take(end)?;
        let float = || token.parse().map(plain::float).map_err(|_why| BROKEN);
        if end > whole {
            return float();
        }
        if count > MAX_DIGITS {
            return Err("it holds a whole number of more than 4300 digits");
        }
        token.parse().map(plain::whole).or_else(|_too_big| float())
    }

    fn string(&mut self) -> Result<String, &'static str> {
        if !self.took("\"") {
            return Err(BROKEN);
        }
        let mut string = String::new();
        loop {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let plain = self.rest.bytes().position(|byte| special(&byte));
            string.push_str(self.take(plain.ok_or(BROKEN)?)?);
            match self.take(1)? {
                "\"" => return Ok(string),
                "\\" => string.push(self.escaped()?),
                _ => return Err(BROKEN),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, &'static str> {
        Ok(match self.take(1)? {
            "\"" => '"',
            "\\" => '\\',
            "/" => '/',
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => {
                let first = self.unit()?;
                self.character(first)?
            }
            _ => return Err(BROKEN),
        })
    }

    /// The character that begins with a UTF-16 unit; half a character becomes U+FFFD.
    fn character(&mut self, first: u16) -> Result<char, &'static str> {
        let mut units = vec![first];
        let after = self.rest;
        if (0xd800..0xdc00).contains(&first) && self.took("\\u") {
            let second = self.unit()?;
            if (0xdc00..0xe000).contains(&second) {
                units.push(second);
            } else {
                self.rest = after;
            }
        }
        let mut read = char::decode_utf16(units);
        let one = read.next().and_then(Result::ok);
        Ok(one.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Four hex digits.
    fn unit(&mut self) -> Result<u16, &'static str> {
        let digits = self.take(4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BROKEN);
        }
        u16::from_str_radix(digits, 16).map_err(|_why| BROKEN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_reads_beyond_the_standard_does_not_lose_the_session() {
        for (text, wanted) in [
            (r#"{"a":1,"a":2}"#, json!({ "a": 2 })),
            (
                r#"{"a":NaN,"b":-Infinity,"c":Infinity,"d":1e999}"#,
                json!({ "a": null, "b": null, "c": null, "d": null }),
            ),
            (
                r#""\ud83c\udf0d \ud800x \ud800\u0041 \udc00""#,
                json!("🌍 \u{fffd}x \u{fffd}A \u{fffd}"),
            ),
            ("18446744073709551615", json!(u64::MAX)),
            ("-0", json!(0)),
            (
                "1180591620717411303424",
                json!(1_180_591_620_717_411_303_424_f64),
            ),
            (" [1 , 2.5e1] ", json!([1, 25.0])),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
        assert!(read(&"9".repeat(4300)).is_ok());
    }

    #[test]
    fn what_python_does_not_read_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            r#"{"a":1,}"#,
            "01",
            "1.",
            ".5",
            "+1",
            "- 1",
            "nul",
            "nan",
            "1 2",
            "\"a\nb\"",
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            "'a'",
            "\u{feff}{}",
            "{1:2}",
            "\u{a0}1",
            "-",
            "\"\\",
            "\"\\u12",
            "1e",
            "--1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"9".repeat(4301)).is_err());
    }

    #[test]
    fn nesting_ends_at_128() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(128)).is_ok());
        assert!(read(&nested(129)).is_err());
        assert!(read(&nested(100_000)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e30_f64..1e30).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(read(&text), Ok(value));
        }

        #[test]
        fn any_text_gets_an_answer_and_what_serde_json_takes_is_taken(
            text in r#"[\[\]{}",:0-9eE.+\-\\ua-fnrtls \n]{0,40}"#,
        ) {
            let ours = read(&text);
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(ours.is_ok());
            }
        }
    }
}
