//! Keys that verify signatures, decoded once, each fixed to the algorithms it is made for.
//!
//! A key serves its own family alone: an HMAC secret never verifies an RSA token and no public key
//! is ever taken for a secret (CVE-2016-5431). What is too weak or not on its curve makes no key.

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use jsonwebtoken::DecodingKey;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::config::settings::Algorithm;

/// Smallest HMAC secret in bytes: the size of SHA-256 (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Sizes of RSA moduli in bits that are taken (RFC 7518 §3.3 for the lower one).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// A shared secret.
    Hmac,
    /// An RSA public key.
    Rsa,
    /// A point on P-256.
    P256,
    /// A point on P-384.
    P384,
    /// An Ed25519 public key.
    Ed25519,
}

impl Family {
    /// The family that an algorithm needs.
    pub(crate) const fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Hmac,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
        }
    }

    /// The name an operator knows it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hmac => "HMAC secret",
            Self::Rsa => "RSA",
            Self::P256 => "EC P-256",
            Self::P384 => "EC P-384",
            Self::Ed25519 => "Ed25519",
        }
    }
}

/// The algorithm that a JOSE name stands for (RFC 7518 §3.1); compared byte for byte.
pub(crate) fn algorithm_named(name: &str) -> Option<Algorithm> {
    ALL_ALGORITHMS
        .into_iter()
        .find(|algorithm| algorithm_name(*algorithm) == name)
}

const ALL_ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The JOSE name of an algorithm.
pub(crate) const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
    }
}

/// One key, ready to verify.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its id in a JWKS.
    pub(crate) kid: Option<Box<str>>,
    /// What it is made of.
    pub(crate) family: Family,
    /// The one algorithm it may be used with, where its JWK says so (RFC 7517 §4.4).
    pub(crate) only: Option<Algorithm>,
    /// The key as `jsonwebtoken` takes it.
    pub(crate) decoding: DecodingKey,
    /// SHA-256 over family and key: two keys with one print are one key.
    print: [u8; 32],
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.only == other.only && self.print == other.print
    }
}

impl Eq for Key {}

/// Why bytes make no key; a phrase that follows the key's name.
pub(crate) type BadKey = std::borrow::Cow<'static, str>;

impl Key {
    /// A shared secret.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self::new(Family::Hmac, DecodingKey::from_secret(secret), &[secret])
    }

    /// An RSA public key from its modulus and exponent, big-endian.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let n = without_leading_zeros(modulus);
        let e = without_leading_zeros(exponent);
        let bits = n.first().map_or(0, |top| {
            n.len() * 8 - usize::try_from(top.leading_zeros()).unwrap_or(0)
        });
        if !RSA_BITS.contains(&bits) {
            return Err(format!("is an RSA key of {bits} bits; 2048 to 8192 are taken").into());
        }
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        if !odd(n) || !odd(e) || e == [1] || e.len() > 4 {
            return Err("is an RSA key with a modulus or exponent that no good key has".into());
        }
        let decoding = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Self::new(Family::Rsa, decoding, &[n, e]))
    }

    /// A point of P-256 or P-384 in uncompressed form (SEC 1 §2.3.3).
    pub(crate) fn point(family: Family, point: &[u8]) -> Result<Self, BadKey> {
        let algorithm = match family {
            Family::P256 => &ECDSA_P256_SHA256_FIXED,
            Family::P384 => &ECDSA_P384_SHA384_FIXED,
            Family::Hmac | Family::Rsa | Family::Ed25519 => return Err("is no EC key".into()),
        };
        let uncompressed = point.first() == Some(&4);
        if !uncompressed || ParsedPublicKey::new(algorithm, point).is_err() {
            return Err("is not a point on its curve".into());
        }
        Ok(Self::new(family, DecodingKey::from_ec_der(point), &[point]))
    }

    /// An Ed25519 public key of 32 bytes (RFC 8032 §5.1.2).
    pub(crate) fn ed25519(public: &[u8]) -> Result<Self, BadKey> {
        if public.len() != 32 {
            return Err("is not an Ed25519 key: those have 32 bytes".into());
        }
        // A key of small order has signatures that verify for every message.
        if SMALL_ORDER.iter().any(|small| is_point(public, small)) {
            return Err("is an Ed25519 point of small order".into());
        }
        let decoding = DecodingKey::from_ed_der(public);
        Ok(Self::new(Family::Ed25519, decoding, &[public]))
    }

    fn new(family: Family, decoding: DecodingKey, parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&SHA256);
        context.update(family.name().as_bytes());
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.finish().as_ref());
        Self {
            kid: None,
            family,
            only: None,
            decoding,
            print,
        }
    }

    /// Whether tokens with this algorithm may be verified by this key.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        self.family == Family::of(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }
}

