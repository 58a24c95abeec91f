//! The README stays true: every key, default, code, metric, log field, page and command that the
//! code knows stands in it, and each of its whole examples loads.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::config;
use portcullis::policy::denial::Code;
use portcullis::telemetry::names;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn readme() -> String {
    read("README.md")
}

/// The text from a heading to the next one of its level or above.
fn section(readme: &str, heading: &str) -> String {
    let found = readme.split_once(&format!("\n{heading}\n"));
    assert!(found.is_some(), "README has no heading {heading:?}");
    let (_, after) = found.unwrap();
    let level = heading.chars().take_while(|c| *c == '#').count();
    let mut fenced = false;
    let ends = |line: &&str| {
        fenced ^= line.starts_with("```");
        let marks = line.chars().take_while(|c| *c == '#').count();
        fenced || marks == 0 || marks > level
    };
    after
        .lines()
        .take_while(ends)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let rest = text.split(&fence).skip(1);
    rest.map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// What stands in backticks, code blocks left out.
fn quoted(text: &str) -> BTreeSet<String> {
    let outside: String = text.split("```").step_by(2).collect();
    let spans = outside.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}

/// Whether a name stands in backticks, alone or as a key of a table in them: `{ name = 1 }`.
fn tells(quoted: &BTreeSet<String>, name: &str) -> bool {
    quoted.contains(name)
        || quoted.iter().any(|span| {
            let mut words = span.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
            words.any(|word| word == name || word.rsplit('.').next() == Some(name))
        })
}

fn missing<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let quoted = quoted(text);
    let lacks = |name: &&str| !tells(&quoted, name);
    names.into_iter().filter(lacks).collect()
}

/// Every key of every table of the file, by the table's type in `src/config/raw`.
fn keys() -> BTreeMap<String, Vec<String>> {
    let mut tables = BTreeMap::new();
    for file in [
        "mod",
        "doors",
        "auth",
        "session",
        "directory",
        "route",
        "oidc",
    ] {
        let source = read(&format!("src/config/raw/{file}.rs"));
        for table in source.split("\ntable! {").skip(1) {
            let table = table.split("\n}\n").next().unwrap();
            let mut keys = Vec::new();
            let mut name = String::new();
            for line in table.lines().map(str::trim) {
                if let Some(opened) = line.strip_suffix(" {") {
                    opened.clone_into(&mut name);
                } else if let Some((key, _)) = line.split_once(": ")
                    && !line.starts_with("//")
                {
                    keys.push(key.trim_start_matches("r#").to_owned());
                } else if let Some(list) = line.strip_prefix("later {") {
                    keys.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
                }
            }
            assert!(!keys.is_empty(), "no keys found in {file}.rs: {table}");
            tables.insert(name, keys);
        }
    }
    tables
}

#[test]
fn every_key_of_the_file_stands_in_the_reference() {
    let reference = section(&readme(), "## gateway.toml");
    let tables = keys();
    assert!(tables.len() > 25, "the tables were not found: {tables:?}");
    for (table, keys) in &tables {
        if table == "File" {
            for key in keys {
                let there = ["[", "[["].iter().any(|open| {
                    let start = format!("{open}{key}");
                    let ends = |rest: &str| rest.starts_with([']', '.']);
                    reference.split(&start).skip(1).any(ends)
                });
                assert!(there, "the table [{key}] does not stand in README");
            }
            continue;
        }
        let absent = missing(&reference, keys.iter().map(String::as_str));
        assert!(
            absent.is_empty(),
            "keys of {table} not in README: {absent:?}"
        );
    }
}

