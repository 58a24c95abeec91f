//! The development CA: a local CA and a leaf for `localhost` and every route's hosts.
//!
//! Made on the first start and used again, so that a browser is told once to trust the CA. The leaf
//! is made anew when its names change or its end is near, the CA when its end is near. Keys are
//! readable by their owner alone from the moment they exist, and written whole or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::{FileError, TlsError};
use super::keep::{lock, make_folder, tighten, write};
use super::names::CertificateNames;
use super::pair::Pair;
use super::{file, provider, server};
use crate::clock::Timestamp;
use crate::config::settings::{CertificateFiles, Development};

const DAY: Duration = Duration::from_hours(24);
/// Life of the CA.
const CA_DAYS: u32 = 3650;
/// Life of the leaf: the most that browsers take of public CAs.
const LEAF_DAYS: u32 = 397;
/// With fewer days left, a certificate is made anew.
const RENEW_DAYS: u32 = 30;
/// Always among the leaf's names.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The leaf's files.
pub(super) fn files(settings: &Development) -> CertificateFiles {
    CertificateFiles {
        cert: settings.folder.join("localhost.pem"),
        key: settings.folder.join("localhost.key"),
    }
}

fn ca_files(settings: &Development) -> CertificateFiles {
    CertificateFiles {
        cert: settings.folder.join("portcullis-ca.pem"),
        key: settings.folder.join("portcullis-ca.key"),
    }
}

/// Makes what is missing or used up; does nothing when all is well.
///
/// # Errors
///
/// [`TlsError`] when the folder cannot be written, or holds files under our names that cannot be
/// read.
pub(super) fn ensure(settings: &Development, now: Timestamp) -> Result<(), TlsError> {
    let names = wanted(settings);
    if is_fit(settings, &names, now)? {
        return Ok(());
    }
    let is_new = make_folder(&settings.folder)?;
    // Two processes that start at once must not write a key of one and a certificate of the other.
    let _lock = lock(&settings.folder)?;
    if is_new {
        write(&settings.folder.join(".gitignore"), "*\n", 0o644)?;
    }
    if is_fit(settings, &names, now)? {
        return Ok(());
    }
    let ca = match usable_ca(settings, now)? {
        Some(ca) => ca,
        None => make_ca(settings, now)?,
    };
    make_leaf(settings, &ca, names, now)
}

fn wanted(settings: &Development) -> Vec<String> {
    let own = OWN_NAMES.into_iter();
    CertificateNames::of_texts(own.chain(settings.names.iter().map(String::as_str))).list()
}

/// Whether the leaf has these names, will live for a while, and is of the CA beside it.
fn is_fit(settings: &Development, names: &[String], now: Timestamp) -> Result<bool, TlsError> {
    let leaf = files(settings);
    let ca = ca_files(settings).cert;
    let (Some(pair), Some(ca)) = (
        unless_broken(Pair::load(&leaf))?,
        unless_broken(read_ca(&ca))?,
    ) else {
        return Ok(false);
    };
    tighten(&leaf.key)?;
    Ok(pair.info.names == names && lives(&pair, now) && is_issued_by(&pair, &ca, now))
}

fn read_ca(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let found = file::certificates(path, file::CHAIN_BYTES, 1)?;
    found.into_iter().next().ok_or(TlsError::NoCertificate {
        path: path.to_owned(),
        hint: "",
    })
}

