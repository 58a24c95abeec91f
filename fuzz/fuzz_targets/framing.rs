//! Any bytes, in any pieces: the same verdict, and what is handed on is what came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::server::framing::{Limits, Scanner, Stop};

const LIMITS: Limits = Limits {
    request_line: 256,
    headers: 1024,
    header_count: 16,
};

/// What is handed on when the bytes come in pieces of this size, with a guard's bookkeeping.
fn feed(bytes: &[u8], size: usize) -> (Vec<u8>, Stop, u64) {
    let mut scanner = Scanner::new(LIMITS);
    let (mut waiting, mut handed_on) = (Vec::new(), Vec::new());
    let mut stop = Stop::More;
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        let scan = scanner.scan(&waiting);
        handed_on.extend(waiting.drain(..scan.clean));
        stop = scan.stop;
        assert!(waiting.len() <= LIMITS.headers + size || stop != Stop::More);
    }
    (handed_on, stop, scanner.heads())
}

fuzz_target!(|bytes: &[u8]| {
    let whole = feed(bytes, bytes.len().max(1));
    assert!(bytes.starts_with(&whole.0));
    for size in [1, 2, 7] {
        let pieces = feed(bytes, size);
        assert_eq!((pieces.1, pieces.2), (whole.1, whole.2));
        assert!(bytes.starts_with(&pieces.0));
        if !matches!(whole.1, Stop::BadBody(_)) {
            assert_eq!(pieces.0, whole.0);
        }
    }
});
