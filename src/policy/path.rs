//! One canonical reading of a request's path.
//!
//! The path is percent-decoded once, for matching. What could be read in two ways, by this gateway
//! or by any server behind it, is refused instead of repaired, so the bytes that were judged are
//! the bytes that are sent on: [`CanonicalPath::raw`]. Only `merge_slashes` changes them.

use std::borrow::Cow;

use crate::policy::denial::{Code, Denial};
pub use crate::policy::pattern::{PathPattern, PatternError};

/// A request's path that has exactly one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    raw: Cow<'a, str>,
    /// `None` when decoding changes nothing.
    decoded: Option<Box<str>>,
}

/// Why a path is refused. Offsets are in bytes from the path's start, segments count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousPath {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// `.` or `..`, also encoded or followed by `;`.
    #[error("segment {segment} of the path is a dot segment (`.` or `..`)")]
    DotSegment {
        /// Which segment.
        segment: usize,
    },
    /// `%2f` or `%5c`.
    #[error("the path has an encoded `/` or `\\` at byte {at}")]
    EncodedSeparator {
        /// Where.
        at: usize,
    },
    /// `\` as it is.
    #[error("the path has a `\\` at byte {at}")]
    Backslash {
        /// Where.
        at: usize,
    },
    /// A control character, as it is or encoded.
    #[error("the path has a control character in segment {segment}")]
    Control {
        /// Which segment.
        segment: usize,
    },
    /// A blank as it is.
    #[error("the path has a blank at byte {at}")]
    Blank {
        /// Where.
        at: usize,
    },
    /// An encoded blank at the edge of a segment, which some servers trim.
    #[error("segment {segment} of the path begins or ends with a blank")]
    BlankAtEdge {
        /// Which segment.
        segment: usize,
    },
    /// The decoded bytes are not UTF-8.
    #[error("the decoded path is not UTF-8")]
    NotUtf8,
    /// `%` without two hex digits behind it.
    #[error("the path has a `%` without two hex digits at byte {at}")]
    BadEscape {
        /// Where.
        at: usize,
    },
    /// Decoded once, there is still an escape.
    #[error("segment {segment} of the path is percent-encoded twice")]
    EncodedTwice {
        /// Which segment.
        segment: usize,
    },
    /// `;` as it is: a path parameter to some servers (RFC 3986 §3.3), part of the name to others.
    #[error("the path has a `;` at byte {at}; as part of a name it is written `%3B`")]
    PathParameter {
        /// Where.
        at: usize,
    },
    /// `//`.
    #[error("segment {segment} of the path is empty (`//`)")]
    EmptySegment {
        /// Which segment.
        segment: usize,
    },
    /// `#` or `?` as they are: another part of the target begins there.
    #[error("the path has a `#` or `?` at byte {at}")]
    Delimiter {
        /// Where.
        at: usize,
    },
}

impl From<AmbiguousPath> for Denial {
    fn from(why: AmbiguousPath) -> Self {
        Self::new(Code::AmbiguousPath, why.to_string())
    }
}

impl<'a> CanonicalPath<'a> {
    /// Reads a path, without query, as it stands in the request's target.
    ///
    /// A path of plain ASCII characters is looked over once and nothing is copied.
    ///
    /// # Errors
    ///
    /// [`AmbiguousPath`] when servers could read the path in different ways.
    pub fn parse(raw: &'a str, merge_slashes: bool) -> Result<Self, AmbiguousPath> {
        if !raw.starts_with('/') {
            return Err(AmbiguousPath::NotAbsolute);
        }
        if is_plain(raw) {
            return Ok(Self {
                raw: Cow::Borrowed(raw),
                decoded: None,
            });
        }
        let raw = if merge_slashes && raw.contains("//") {
            Cow::Owned(merge(raw))
        } else {
            Cow::Borrowed(raw)
        };
        let decoded = decode_once(&raw)?;
        judge_segments(&decoded)?;
        let decoded = (*decoded != *raw).then(|| decoded.into_boxed_str());
        Ok(Self { raw, decoded })
    }

    /// Exactly the bytes to send on.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The path decoded once, for matching.
    #[must_use]
    pub fn decoded(&self) -> &str {
        self.decoded.as_deref().unwrap_or(&self.raw)
    }