#[test]
fn the_defaults_are_those_that_are_built_in() {
    let reference = section(&readme(), "## gateway.toml");
    let mut heading = String::new();
    let mut rows = BTreeMap::new();
    for line in reference.lines() {
        if line.starts_with("###") || line.starts_with("`[") {
            line.clone_into(&mut heading);
        } else if let [_, key, default, ..] = line.split(" | ").collect::<Vec<_>>()[..]
            .iter()
            .flat_map(|cell| cell.split("| "))
            .collect::<Vec<_>>()[..]
        {
            for name in key.split('`').skip(1).step_by(2) {
                rows.insert((heading.clone(), name.to_owned()), default.to_owned());
            }
        }
    }
    let mut table = String::new();
    let mut wrong = Vec::new();
    for line in read("src/config/defaults.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']');
            table = name.strip_prefix("each.").unwrap_or(name).to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let told = rows.iter().find(|((heading, name), _)| {
                let inside = [format!("[{table}]"), format!("[{table}.NAME]")];
                name == key
                    && inside
                        .iter()
                        .any(|inside| heading.contains(inside.as_str()))
            });
            let wanted = format!("`{value}`");
            match told {
                Some((_, default)) if *default == wanted => {}
                other => wrong.push(format!("[{table}] {key} = {value}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_refusal_code_stands_in_the_table_with_its_status() {
    let table = section(&readme(), "## Refusal codes");
    for code in Code::ALL {
        let name = format!("`{code}`");
        let status = code.status().as_u16().to_string();
        let with_status = |part: &str| part.contains(&name) && part.contains(&status);
        let in_row = table
            .lines()
            .any(|line| line.starts_with('|') && with_status(line));
        // Those of later versions stand in one sentence, each with its status behind it.
        let later = table.split("later versions: ").nth(1).unwrap_or_default();
        let in_sentence = later
            .split(" (")
            .collect::<Vec<_>>()
            .windows(2)
            .any(|pair| pair[0].contains(&name) && pair[1].starts_with(&status));
        assert!(in_row || in_sentence, "{code} {status}");
    }
}

#[test]
fn every_metric_stands_in_the_table_with_its_labels() {
    let table = section(&readme(), "### Metrics");
    for metric in names::ALL {
        let start = format!("| `{}` |", metric.name);
        let row = table.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("{} is not in README", metric.name));
        let told: Vec<_> = row
            .split(" | ")
            .nth(2)
            .unwrap()
            .split('`')
            .skip(1)
            .step_by(2)
            .collect();
        assert_eq!(told, metric.labels, "{}", metric.name);
    }
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), names::ALL.len(), "a metric that is no more");
}

#[test]
fn every_field_of_a_requests_line_stands_in_the_table() {
    let source = read("src/telemetry/access_log.rs");
    let shipped = source.split("#[cfg(test)]").next().unwrap();
    let mut fields = BTreeSet::from(["time", "level"]);
    for kind in ["text", "number", "bare", "plain", "millis", "display"] {
        let calls = shipped
            .split(&format!("line.{kind}(\""))
            .skip(1)
            .collect::<Vec<_>>();
        fields.extend(calls.into_iter().filter_map(|rest| rest.split('"').next()));
    }
    assert!(fields.len() > 20, "the fields were not found: {fields:?}");
    let absent = missing(&section(&readme(), "### Log"), fields);
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn every_admin_page_stands_in_the_table() {
    let source = read("src/admin/pages.rs");
    let at = source.split("match path {").nth(1).unwrap();
    let arms = at.split("_ =>").next().unwrap();
    let pages: Vec<_> = arms.split('"').skip(1).step_by(2).collect();
    assert!(pages.len() > 6, "the pages were not found: {pages:?}");
    let table = section(&readme(), "### Admin address");
    for page in pages.iter().filter(|page| **page != "/style.css") {
        assert!(table.contains(&format!("| `{page}` |")), "{page}");
    }
}

#[test]
fn every_command_stands_in_the_table() {
    let (mut help, mut err) = (Vec::new(), Vec::new());
    let arguments = ["portcullis", "--help"].map(OsString::from);
    portcullis::cli::main(arguments, &mut help, &mut err);
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| line.starts_with("  "));
    let table = section(&readme(), "## Command line");
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let row = format!("| `portcullis {command}");
        assert!(table.contains(&row), "{command}");
    }
}

#[test]
fn every_check_of_doctor_stands_in_its_table() {
    let table = section(&readme(), "### doctor");
    let absent = missing(&table, portcullis::cli::CHECKS.iter().copied());
    assert!(absent.is_empty(), "{absent:?}");
}

/// A folder with every file that the examples name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("certs")).unwrap();
    for file in ["certs/app.pem", "certs/app.key"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    folder
}

#[test]
fn each_whole_example_loads() {
    let folder = folder();
    let secret = "an-example-secret-of-more-than-32-bytes";
    let environment: BTreeMap<String, String> = [
        ("DJANGO_SECRET_KEY", secret),
        ("JWT_SECRET_KEY", secret),
        ("OIDC_SECRET", secret),
        ("ACME_SECRET", secret),
        ("SESSION_STORE", "redis://127.0.0.1:6379/0"),
        ("DATABASE_URL", "postgres://app:password@127.0.0.1/app"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut examples = blocks(&readme(), "toml");
    examples.push(read("gateway.toml"));
    assert!(examples.len() >= 3);
    for example in examples {
        let file = folder.path().join("gateway.toml");
        match config::load_text(&file, &example, &environment) {
            Ok(loaded) => assert!(
                loaded.warnings.is_empty(),
                "{:?}\n{example}",
                loaded.warnings
            ),
            Err(report) => panic!("{:#?}\n{example}", report.problems),
        }
    }
}

#[test]
fn what_the_documents_link_to_is_there() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
    ] {
        let text = read(document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            if let Some(anchor) = link.strip_prefix('#') {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| {
                    let title = line.trim_start_matches('#').trim().to_lowercase();
                    let kept = title
                        .chars()
                        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                    kept.collect::<String>().replace(' ', "-")
                });
                assert!(
                    anchors.any(|known| known == anchor),
                    "{document}: #{anchor}"
                );
            } else {
                assert!(
                    root().join(PathBuf::from(link)).exists(),
                    "{document}: {link}"
                );
            }
        }
    }
}

#[test]
fn alerts_and_dashboard_name_metrics_and_codes_that_are_there() {
    let mut named = 0;
    for file in [
        "prometheus/portcullis.rules.yml",
        "prometheus/rules_test.yml",
        "prometheus/rules_days_test.yml",
        "grafana/portcullis.json",
    ] {
        let text = read(&format!("deploy/{file}"));
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("portcullis_")) {
            let base = word.trim_end_matches("_bucket");
            assert!(
                names::ALL.iter().any(|metric| metric.name == base),
                "{file}: {word}"
            );
            named += 1;
        }
        for code in text.split("code=").skip(1) {
            let text = code
                .trim_start_matches(['~', '"'])
                .split('"')
                .next()
                .unwrap();
            for code in text.split('|').filter(|code| *code != "ok") {
                assert!(
                    Code::ALL.iter().any(|known| known.as_str() == code),
                    "{file}: {code}"
                );
            }
        }
    }
    assert!(named > 10);
}
