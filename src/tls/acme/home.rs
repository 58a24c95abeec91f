//! The folder that keeps what a CA gave: one account, and a file for each set of names.
//!
//! `CACHE/CA/account.json`, `CACHE/CA/NAME-HASH.pem`. CA is the directory's host and a hash of its
//! whole address, so that certificates of a trial never pass for others. A certificate stands in one
//! file with its key: both are replaced in one step. No name in a path is anyone's free choice.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use instant_acme::AccountCredentials;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::settings::{Acme, CertificateFiles};
use crate::tls::error::{FileError, TlsError};
use crate::tls::pair::{self, Pair};
use crate::tls::{file, keep};

/// Most files that are looked at for a certificate to go on with; sets of names change seldom.
const MOST_FILES: usize = 64;
/// Most letters of a name in a path.
const NAME_LENGTH: usize = 100;

/// The folder in a CA's that answers stand in while an order is under way.
const SHOWN: &str = "challenges";
/// Most bytes of an answer; it has 87.
const MOST_SHOWN: u64 = 1024;

/// The folder of one CA.
#[derive(Clone, Debug)]
pub(super) struct Home {
    cache: PathBuf,
    folder: PathBuf,
    /// The file of these names.
    file: PathBuf,
}

/// What is known of an account.
#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    /// Whom the CA was told that it may write to.
    pub(super) contact: Vec<String>,
    pub(super) credentials: AccountCredentials,
}

/// An answer that the other gateways see, until this is dropped.
#[derive(Debug)]
pub(super) struct Shown(PathBuf);

impl Drop for Shown {
    fn drop(&mut self) {
        // Whoever orders next takes out what could not be taken out here.
        let _left = fs::remove_file(&self.0);
    }
}

impl Home {
    pub(super) fn of(settings: &Acme) -> Self {
        let host = url::Url::parse(&settings.directory).ok();
        let host = host.as_ref().and_then(url::Url::host_str);
        let ca = named(host.unwrap_or_default(), &[&settings.directory]);
        let mut names: Vec<&str> = settings.domains.iter().map(String::as_str).collect();
        // In whatever order they stand in the file.
        names.sort_unstable();
        let stem = named(names.first().copied().unwrap_or_default(), &names);
        let folder = settings.cache.join(ca);
        Self {
            cache: settings.cache.clone(),
            file: folder.join(format!("{stem}.pem")),
            folder,
        }
    }

    /// The certificate of the names, with its key.
    pub(super) fn files(&self) -> CertificateFiles {
        one_file(self.file.clone())
    }

    /// What is wrong with the certificate of the names, where it is there and spoilt. Blocks on files.
    pub(super) fn damage(&self) -> Option<TlsError> {
        let error = Pair::load(&self.files()).err()?;
        (!matches!(error, TlsError::File(_))).then_some(error)
    }

    /// Whether a certificate is of this CA.
    pub(super) fn owns(&self, pair: &Pair) -> bool {
        pair.info.path.starts_with(&self.folder)
    }