/// `y` of the points of order 1, 2, 4 and 8, little-endian, sign bit off (RFC 7748 §7 and the
/// like lists of other libraries), with the non-canonical spellings of the first two.
const SMALL_ORDER: [[u8; 32]; 7] = [
    small(0, 0, 0),
    small(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    small(0xec, 0xff, 0x7f),
    small(0xed, 0xff, 0x7f),
    small(0xee, 0xff, 0x7f),
];

const fn small(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Whether `public` is the point with this `y`, whatever its sign bit.
fn is_point(public: &[u8], y: &[u8; 32]) -> bool {
    let mut given = [0; 32];
    for (to, from) in given.iter_mut().zip(public) {
        *to = *from;
    }
    given[31] &= 0x7f;
    given == *y
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Says why a configured secret must not be used as an HMAC secret, if it must not.
///
/// A public key that is given as a secret is known to everyone (`PyJWT`'s
/// `HMACAlgorithm.prepare_key` refuses the same); a short one can be guessed (RFC 7518 §3.2).
pub(crate) fn secret_problem(secret: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(secret);
    let looks_public = text.contains("-----BEGIN")
        || ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-"]
            .iter()
            .any(|start| text.starts_with(start))
        || (text.trim_start().starts_with('{') && text.contains("\"kty\""));
    if looks_public {
        return Some(
            "is a key file, not an HMAC secret; name it under `public_key` or `jwks`, with an RS, PS, ES or EdDSA algorithm"
                .to_owned(),
        );
    }
    (secret.len() < MIN_SECRET).then(|| {
        format!(
            "has {} bytes; an HMAC secret needs at least {MIN_SECRET} (RFC 7518 §3.2)",
            secret.len()
        )
    })
}

/// Reads the public keys of a PEM file: `PUBLIC KEY`, `RSA PUBLIC KEY`, `CERTIFICATE`.
///
/// # Errors
///
/// What is wrong with the file, as a phrase that follows its name.
pub(crate) fn from_pem(text: &[u8]) -> Result<Vec<Key>, BadKey> {
    let mut keys = Vec::new();
    for block in Pem::iter_from_buffer(text) {
        let Ok(block) = block else {
            return Err("is not PEM throughout".into());
        };
        keys.push(from_block(&block)?);
    }
    if keys.is_empty() {
        return Err("holds no PEM public key or certificate".into());
    }
    Ok(keys)
}

fn from_block(block: &Pem) -> Result<Key, BadKey> {
    let der = block.contents.as_slice();
    match block.label.as_str() {
        "CERTIFICATE" => match X509Certificate::from_der(der) {
            Ok((_, certificate)) => from_info(certificate.public_key()),
            Err(_) => Err("holds a certificate that cannot be read".into()),
        },
        "PUBLIC KEY" => match SubjectPublicKeyInfo::from_der(der) {
            Ok((_, info)) => from_info(&info),
            Err(_) => Err("holds a public key that cannot be read".into()),
        },
        "RSA PUBLIC KEY" => match RSAPublicKey::from_der(der) {
            Ok((_, rsa)) => Key::rsa(rsa.modulus, rsa.exponent),
            Err(_) => Err("holds an RSA public key that cannot be read".into()),
        },
        label if label.contains("PRIVATE") => {
            Err("holds a private key; only its public half belongs here".into())
        }
        label => Err(format!("holds `{label}`, which is no public key").into()),
    }
}

fn from_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Key, BadKey> {
    let bits = info.subject_public_key.data.as_ref();
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => Key::rsa(rsa.modulus, rsa.exponent),
        Ok(PublicKey::EC(_)) => match bits.len() {
            65 => Key::point(Family::P256, bits),
            97 => Key::point(Family::P384, bits),
            _ => Err("is an EC key on a curve other than P-256 and P-384".into()),
        },
        Ok(PublicKey::Unknown(_)) if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            Key::ed25519(bits)
        }
        Ok(_) | Err(_) => Err("is a key of a type that no JWT algorithm here takes".into()),
    }
}

/// Keys to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    by_kid: bool,
}

/// Keys of one kid that are tried at most: a set may hold a kid twice, but no token may cost
/// more than a few verifications.
const MAX_TRIES: usize = 4;

impl KeySet {
    /// Keys from the configuration: each that fits the algorithm is tried, `kid` says nothing.
    pub(crate) fn fixed(keys: Vec<Key>) -> Self {
        Self {
            keys,
            by_kid: false,
        }
    }

    /// Keys of a JWKS: `kid` alone decides.
    pub(crate) fn published(keys: Vec<Key>) -> Self {
        Self { keys, by_kid: true }
    }

