//! Any `Set-Cookie` line: a repair keeps the name and the value, and needs no second one. The first
//! byte chooses what is repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::clock::Timestamp;
use portcullis::policy::set_cookie::{Repairs, Wanted};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fn wanted(choice: u8) -> Wanted {
    let bit = |place: u8| choice & (1 << place) != 0;
    let site = if bit(1) { "None" } else { "Lax" };
    let domain = if bit(3) { "" } else { "example.com" };
    Wanted {
        name: None,
        secure: bit(4).then_some(bit(5)),
        http_only: bit(6).then_some(bit(7)),
        same_site: bit(0).then_some(site),
        max_age: bit(5).then_some(60),
        domain: bit(2).then(|| domain.into()),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, line)) = data.split_first() else {
        return;
    };
    let repairs = Repairs::compile([wanted(*choice)]);
    let Some(made) = repairs.repair(line, NOW) else {
        return;
    };
    let pair = |line: &[u8]| line.split(|byte| *byte == b';').next().map(<[u8]>::to_vec);
    assert_eq!(pair(line), pair(&made));
    assert_eq!(repairs.repair(&made, NOW), None);
});
