//! Whole files, good and bad: what `load` makes of them and what it says.

use std::collections::BTreeMap;

use super::settings::*;
use super::*;

/// A file without a mistake.
const GOOD: &str = r#"
[tls]
development = true

[upstream.app]
servers = ["http://127.0.0.1:8000"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "KEY" }

[cors.web]
origins = ["https://page.example.com"]
credentials = true

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["staff"]
cors = "web"
"#;

fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let key = ("KEY", "0123456789abcdefghijklmnopqrstuvwxyz");
    [key]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_with(text: &str, more: &[(&str, &str)]) -> Result<Loaded, Report> {
    load_text(Path::new("gateway.toml"), text, &environment(more))
}

fn good(text: &str) -> Loaded {
    load_with(text, &[]).unwrap_or_else(|report| panic!("{report}"))
}

fn bad(text: &str) -> String {
    load_with(text, &[]).map_or_else(|report| report.to_string(), |_| panic!("was loaded"))
}

#[test]
fn a_file_without_a_mistake_becomes_policy_and_settings() {
    let loaded = good(GOOD);
    assert_eq!(loaded.warnings, []);
    let [upstream] = &loaded.settings.upstreams[..] else {
        panic!("{:?}", loaded.settings.upstreams)
    };
    assert_eq!(upstream.connections, 256);
    let AuthenticatorKind::Jwt(jwt) = &loaded.settings.authenticators[0].kind else {
        panic!()
    };
    assert_eq!(jwt.algorithms, [Algorithm::HS256]);
    assert_eq!(jwt.identity.user, "user_id");
}
