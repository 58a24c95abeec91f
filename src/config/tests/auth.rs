//! Authenticators: keys that fit, secrets that are strong and not repeated, presets.

use super::*;

#[test]
fn algorithms_and_keys_must_fit_each_other() {
    let secret = "secret = { env = \"KEY\" }";
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"RS256\"]")),
        &["RS256 does not fit `secret`", "`public_key`"],
    );
    refused(
        &jwt("jwks = \"https://a.example/jwks\"\nalgorithms = [◆\"HS256\"]"),
        &["HS256 does not fit `jwks`"],
    );
    refused(
        &jwt("public_key = ◆\"missing.pem\"\nalgorithms = \"ES256\""),
        &["there is no file", "missing.pem"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\npublic_key = ◆\"missing.pem\""),
        &["preset simplejwt's HS256 does not fit `public_key`"],
    );
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"none\"]")),
        &["\"none\"", "\"HS256\""],
    );
    refused(
        &jwt(&format!("{secret}\nalgorithms = [◆\"HS265\"]")),
        &["did you mean HS256?"],
    );
    refused(
        &format!("◆[auth.more]\ntype = \"jwt\"\n{secret}"),
        &["auth.more.algorithms", "required without a preset"],
    );
    refused(
        "◆[auth.more]\ntype = \"jwt\"\npreset = \"simplejwt\"",
        &["`secret`, `public_key` and `jwks` is required"],
    );
    refused(
        &jwt(
            &format!("preset = \"simplejwt\"\n{secret}\n◆jwks = \"https://a.example/\"")
                .replace("◆jwks = ", "jwks = ◆"),
        ),
        &["only one of"],
    );
    refused(
        &jwt(&format!("{secret}\npreset = ◆\"simple-jwt\"")),
        &["did you mean simplejwt?"],
    );
    refused(
        "◆[auth.more]\ntype = \"jwt\"\npreset = \"oidc\"",
        &["auth.more.issuer", "keys are found through it"],
    );
    refused("[auth.more]\ntype = ◆\"jtw\"", &["did you mean jwt?"]);
    refused(
        "◆[auth.more]\nsecret = \"x\"",
        &["auth.more.type", "is required"],
    );
}

#[test]
fn weak_and_missing_secrets_are_refused_and_never_repeated() {
    let with = |secret: &str| jwt(&format!("preset = \"simplejwt\"\nsecret = ◆{secret}"));
    for weak in [
        "\"hunter2\"",
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
        "\"\"",
    ] {
        refused(&with(weak), &["auth.more.secret"]);
        assert!(!bad(&format!("{GOOD}{}", with(weak).replace('◆', ""))).contains("hunter2"));
    }
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = ◆\"NOT_SET\" }"),
        &["\"NOT_SET\"", "not set"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { file = ◆\"not-there\" }"),
        &["\"not-there\""],
    );
    refused(&with("{}"), &["`env` and `file`"]);
    refused(
        &with("{ env = \"KEY\", file = \"x\" }"),
        &["`env` and `file`"],
    );
    refused(&with("[]"), &["must not be empty"]);
    let report = bad("[admin]\ntoken = 1234567\n[auth.a]\ntype = \"jwt\"\nsecret = 7654321\n");
    assert!(
        !report.contains("1234567") && !report.contains("7654321"),
        "{report}"
    );
    let report = bad("[admin]\ntoken = \"hunter2");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_secret_in_plain_text_works_and_is_warned_of() {
    let secret = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OQ==";
    let text = GOOD.replace(
        "{ env = \"KEY\" }",
        &format!("[{{ env = \"KEY\" }}, \"{secret}\"]"),
    );
    let loaded = good(&text);
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert_eq!(warning.key, "auth.token.secret[1]");
    assert!(warning.to_string().contains("plain text") && !warning.to_string().contains(secret));
    assert!(!format!("{:?}", loaded.settings).contains(secret));
}

#[test]
fn a_secret_file_is_read_without_its_last_line_break_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "a secret of more than 32 letters, with blanks \n";
    std::fs::write(folder.path().join("key"), format!("{secret}\r\n")).unwrap();
    let text = GOOD.replace("{ env = \"KEY\" }", "{ file = \"key\" }");
    let file = folder.path().join("gateway.toml");
    let loaded = load_text(&file, &text, &environment(&[])).unwrap();
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    let KeySource::Secrets(secrets) = &jwt.keys else {
        panic!()
    };
    assert_eq!(secrets[0].expose(), secret.as_bytes());
    assert_eq!(loaded.settings.watched, [file, folder.path().join("key")]);
}

#[test]
fn client_certificates_need_tls_that_asks_for_them() {
    let more = "◆[auth.more]\ntype = \"client-certificate\"\nuser = \"cn\"";
    refused(more, &["no client ever shows a certificate"]);
    refused(
        "[auth.more]\ntype = \"client-certificate\"\nuser = ◆\"san\"",
        &["\"san-email\""],
    );
    let required = GOOD.replace(
        "development = true",
        "development = true\nclient_auth = \"required\"",
    );
    assert!(bad(&required).contains("needs `client_ca`"));
    let dangling = GOOD.replace(
        "development = true",
        "development = true\nclient_ca = \"ca.pem\"",
    );
    assert!(bad(&dangling).contains("does nothing while `client_auth`"));
}

