//! Any text as gateway.toml, with one line as an override from the environment: it is loaded or
//! refused with words, and nothing panics.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (first, text) = input.split_once('\n').unwrap_or(("", input));
    let mut environment = BTreeMap::from([("KEY".to_owned(), "k".repeat(40))]);
    if let Some((name, value)) = first.split_once('=') {
        environment.insert(format!("PORTCULLIS_{name}"), value.to_owned());
    }
    if let Err(report) = portcullis::config::load_text(Path::new("gateway.toml"), text, &environment) {
        assert!(!report.problems.is_empty());
        let _ = report.to_string();
    }
});