    /// All keys.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The keys to try for a token, in order, each of which serves its algorithm.
    ///
    /// In a JWKS a token without `kid` fits keys without one alone (stricter than RFC 7515 §4.1.4,
    /// as `PyJWT`'s `PyJWKClient.get_signing_key_from_jwt`).
    pub(crate) fn fitting<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> + 'a {
        let limit = if self.by_kid { MAX_TRIES } else { usize::MAX };
        self.keys
            .iter()
            .filter(move |key| key.serves(algorithm))
            .filter(move |key| !self.by_kid || key.kid.as_deref() == kid)
            .take(limit)
    }

    /// Whether a published key has this id, whatever its algorithm.
    pub(crate) fn names(&self, kid: Option<&str>) -> bool {
        self.by_kid && kid.is_some() && self.keys.iter().any(|key| key.kid.as_deref() == kid)
    }

    /// Whether every key of `other` is here still: nothing verified with it became wrong.
    pub(crate) fn keeps_all_of(&self, other: &Self) -> bool {
        other.keys.iter().all(|key| self.keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors' RSA key of 2048 bits.
    const RSA_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAogb8ALgohw9XX8T98k3q
CdHzNb9oUNN0ONX0HdOz7KgJ5eeO7SW1sa+IgtEX01Ke88aqkEhVoMysCBeEF88y
bxVe36WWyTnUji4Jm3inUlWfGKeWndHQyIQVbLxGcc0mdoAlKCXom3Pr4/O2OG6G
K6Z8TOteIv6ko29crjjjiTXt8xN80kv8q3fgSgUSdxC3ChJlE03gOFC5QJ7Wawf9
x7CyJcL3ONCoguerhnY910XHIDOx2dAxvdRx4fufKIS7kEaxzYeo0C5llhK3ewn0
HsOVZL7OcubV5gXUe7PYU25BrjNz2XEbU7wqLNG35B/1vY0xD1+yPE4N5GjJoJus
BQIDAQAB
-----END PUBLIC KEY-----
";

    fn made(params: &rcgen::KeyPair) -> Vec<Key> {
        from_pem(params.public_key_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_pem_key_is_known_by_what_it_is() {
        let rsa = from_pem(RSA_PEM.as_bytes()).unwrap();
        assert_eq!(rsa.first().unwrap().family, Family::Rsa);
        for (algorithm, family) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Family::P256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Family::P384),
            (&rcgen::PKCS_ED25519, Family::Ed25519),
        ] {
            let keys = made(&rcgen::KeyPair::generate_for(algorithm).unwrap());
            assert_eq!(keys.first().unwrap().family, family);
        }
    }

    #[test]
    fn a_certificate_gives_its_key() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["id.example".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        assert_eq!(from_pem(certificate.pem().as_bytes()).unwrap(), made(&pair));
    }

    #[test]
    fn what_is_no_public_key_says_why() {
        let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let why = |text: &str| from_pem(text.as_bytes()).unwrap_err().into_owned();
        assert!(why(&private).contains("private key"));
        assert!(why("").contains("no PEM"));
        assert!(why("hello").contains("no PEM"));
        assert!(why(&RSA_PEM.replace("MIIB", "AAAA")).contains("cannot be read"));
    }

    #[test]
    fn weak_and_odd_rsa_keys_make_no_key() {
        let modulus = |bits: usize| {
            let mut bytes = vec![0xff; bits / 8];
            *bytes.last_mut().unwrap() = 0xf1;
            bytes
        };
        assert!(Key::rsa(&modulus(2048), &[1, 0, 1]).is_ok());
        for (bits, exponent) in [
            (1024, &[1, 0, 1][..]),
            (2040, &[1, 0, 1]),
            (16_384, &[1, 0, 1]),
            (2048, &[1]),
            (2048, &[]),
            (2048, &[2]),
            (2048, &[1, 0, 0, 0, 1]),
        ] {
            assert!(
                Key::rsa(&modulus(bits), exponent).is_err(),
                "{bits} {exponent:?}"
            );
        }
        assert!(Key::rsa(&[0xff; 256][..255], &[1, 0, 1]).is_err());
        assert!(Key::rsa(&[], &[]).is_err());
    }

    #[test]
    fn an_ed25519_point_of_small_order_makes_no_key() {
        for mut point in SMALL_ORDER {
            assert!(Key::ed25519(&point).is_err());
            point[31] |= 0x80;
            assert!(Key::ed25519(&point).is_err());
        }
    }

    #[test]
    fn a_secret_that_is_short_or_a_key_file_is_a_problem() {
        for bad in [
            &b"short"[..],
            b"",
            RSA_PEM.as_bytes(),
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q",
            br#"{"kty":"RSA","n":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#,
        ] {
            assert!(secret_problem(bad).is_some());
        }
        assert_eq!(secret_problem(&[b'x'; 50]), None);
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let key = Key::secret(b"hunter2 hunter2 hunter2 hunter2 hunter2");
        assert!(!format!("{key:?}").contains("104, 117"), "{key:?}");
    }
}