    /// The certificate to serve the names with: theirs, or while it is not there, the one that vouches
    /// for most of them, so that a further name does not take the others off the air. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`FileError`] when a file may not be read. One that is spoilt is passed over.
    pub(super) fn certificate(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<Option<Pair>, FileError> {
        if let Some(pair) = sound(Pair::load(&self.files()))?
            && covered(&pair, names) == names.len()
        {
            return Ok(Some(pair));
        }
        let mut best: Option<Pair> = None;
        for path in self.certificates() {
            let Ok(Some(pair)) = sound(Pair::load(&one_file(path))) else {
                continue;
            };
            let rank = |pair: &Pair| (covered(pair, names), pair.info.not_after);
            let is_of_use = covered(&pair, names) > 0 && now < pair.info.not_after;
            if is_of_use && best.as_ref().is_none_or(|best| rank(best) < rank(&pair)) {
                best = Some(pair);
            }
        }
        Ok(best)
    }

    fn certificates(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "pem"))
            .take(MOST_FILES)
    }

    /// Makes the folders, and takes the CA's folder for one order; `None` where another process has
    /// it. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it cannot be written: found out before anything is ordered.
    pub(super) fn enter(&self) -> Result<Option<fs::File>, FileError> {
        self.make()?;
        let Some(lock) = keep::try_lock(&self.folder)? else {
            return Ok(None);
        };
        // What an order that was cut off left behind.
        let _none = fs::remove_dir_all(self.folder.join(SHOWN));
        keep::make_folder(&self.folder.join(SHOWN))?;
        // What is ordered must be kept, or the next start orders it again.
        keep::write(&self.folder.join("writable"), "", 0o600)?;
        Ok(Some(lock))
    }

    fn make(&self) -> Result<(), FileError> {
        if keep::make_folder(&self.cache)? {
            keep::write(&self.cache.join(".gitignore"), "*\n", 0o644)?;
        }
        keep::make_folder(&self.folder)?;
        Ok(())
    }

    /// Shows the other gateways on this folder what a CA is answered that asks for `token`, until the
    /// value that is returned is dropped. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it cannot be written.
    pub(super) fn show(&self, token: &str, answer: &str) -> Result<Shown, FileError> {
        let path = self.shown(token);
        keep::write(&path, answer, 0o600)?;
        Ok(Shown(path))
    }

    /// What another gateway shows for `token`, which must have nothing of a path in it. Blocks on a
    /// file.
    pub(super) fn see(&self, token: &str) -> Option<String> {
        let text = file::read(&self.shown(token), MOST_SHOWN).ok()?;
        let text = std::str::from_utf8(&text).ok()?;
        text.starts_with(token).then(|| text.to_owned())
    }

    fn shown(&self, token: &str) -> PathBuf {
        self.folder.join(SHOWN).join(named(token, &[token]))
    }

    /// Keeps a certificate of the names with its key. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it cannot be written.
    pub(super) fn keep(
        &self,
        key_pem: &str,
        chain: &[CertificateDer<'static>],
    ) -> Result<(), FileError> {
        keep::write(&self.file, &written(key_pem, chain), 0o600)
    }

    /// Keeps the text of a certificate with its key that other gateways have. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it cannot be written.
    pub(super) fn copy(&self, text: &[u8]) -> Result<(), FileError> {
        self.make()?;
        let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
        keep::write(&self.file, &text, 0o600)
    }

    /// The text of the certificate of the names with its key. Blocks on a file.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is not there, or may not be read.
    pub(super) fn text(&self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        file::read(&self.file, file::KEY_BYTES)
    }

    /// The certificate with its key that a text holds.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when it does not hold both, or they are not sound or not of each other.
    pub(super) fn read(&self, text: &[u8]) -> Result<Pair, TlsError> {
        let chain = file::certificates_in(&self.file, text, file::CHAIN_LENGTH)?;
        let key = pair::key_in(&self.file, text)?;
        Pair::assemble(&self.files(), chain, key)
    }

    /// The account, where there is one; `None` too where the file is spoilt, which is told.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it may not be read.
    pub(super) fn account(&self) -> Result<Option<Account>, FileError> {
        let path = self.account_file();
        let text = match file::read(&path, file::KEY_BYTES) {
            Ok(text) => text,
            Err(FileError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        keep::tighten(&path)?;
        let account = serde_json::from_slice(&text).ok();
        if account.is_none() {
            tracing::warn!(
                file = %path.display(),
                "the ACME account is spoilt; a new one takes its place"
            );
        }
        Ok(account)
    }

    /// Keeps the account.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it cannot be written.
    pub(super) fn keep_account(&self, account: &Account) -> Result<(), FileError> {
        let text = serde_json::to_string(account).unwrap_or_default();
        keep::write(&self.account_file(), &Zeroizing::new(text), 0o600)
    }

    fn account_file(&self) -> PathBuf {
        self.folder.join("account.json")
    }
}

/// How many of the names it vouches for.
pub(super) fn covered(pair: &Pair, names: &[String]) -> usize {
    names.iter().filter(|name| pair.names.covers(name)).count()
}

fn one_file(path: PathBuf) -> CertificateFiles {
    CertificateFiles {
        cert: path.clone(),
        key: path,
    }
}

/// `None` for what is not there, or is spoilt and may be replaced.
fn sound(read: Result<Pair, TlsError>) -> Result<Option<Pair>, FileError> {
    match read {
        Ok(pair) => {
            keep::tighten(&pair.info.path)?;
            Ok(Some(pair))
        }
        Err(TlsError::File(FileError::Missing { .. })) => Ok(None),
        Err(TlsError::File(error)) => Err(error),
        Err(error) => {
            // Told once, when it is opened: this is asked again and again.
            tracing::debug!(problem = error.line(), "passed over a certificate");
            Ok(None)
        }
    }
}

/// A name for a path: letters, digits, `-` and single dots of `text`, and a hash of `whole`.
fn named(text: &str, whole: &[&str]) -> String {
    let letters = text.chars().take(NAME_LENGTH).map(|letter| {
        let fits = letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        if fits { letter } else { '_' }
    });
    let letters: String = letters.collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whole.join("\n").as_bytes());
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!(
        "{}-{:016x}",
        letters.replace("..", "_"),
        u64::from_be_bytes(first)
    )
}

/// A certificate with its key, as it is kept.
pub(super) fn written(key_pem: &str, chain: &[CertificateDer<'static>]) -> Zeroizing<String> {
    let chain: String = chain.iter().map(|one| armour(one)).collect();
    // Of the whole length from the start: growing would leave a copy of the key behind.
    Zeroizing::new([key_pem, &chain].concat())
}

/// A certificate as PEM (RFC 7468).
fn armour(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}
