//! The payload of a signed value: base64, after a leading dot deflated (zlib).
//!
//! Django's `signing.loads` and itsdangerous' `URLSafeSerializer` share the form. Read after the
//! signature held; so a bomb needs the key, and is still capped.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::{Decompress, FlushDecompress, Status};

use crate::auth::session::MAX_BYTES;

/// As Python decodes it, but for characters that are no base64, which Python skips.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that a segment stands for.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn open(segment: &str) -> Result<Vec<u8>, &'static str> {
    let (text, deflated) = match segment.strip_prefix('.') {
        Some(rest) => (rest, true),
        None => (segment, false),
    };
    if text.len() > MAX_BYTES {
        return Err("its payload is larger than 1 MiB");
    }
    let bytes = LENIENT
        .decode(text)
        .map_err(|_why| "its payload is not base64")?;
    if deflated { inflate(&bytes) } else { Ok(bytes) }
}

/// Inflates a zlib stream to at most [`MAX_BYTES`]; what follows the stream is not looked at,
/// as `zlib.decompress` does not.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let broken = "its payload does not inflate";
    let mut stream = Decompress::new(true);
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).clamp(64, MAX_BYTES));
    loop {
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(read..).unwrap_or_default();
        let before = (stream.total_in(), out.len());
        let status = stream
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_why| broken)?;
        if status == Status::StreamEnd {
            return Ok(out);
        }
        if out.len() == out.capacity() {
            if out.len() >= MAX_BYTES {
                return Err("its payload inflates to more than 1 MiB");
            }
            out.reserve_exact(out.len().min(MAX_BYTES - out.len()));
        } else if before == (stream.total_in(), out.len()) {
            return Err(broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_stream_that_inflates_beyond_the_cap_is_refused_without_the_memory_for_it() {
        assert_eq!(
            inflate(&deflated(&vec![b' '; MAX_BYTES])).unwrap().len(),
            MAX_BYTES
        );
        assert!(inflate(&deflated(&vec![b' '; MAX_BYTES + 1])).is_err());
        let bomb = deflated(&vec![0; 100 << 20]);
        assert!(inflate(&bomb).is_err());
    }

    #[test]
    fn a_stream_that_was_cut_off_is_refused() {
        let whole = deflated(br#"{"a": "some text that is long enough", "b": 1}"#);
        for end in 0..whole.len() {
            assert!(inflate(&whole[..end]).is_err(), "{end}");
        }
        assert!(inflate(&whole).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let plain = URL_SAFE_NO_PAD.encode(&bytes);
            let packed = format!(".{}", URL_SAFE_NO_PAD.encode(deflated(&bytes)));
            prop_assert_eq!(open(&plain), Ok(bytes.clone()));
            prop_assert_eq!(open(&packed), Ok(bytes));
        }

        #[test]
        fn any_text_and_any_stream_get_an_answer(
            text in r"\.?[A-Za-z0-9_=.-]{0,60}",
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = open(&text);
            let _ = inflate(&bytes);
            let _ = inflate(&[&[0x78, 0x9c][..], &bytes].concat());
        }
    }
}
