//! Pickles: what is plain data is read, everything else is refused, nothing grows beyond a cap.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Flaw, read};

/// `{"a": WHAT}`.
fn with(what: &[u8]) -> Vec<u8> {
    [b"\x80\x04}\x8c\x01a", what, b"s."].concat()
}

fn value(what: &[u8]) -> Result<Value, Flaw> {
    read(&with(what)).map(|mut data| data.remove("a").unwrap_or_default())
}

fn asks_for(what: &[u8], name: &str) {
    match value(what) {
        Err(Flaw::Object(asked)) => assert!(asked.contains(name), "{asked}"),
        other => panic!("{what:?}: {other:?}"),
    }
}

#[test]
fn plain_data_of_every_protocol_is_read() {
    for (what, wanted) in [
        (&b"N"[..], json!(null)),
        (b"\x88", json!(true)),
        (b"I00\n", json!(false)),
        (b"I-12\n", json!(-12)),
        (b"L18446744073709551615L\n", json!(u64::MAX)),
        (b"J\xff\xff\xff\xff", json!(-1)),
        (b"K\x07", json!(7)),
        (b"M\x00\x01", json!(256)),
        (b"\x8a\x00", json!(0)),
        (b"\x8a\x01\xff", json!(-1)),
        (
            b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00",
            json!(u64::MAX),
        ),
        (b"\x8b\x02\x00\x00\x00\x00\x80", json!(-32768)),
        (b"F2.5\n", json!(2.5)),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00", json!(1.5)),
        (b"G\x7f\xf8\x00\x00\x00\x00\x00\x00", json!(null)),
        (b"S'x y'\n", json!("x y")),
        (b"U\x01x", json!("x")),
        (b"T\x01\x00\x00\x00x", json!("x")),
        (b"V\xe9\\u4e16\\U0001f30d\n", json!("é世🌍")),
        (b"X\x02\x00\x00\x00\xc3\xa9", json!("é")),
        (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00x", json!("x")),
        (b"C\x02\x00\xff", json!("AP8=")),
        (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00x", json!("eA==")),
        (b"](K\x01K\x02e", json!([1, 2])),
        (b"]K\x01a", json!([1])),
        (b"(K\x01l", json!([1])),
        (b")", json!([])),
        (b"(K\x01K\x02t", json!([1, 2])),
        (b"K\x01\x85", json!([1])),
        (b"K\x01K\x02K\x03\x87", json!([1, 2, 3])),
        (b"\x8f(K\x01\x90", json!([1])),
        (b"(K\x01\x91", json!([1])),
        (b"(\x8c\x01xK\x01d", json!({ "x": 1 })),
        (b"}(\x8c\x01xK\x01K\x05K\x06u", json!({ "x": 1 })),
        (b"}\x8c\x01xK\x01s\x8c\x01xK\x02s", json!({ "x": 2 })),
        (b"K\x01\x940h\x00", json!(1)),
        (b"K\x01p7\n0g7\n", json!(1)),
        (b"K\x01q\x010j\x01\x00\x00\x00", json!(1)),
        (b"(K\x01K\x021K\x03", json!(3)),
        (b"\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x03", json!(3)),
    ] {
        assert_eq!(value(what), Ok(wanted), "{what:?}");
    }
}

#[test]
fn a_value_that_stands_in_two_places_is_read_in_both() {
    let shared = b"\x80\x04}(\x8c\x01a]\x94K\x01a\x8c\x01bh\x00u.";
    assert_eq!(
        read(shared).map(Value::Object),
        Ok(json!({ "a": [1], "b": [1] }))
    );
}

#[test]
fn a_datetime_is_read_as_text_with_its_zone() {
    let at = b"\x8c\x08datetime\x8c\x08datetime\x93C\x0a\x07\xea\x01\x02\x03\x04\x05\x00\x00\x06";
    assert_eq!(
        value(&[&at[..], b"\x85R"].concat()),
        Ok(json!("2026-01-02T03:04:05.000006"))
    );
    let zone = b"cdatetime\ntimezone\ncdatetime\ntimedelta\nJ\xff\xff\xff\xffJ\x48\x20\x01\x00K\x00\x87R\x85R";
    let aware = [&at[..], zone, b"\x86R"].concat();
    assert_eq!(value(&aware), Ok(json!("2026-01-02T03:04:05.000006-03:30")));
    for class in [
        &b"cdatetime\ndatetime\n"[..],
        b"cdatetime\ntimedelta\nK\x00K\x01K\x00\x87R",
    ] {
        assert!(matches!(value(class), Err(Flaw::Object(_))));
    }
    assert!(value(b"cdatetime\ndatetime\nC\x01x\x85R").is_err());
}

#[test]
fn whatever_asks_for_an_object_is_refused_and_named() {
    let command = b"\x8c\x02id\x85R";
    asks_for(
        &[&b"cos\nsystem\n"[..], command].concat(),
        r#""system" of module "os""#,
    );
    asks_for(
        &[&b"\x8c\x05posix\x8c\x06system\x93"[..], command].concat(),
        "posix",
    );
    asks_for(b"(ios\nsystem\n", "os");
    asks_for(b"(cdatetime\ndatetime\no", "OBJ");
    asks_for(b"cdatetime\ndatetime\n)\x81", "NEWOBJ");
    asks_for(b"cdatetime\ndatetime\n)}\x92", "NEWOBJ");
    asks_for(b"}}b", "BUILD");
    asks_for(b"\x82\x01", "EXT");
    asks_for(b"\x83\x01\x00", "EXT");
    asks_for(b"\x84\x01\x00\x00\x00", "EXT");
    asks_for(b"Pid\n", "PERSID");
    asks_for(b"K\x01Q", "PERSID");
    asks_for(b"\x97", "NEXT_BUFFER");
    asks_for(b"\x8c\x01x)R", "REDUCE");
    asks_for(b"cdatetime.datetime\n__class__\n", "__class__");
    asks_for(b"cbuiltins\neval\n", "eval");
    let long = [&b"c"[..], &[b'x'; 9_000], b"\n\x1b[2J\n"].concat();
    match value(&long) {
        Err(Flaw::Object(name)) => assert!(name.len() < 200 && !name.contains('\u{1b}'), "{name}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_python_would_not_read_is_refused() {
    for what in [
        &b""[..],
        b"\xff",
        b"K",
        b"t",
        b"e",
        b"a",
        b"s",
        b"h\x09",
        b"\x85\x85\x85\x85",
        b"]K\x01s",
        b"K\x01K\x01a",
        b"}(K\x01u",
        b"}]K\x01s",
        b"\x8f(]\x90",
        b"V\\u12\n",
        b"S'x\n",
        b"Ix\n",
        b"F\n",
        b"\x80\x06N",
        b"\x8c\x01\xff",
        b"U\x01\xe9",
        b"\x95\xff\x00\x00\x00\x00\x00\x00\x00N",
    ] {
        assert!(matches!(value(what), Err(Flaw::Broken(_))), "{what:?}");
    }
    for whole in [
        &b""[..],
        b".",
        b"N.",
        b"42",
        b"].",
        b"\x80\x04",
        b"}",
        b"(.",
        b"}(.",
    ] {
        assert!(matches!(read(whole), Err(Flaw::Broken(_))), "{whole:?}");
    }
}

#[test]
fn a_declared_length_that_is_not_there_takes_no_memory() {
    let half = (1_u64 << 63).to_le_bytes();
    for operation in [0x8d_u8, 0x8e, 0x96, 0x95] {
        assert!(value(&[&[operation][..], &half].concat()).is_err());
    }
    for operation in [b'X', b'B', b'T', 0x8b] {
        assert!(value(&[operation, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}

#[test]
fn nesting_cycles_and_sharing_end_at_caps() {
    let deep = [b"]".repeat(100_000), b"a".repeat(99_999)].concat();
    assert!(matches!(value(&deep), Err(Flaw::TooLarge(_))));
    let tuples = [b")".to_vec(), b"\x85".repeat(100_000)].concat();
    assert!(matches!(value(&tuples), Err(Flaw::TooLarge(_))));
    let cycle = b"]\x94h\x00a";
    assert!(matches!(value(cycle), Err(Flaw::TooLarge(_))));
    // Each list holds the one before it ten times: 10^30 values from 700 bytes.
    let mut laughs = b"K\x01\x94".to_vec();
    for level in 0..30_u8 {
        laughs.extend(b"0](");
        laughs.extend([b'h', level].repeat(10));
        laughs.extend(b"e\x94");
    }
    assert!(matches!(value(&laughs), Err(Flaw::TooLarge(_))));
    let mut texts = b"X\x00\x10\x00\x00".to_vec();
    texts.extend([b'x'; 4096]);
    texts.extend(b"\x940](");
    texts.extend(b"h\x00".repeat(300));
    texts.extend(b"e");
    assert!(matches!(value(&texts), Err(Flaw::TooLarge(_))));
    assert!(matches!(read(&vec![b'N'; 900_000]), Err(Flaw::TooLarge(_))));
    assert!(matches!(read(&vec![b'N'; 2 << 20]), Err(Flaw::TooLarge(_))));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_operations_get_an_answer(
        bytes in prop::collection::vec(prop::sample::select(b"NK\x01]})(tleasud\x85\x86\x87\x88\x8f\x90\x91\x94h\x000q12.Rc\n\x93".to_vec()), 0..200),
    ) {
        let _ = read(&bytes);
        let _ = value(&bytes);
    }
}
