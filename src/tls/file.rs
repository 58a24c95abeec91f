//! Reads the PEM files that the configuration names, within bounds.
//!
//! A pipe or device under such a name would block or never end, so only plain files are opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::error::{FileError, TlsError};

/// Most bytes of a chain; a leaf with a hundred names and its intermediates has about 20 KiB.
pub(super) const CHAIN_BYTES: u64 = 1024 * 1024;
/// Most bytes of a key file; RSA of 16384 bits has about 13 KiB.
pub(super) const KEY_BYTES: u64 = 64 * 1024;
/// Most bytes of a bundle of CAs; a system's has about 250 KiB.
pub(super) const BUNDLE_BYTES: u64 = 8 * 1024 * 1024;
/// Most certificates of a chain that is sent to every client.
pub(super) const CHAIN_LENGTH: usize = 16;
/// Most certificates of a bundle of CAs.
pub(super) const BUNDLE_LENGTH: usize = 4096;

/// The bytes of a plain file, wiped when dropped, for it may be a key.
///
/// # Errors
///
/// [`FileError`] when it is not there, not a file, larger than `limit` bytes or unreadable.
pub(super) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| unreadable(path, source);
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let too_large = || FileError::TooLarge {
        path: path.to_owned(),
        limit,
    };
    if about.len() > limit {
        return Err(too_large());
    }
    // Room for all of it at once: a vector that grows would leave unwiped copies behind.
    let room = usize::try_from(about.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> FileError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        FileError::Missing { path }
    } else {
        FileError::Unreadable { path, source }
    }
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
///
/// [`TlsError`] when the file cannot be read, is not PEM, or has none or more than `most`.
pub(super) fn certificates(
    path: &Path,
    bytes: u64,
    most: usize,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(path, &read(path, bytes)?, most)
}

/// The same for text that was read; `path` is for errors.
///
/// # Errors
///
/// [`TlsError`] when it is not PEM, or has no certificate or more than `most`.
pub(super) fn certificates_in(
    path: &Path,
    text: &[u8],
    most: usize,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        if found.len() == most {
            return Err(TlsError::TooMany {
                path: path.to_owned(),
                limit: most,
            });
        }
        found.push(certificate.map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            source,
        })?);
    }
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
            hint: certificate_hint(text),
        });
    }
    Ok(found)
}

fn certificate_hint(text: &[u8]) -> &'static str {
    if holds(text, b"PRIVATE KEY-----") {
        "; it holds a private key: are `cert` and `key` swapped?"
    } else if text.first() == Some(&0x30) {
        "; it seems to be DER: convert it with `openssl x509 -inform der -outform pem`"
    } else {
        ""
    }
}

/// What a key file without a usable key seems to be.
pub(super) fn key_hint(text: &[u8]) -> &'static str {
    if holds(text, b"ENCRYPTED PRIVATE KEY-----") || holds(text, b"Proc-Type: 4,ENCRYPTED") {
        "; it is encrypted with a password: decrypt it with `openssl pkey`"
    } else if holds(text, b"BEGIN CERTIFICATE-----") {
        "; it holds a certificate: are `cert` and `key` swapped?"
    } else if text.first() == Some(&0x30) {
        "; it seems to be DER: convert it with `openssl pkey -inform der -outform pem`"
    } else {
        ""
    }
}

/// Whether `needle` is in `text`.
pub(super) fn holds(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}
