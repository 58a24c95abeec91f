//! Any bytes as a stored session or revocation: what was written, or a reason, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::auth::ledger::{Revocation, Session};

fuzz_target!(|data: &[u8]| {
    if let Ok(session) = Session::from_bytes(data) {
        assert_eq!(session.to_bytes(), data);
    }
    if let Ok(revocation) = Revocation::from_bytes(data) {
        assert_eq!(revocation.to_bytes(), data);
    }
});
