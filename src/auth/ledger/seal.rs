//! Seals what a session holds, so that the store's reader gets nothing of it.
//!
//! AES-256-GCM under a key that HKDF-SHA256 (RFC 5869) derives from the session's id, which the
//! browser alone has. The session's key and the generation are authenticated with it: sealed bytes
//! that are moved to another session, or put back from an earlier generation, do not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::id::{SessionId, random};
use super::record::Generation;
use crate::secret::Secret;

/// Most bytes of a session's sealed part, 28 of them for sealing.
pub const MOST_SEALED: usize = 32 * 1024;
const TAG: usize = 16;
/// Names the use of the derived key, and how it is derived.
const SALT: &[u8] = b"portcullis session sealing, 1";

/// Bytes that open with the session's id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub(super) Box<[u8]>);

/// Why something was not sealed or does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More than fits.
    #[error("what the session holds is larger than {MOST_SEALED} bytes")]
    TooLarge,
    /// Of another session, another generation, or changed.
    #[error("what the session holds does not open: it was changed, or is of another session")]
    Broken,
    /// No random bytes, or the cryptographic library failed.
    #[error("what the session holds cannot be sealed")]
    Unsealed,
}

/// Seals `plain` for a session and the generation that it will be stored with.
///
/// # Errors
///
/// [`SealError::TooLarge`], and [`SealError::Unsealed`] where the system has no random bytes.
pub fn seal(id: &SessionId, generation: Generation, plain: &[u8]) -> Result<Sealed, SealError> {
    if plain.len() + NONCE_LEN + TAG > MOST_SEALED {
        return Err(SealError::TooLarge);
    }
    let unsealed = |_: Unspecified| SealError::Unsealed;
    let nonce: [u8; NONCE_LEN] = match random() {
        Ok(nonce) => nonce,
        Err(super::NoRandomness) => return Err(SealError::Unsealed),
    };
    let key = derived(id).map_err(unsealed)?;
    // Room for the tag from the start: growing would leave a copy behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    bytes.extend_from_slice(plain);
    let about = about(id, generation);
    let unique = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(unique, Aad::from(about), &mut *bytes)
        .map_err(unsealed)?;
    let sealed = [&nonce, bytes.as_slice()].concat();
    Ok(Sealed(sealed.into()))
}

/// Opens what [`seal`] sealed for this session and generation.
///
/// # Errors
///
/// [`SealError::Broken`] where it is of another session or generation, or was changed.
pub fn open(
    id: &SessionId,
    generation: Generation,
    sealed: &Sealed,
) -> Result<Secret<Vec<u8>>, SealError> {
    let broken = |_: Unspecified| SealError::Broken;
    let (nonce, rest) = (sealed.0)
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SealError::Broken)?;
    let key = derived(id).map_err(broken)?;
    let mut bytes = Zeroizing::new(rest.to_vec());
    let about = about(id, generation);
    let unique = Nonce::assume_unique_for_key(*nonce);
    let plain = key
        .open_in_place(unique, Aad::from(about), &mut bytes)
        .map_err(broken)?;
    Ok(Secret::new(plain.to_vec()))
}

impl Sealed {
    /// From the bytes that a store kept; `None` where they are more than fit.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MOST_SEALED).then(|| Self(bytes.into()))
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

fn derived(id: &SessionId) -> Result<LessSafeKey, Unspecified> {
    let pseudorandom = Salt::new(HKDF_SHA256, SALT).extract(id.bits());
    let info: [&[u8]; 1] = [b"aes-256-gcm"];
    let expanded = pseudorandom.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

/// What is authenticated beside the sealed bytes: the session's key, then the generation.
fn about(id: &SessionId, generation: Generation) -> Vec<u8> {
    let number = generation.number().to_be_bytes();
    [id.key().as_bytes().as_slice(), &number].concat()
}
