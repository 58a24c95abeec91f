//! `MessagePack` as Flask-Session 0.7 and later stores it (`msgspec.msgpack`).

use rmpv::decode::read_value_with_max_depth;
use rmpv::{Integer, Utf8String, Value as Packed};
use serde_json::{Map, Value};

use crate::auth::session::{MAX_DEPTH, plain};

/// The extension type of a point in time.
const TIMESTAMP: i8 = -1;

/// Reads one value and nothing else; `None` where the bytes are no `MessagePack`.
///
/// Memory stays within a small multiple of `data`: what an array declares is not taken before
/// its items are there.
pub(crate) fn read(data: &[u8]) -> Option<Value> {
    let mut rest = data;
    // rmpv counts each container and what is in it as two steps down.
    let packed = read_value_with_max_depth(&mut rest, 2 * MAX_DEPTH).ok()?;
    if rest.is_empty() {
        value(packed, MAX_DEPTH)
    } else {
        None
    }
}

fn value(packed: Packed, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match packed {
        Packed::Nil => Value::Null,
        Packed::Boolean(value) => Value::Bool(value),
        Packed::Integer(value) => whole(value),
        Packed::F32(value) => plain::float(f64::from(value)),
        Packed::F64(value) => plain::float(value),
        Packed::String(value) => Value::String(text(value)?),
        Packed::Binary(value) => plain::bytes(&value),
        Packed::Array(items) => items
            .into_iter()
            .map(|item| value(item, depth))
            .collect::<Option<_>>()?,
        Packed::Map(members) => Value::Object(object(members, depth)?),
        Packed::Ext(TIMESTAMP, bytes) => Value::String(timestamp(&bytes)?),
        Packed::Ext(_, bytes) => plain::bytes(&bytes),
    })
}

/// The last of a name that stands twice counts. A name that is no text is left out: no path in
/// the configuration could name it.
fn object(members: Vec<(Packed, Packed)>, depth: usize) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    for (name, member) in members {
        let member = value(member, depth)?;
        if let Packed::String(name) = name {
            object.insert(text(name)?, member);
        }
    }
    Some(object)
}

fn whole(value: Integer) -> Value {
    let signed = value.as_i64().map(Value::from);
    signed
        .or_else(|| value.as_u64().map(Value::from))
        .unwrap_or(Value::Null)
}

/// Text has to be UTF-8.
fn text(value: Utf8String) -> Option<String> {
    value.into_str()
}

/// The extension's three forms: 32 bits of seconds; 30 of nanoseconds and 34 of seconds; 32 of
/// nanoseconds and 64 of seconds, signed.
fn timestamp(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            let seconds = i64::try_from(both & ((1 << 34) - 1)).ok()?;
            (seconds, i32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = bytes.split_first_chunk::<4>()?;
            let nanos = i32::try_from(u32::from_be_bytes(*nanos)).ok()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), nanos)
        }
        _ => return None,
    };
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    let at = at.checked_add(jiff::SignedDuration::from_nanos(nanos.into()));
    at.ok().map(plain::iso_utc)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_msgspec_writes_is_read() {
        let bytes = b"\x86\xa1a\xc0\xa1b\xc3\xa1c\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1d\xc4\x02\x00\xff\xa1e\x92\xff\xa1x\x05\x06";
        let wanted = json!({ "a": null, "b": true, "c": u64::MAX, "d": "AP8=", "e": [-1, "x"] });
        assert_eq!(read(bytes), Some(wanted));
    }

    #[test]
    fn a_time_with_a_zone_is_told_in_utc() {
        let four = b"\x81\xa1d\xd6\xff\x69\xfa\xe8\xd9";
        assert_eq!(
            read(four),
            Some(json!({ "d": "2026-05-06T07:08:09+00:00" }))
        );
        let before = b"\x81\xa1d\xc7\x0c\xff\x00\x00\x03\xe8\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(
            read(before),
            Some(json!({ "d": "1969-12-31T23:59:59.000001+00:00" }))
        );
        assert_eq!(read(b"\xd6\xff\x00"), None);
        assert_eq!(
            read(b"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"),
            None
        );
    }

    #[test]
    fn what_is_cut_off_or_goes_on_or_is_no_text_is_refused() {
        for bytes in [
            &b""[..],
            b"\x81\xa1a",
            b"\x80\x00",
            b"\xa1\xff",
            b"\x81\xa1\xff\x01",
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn declared_lengths_take_no_memory() {
        assert_eq!(read(b"\xdd\xff\xff\xff\xff"), None);
        assert_eq!(read(b"\xdf\xff\xff\xff\xff"), None);
        assert_eq!(read(b"\xdb\xff\xff\xff\xff"), None);
        assert_eq!(read(b"\xc6\xff\xff\xff\xff"), None);
    }

    #[test]
    fn nesting_ends_somewhere() {
        assert!(read(&[&[0x91; 100][..], &[0xc0]].concat()).is_some());
        assert_eq!(read(&vec![0x91; 100_000]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
