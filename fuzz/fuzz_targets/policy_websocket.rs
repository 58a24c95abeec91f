//! Any bytes of a socket, in any pieces: the same place, and never past a boundary that was told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::policy::websocket::edge::{FrameEdge, Place};

fn place(bytes: &[u8], size: usize) -> Place {
    let mut edge = FrameEdge::default();
    for piece in bytes.chunks(size) {
        edge.follow(piece);
    }
    edge.place()
}

fuzz_target!(|bytes: &[u8]| {
    let whole = place(bytes, bytes.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(place(bytes, size), whole);
    }
    // Reading no further than is told stops at each boundary.
    let (mut edge, mut rest) = (FrameEdge::default(), bytes);
    while let Place::Boundary | Place::Within(_) = edge.place() {
        let step = match edge.place() {
            Place::Within(more) => usize::try_from(more).unwrap_or(usize::MAX),
            _ => 1,
        };
        assert_ne!(step, 0);
        let Some((piece, behind)) = rest.split_at_checked(step.min(rest.len())) else {
            return;
        };
        if piece.is_empty() {
            break;
        }
        edge.follow(piece);
        rest = behind;
    }
    if rest.is_empty() {
        assert_eq!(edge.place(), whole);
    }
});
