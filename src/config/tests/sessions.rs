//! The apps' own sessions: what their tables become, and what they may not say.

use std::time::Duration;

use super::*;

const SECRET: &str = "secret = { env = \"KEY\" }\n";

fn django(more: &str) -> String {
    let keys = format!("{SECRET}directory = \"users\"\n{more}");
    format!("{USERS}{}", authenticator("django-session", &keys))
}

fn django_settings(more: &str) -> DjangoSession {
    let AuthenticatorKind::DjangoSession(session) = kind_of(&django(more)) else {
        panic!()
    };
    *session
}

#[test]
fn a_django_session_is_what_django_makes_by_default() {
    let session = django_settings("database = \"sqlite:///app.db\"");
    assert_eq!(&*session.cookie, "sessionid");
    assert_eq!(session.cache, Duration::from_secs(2));
    assert_eq!(session.secrets.len(), 1);
    let DjangoBackend::Db {
        database,
        table,
        time_zone,
    } = session.backend
    else {
        panic!()
    };
    assert_eq!(database.kind, DatabaseKind::Sqlite);
    assert_eq!(&*table, "django_session");
    assert_eq!(time_zone, jiff::tz::TimeZone::UTC);
}

#[test]
fn each_backend_of_django_takes_the_keys_that_it_reads() {
    let cached = django_settings(
        "backend = \"cached_db\"\ndatabase = \"mysql://h/db\"\nredis = \"redis://h/1\"\n\
         key_prefix = \"app\"\nkey_version = 2\ntable = \"web.sessions\"\ntime_zone = \"Asia/Tehran\"\n\
         cookie = \"sid\"\ncache = \"0s\"",
    );
    assert_eq!((&*cached.cookie, cached.cache), ("sid", Duration::ZERO));
    let DjangoBackend::CachedDb {
        key_prefix,
        table,
        time_zone,
        ..
    } = cached.backend
    else {
        panic!()
    };
    assert_eq!((&*key_prefix, &*table), ("app:2:", "web.sessions"));
    assert_eq!(time_zone.iana_name(), Some("Asia/Tehran"));
    let cache = django_settings("backend = \"cache\"\nredis = \"redis://h/1\"").backend;
    assert!(matches!(cache, DjangoBackend::Cache { key_prefix, .. } if *key_prefix == *":1:"));
    let signed = django_settings("backend = \"signed_cookies\"").backend;
    let two_weeks = Duration::from_hours(14 * 24);
    assert_eq!(
        signed,
        DjangoBackend::SignedCookies {
            lifetime: two_weeks
        }
    );
}

#[test]
fn what_a_backend_of_django_lacks_or_does_not_read_is_a_mistake() {
    for (keys, words) in [
        ("", &["auth.more.database", "is required"][..]),
        (
            "backend = \"cached_db\"",
            &["auth.more.database", "auth.more.redis"],
        ),
        ("backend = \"cache\"", &["auth.more.redis", "redis://"]),
        (
            "backend = \"file\"",
            &["auth.more.path", "SESSION_FILE_PATH"],
        ),
    ] {
        let text = django(keys).replace("[auth.more]", "◆[auth.more]");
        refused(&text, words);
    }
    for keys in [
        "backend = \"cache\"\nredis = \"redis://h\"\n◆database = \"sqlite:///x\"",
        "backend = \"cache\"\nredis = \"redis://h\"\n◆table = \"x\"",
        "backend = \"signed_cookies\"\n◆time_zone = \"UTC\"",
        "backend = \"signed_cookies\"\n◆key_prefix = \"x\"",
        "database = \"sqlite:///x\"\n◆redis = \"redis://h\"",
        "database = \"sqlite:///x\"\n◆lifetime = \"1d\"",
        "database = \"sqlite:///x\"\n◆path = \"/tmp\"",
        "backend = \"file\"\npath = \"/tmp\"\n◆table = \"x\"",
        "backend = \"file\"\npath = \"/tmp\"\n◆key_version = 1",
    ] {
        refused(&django(keys), &["does nothing with backend = "]);
    }
    let sqlite = "database = \"sqlite:///x\"";
    for (keys, word) in [
        ("backend = ◆\"cached-db\"", "did you mean cached_db?"),
        ("backend = ◆\"files\"", "did you mean file?"),
        ("authentication_backends = ◆[]", "nobody could be signed in"),
        (
            "authentication_backends = [◆\"ModelBackend\"]",
            "django.contrib.auth.backends.ModelBackend",
        ),
        ("legacy_sha1 = ◆\"yes\"", "true or false"),
        (
            "table = ◆\"django_session; drop table x\"",
            "not the name of a table",
        ),
        ("table = ◆\"a.b.c\"", "not the name of a table"),
        ("time_zone = ◆\"Asia/Teheran\"", "did you mean Asia/Tehran?"),
        ("cookie = ◆\"a b\"", "not a name for a cookie"),
        ("cache = ◆\"11m\"", "\"0ms\" to \"10m\""),
        ("◆cokie = \"x\"", "did you mean cookie?"),
    ] {
        refused(&django(&format!("{sqlite}\n{keys}")), &[word]);
    }
    refused(
        &django("backend = \"cache\"\nredis = \"redis://h\"\nkey_prefix = ◆\"a\\u0000\""),
        &["not a prefix"],
    );
    refused(
        &django("backend = \"signed_cookies\"\nlifetime = ◆\"0s\""),
        &["out of range"],
    );
}

