//! Any bytes, in any pieces: the same requests with the same bodies, and the same verdict.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::server::framing::{Inflow, Limits, Piece, Violation};

const LIMITS: Limits = Limits {
    request_line: 256,
    headers: 1024,
    header_count: 16,
};

/// Method, target, number of field lines, and the body, if that ended.
type Reading = (String, usize, Option<Vec<u8>>);

/// What is read when the bytes come in pieces of this size.
fn feed(bytes: &[u8], size: usize) -> (Vec<Reading>, Option<Violation>) {
    let mut inflow = Inflow::new(LIMITS);
    let (mut readings, mut body) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        inflow.bytes().extend_from_slice(piece);
        if let Err(violation) = read_on(&mut inflow, &mut readings, &mut body) {
            return (readings, Some(violation));
        }
        assert!(inflow.bytes().len() <= LIMITS.headers + 8192 + size);
    }
    (readings, None)
}

fn read_on(
    inflow: &mut Inflow,
    readings: &mut Vec<Reading>,
    body: &mut Vec<u8>,
) -> Result<(), Violation> {
    loop {
        if readings.last().is_none_or(|(_, _, body)| body.is_some()) {
            let Some((parts, _clean)) = inflow.take_head()? else {
                return Ok(());
            };
            let line = format!("{} {}", parts.method, parts.uri);
            readings.push((line, parts.headers.len(), None));
        }
        match inflow.take_body()? {
            Piece::More => return Ok(()),
            Piece::Frame(frame) => {
                if let Ok(data) = frame.into_data() {
                    body.extend_from_slice(&data);
                }
            }
            Piece::End => {
                if let Some((_, _, whole)) = readings.last_mut() {
                    *whole = Some(std::mem::take(body));
                }
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = feed(bytes, bytes.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(feed(bytes, size), whole);
    }
});
