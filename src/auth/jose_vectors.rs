//! Signatures of other projects: C2SP's Wycheproof and the examples of RFC 7520.
//!
//! Both are read from `../shared/vectors` beside the project, or from `PORTCULLIS_VECTORS`. Where
//! they are not, the test says so and proves nothing.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::auth::jwks;
use crate::auth::jwt::Unverified;
use crate::auth::keys::{Family, Key, KeySet, algorithm_named};
use crate::config::settings::Algorithm;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Valid vectors that are refused, and why.
const REFUSED: [(u64, &str); 6] = [
    (
        346,
        "its key says PS256 and its header PS384: the key fixes the algorithm",
    ),
    (
        350,
        "its key says PS256 and its header PS384: the key fixes the algorithm",
    ),
    (347, "ES512 is not among the algorithms of the contract"),
    (351, "ES512 is not among the algorithms of the contract"),
    (
        372,
        "a `?` inside the header: base64url has none (RFC 7515 §2)",
    ),
    (
        373,
        "a `?` inside the payload: base64url has none (RFC 7515 §2)",
    ),
];

/// Vectors called invalid whose bytes are those of a valid one (357): the padding that their
/// comment tells of is not in the file.
const TWINS_OF_357: [u64; 2] = [367, 370];

#[expect(
    clippy::disallowed_methods,
    reason = "the folder of the vectors is no configuration"
)]
fn vectors(name: &str) -> Option<Value> {
    let folder = std::env::var("PORTCULLIS_VECTORS").map_or_else(
        |_unset| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        PathBuf::from,
    );
    let text = std::fs::read(folder.join(name)).ok();
    if text.is_none() {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name} is not in {}",
            folder.display()
        );
    }
    text.map(|text| serde_json::from_slice(&text).unwrap())
}

/// The keys and algorithms that an operator would configure for a JWK.
fn configured(jwk: &Value) -> Option<(Vec<Algorithm>, KeySet)> {
    let named = jwk["alg"].as_str().and_then(algorithm_named);
    if jwk["kty"] == "oct" {
        let secret = URL_SAFE_NO_PAD.decode(jwk["k"].as_str()?).ok()?;
        return Some((vec![named?], KeySet::fixed(vec![Key::secret(&secret)])));
    }
    let fitting = match jwk["kty"].as_str()? {
        "RSA" => RSA.to_vec(),
        _ => vec![Algorithm::ES256, Algorithm::ES384],
    };
    let algorithms = named.map_or(fitting, |one| vec![one]);
    let mut public = jwk.clone();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        public.as_object_mut()?.remove(private);
    }
    let set = json!({ "keys": [public] }).to_string();
    let parsed = jwks::parse(set.as_bytes(), &algorithms).ok()?;
    Some((algorithms, KeySet::published(parsed.keys)))
}

fn verifies(token: &str, jwk: &Value) -> Option<Vec<u8>> {
    let (algorithms, keys) = configured(jwk)?;
    let token = Unverified::read(token, &algorithms).ok()?;
    token.verified_by(&keys).ok()
}

#[test]
fn wycheproofs_signatures_verify_and_its_forgeries_do_not() {
    let Some(all) = vectors("wycheproof/json_web_signature_test.json") else {
        return;
    };
    let (mut good, mut bad, mut wrong) = (0, 0, Vec::new());
    let mut valid_357 = String::new();
    for group in all["testGroups"].as_array().unwrap() {
        let jwk = group.get("public").unwrap_or(&group["private"]);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            // JSON serialisation comes as an object, which no header can carry.
            let token = test["jws"]
                .as_str()
                .map_or_else(|| test["jws"].to_string(), str::to_owned);
            let wanted =
                test["result"] == "valid" && !REFUSED.iter().any(|(refused, _)| *refused == id);
            if test["result"] == "valid" {
                good += 1;
            } else {
                bad += 1;
            }
            if id == 357 {
                valid_357.clone_from(&token);
            }
            if TWINS_OF_357.contains(&id) && token == valid_357 {
                continue;
            }
            if verifies(&token, jwk).is_some() != wanted {
                wrong.push(format!("{id} {} should be {wanted}", test["comment"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((good, bad), (46, 355));
}

#[test]
fn the_ps384_signatures_of_wycheproof_verify_under_a_key_that_says_so() {
    let Some(all) = vectors("wycheproof/json_web_signature_test.json") else {
        return;
    };
    let groups = all["testGroups"].as_array().unwrap();
    let figure = groups
        .iter()
        .filter(|group| group["tests"][0]["comment"] == "Figure20");
    for group in figure {
        let mut jwk = group["public"].clone();
        jwk["alg"] = "PS384".into();
        let token = group["tests"][0]["jws"].as_str().unwrap();
        assert!(verifies(token, &jwk).is_some());
    }
}

#[test]
fn the_examples_of_rfc_7520_verify_and_give_their_payload() {
    for (file, algorithm) in [
        ("4_1.rsa_v15_signature.json", "RS256"),
        ("4_2.rsa-pss_signature.json", "PS384"),
        ("4_4.hmac-sha2_integrity_protection.json", "HS256"),
    ] {
        let Some(example) = vectors(&format!("rfc7520/{file}")) else {
            return;
        };
        let mut jwk = example["input"]["key"].clone();
        jwk["alg"] = algorithm.into();
        let token = example["output"]["compact"].as_str().unwrap();
        let payload = verifies(token, &jwk).expect(file);
        assert_eq!(
            payload,
            example["input"]["payload"].as_str().unwrap().as_bytes()
        );
    }
}

#[test]
fn what_rfc_7520_signs_with_p_521_is_refused() {
    let Some(example) = vectors("rfc7520/4_3.ecdsa_signature.json") else {
        return;
    };
    let token = example["output"]["compact"].as_str().unwrap();
    assert!(verifies(token, &example["input"]["key"]).is_none());
}

#[test]
fn a_point_that_is_on_no_curve_makes_no_key() {
    let mut point = vec![4];
    point.extend([1; 64]);
    assert!(Key::point(Family::P256, &point).is_err());
}
