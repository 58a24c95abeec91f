//! Any bytes as a JWK Set: keys or a reason, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::auth::usable_keys;
use portcullis::config::settings::Algorithm;

fuzz_target!(|data: &[u8]| {
    let algorithms = [
        Algorithm::RS256,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let _ = usable_keys(data, &algorithms);
});
