//! Any bytes as a stored session (pickle, MessagePack, JSON): plain data or a reason, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::auth::{SampleFormat, read_sample};
use portcullis::clock::Timestamp;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fuzz_target!(|data: &[u8]| {
    let _ = read_sample(SampleFormat::DjangoCache, b"", data, NOW);
    let _ = read_sample(SampleFormat::FlaskStored, b"", data, NOW);
});
