//! Seals what gateways keep for each other, so that who reads the store gets no key of it, and who
//! writes there can put nothing in its place.
//!
//! AES-256-GCM with a random nonce, under a key that HKDF-SHA256 (RFC 5869) derives from a secret
//! that all gateways have. What it is, and for which names, is authenticated with it: sealed bytes
//! that are moved to another place do not open there.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Stands before what is sealed, for a later way of sealing.
const VERSION: u8 = 1;
const TAG: usize = 16;
/// Names the use of the derived key, and how it is derived.
const SALT: &[u8] = b"portcullis acme sealing, 1";

/// Seals with the first of some secrets, and opens with any of them.
pub(super) struct Sealer(Vec<LessSafeKey>);

/// It was changed, moved, or sealed with another secret; or it cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl From<Unspecified> for Closed {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

impl Sealer {
    /// # Errors
    ///
    /// [`Closed`] where the cryptographic library fails.
    pub(super) fn new(secrets: &[Secret<Vec<u8>>]) -> Result<Self, Closed> {
        let keys = secrets.iter().map(derived);
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Seals `plain` as what `about` says.
    ///
    /// # Errors
    ///
    /// [`Closed`] where the system has no random bytes.
    pub(super) fn seal(&self, about: &[u8], plain: &[u8]) -> Result<Vec<u8>, Closed> {
        let key = self.0.first().ok_or(Closed)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        // Room for the tag from the start: growing would leave a copy behind that nobody wipes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
        bytes.extend_from_slice(plain);
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(about), &mut *bytes)?;
        Ok([&[VERSION], nonce.as_slice(), &bytes].concat())
    }

    /// Opens what was sealed as what `about` says.
    ///
    /// # Errors
    ///
    /// [`Closed`] for everything else.
    pub(super) fn open(&self, about: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let (version, rest) = sealed.split_first().ok_or(Closed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Closed)?;
        if *version != VERSION {
            return Err(Closed);
        }
        for key in &self.0 {
            let mut bytes = Zeroizing::new(rest.to_vec());
            let unique = Nonce::assume_unique_for_key(*nonce);
            let opened = key.open_in_place(unique, Aad::from(about), &mut bytes);
            let length = opened.ok().map(|plain| plain.len());
            if let Some(length) = length {
                bytes.truncate(length);
                return Ok(bytes);
            }
        }
        Err(Closed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.0.len())
    }
}

fn derived(secret: &Secret<Vec<u8>>) -> Result<LessSafeKey, Unspecified> {
    let pseudorandom = Salt::new(HKDF_SHA256, SALT).extract(secret.expose());
    let info: [&[u8]; 1] = [b"aes-256-gcm"];
    let expanded = pseudorandom.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer(secrets: &[&str]) -> Sealer {
        let secrets = secrets
            .iter()
            .map(|text| Secret::new(text.as_bytes().to_vec()));
        Sealer::new(&secrets.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_as_what_it_is_and_as_nothing_else() {
        let one = sealer(&["one secret"]);
        let sealed = one.seal(b"account", b"BEGIN PRIVATE KEY").unwrap();
        assert_eq!(
            &**one.open(b"account", &sealed).unwrap(),
            b"BEGIN PRIVATE KEY"
        );
        assert!(one.open(b"certificate", &sealed).is_err());
        assert!(!sealed.windows(7).any(|part| part == b"PRIVATE"));
        assert!(sealer(&["another"]).open(b"account", &sealed).is_err());
        assert_eq!(format!("{one:?}"), "Sealer(1 keys)");
        // The same is never sealed in the same way.
        assert_ne!(sealed, one.seal(b"account", b"BEGIN PRIVATE KEY").unwrap());
    }

    #[test]
    fn an_older_secret_opens_while_it_is_named() {
        let before = sealer(&["old"]).seal(b"x", b"y").unwrap();
        let both = sealer(&["new", "old"]);
        assert_eq!(&**both.open(b"x", &before).unwrap(), b"y");
        let after = both.seal(b"x", b"y").unwrap();
        assert!(sealer(&["old"]).open(b"x", &after).is_err());
        assert!(sealer(&["new"]).open(b"x", &after).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_that_was_changed_opens(
            plain in proptest::collection::vec(any::<u8>(), 0..100), at in any::<usize>(), bit in 0..8_u8
        ) {
            let one = sealer(&["secret"]);
            let mut sealed = one.seal(b"x", &plain).unwrap();
            prop_assert_eq!(&**one.open(b"x", &sealed).unwrap(), &plain[..]);
            let at = at % sealed.len();
            prop_assert!(one.open(b"x", &sealed[..at]).is_err());
            sealed[at] ^= 1 << bit;
            prop_assert!(one.open(b"x", &sealed).is_err());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(sealer(&["secret"]).open(b"x", &bytes).is_err());
        }
    }
}
