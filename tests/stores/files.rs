//! Sessions in folders of files: the vectors of Django's file backend and of cachelib, each with its
//! files, through the authenticator that a request meets; and what is never opened.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method};
use portcullis::auth::ports::StoreError;
use portcullis::auth::{Authenticators, Request};
use portcullis::clock::Timestamp;
use portcullis::config::settings::{
    AuthenticatorKind, DirectoryId, DjangoBackend, FileNames, SessionStore,
};
use portcullis::policy::identity::IdentityNames;
use portcullis::policy::requirement::Admission;
use portcullis::policy::route::AuthenticatorId;
use portcullis::secret::Secret;
use serde_json::Value;

use crate::hosts::Host;
use crate::rig::{Rig, VECTORS, load, roles};

/// How many vectors keep their session in a file.
const VECTORS_IN_FILES: usize = 11;

fn django_in(folder: &Path) -> Rig {
    Rig::new().django(DjangoBackend::File {
        folder: folder.into(),
        lifetime: Duration::from_hours(14 * 24),
        time_zone: jiff::tz::TimeZone::UTC,
    })
}

fn flask_in(folder: &Path) -> Rig {
    Rig::new().flask(SessionStore::Files {
        folder: folder.into(),
        names: FileNames::Sha256,
    })
}

/// Puts a vector's files where its app keeps them.
fn put_files(vector: &Value, folder: &Path) {
    for one in vector["files"].as_array().unwrap() {
        let path = folder.join(one["name"].as_str().unwrap());
        let content = STANDARD
            .decode(one["content_b64"].as_str().unwrap())
            .unwrap();
        fs::write(&path, content).unwrap();
        if let Some(at) = one["mtime"].as_u64() {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(at))
                .unwrap();
        }
    }
}

/// Whom the authenticator takes a vector's request to be from.
async fn user(rig: &Rig, vector: &Value) -> Result<String, String> {
    let stores = rig.stores();
    let names = IdentityNames::default();
    let all = Authenticators::assemble(&rig.settings, &names, &stores, None, None).unwrap();
    let AuthenticatorKind::DjangoSession(_) = &rig.settings.authenticators[0].kind else {
        return asked(&all, "session", vector).await;
    };
    asked(&all, "sessionid", vector).await
}

async fn asked(all: &Authenticators, name: &str, vector: &Value) -> Result<String, String> {
    let cookie = format!("{name}={}", vector["cookie"].as_str().unwrap());
    let cookie = HeaderValue::from_str(&cookie).unwrap();
    let headers = HeaderMap::from_iter([(COOKIE, cookie)]);
    let request = Request {
        method: &Method::GET,
        headers: &headers,
        query: None,
        websocket: false,
        peer_certificate: None,
        client: None,
        own_cookie: None,
    };
    let now = Timestamp::from_unix_seconds(vector["now"].as_i64().unwrap());
    let ids = [AuthenticatorId(0)];
    let attempt = all.identify(&ids, Admission::Required, &request, now).await;
    match attempt.caller {
        Some(caller) => Ok(caller.identity().user.clone()),
        None => Err(attempt.denial.unwrap().to_string()),
    }
}

#[tokio::test]
async fn every_vector_in_a_file_is_decided_as_the_framework_decides() {
    let host = Host::sqlite();
    let users = host.make("files", &["django_auth"]).await;
    let all = VECTORS["vectors"].as_array().unwrap();
    let all = all.iter().filter(|vector| vector["files"].is_array());
    let (mut run, mut wrong) = (0, Vec::new());
    for vector in all {
        run += 1;
        let folder = tempfile::tempdir().unwrap();
        put_files(vector, folder.path());
        let secret = vector["secret"].as_str().unwrap().as_bytes().to_vec();
        let rig = if vector["category"] == "django.session.file" {
            let mut rig =
                django_in(folder.path()).users(&users, "auth_user", roles(false, false, &[]));
            let authenticator = &mut rig.settings.authenticators[0];
            authenticator.directory = Some(DirectoryId(0));
            if let AuthenticatorKind::DjangoSession(django) = &mut authenticator.kind {
                django.secrets = vec![Secret::new(secret)];
            }
            rig
        } else {
            flask_in(folder.path())
        };
        let expected = &vector["expected"];
        let wanted = expected["user_id"].as_str();
        let wanted = wanted.or_else(|| expected["valid"].as_bool()?.then_some("7"));
        let found = user(&rig, vector).await;
        if found.as_deref().ok() != wanted {
            wrong.push(format!("{}: {found:?}, wanted {wanted:?}", vector["name"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(run, VECTORS_IN_FILES);
}

#[tokio::test]
async fn what_is_no_plain_file_is_not_opened_and_nobody_is_let_in_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let beside = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(beside.path().join("kept"), "x").unwrap();
    symlink(beside.path().join("kept"), at("sessionidlinked00")).unwrap();
    fs::create_dir(at("sessionidfolder00")).unwrap();
    fs::write(at("sessionidlarge000"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    fs::write(at("sessionidplain000"), "x").unwrap();
    let stores = django_in(folder.path()).stores();
    for key in ["linked00", "folder00", "large000"] {
        let error = load(&stores, 0, key).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Unreadable { .. }),
            "{key}: {error}"
        );
    }
    let plain = load(&stores, 0, "plain000").await.unwrap().unwrap();
    assert_eq!(plain.data, b"x");
    for key in ["../kept", "nosuchkey", "PLAIN000"] {
        assert_eq!(load(&stores, 0, key).await.unwrap(), None, "{key}");
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_outage_and_no_end_of_every_session() {
    let folder = tempfile::tempdir().unwrap();
    let rig = flask_in(folder.path());
    let stores = rig.stores();
    assert_eq!(load(&stores, 0, "abcdefgh").await.unwrap(), None);
    folder.close().unwrap();
    let error = load(&stores, 0, "abcdefgh").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}