/// `None` for what is missing or spoilt and may be replaced; an error for what we may not see.
fn unless_broken<T>(read: Result<T, TlsError>) -> Result<Option<T>, TlsError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(TlsError::File(FileError::Missing { .. })) => Ok(None),
        Err(error @ TlsError::File(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn lives(pair: &Pair, now: Timestamp) -> bool {
    pair.info.not_before <= now
        && pair.info.not_after.saturating_since(now) > DAY.saturating_mul(RENEW_DAYS)
}

fn is_issued_by(leaf: &Pair, ca: &CertificateDer<'static>, now: Timestamp) -> bool {
    use rustls::client::danger::ServerCertVerifier as _;
    let Ok(roots) = server::roots_of(Path::new(""), std::slice::from_ref(ca)) else {
        return false;
    };
    let Ok(verifier) =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()
    else {
        return false;
    };
    let (Ok(leaf), Ok(name)) = (
        leaf.certified.end_entity_cert(),
        ServerName::try_from("localhost"),
    ) else {
        return false;
    };
    let seconds = u64::try_from(now.unix_seconds()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier
        .verify_server_cert(leaf, &[], &name, &[], at)
        .is_ok()
}

type Ca = Issuer<'static, KeyPair>;

fn usable_ca(settings: &Development, now: Timestamp) -> Result<Option<Ca>, TlsError> {
    let files = ca_files(settings);
    let Some(pair) = unless_broken(Pair::load(&files))? else {
        return Ok(None);
    };
    let Some(certificate) = pair.certified.cert.first().filter(|_| lives(&pair, now)) else {
        return Ok(None);
    };
    tighten(&files.key)?;
    let text = file::read(&files.key, file::KEY_BYTES)?;
    let ca = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| KeyPair::from_pem(text).ok())
        .and_then(|key| Issuer::from_ca_cert_der(certificate, key).ok());
    Ok(ca)
}

fn make_ca(settings: &Development, now: Timestamp) -> Result<Ca, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Development)?;
    let mut params = CertificateParams::default();
    let name = format!("Portcullis development CA {}", fingerprint(&key));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasting(&mut params, now, CA_DAYS);
    let certificate = params.self_signed(&key).map_err(TlsError::Development)?;
    let files = ca_files(settings);
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.cert, &certificate.pem(), 0o644)?;
    Ok(Issuer::new(params, key))
}

/// Tells CAs apart in a browser's list, where the ones of last year may still stand.
fn fingerprint(key: &KeyPair) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(first))
}

fn make_leaf(
    settings: &Development,
    ca: &Ca,
    names: Vec<String>,
    now: Timestamp,
) -> Result<(), TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Development)?;
    let mut params = CertificateParams::new(names).map_err(TlsError::Development)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Portcullis development");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    lasting(&mut params, now, LEAF_DAYS);
    let certificate = params.signed_by(&key, ca).map_err(TlsError::Development)?;
    let files = files(settings);
    write(&files.key, &key.serialize_pem(), 0o600)?;
    Ok(write(&files.cert, &certificate.pem(), 0o644)?)
}

/// From the day before `now`, for clocks that are behind.
fn lasting(params: &mut CertificateParams, now: Timestamp, days: u32) {
    let (year, month, day) = date(now.saturating_sub(DAY));
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(now.saturating_add(DAY.saturating_mul(days)));
    params.not_after = date_time_ymd(year, month, day);
}

