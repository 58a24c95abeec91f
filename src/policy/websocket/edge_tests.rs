use proptest::prelude::*;

use super::*;
use crate::policy::websocket::close::Ending;

/// A frame with a length in its shortest form.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(bit | u8::try_from(short).unwrap()),
        middle @ 126..65536 => {
            frame.push(bit | 0x7e);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(bit | 0x7f);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    frame.extend(payload);
    frame
}

fn followed(bytes: &[u8]) -> Place {
    let mut edge = FrameEdge::default();
    edge.follow(bytes);
    edge.place()
}

#[test]
fn a_stream_begins_at_a_boundary_and_is_at_one_behind_each_frame() {
    assert_eq!(followed(b""), Place::Boundary);
    for mask in [None, Some([1, 2, 3, 4])] {
        for size in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let one = frame(0x82, mask, &vec![0x88; size]);
            assert_eq!(followed(&one), Place::Boundary, "{size}");
            let (last, but_last) = one.split_last().unwrap();
            assert_eq!(followed(but_last), Place::Within(1), "{size} {last}");
        }
    }
}

#[test]
fn inside_a_frame_the_way_to_its_end_is_known() {
    assert_eq!(followed(&[0x81]), Place::Within(1));
    assert_eq!(followed(&[0x81, 0x85]), Place::Within(9));
    assert_eq!(followed(&[0x81, 0x05, b'h']), Place::Within(4));
    assert_eq!(followed(&[0x82, 126]), Place::Within(2));
    assert_eq!(followed(&[0x82, 126, 1]), Place::Within(1));
    assert_eq!(followed(&[0x82, 126, 1, 0]), Place::Within(256));
    assert_eq!(followed(&[0x82, 127]), Place::Within(8));
    let most = [0x82, 255, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(followed(&most), Place::Within((1 << 63) + 3));
}

#[test]
fn behind_a_close_frame_nothing_counts() {
    let mut bytes = frame(0x89, None, b"ping");
    bytes.extend(Ending::IDLE.frame(Some([9, 8, 7, 6])));
    assert_eq!(followed(&bytes), Place::Closed);
    bytes.extend(b"whatever comes");
    assert_eq!(followed(&bytes), Place::Closed);
    assert_eq!(followed(&[0x88, 0]), Place::Closed);
    assert_eq!(followed(&[0x88, 2, 3]), Place::Within(1));
}

#[test]
fn what_is_no_frame_is_told() {
    for bytes in [
        // A close and a ping in parts.
        &[0x08, 0][..],
        &[0x09, 0],
        // A ping that is too long.
        &[0x89, 126],
        &[0x8a, 255],
        // Lengths that are longer than they need be, and longer than there are.
        &[0x82, 126, 0, 125],
        &[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255],
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(followed(bytes), Place::Lost, "{bytes:?}");
    }
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x00, 0x80, 0xc1, 0x89, 0x8a]);
    let one = (kind, any::<Option<[u8; 4]>>(), 0_usize..400).prop_map(|(first, mask, size)| {
        let size = if first & 8 == 0 { size } else { size % 126 };
        frame(first, mask, &vec![first; size])
    });
    prop::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn frames_in_any_pieces_are_told_apart_as_in_one(
        frames in frames(),
        cuts in prop::collection::vec(1_usize..300, 1..40),
    ) {
        let bytes = frames.concat();
        let mut edges = vec![0];
        for frame in &frames {
            edges.push(edges.last().unwrap() + frame.len());
        }
        let (mut edge, mut at) = (FrameEdge::default(), 0);
        for cut in cuts.into_iter().cycle() {
            let next = (at + cut).min(bytes.len());
            edge.follow(&bytes[at..next]);
            at = next;
            match edge.place() {
                Place::Boundary => prop_assert!(edges.contains(&at)),
                Place::Within(more) => {
                    let end = edges.iter().find(|end| **end >= at).unwrap();
                    prop_assert!(more > 0 && !edges.contains(&at));
                    prop_assert!(at as u64 + more <= *end as u64);
                }
                Place::Closed | Place::Lost => prop_assert!(false, "not so"),
            }
            if at == bytes.len() {
                break;
            }
        }
        prop_assert_eq!(edge.place(), Place::Boundary);
    }

    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        size in 1_usize..50,
    ) {
        let mut edge = FrameEdge::default();
        for piece in bytes.chunks(size) {
            edge.follow(piece);
        }
        prop_assert_eq!(edge.place(), followed(&bytes));
    }
}
