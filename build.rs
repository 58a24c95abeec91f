//! Tells the binary what it was built from: commit, target, profile and features, for `--version`.
//!
//! The commit comes from `BUILD_COMMIT` where that is set, and from git in a release build. A build
//! without either works and says so. Nothing of the machine goes into the binary.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script what it builds by the environment"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    println!("cargo::rerun-if-env-changed=BUILD_DATE");
    let profile = env::var("PROFILE").unwrap_or_default();
    let commit = given().or_else(|| of_git(&profile));
    tell(
        "BUILT_COMMIT",
        &commit.unwrap_or_else(|| "not recorded".to_owned()),
    );
    tell("BUILT_ON", &day().unwrap_or_default());
    tell("BUILT_FOR", &env::var("TARGET").unwrap_or_default());
    tell("BUILT_FEATURES", &features());
    tell("BUILT_PROFILE", &profile);
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

/// Cargo's features of the package that are switched on.
fn features() -> String {
    let names = env::vars().filter_map(|(name, _)| {
        let name = name.strip_prefix("CARGO_FEATURE_")?;
        Some(name.to_lowercase().replace('_', "-"))
    });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// What whoever builds says; letters and digits alone.
fn given() -> Option<String> {
    let commit = env::var("BUILD_COMMIT").ok()?;
    plain(commit.trim())
}

fn plain(commit: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
    (!commit.is_empty() && commit.len() <= 64 && commit.chars().all(is_plain))
        .then(|| commit.to_owned())
}

/// The commit's day, for the manual: `BUILD_DATE` where that is set, as in 2026-01-31.
fn day() -> Option<String> {
    let day = env::var("BUILD_DATE")
        .ok()
        .and_then(|day| plain(day.trim()));
    day.or_else(|| plain(&git(&["show", "--no-patch", "--format=%cs", "HEAD"])?))
}

/// What git says of this folder, which has to be a checkout of its own.
fn git(arguments: &[&str]) -> Option<String> {
    let folder = env::var("CARGO_MANIFEST_DIR").ok()?;
    if !Path::new(&folder).join(".git").exists() {
        return None;
    }
    let mut git = Command::new("git");
    let done = git.args(arguments).current_dir(&folder).output().ok()?;
    let said = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| said.trim().to_owned())
}

/// The commit that is checked out. A build for development does without: each commit would make it
/// all anew.
fn of_git(profile: &str) -> Option<String> {
    if profile != "release" {
        return None;
    }
    // Written with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let ending = if changed.is_empty() { "" } else { "-changed" };
    plain(&format!("{commit}{ending}"))
}
