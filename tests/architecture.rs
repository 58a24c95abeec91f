//! The house stands as it was drawn: which room may use which, and which rooms stay pure.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the front door to the cellar. A room may use those after it, never those before.
const ROOMS: &[&str] = &[
    "main",
    "cli",
    "admin",
    "reload",
    "server",
    "pipeline",
    "gateway",
    "tls",
    "upstream",
    "signin",
    "limiter",
    "store",
    "auth",
    "telemetry",
    "config",
    "policy",
    "clock",
    "secret",
];

/// What a pure room does not contain: waiting, clocks, files, sockets, threads.
const IMPURE: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "clock::now",
    "clock::monotonic",
    "std::env",
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test(&path) {
                let inner = path.strip_prefix(&base).unwrap();
                let first = inner.components().next().unwrap().as_os_str();
                let top = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
                let code = fs::read_to_string(&path).unwrap();
                found.push((top, path.clone(), shipped(&code)));
            }
        }
    }
    found
}

/// Files that hold tests alone.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name == "testing" || name == "tests" || name.ends_with("_tests") || name.ends_with("_vectors")
}

/// The lines that ship: without tests, comments and documentation.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that `text` names by `crate::`.
fn used(text: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for rest in text.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let inside = group.split("};").next().unwrap_or_default();
            rooms.extend(
                inside
                    .split(',')
                    .filter_map(|part| part.trim().split("::").next()),
            );
        } else {
            rooms.extend(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next(),
            );
        }
    }
    rooms.retain(|room| ROOMS.contains(room));
    rooms
}

fn place(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

#[test]
fn every_file_stands_in_a_room_of_the_list() {
    let strays: Vec<_> = sources()
        .into_iter()
        .filter(|(room, _, _)| room != "lib" && place(room).is_none())
        .map(|(_, path, _)| path)
        .collect();
    assert!(strays.is_empty(), "not in a room of the list: {strays:?}");
}

#[test]
fn a_room_uses_only_rooms_that_stand_after_it() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        let Some(here) = place(&room) else { continue };
        for other in used(&text) {
            if place(other).is_some_and(|there| there < here) {
                wrong.push(format!("{}: {room} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_policy_room_stays_pure() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        if room != "policy" {
            continue;
        }
        for word in IMPURE {
            if text.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_its_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (_, path, _) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(&root).unwrap().display();
        assert!(
            text.starts_with("//! "),
            "{inside} does not open with its purpose"
        );
    }
}

#[test]
fn only_the_configuration_room_reads_figment_and_the_environment() {
    let mut users = BTreeMap::new();
    for (room, path, text) in sources() {
        if text.contains("figment::")
            || text.contains("std::env::var")
            || text.contains("env::vars")
        {
            users.insert(path, room);
        }
    }
    let strays: Vec<_> = users.iter().filter(|(_, room)| *room != "config").collect();
    assert!(strays.is_empty(), "{strays:?}");
}
