//! What the demo prints: what to open, and five lines to try.

use std::fmt;
use std::path::Path;

use super::files::Addresses;
use super::people::PEOPLE;

/// The text, for these addresses.
pub(super) struct Guide<'a> {
    pub(super) addresses: &'a Addresses,
    pub(super) folder: &'a Path,
    /// What the binary is called by.
    pub(super) program: &'a Path,
}

/// A command that signs in and leaves the access token on stdout.
fn token(gateway: &str, name: &str) -> String {
    let person = PEOPLE.iter().find(|person| person.name == name);
    let password = person.map_or("", |person| person.password);
    format!(
        "curl -sk -d 'username={name}&password={password}' {gateway}/api/login/ \
         | sed -n 's/.*\"access\": *\"\\([^\"]*\\)\".*/\\1/p'"
    )
}

impl Guide<'_> {
    /// The five lines: each works by itself in a shell of its own.
    pub(super) fn lines(&self) -> [String; 5] {
        let gateway = self.addresses.gateway();
        let page = self.addresses.page();
        let bearer = |name| format!("-H \"Authorization: Bearer $({})\"", token(&gateway, name));
        [
            format!("curl -sk {gateway}/health/  # 200, a public route"),
            format!("curl -sk {gateway}/api/me/  # 401 credentials_missing"),
            format!(
                "curl -sk {gateway}/api/reports/ {}  # 403 role_missing: a technician is no supervisor",
                bearer("tara")
            ),
            format!(
                "curl -sk {gateway}/api/echo/ -H 'X-Auth-User: root' -H 'X_Auth_User: root' {}  \
                 # 200, and the app saw the user sina, not root",
                bearer("sina")
            ),
            format!(
                "curl -sk -i -X OPTIONS {gateway}/api/me/ -H 'Origin: {page}' \
                 -H 'Access-Control-Request-Method: GET' \
                 -H 'Access-Control-Request-Headers: authorization'  \
                 # 204, a preflight from the other origin"
            ),
        ]
    }
}

impl fmt::Display for Guide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses;
        let (gateway, admin) = (addresses.gateway(), addresses.admin());
        writeln!(f, "\nPortcullis is in front of a small app. Open:\n")?;
        writeln!(f, "  {gateway}/  the app, through the gateway")?;
        let page = addresses.page();
        writeln!(f, "  {page}/  a page on another origin that calls it")?;
        writeln!(f, "  {admin}/metrics  what the gateway counts")?;
        writeln!(f, "  http://{}/  the app itself, unguarded", addresses.app)?;
        let certificate = self.folder.join("certs/portcullis-ca.pem");
        writeln!(
            f,
            "\nThe certificate is of a CA made for this demo: {}",
            certificate.display()
        )?;
        writeln!(f, "\nUsers:\n")?;
        for person in &PEOPLE {
            let (name, password, role) = (person.name, person.password, person.role);
            writeln!(f, "  {name}  {password:<13} {role}")?;
        }
        writeln!(f, "\nFive lines to try:\n")?;
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let file = self.folder.join("gateway.toml");
        writeln!(f, "\nAsk why, without sending anything:\n")?;
        writeln!(
            f,
            "{} explain --config {} GET {gateway}/api/reports/",
            self.program.display(),
            file.display()
        )?;
        writeln!(f, "\nCtrl-C ends it.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed() -> String {
        let addresses = Addresses::for_tests();
        let guide = Guide {
            addresses: &addresses,
            folder: Path::new("/tmp/demo"),
            program: Path::new("portcullis"),
        };
        guide.to_string()
    }

    #[test]
    fn exactly_five_lines_begin_with_curl_and_end_in_what_to_expect() {
        let text = printed();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("curl "))
            .collect();
        assert_eq!(lines.len(), 5);
        let statuses = lines
            .iter()
            .map(|line| line.rsplit("# ").next().unwrap().get(..3).unwrap());
        assert_eq!(
            statuses.collect::<Vec<_>>(),
            ["200", "401", "403", "200", "204"]
        );
        for line in lines {
            assert_eq!(line.matches('#').count(), 1, "{line}");
            assert!(line.contains("https://localhost:8443/"), "{line}");
        }
    }

    #[test]
    fn everyones_password_is_printed() {
        for person in &PEOPLE {
            assert!(printed().contains(person.password));
        }
    }
}
