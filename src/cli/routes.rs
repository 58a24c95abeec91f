//! `portcullis routes`: the table of routes, in the order in which they win.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{load, print};
use crate::config::Loaded;
use crate::config::settings::Settings;
use crate::policy::host::HostPattern;
use crate::policy::requirement::{Admission, RoleRule};
use crate::policy::route::{Action, Route};

/// Exit 0, or 1 when the configuration has mistakes.
pub(super) fn run(
    file: &Path,
    as_json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let loaded = match load::configuration(file, err) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let rows = rows(&loaded);
    if as_json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        print(out, &format_args!("{:#}\n", Value::Array(rows)));
    } else {
        print(out, &table(&rows));
    }
    ExitCode::SUCCESS
}

const HEAD: [&str; 8] = [
    "HOST", "METHODS", "PATH", "AUTH", "ROLES", "CORS", "TARGET", "OBSERVE",
];

/// One host of one route.
struct Row {
    host: String,
    methods: Vec<String>,
    path: String,
    auth: String,
    roles: String,
    cors: Option<String>,
    target: String,
    observe: bool,
    /// Its place in the file, from 0.
    index: usize,
}

fn rows(loaded: &Loaded) -> Vec<Row> {
    let ordered = loaded.policy.routes.ordered().into_iter();
    ordered
        .map(|(host, route)| Row::new(host, route, &loaded.settings))
        .collect()
}

impl Row {
    fn new(host: Option<&HostPattern>, route: &Route, settings: &Settings) -> Self {
        let methods = route.methods.iter().flatten();
        Self {
            host: host.map_or_else(|| "*".to_owned(), ToString::to_string),
            methods: methods.map(ToString::to_string).collect(),
            path: route.pattern.as_str().to_owned(),
            auth: auth(route, settings),
            roles: roles(route),
            cors: route.cors.as_ref().map(|rule| rule.name.to_string()),
            target: target(route, settings),
            observe: route.requirement.observe,
            index: route.id.0,
        }
    }

    fn json(&self) -> Value {
        json!({
            "route": self.index,
            "host": self.host,
            "methods": self.methods,
            "path": self.path,
            "auth": self.auth,
            "roles": self.roles,
            "cors": self.cors,
            "target": self.target,
            "observe": self.observe,
        })
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        let methods = if self.methods.is_empty() {
            "*".to_owned()
        } else {
            self.methods.join(",")
        };
        [
            self.host.clone(),
            methods,
            self.path.clone(),
            self.auth.clone(),
            or_dash(&self.roles),
            or_dash(self.cors.as_deref().unwrap_or_default()),
            self.target.clone(),
            or_dash(if self.observe { "observe" } else { "" }),
        ]
    }
}

fn auth(route: &Route, settings: &Settings) -> String {
    let names = route.authenticators.iter();
    let names = names.filter_map(|id| settings.authenticators.get(id.0));
    let names = names.map(|known| known.name.as_ref()).collect::<Vec<_>>();
    match route.requirement.admission {
        Admission::Public => "public".to_owned(),
        Admission::Optional => format!("optional {}", names.join(",")),
        Admission::Required => names.join(","),
    }
}

fn roles(route: &Route) -> String {
    let RoleRule { any, all, none } = &route.requirement.roles;
    let mut parts = Vec::new();
    if !any.is_empty() {
        parts.push(any.join("|"));
    }
    if !all.is_empty() {
        parts.push(all.join("&"));
    }
    parts.extend(none.iter().map(|role| format!("!{role}")));
    if !route.requirement.users.is_empty() {
        parts.push(format!("users({})", route.requirement.users.len()));
    }
    let claims = route.requirement.claims.iter();
    parts.extend(claims.map(|(name, _)| format!("claim:{name}")));
    parts.join(" ")
}

fn target(route: &Route, settings: &Settings) -> String {
    match &route.action {
        Action::Forward(forward) => {
            let upstream = settings.upstreams.get(forward.upstream.0);
            upstream.map_or("?", |known| &known.name).to_owned()
        }
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
        Action::Redirect { status, .. } => format!("redirect {}", status.as_u16()),
        Action::Files(files) => format!("files {}", files.dir.display()),
        Action::Provider(door) => format!("sign-in of {}", door.name),
    }
}

/// Columns as wide as their widest cell.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        let row = |host: &str, path: &str| Row {
            host: host.to_owned(),
            methods: vec!["GET".to_owned()],
            path: path.to_owned(),
            auth: "public".to_owned(),
            roles: String::new(),
            cors: None,
            target: "app".to_owned(),
            observe: false,
            index: 0,
        };
        let text = table(&[row("a.example.com", "/x/"), row("*", "/a/longer/path/")]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let at = lines[0].find("PATH").unwrap();
        assert_eq!(lines[1].find("/x/"), Some(at));
        assert_eq!(lines[2].find("/a/longer/path/"), Some(at));
        assert!(lines.iter().all(|line| line.trim_end() == *line));
    }
}