fn date(at: Timestamp) -> (i32, u8, u8) {
    let at = jiff::Timestamp::from_second(at.unix_seconds()).unwrap_or_default();
    let date = jiff::tz::Offset::UTC.to_datetime(at);
    (
        date.year().into(),
        date.month().unsigned_abs(),
        date.day().unsigned_abs(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::testing::{Client, Ends, tls};
    use super::super::{Outcome, TlsState};
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    fn settings(folder: &TempDir, names: &[&str]) -> Development {
        Development {
            folder: folder.path().join("certs"),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn content(settings: &Development) -> [Vec<u8>; 4] {
        let (ca, leaf) = (ca_files(settings), files(settings));
        [ca.cert, ca.key, leaf.cert, leaf.key].map(|path| fs::read(path).unwrap())
    }

    fn is_same_ca(one: &[Vec<u8>; 4], other: &[Vec<u8>; 4]) -> bool {
        one[..2] == other[..2]
    }

    fn state(development: Development, now: Timestamp) -> TlsState {
        let mut settings = tls(Vec::new());
        settings.development = Some(development);
        TlsState::load(&settings, None, now).unwrap()
    }

    #[test]
    fn whoever_trusts_the_ca_can_connect_to_localhost_and_every_routes_host() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &["app.example.com", "*.api.example.com"]);
        // As of today, for the client looks at the clock.
        let state = state(settings.clone(), crate::clock::now());
        let ca = read_ca(&ca_files(&settings).cert).unwrap();
        let client = Client {
            ca: Some(&ca),
            ..Client::default()
        };
        let client = Arc::new(client.config());
        let shake = |name| Ends::shake(state.server_config(), &client, name);
        for name in [
            "localhost",
            "127.0.0.1",
            "::1",
            "app.example.com",
            "v1.api.example.com",
        ] {
            assert!(shake(name).is_ok(), "{name}");
        }
        assert!(shake("other.example.com").is_err());
        assert!(state.warnings(crate::clock::now()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn keys_can_be_read_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &[]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        ensure(&settings, NOW).unwrap();
        for key in [files(&settings).key, ca_files(&settings).key] {
            assert_eq!(mode(&key), 0o600);
        }
        assert_eq!(mode(&settings.folder), 0o700);
        let ignored = fs::read_to_string(settings.folder.join(".gitignore")).unwrap();
        assert_eq!(ignored, "*\n");
        fs::set_permissions(files(&settings).key, fs::Permissions::from_mode(0o644)).unwrap();
        ensure(&settings, NOW).unwrap();
        assert_eq!(mode(&files(&settings).key), 0o600);
    }

    #[test]
    fn all_is_used_again_on_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &["app.example.com"]);
        ensure(&settings, NOW).unwrap();
        let made = content(&settings);
        ensure(&settings, NOW.saturating_add(DAY.saturating_mul(300))).unwrap();
        assert_eq!(content(&settings), made);
    }

    #[test]
    fn the_leaf_is_made_anew_for_other_names_and_before_its_end_and_the_ca_stays() {
        let folder = tempfile::tempdir().unwrap();
        ensure(&settings(&folder, &["a.example"]), NOW).unwrap();
        let settings = settings(&folder, &["b.example"]);
        let first = content(&settings);
        ensure(&settings, NOW).unwrap();
        let second = content(&settings);
        assert!(is_same_ca(&first, &second) && first[2] != second[2]);
        ensure(&settings, NOW.saturating_add(DAY.saturating_mul(380))).unwrap();
        let third = content(&settings);
        assert!(is_same_ca(&second, &third) && second[2] != third[2]);
    }

    #[test]
    fn the_ca_is_made_anew_before_its_end_and_when_it_is_spoilt() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &[]);
        ensure(&settings, NOW).unwrap();
        let first = content(&settings);
        let late = NOW.saturating_add(DAY.saturating_mul(3640));
        ensure(&settings, late).unwrap();
        let second = content(&settings);
        assert!(!is_same_ca(&first, &second) && first[2] != second[2]);
        fs::write(ca_files(&settings).cert, "spoilt").unwrap();
        ensure(&settings, late).unwrap();
        assert!(!is_same_ca(&second, &content(&settings)));
        // A certificate of last year's CA beside this year's is noticed.
        fs::write(ca_files(&settings).cert, &first[0]).unwrap();
        assert!(!is_fit(&settings, &wanted(&settings), NOW).unwrap());
    }

    #[test]
    fn a_leaf_without_its_ca_key_serves_on() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &[]);
        ensure(&settings, NOW).unwrap();
        let leaf = fs::read(files(&settings).cert).unwrap();
        fs::remove_file(ca_files(&settings).key).unwrap();
        ensure(&settings, NOW).unwrap();
        assert_eq!(fs::read(files(&settings).cert).unwrap(), leaf);
    }

    #[test]
    fn a_refresh_takes_up_a_new_leaf_when_the_old_ones_end_is_near() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(settings(&folder, &[]), NOW);
        assert!(matches!(state.refresh(NOW)[0].outcome, Outcome::Unchanged));
        let late = NOW.saturating_add(DAY.saturating_mul(380));
        let report = state.refresh(late);
        assert!(matches!(report[0].outcome, Outcome::Renewed), "{report:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("certs"), "a file").unwrap();
        let error = ensure(&settings(&folder, &[]), NOW).unwrap_err();
        assert!(error.line().contains("certs"), "{}", error.line());
    }

    #[test]
    fn many_that_start_at_once_agree_on_one_pair() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, &[]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ensure(&settings, NOW).unwrap());
            }
        });
        assert!(is_fit(&settings, &wanted(&settings), NOW).unwrap());
    }
}