#[test]
fn api_keys_are_hashes_with_a_user() {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let keys = |keys: &str| format!("[auth.more]\ntype = \"api-key\"\nkeys = {keys}");
    refused(
        &keys("[{ sha256 = ◆\"hunter2\", user = \"ci\" }]"),
        &["not a SHA-256", "sha256sum"],
    );
    refused(
        &keys(&format!("[◆{{ sha256 = \"{hash}\" }}]")),
        &["keys[0].user", "is required"],
    );
    refused(
        &keys(&format!("[{{ sha256 = \"{hash}\", user = ◆\" \" }}]")),
        &["not a user"],
    );
    refused(
        &keys(&format!(
            "[{{ sha256 = \"{hash}\", user = \"a\" }}, ◆{{ sha256 = \"{hash}\", user = \"b\" }}]"
        )),
        &["is that of \"a\" too"],
    );
    refused(&keys("◆[]"), &["must not be empty"]);
    refused("◆[auth.more]\ntype = \"api-key\"", &["`keys` and `file`"]);
    refused(
        &format!(
            "{}\nsources = [◆\"heder:x\"]",
            keys(&format!("[{{ sha256 = \"{hash}\", user = \"a\" }}]"))
        ),
        &["did you mean header?"],
    );
    refused(
        "◆[auth.more]\ntype = \"basic\"",
        &["auth.more.htpasswd", "is required"],
    );
}

#[test]
fn a_file_of_api_keys_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let file = folder.path().join("gateway.toml");
    let text = format!("{GOOD}[auth.more]\ntype = \"api-key\"\nfile = \"keys\"");
    let load = |keys: &str| {
        std::fs::write(folder.path().join("keys"), keys).unwrap();
        load_text(&file, &text, &environment(&[]))
    };
    let loaded = load(&format!(
        "# comment\n\n{hash} ci deploy,read\n{}  me\n",
        hash.replace('9', "8")
    ))
    .unwrap();
    let AuthenticatorKind::ApiKey(keys) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(keys.keys[0].roles, ["deploy", "read"]);
    assert_eq!(
        (keys.keys[1].user.as_str(), keys.keys[1].roles.len()),
        ("me", 0)
    );
    let report = load(&format!("{hash} ci\nnonsense\n{hash} ci a b\n{hash}"))
        .unwrap_err()
        .to_string();
    for line in ["keys:2:1: ", "keys:3:1: ", "keys:4:1: "] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

#[test]
fn presets_stand_for_what_the_libraries_do_and_any_key_goes_before_them() {
    let kind = |more: &str| {
        let loaded = good(&format!("{GOOD}{}", jwt(more)));
        let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
            panic!()
        };
        jwt.as_ref().clone()
    };
    let secret = "secret = { env = \"KEY\" }\n";
    let flask = kind(&format!("{secret}preset = \"flask-jwt-extended\""));
    assert!(flask.csrf_double_submit);
    assert_eq!(
        flask.sources[1],
        Source::Cookie("access_token_cookie".into())
    );
    assert_eq!(flask.leeway.as_secs(), 30);
    let simple = kind(&format!(
        "{secret}preset = \"simplejwt\"\nrequire = {{ city = \"x\" }}\nidentity = {{ user = \"sub\" }}"
    ));
    assert_eq!(simple.leeway.as_secs(), 0);
    assert_eq!(simple.identity.user, "sub");
    let claims: Vec<_> = simple
        .require
        .iter()
        .map(|(claim, _)| claim.as_str())
        .collect();
    assert_eq!(
        claims,
        ["token_type", "jti", "city"],
        "a refresh token never passes as access"
    );
    let oidc = kind("preset = \"oidc\"\nissuer = \"https://issuer.example\"");
    assert!(matches!(
        oidc.keys,
        KeySource::JwksUrl(JwksUrl {
            discovery: true,
            ..
        })
    ));
    let given = kind(
        "preset = \"oidc\"\nissuer = [\"https://a.example\", \"b\"]\njwks = \"https://a.example/keys\"",
    );
    assert!(matches!(
        given.keys,
        KeySource::JwksUrl(JwksUrl {
            discovery: false,
            ..
        })
    ));
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nleeway = ◆\"1h\""),
        &["at most \"10m\""],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = ◆[]"),
        &["must not be empty"],
    );
    refused(
        &jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = [◆\"cookie:a b\"]"),
        &["not a name for a cookie"],
    );
    refused(
        &jwt("preset = \"oidc\"\nissuer = \"https://a.example\"\njwks_refresh = ◆\"0s\""),
        &["more than zero"],
    );
}

#[test]
fn no_credential_is_looked_for_in_an_identity_header() {
    let more =
        "preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = ◆[\"header:x_auth_user\"]";
    refused(&jwt(more), &["cannot sit in an identity header"]);
    let stripped =
        jwt("preset = \"simplejwt\"\nsecret = { env = \"KEY\" }\nsources = [\"header:x-token\"]");
    good(&format!(
        "{GOOD}{stripped}[identity]\nstrip = [\"X-Token\"]"
    ));
}