    /// The decoded segments. The last one is empty when the path ends with `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        segments(self.decoded())
    }

    /// The path to send on when a route cuts `strip` off its front and puts `add` before it.
    ///
    /// Both are whole segments without a trailing slash, `strip` decoded and `add` as it is sent.
    /// A path that does not begin with `strip` keeps its front. The result begins with `/` and is
    /// as canonical as the path was, since only whole segments come and go. Nothing left is `/`.
    #[must_use]
    pub fn rewritten(&self, strip: Option<&str>, add: Option<&str>) -> Cow<'_, str> {
        let rest = strip.map_or(self.raw(), |prefix| self.without(prefix));
        match (add.unwrap_or_default(), rest) {
            ("", "") => Cow::Borrowed("/"),
            ("", rest) => Cow::Borrowed(rest),
            (add, rest) => Cow::Owned(format!("{add}{rest}")),
        }
    }

    /// What follows `prefix` in the raw path: nothing, or a text that begins with `/`.
    fn without(&self, prefix: &str) -> &str {
        let mut rest = self.raw();
        let mut have = self.segments();
        for wanted in segments(prefix) {
            if have.next() != Some(wanted) {
                return self.raw();
            }
            let next = rest.char_indices().skip(1).find(|(_, c)| *c == '/');
            rest = next.map_or("", |(at, _)| rest.get(at..).unwrap_or_default());
        }
        rest
    }
}

/// The segments of a path that begins with `/`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// Whether a path needs no second look: plain characters, no empty segment, and no segment that
/// begins with a dot.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    path.bytes().all(|byte| {
        let plain = match byte {
            b'/' | b'.' => previous != b'/',
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('..=b','
            | b':'
            | b'='
            | b'@' => true,
            _ => false,
        };
        previous = byte;
        plain
    })
}

/// Makes one `/` of each run of them.
fn merge(raw: &str) -> String {
    let mut merged = String::with_capacity(raw.len());
    for c in raw.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// Percent-decodes once and refuses every byte that servers read in different ways.
fn decode_once(raw: &str) -> Result<String, AmbiguousPath> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let byte = match byte {
            b'\\' => return Err(AmbiguousPath::Backslash { at }),
            b';' => return Err(AmbiguousPath::PathParameter { at }),
            b'#' | b'?' => return Err(AmbiguousPath::Delimiter { at }),
            b' ' => return Err(AmbiguousPath::Blank { at }),
            b'%' => {
                let mut digit = || bytes.next().and_then(|(_, byte)| hex(byte));
                let (high, low) = (digit(), digit());
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(AmbiguousPath::BadEscape { at });
                };
                match high << 4 | low {
                    b'/' | b'\\' => return Err(AmbiguousPath::EncodedSeparator { at }),
                    byte => byte,
                }
            }
            byte => byte,
        };
        decoded.push(byte);
    }
    String::from_utf8(decoded).or(Err(AmbiguousPath::NotUtf8))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn judge_segments(decoded: &str) -> Result<(), AmbiguousPath> {
    let mut parts = segments(decoded).enumerate().peekable();
    while let Some((index, part)) = parts.next() {
        let segment = index + 1;
        if part.is_empty() && parts.peek().is_some() {
            return Err(AmbiguousPath::EmptySegment { segment });
        }
        if part.chars().any(char::is_control) {
            return Err(AmbiguousPath::Control { segment });
        }
        // Some servers cut a segment at `;` after decoding it, so `..%3Bx` is a dot segment there.
        let name = part.split(';').next().unwrap_or_default().trim();
        if name == "." || name == ".." {
            return Err(AmbiguousPath::DotSegment { segment });
        }
        if part.starts_with(char::is_whitespace) || part.ends_with(char::is_whitespace) {
            return Err(AmbiguousPath::BlankAtEdge { segment });
        }
        if has_escape(part) {
            return Err(AmbiguousPath::EncodedTwice { segment });
        }
    }
    Ok(())
}