#[test]
fn djangos_own_rules_are_taken_over_as_they_stand_in_its_settings() {
    let plain = django_settings("database = \"sqlite:///x\"");
    assert_eq!(plain.authentication_backends, None);
    assert!(!plain.legacy_sha1);
    let told = django_settings(
        "backend = \"file\"\npath = \"/tmp\"\nlifetime = \"1h\"\ntime_zone = \"Asia/Tehran\"\n\
         legacy_sha1 = true\nauthentication_backends = [\"shop.auth.LdapBackend\"]",
    );
    let backends = told.authentication_backends.unwrap();
    assert_eq!(backends, [Box::<str>::from("shop.auth.LdapBackend")]);
    assert!(told.legacy_sha1);
    let DjangoBackend::File {
        folder,
        lifetime,
        time_zone,
    } = told.backend
    else {
        panic!()
    };
    assert_eq!(folder, Path::new("/tmp"));
    assert_eq!(lifetime, Duration::from_hours(1));
    assert_eq!(time_zone.iana_name(), Some("Asia/Tehran"));
}

#[test]
fn the_secrets_of_sessions_may_be_short_and_never_empty() {
    let text = django("database = \"sqlite:///x\"");
    let with = |secret: &str| text.replace("secret = { env = \"KEY\" }", secret);
    let session = kind_of(&with("secret = [\"short\", { env = \"KEY\" }]"));
    let AuthenticatorKind::DjangoSession(session) = session else {
        panic!()
    };
    assert_eq!(session.secrets.len(), 2);
    assert_eq!(session.secrets[0].expose(), b"short");
    refused(&with("secret = ◆\"\""), &["auth.more.secret", "is empty"]);
    refused(&with("secret = ◆[]"), &["no session could be accepted"]);
    refused(
        &with("").replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.secret", "SECRET_KEY_FALLBACKS"],
    );
    let insecure = load_with(
        &format!("{GOOD}{text}"),
        &[("KEY", "django-insecure-0123456789abcdefghijklmnop")],
    );
    let told =
        insecure.unwrap().warnings.iter().any(|warning| {
            warning.key == "auth.more.secret" && warning.message.contains("insecure")
        });
    assert!(told);
}

#[test]
fn a_django_session_wants_a_directory_that_has_passwords() {
    let session = |directory: &str| {
        let keys = format!("{SECRET}backend = \"signed_cookies\"\n{directory}");
        authenticator("django-session", &keys)
    };
    let missing = session("").replace("[auth.more]", "◆[auth.more]");
    refused(
        &missing,
        &["auth.more.directory", "the user's password", "type django"],
    );
    let sql =
        "[directory.plain]\ntype = \"sql\"\ndatabase = \"sqlite:///x\"\nquery = \"select $1\"\n";
    refused(
        &format!("{sql}{}", session("directory = ◆\"plain\"")),
        &["must be a directory of type django, not sql"],
    );
    refused(
        &format!("{USERS}{}", session("directory = ◆\"usrs\"")),
        &["there is no [directory.usrs]", "did you mean users?"],
    );
    refused(
        &session("directory = ◆\"users\""),
        &["there is no [directory.NAME]"],
    );
}

