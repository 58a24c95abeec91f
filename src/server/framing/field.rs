//! The rules for lines: where one ends, and what a field line may hold (RFC 9112 §2.2, §5).
//!
//! Shared by heads and trailers, so that neither is laxer than the other.

use memchr::memchr;

use super::violation::Violation;

/// Longest field name in bytes. Longer ones have overflown counters elsewhere (CVE-2021-40346).
pub(super) const MAX_NAME: usize = 256;

/// Finds the lines of a section that grows at its end, looking at each byte once.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// Where the line that has not ended begins.
    start: usize,
    /// Up to where no LF was found.
    searched: usize,
}

impl Lines {
    /// The next whole line of `section`, without its LF.
    pub(super) fn next<'s>(&mut self, section: &'s [u8]) -> Option<&'s [u8]> {
        let fresh = section.get(self.searched..)?;
        let Some(at) = memchr(b'\n', fresh) else {
            self.searched = section.len();
            return None;
        };
        let end = self.searched + at;
        let line = section.get(self.start..end)?;
        self.skip_to(end + 1);
        Some(line)
    }

    /// Starts over behind the first `start` bytes of the section.
    pub(super) fn skip_to(&mut self, start: usize) {
        self.start = start;
        self.searched = start;
    }

    /// Bytes of the section up to the end of the last whole line.
    pub(super) fn consumed(&self) -> usize {
        self.start
    }
}

/// A line without its CR.
pub(super) fn without_cr(line: &[u8]) -> Result<&[u8], Violation> {
    line.strip_suffix(b"\r").ok_or(Violation::BareLf)
}

/// Splits a field line (without CRLF) into its name and its value, which keeps its blanks.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let end = line
        .iter()
        .position(|&byte| !is_token(byte))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).ok_or(Violation::NoColon)?;
    let (colon, value) = rest.split_first().ok_or(Violation::NoColon)?;
    match (name, *colon) {
        ([], b' ' | b'\t') => Err(Violation::ObsFold),
        ([], b':') => Err(Violation::EmptyName),
        (_, b':') => {
            if name.len() > MAX_NAME {
                return Err(Violation::NameTooLong);
            }
            check_value(value)?;
            Ok((name, value))
        }
        (_, b' ' | b'\t') => Err(blank_in_name(value)),
        (_, b'\r') => Err(Violation::BareCr),
        (_, _) => Err(Violation::NameByte),
    }
}

/// Tells `Name : value` from a line of words without a colon.
fn blank_in_name(rest: &[u8]) -> Violation {
    if memchr(b':', rest).is_some() {
        Violation::BlankBeforeColon
    } else {
        Violation::NoColon
    }
}

/// A value holds HTAB, printable ASCII and obs-text (RFC 9110 §5.5); nothing else.
fn check_value(value: &[u8]) -> Result<(), Violation> {
    if !has_control(value) {
        return Ok(());
    }
    match value.iter().copied().find(|&byte| is_control(byte)) {
        Some(b'\r') => Err(Violation::BareCr),
        Some(0) => Err(Violation::Nul),
        Some(_) | None => Err(Violation::Control),
    }
}

/// Whether a control character other than HTAB is among these.
///
/// Without an early way out the compiler looks at many bytes at a time; and rather at some of them twice
/// than at the last ones each by itself.
fn has_control(bytes: &[u8]) -> bool {
    fn any<const N: usize>(bytes: Option<&[u8; N]>) -> bool {
        let spoilt = |bytes: &[u8; N]| {
            bytes
                .iter()
                .fold(0, |spoilt, &byte| spoilt | u8::from(is_control(byte)))
        };
        bytes.is_some_and(|bytes| spoilt(bytes) != 0)
    }
    match bytes.len() {
        16.. => {
            let (whole, _last) = bytes.as_chunks::<16>();
            let spoilt = whole
                .iter()
                .fold(false, |spoilt, one| spoilt | any(Some(one)));
            spoilt | any(bytes.last_chunk::<16>())
        }
        8.. => any(bytes.first_chunk::<8>()) | any(bytes.last_chunk::<8>()),
        4.. => any(bytes.first_chunk::<4>()) | any(bytes.last_chunk::<4>()),
        _ => bytes.iter().any(|&byte| is_control(byte)),
    }
}

/// A control character other than HTAB.
const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// `tchar` (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    static TOKEN: [bool; 256] = alphanumerics_and(b"!#$%&'*+-.^_`|~");
    among(&TOKEN, byte)
}

/// One answer for each byte.
#[inline]
pub(super) fn among(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or(false)
}

#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, where an index out of bounds does not compile"
)]
pub(super) const fn alphanumerics_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let is_alphanumeric = (byte as u8).is_ascii_alphanumeric();
        table[byte] = is_alphanumeric;
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_control_character_hides_among_others(
            mut bytes in prop::collection::vec(b' '..=b'~', 0..70), at in 0..70_usize, byte: u8,
        ) {
            prop_assert!(!has_control(&bytes));
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
                prop_assert_eq!(has_control(&bytes), is_control(byte));
            }
        }
    }

    #[test]
    fn a_name_is_a_token_and_nothing_else() {
        assert_eq!(
            split(b"X-A: b \t"),
            Ok((&b"X-A"[..], &b" b \t"[..])),
            "the value keeps its blanks"
        );
        assert_eq!(split(b""), Err(Violation::NoColon));
        assert_eq!(split(b"words"), Err(Violation::NoColon));
        assert_eq!(split(b"two words"), Err(Violation::NoColon));
        assert_eq!(split(b": x"), Err(Violation::EmptyName));
        assert_eq!(split(b" X: y"), Err(Violation::ObsFold));
        assert_eq!(split(b"\tX: y"), Err(Violation::ObsFold));
        assert_eq!(split(b"X : y"), Err(Violation::BlankBeforeColon));
        assert_eq!(split(b"X\t: y"), Err(Violation::BlankBeforeColon));
        for byte in 0..=255_u8 {
            let line = [b'X', byte, b':', b'v'];
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
            assert_eq!(split(&line).is_ok(), expected, "{byte:#x}");
        }
    }

    #[test]
    fn a_value_holds_no_control_character_but_a_tab() {
        for byte in 0..=255_u8 {
            let line = [b'X', b':', b'a', byte, b'b'];
            let expected = match byte {
                b'\t' | b' '..=0x7e | 0x80.. => Ok(()),
                0 => Err(Violation::Nul),
                b'\r' => Err(Violation::BareCr),
                _ => Err(Violation::Control),
            };
            assert_eq!(split(&line).map(|_| ()), expected, "{byte:#x}");
        }
    }

    #[test]
    fn lines_are_found_however_the_section_grows() {
        let section = b"one\r\ntwo\r\nthr";
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for end in 0..=section.len() {
            while let Some(line) = lines.next(&section[..end]) {
                found.push(line.to_vec());
            }
        }
        assert_eq!(found, [b"one\r".to_vec(), b"two\r".to_vec()]);
        assert_eq!(lines.consumed(), 10);
        assert_eq!(lines.searched, section.len(), "no byte is looked at again");
    }
}