/// Whether a second decoding would change the text: `%` and two hex digits, or `%u` as Microsoft's
/// servers read it.
fn has_escape(decoded: &str) -> bool {
    let mut parts = decoded.as_bytes().split(|byte| *byte == b'%');
    parts.next();
    parts.any(|behind| match behind {
        [b'u' | b'U', digits @ ..] => digits.iter().take_while(|d| hex(**d).is_some()).count() >= 4,
        [high, low, ..] => hex(*high).is_some() && hex(*low).is_some(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(raw: &str) -> AmbiguousPath {
        CanonicalPath::parse(raw, false).expect_err(raw)
    }

    #[test]
    fn a_clean_path_is_borrowed_and_forwarded_as_it_came() {
        for raw in ["/", "/a", "/a/", "/a.b/c-d_e~f/:@!$&'()*+,=", "/a/b.tar.gz"] {
            let path = CanonicalPath::parse(raw, false).expect(raw);
            assert!(matches!(path.raw, Cow::Borrowed(_)));
            assert!(path.decoded.is_none());
            assert_eq!(path.raw(), raw);
        }
    }

    #[test]
    fn an_encoded_letter_is_matched_decoded_and_forwarded_encoded() {
        let path = CanonicalPath::parse("/%61dmin/%C3%A9", false).unwrap();
        assert_eq!(path.decoded(), "/admin/é");
        assert_eq!(path.raw(), "/%61dmin/%C3%A9");
    }

    #[test]
    fn dot_segments_are_refused_in_every_encoding() {
        for raw in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/.%2e",
            "/%2e",
            "/a/..%3b/b",
            "/a/%2e%2e%3Bx=1/b",
            "/../../../etc/passwd",
            "/a/b/../../../..",
        ] {
            assert!(
                matches!(refused(raw), AmbiguousPath::DotSegment { .. }),
                "{raw}"
            );
        }
    }

    #[test]
    fn names_that_only_begin_with_dots_pass() {
        for raw in ["/.well-known/x", "/...", "/..a", "/a/.%68tml", "/.git"] {
            assert!(CanonicalPath::parse(raw, false).is_ok(), "{raw}");
        }
    }

    #[test]
    fn separators_that_hide_are_refused() {
        for raw in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/..%2f", "/%2f"] {
            assert!(
                matches!(refused(raw), AmbiguousPath::EncodedSeparator { .. }),
                "{raw}"
            );
        }
        assert_eq!(refused("/a\\b"), AmbiguousPath::Backslash { at: 2 });
        assert_eq!(refused("/a;b=1/c"), AmbiguousPath::PathParameter { at: 2 });
        assert_eq!(refused("/a/..;/b"), AmbiguousPath::PathParameter { at: 5 });
        assert_eq!(refused("/a#b"), AmbiguousPath::Delimiter { at: 2 });
    }

    #[test]
    fn an_encoded_semicolon_is_part_of_a_name() {
        let path = CanonicalPath::parse("/a%3Bb", false).unwrap();
        assert_eq!(path.decoded(), "/a;b");
    }

    #[test]
    fn control_characters_are_refused_raw_and_encoded() {
        for raw in [
            "/%00", "/a%09b", "/a%0ab", "/a%0d", "/%7f", "/a\0", "/a\tb", "/a\u{85}", "/a%C2%85",
            "/%1b",
        ] {
            assert!(
                matches!(refused(raw), AmbiguousPath::Control { .. }),
                "{raw}"
            );
        }
    }

    #[test]
    fn blanks_pass_encoded_and_inside_a_name_only() {
        assert!(matches!(
            refused("/a%C2%A0"),
            AmbiguousPath::BlankAtEdge { .. }
        ));
        assert!(matches!(
            refused("/..%20%3Bx"),
            AmbiguousPath::DotSegment { .. }
        ));
        assert!(matches!(
            refused("/%C2%A0.."),
            AmbiguousPath::DotSegment { .. }
        ));
        assert_eq!(
            CanonicalPath::parse("/a%20b", false).unwrap().decoded(),
            "/a b"
        );
        assert_eq!(refused("/a b"), AmbiguousPath::Blank { at: 2 });
        for raw in ["/a%20", "/%20a", "/a%20/b", "/a/%20/b", "/%20"] {
            assert!(
                matches!(refused(raw), AmbiguousPath::BlankAtEdge { .. }),
                "{raw}"
            );
        }
    }

    #[test]
    fn bad_escapes_and_bad_utf8_are_refused() {
        for raw in [
            "/%", "/%2", "/%zz", "/%u002e", "/a%", "/%g0", "/%-1", "/%+1",
        ] {
            assert!(
                matches!(refused(raw), AmbiguousPath::BadEscape { .. }),
                "{raw}"
            );
        }
        for raw in ["/%c0%af", "/%ff", "/%e0%80%af", "/%C3", "/%ed%a0%80"] {
            assert_eq!(refused(raw), AmbiguousPath::NotUtf8, "{raw}");
        }
    }

    #[test]
    fn a_fullwidth_slash_is_a_letter_like_any_other() {
        let path = CanonicalPath::parse("/a%EF%BC%8Fb", false).unwrap();
        assert_eq!(path.segments().count(), 1);
    }

    #[test]
    fn what_a_second_decoding_would_change_is_refused() {
        for raw in [
            "/%252e%252e/",
            "/%252f",
            "/%255c",
            "/%2500",
            "/%25252e",
            "/%2561",
            "/%25%32%65",
            "/%25u002e",
            "/%2525",
            "/a%250d",
        ] {
            assert!(
                matches!(refused(raw), AmbiguousPath::EncodedTwice { .. }),
                "{raw}"
            );
        }
        for raw in ["/100%25", "/50%25off", "/%25/", "/%25user"] {
            assert!(CanonicalPath::parse(raw, false).is_ok(), "{raw}");
        }
    }

    #[test]
    fn empty_segments_are_refused_or_merged() {
        for raw in ["//", "//a", "/a//b", "/a//", "///"] {
            assert!(
                matches!(refused(raw), AmbiguousPath::EmptySegment { .. }),
                "{raw}"
            );
        }
        let path = CanonicalPath::parse("//a///b//", true).unwrap();
        assert_eq!((path.raw(), path.decoded()), ("/a/b/", "/a/b/"));
        assert!(CanonicalPath::parse("//..//a", true).is_err());
    }

    #[test]
    fn a_target_that_is_no_path_is_refused() {
        for raw in ["", "*", "a", "http://x/", "%2f"] {
            assert_eq!(refused(raw), AmbiguousPath::NotAbsolute, "{raw}");
        }
    }

    #[test]
    fn a_prefix_is_cut_by_whole_segments_whatever_its_encoding() {
        let rewritten = |raw, strip, add| {
            let path = CanonicalPath::parse(raw, false).unwrap();
            path.rewritten(strip, add).into_owned()
        };
        assert_eq!(rewritten("/api/x", Some("/api"), None), "/x");
        assert_eq!(rewritten("/%61pi/%78", Some("/api"), None), "/%78");
        assert_eq!(rewritten("/api", Some("/api"), None), "/");
        assert_eq!(rewritten("/api/", Some("/api"), None), "/");
        assert_eq!(rewritten("/apix/a", Some("/api"), None), "/apix/a");
        assert_eq!(rewritten("/api/x", Some("/api"), Some("/v1")), "/v1/x");
        assert_eq!(rewritten("/x/", None, Some("/v1")), "/v1/x/");
        assert_eq!(rewritten("/api/x", None, None), "/api/x");
        assert_eq!(rewritten("/a/b/c", Some("/a/b"), None), "/c");
        assert_eq!(rewritten("/x", Some(""), Some("")), "/x");
        assert_eq!(rewritten("/api", Some("/api"), Some("/v2")), "/v2");
        assert_eq!(rewritten("/api/", Some("/api"), Some("/v2")), "/v2/");
    }

    /// Paths made of what attackers make them of.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%5c"),
            Just("\\"),
            Just(";"),
            Just("%3b"),
            Just("%25"),
            Just("%"),
            Just("2e"),
            Just("a"),
            Just("%61"),
            Just("%00"),
            Just("%20"),
            Just("é"),
            Just("%c3%a9"),
            Just("%c0%ae"),
            Just("u002e"),
            Just("#"),
            Just("?"),
            Just(" "),
            Just("\t"),
            Just("%u002e"),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
    }

    proptest! {
        #[test]
        fn what_is_judged_is_what_is_forwarded(raw in hostile(), merge: bool) {
            if let Ok(path) = CanonicalPath::parse(&raw, merge) {
                if !merge {
                    prop_assert_eq!(path.raw(), &raw);
                }
                let decoded = percent_encoding::percent_decode_str(path.raw())
                    .decode_utf8().expect("UTF-8");
                prop_assert_eq!(&*decoded, path.decoded());
            }
        }

        #[test]
        fn reading_a_path_twice_changes_nothing(raw in hostile(), merge: bool) {
            if let Ok(once) = CanonicalPath::parse(&raw, merge) {
                let twice = CanonicalPath::parse(once.raw(), merge).expect("still canonical");
                prop_assert_eq!(once.raw(), twice.raw());
                prop_assert_eq!(once.decoded(), twice.decoded());
            }
        }

        #[test]
        fn no_dot_segment_survives_any_number_of_decodings(raw in hostile(), merge: bool) {
            if let Ok(path) = CanonicalPath::parse(&raw, merge) {
                let mut text = path.raw().to_owned();
                for _ in 0..4 {
                    for segment in text.split(['/', '\\']) {
                        let name = segment.split(';').next().unwrap().trim();
                        prop_assert!(name != "." && name != "..", "{}", text);
                    }
                    prop_assert!(!text.contains("//"));
                    text = percent_encoding::percent_decode_str(&text)
                        .decode_utf8_lossy().into_owned();
                }
            }
        }

        #[test]
        fn a_rewritten_path_is_still_canonical(
            raw in hostile(), strip in "(/a){0,2}", add in "(/v[0-9]){0,2}",
        ) {
            if let Ok(path) = CanonicalPath::parse(&raw, false) {
                let sent = path.rewritten(Some(&strip), Some(&add));
                let read = CanonicalPath::parse(&sent, false).expect("canonical");
                prop_assert_eq!(read.raw(), &*sent);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(raw in ".*", merge: bool) {
            let _ = CanonicalPath::parse(&raw, merge);
        }
    }
}