#[test]
fn a_revoke_claim_wants_a_directory_that_has_passwords() {
    let token = |more: &str| jwt(&format!("preset = \"simplejwt\"\n{SECRET}{more}"));
    refused(
        &token("revoke_claim = \"hash_password\"").replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.directory", "`revoke_claim` is compared"],
    );
    refused(
        &format!(
            "{USERS}{}",
            token("directory = \"users\"\nrevoke_claim = ◆\"\"")
        ),
        &["must name"],
    );
    let whole = token("directory = \"users\"\nrevoke_claim = \"hash_password\"");
    let loaded = good(&format!("{GOOD}{USERS}{whole}"));
    let more = &loaded.settings.authenticators[0];
    assert_eq!(more.directory, Some(DirectoryId(0)));
    assert!(
        matches!(&more.kind, AuthenticatorKind::Jwt(jwt) if jwt.revoke_claim.as_deref() == Some("hash_password"))
    );
    assert_eq!(loaded.settings.authenticators[1].directory, None);
}

#[test]
fn every_type_of_authenticator_takes_a_directory() {
    let certificate = GOOD.replace(
        "development = true",
        "development = true\nclient_auth = \"required\"\nclient_ca = \"Cargo.toml\"",
    );
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let keys = format!("keys = [{{ sha256 = \"{hash}\", user = \"7\" }}]");
    for (kind, more) in [
        ("api-key", keys.as_str()),
        ("basic", "htpasswd = \"Cargo.toml\""),
        ("client-certificate", "user = \"cn\""),
        ("flask-session", "store = \"redis://h\""),
        ("flask-cookie", SECRET),
        (
            "forward",
            "url = \"http://h/me\"\nidentity = { user = \"id\" }",
        ),
    ] {
        let more = authenticator(kind, &format!("{more}\ndirectory = \"users\""));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let loaded = load_text(
            &folder.join("gateway.toml"),
            &format!("{certificate}{USERS}{more}"),
            &environment(&[]),
        );
        let loaded = loaded.unwrap_or_else(|report| panic!("{kind}: {report}"));
        assert_eq!(
            loaded.settings.authenticators[0].directory,
            Some(DirectoryId(0)),
            "{kind}"
        );
    }
}

#[test]
fn flask_sessions_are_what_flask_session_keeps_by_default() {
    let flask = |more: &str| {
        let AuthenticatorKind::FlaskSession(session) =
            kind_of(&authenticator("flask-session", more))
        else {
            panic!()
        };
        *session
    };
    let plain = flask("store = \"redis://h/0\"");
    assert_eq!(
        (&*plain.key_prefix, &*plain.cookie),
        ("session:", "session")
    );
    assert_eq!(plain.signer, None);
    assert!(matches!(&plain.store, SessionStore::Redis(url) if url.expose() == "redis://h/0"));
    assert_eq!(plain.identity.user, ["_user_id", "user_id"]);
    assert_eq!(
        (
            plain.identity.others.roles.len(),
            plain.identity.others.email
        ),
        (0, None),
        "nothing but the user is taken unasked"
    );
    let signed = flask(&format!(
        "store = \"postgresql://h/db\"\nsigner = true\n{SECRET}key_prefix = \"\"\n\
         identity = {{ user = \"uid\", roles = [\"role\", \"a.b\"], name = \"n\" }}"
    ));
    assert_eq!((&*signed.key_prefix, signed.signer.unwrap().len()), ("", 1));
    assert!(matches!(&signed.store, SessionStore::Table { table, .. } if **table == *"sessions"));
    assert_eq!(signed.identity.user, ["uid"]);
    assert_eq!(signed.identity.others.roles, ["role", "a.b"]);
    assert_eq!(signed.identity.others.name.as_deref(), Some("n"));
}

#[test]
fn what_a_flask_session_lacks_or_does_not_read_is_a_mistake() {
    let flask = |more: &str| authenticator("flask-session", more);
    refused(
        &flask("").replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.store", "redis://", "postgres://"],
    );
    let redis = "store = \"redis://h\"";
    for (keys, word) in [
        (
            "store = ◆\"mongodb://h\"".to_owned(),
            "is not the address of a database",
        ),
        (
            format!("{redis}\n◆table = \"x\""),
            "does nothing with a Redis store",
        ),
        (
            format!("{redis}\n◆{SECRET}"),
            "does nothing without signer = true or a remember_cookie",
        ),
        (format!("{redis}\nsigner = ◆\"yes\""), "true or false"),
        (
            format!("{redis}\n◆file_names = \"md5\""),
            "does nothing with this store",
        ),
        (
            "store = \"file:/tmp\"\n◆table = \"x\"".to_owned(),
            "does nothing with a folder of files",
        ),
        (
            "store = \"file:/tmp\"\nfile_names = ◆\"sha1\"".to_owned(),
            "\"sha256\", \"md5\"",
        ),
        ("store = ◆\"file://\"".to_owned(), "names no folder"),
        (
            format!("{redis}\nsession_protection = ◆\"srong\""),
            "did you mean strong?",
        ),
        (
            format!("{redis}\nidentity = {{ user = ◆[] }}"),
            "nobody could be known",
        ),
        (
            format!("{redis}\nidentity = {{ email = ◆\"\" }}"),
            "must name a key",
        ),
        (
            format!("{redis}\nidentity = {{ ◆usr = \"x\" }}"),
            "did you mean user?",
        ),
    ] {
        refused(&flask(&keys), &[word]);
    }
    refused(
        &flask(&format!("{redis}\nsigner = true")).replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.secret", "is required"],
    );
}

#[test]
fn sessions_in_files_are_named_by_the_hash_of_the_apps_cachelib() {
    let store = |more: &str| {
        let session = kind_of(&authenticator("flask-session", more));
        let AuthenticatorKind::FlaskSession(session) = session else {
            panic!()
        };
        session.store
    };
    for (written, path) in [
        ("file:/tmp", "/tmp"),
        ("file:///tmp", "/tmp"),
        ("file:flask_session", "flask_session"),
    ] {
        let SessionStore::Files { folder, names } = store(&format!("store = \"{written}\"")) else {
            panic!()
        };
        assert!(folder.ends_with(path), "{written}: {}", folder.display());
        assert_eq!(names, FileNames::Sha256);
    }
    let old = store("store = \"file:/tmp\"\nfile_names = \"md5\"");
    assert!(matches!(
        old,
        SessionStore::Files {
            names: FileNames::Md5,
            ..
        }
    ));
}

#[test]
fn what_flask_login_adds_is_read_only_where_the_file_says_so() {
    let login = |more: &str| {
        let keys = format!("{SECRET}{more}");
        let AuthenticatorKind::FlaskCookie(cookie) = kind_of(&authenticator("flask-cookie", &keys))
        else {
            panic!()
        };
        cookie.login
    };
    assert_eq!(login(""), FlaskLogin::default());
    assert_eq!(
        login("session_protection = \"basic\""),
        FlaskLogin::default()
    );
    assert!(login("session_protection = \"strong\"").strong);
    let remember = login("remember_cookie = \"remember_token\"").remember;
    assert_eq!(&*remember.unwrap().cookie, "remember_token");
    let accents = authenticator(
        "flask-session",
        "store = \"redis://h\"\nremember_cookie = \"r\"\nsecret = [\"clé\", \"other\"]",
    );
    let AuthenticatorKind::FlaskSession(session) = kind_of(&accents) else {
        panic!()
    };
    assert_eq!(session.signer, None, "ids are bare nevertheless");
    let remember = session.login.remember.unwrap();
    assert_eq!(
        remember.secret.expose(),
        b"cl\xe9",
        "Latin-1, the first alone"
    );
}

#[test]
fn a_remember_cookie_that_could_never_be_read_is_a_mistake() {
    let cookie = |more: &str| authenticator("flask-cookie", more);
    for (keys, word) in [
        (
            format!("{SECRET}remember_cookie = ◆\"session\""),
            "is the session's own cookie",
        ),
        (
            format!("{SECRET}remember_cookie = ◆\"a b\""),
            "not a name for a cookie",
        ),
        (
            "secret = \"ключ\"\nremember_cookie = ◆\"r\"".to_owned(),
            "Latin-1",
        ),
    ] {
        refused(&cookie(&keys), &[word]);
    }
    let session = "store = \"redis://h\"\nremember_cookie = \"r\"";
    let session = authenticator("flask-session", session).replace("[auth.more]", "◆[auth.more]");
    refused(&session, &["auth.more.secret", "is required"]);
}

#[test]
fn a_flask_cookie_lasts_as_long_as_flask_says() {
    let AuthenticatorKind::FlaskCookie(cookie) = kind_of(&authenticator("flask-cookie", SECRET))
    else {
        panic!()
    };
    assert_eq!(cookie.lifetime, Duration::from_hours(31 * 24));
    assert_eq!(&*cookie.cookie, "session");
    assert_eq!(cookie.identity.user, ["_user_id", "user_id"]);
    refused(
        &authenticator("flask-cookie", "").replace("[auth.more]", "◆[auth.more]"),
        &["auth.more.secret"],
    );
    refused(
        &authenticator("flask-cookie", &format!("{SECRET}lifetime = ◆\"10ms\"")),
        &["out of range"],
    );
}
