//! Runs a script with the app's own interpreter: in bounded time, with bounded output.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::findings::Findings;
use crate::clock;
use crate::config::{Environment, ProcessEnvironment};

/// How long the app may take to be imported and looked at.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long its output may come after its end: a child that it left behind may hold it open.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// The longest output that is read, in bytes.
const OUTPUT: u64 = 1 << 20;
/// How much of its complaints is shown, in lines.
const SHOWN: usize = 30;
/// Stands alone on the line before the findings.
const MARKER: &str = "portcullis-init-findings:";

/// What is run.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: &'static str,
    /// Its one argument.
    pub(super) argument: OsString,
    /// The app's folder.
    pub(super) folder: PathBuf,
}

/// Looks at the app. What goes wrong comes back in words for a person.
pub(super) fn look(python: Option<&Path>, script: &Script) -> Result<Findings, String> {
    let python = match python {
        Some(path) => path.to_path_buf(),
        None => found(&script.folder, &ProcessEnvironment),
    };
    run(&python, script, LIMIT)
}

/// The app's interpreter: of the environment that is active, or of one beside the app, or any.
fn found(folder: &Path, environment: &dyn Environment) -> PathBuf {
    let active = environment.variable("VIRTUAL_ENV").map(PathBuf::from);
    let beside = [".venv", "venv", "env", "../.venv", "../venv"];
    let mut places = active
        .into_iter()
        .chain(beside.map(|name| folder.join(name)));
    let found = places.find_map(|place| {
        let python = place.join("bin/python");
        python.exists().then_some(python)
    });
    found.unwrap_or_else(|| PathBuf::from("python3"))
}

fn run(python: &Path, script: &Script, limit: Duration) -> Result<Findings, String> {
    let name = python.display();
    let mut child = Command::new(python)
        .arg("-c")
        .arg(script.text)
        .arg(&script.argument)
        .current_dir(&script.folder)
        // Nothing of the app is written to, caches of bytecode neither.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!("{name} cannot be run: {error}; name the app's interpreter with --python PATH")
        })?;
    let out = reader(child.stdout.take());
    let complaints = reader(child.stderr.take());
    let ended = wait(&mut child, limit);
    let complaints = complaints.recv_timeout(AFTERWARDS).unwrap_or_default();
    let complaints = last_lines(&complaints);
    match ended {
        Some(true) => {}
        Some(false) => {
            return Err(format!(
                "the app could not be looked at with {name}; it needs the interpreter, the variables and \
                 the folder that it runs with (--python PATH, export NAME=...). It said:\n{complaints}"
            ));
        }
        None => {
            return Err(format!(
                "the app was not there within {} s of {name}; does it wait for something while it is \
                 imported? It said:\n{complaints}",
                limit.as_secs()
            ));
        }
    }
    let out = out.recv_timeout(AFTERWARDS).unwrap_or_default();
    if out.len() as u64 >= OUTPUT {
        return Err(format!("what {name} found is longer than 1 MiB"));
    }
    read(&out)
        .map_err(|why| format!("what {name} found cannot be read: {why}. It said:\n{complaints}"))
}

/// Reads a pipe to its end or to the limit. The thread ends with the pipe; past the limit nobody reads,
/// and whoever writes on is ended by the time limit.
fn reader(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (to, from) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut held = Vec::new();
        if let Some(pipe) = pipe {
            let _what_came_counts = pipe.take(OUTPUT).read_to_end(&mut held);
        }
        let _nobody_waits = to.send(held);
    });
    from
}

/// Whether the child ended well; `None` where it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let start = clock::monotonic();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if clock::monotonic().duration_since(start) < limit => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                let _gone = child.kill().and_then(|()| child.wait());
                return None;
            }
        }
    }
}

fn read(out: &[u8]) -> Result<Findings, String> {
    let text = String::from_utf8_lossy(out);
    let mut lines = text.lines().skip_while(|line| *line != MARKER).skip(1);
    let found = lines.next().ok_or("nothing was printed")?;
    serde_json::from_str(found).map_err(|error| error.to_string())
}

/// The end of what was said, without what could move a terminal's cursor.
fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let clean = |letter: char| letter == '\n' || letter == '\t' || !letter.is_control();
    let text: String = text.chars().filter(|letter| clean(*letter)).collect();
    let lines: Vec<_> = text.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN);
    let kept: Vec<_> = lines.into_iter().skip(skipped).collect();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    fn script(text: &'static str) -> Script {
        Script {
            text,
            argument: OsString::from("x"),
            folder: PathBuf::from("/"),
        }
    }

    fn python() -> PathBuf {
        PathBuf::from("python3")
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_told_with_what_to_do() {
        let told = run(Path::new("/no/such/python"), &script(""), LIMIT).unwrap_err();
        assert!(
            told.contains("/no/such/python") && told.contains("--python"),
            "{told}"
        );
    }

    #[test]
    fn what_an_app_prints_at_import_is_not_taken_for_findings() {
        let text = "print('hello'); print('portcullis-init-findings:'); print('{\"framework\": \"flask\"}')";
        let found = run(&python(), &script(text), LIMIT).unwrap();
        assert!(matches!(found, Findings::Flask(_)));
        let told = run(&python(), &script("print('hello')"), LIMIT).unwrap_err();
        assert!(told.contains("nothing was printed"), "{told}");
    }

    #[test]
    fn a_failure_shows_what_the_app_said() {
        let text = "import sys; sys.stderr.write('KeyError: SECRET\\x1b[2J\\n'); sys.exit(1)";
        let told = run(&python(), &script(text), LIMIT).unwrap_err();
        assert!(
            told.contains("KeyError: SECRET[2J") && told.contains("export"),
            "{told}"
        );
    }

    #[test]
    fn an_app_that_hangs_is_ended() {
        let text = "import time; time.sleep(60)";
        let start = clock::monotonic();
        let told = run(&python(), &script(text), Duration::from_millis(300)).unwrap_err();
        assert!(told.contains("within"), "{told}");
        assert!(clock::monotonic().duration_since(start) < Duration::from_secs(20));
    }

    #[test]
    fn output_without_end_is_not_held() {
        let text = "import sys\nwhile True: sys.stdout.write('x' * 65536)";
        let told = run(&python(), &script(text), Duration::from_secs(2)).unwrap_err();
        assert!(told.len() < 10_000);
    }

    #[test]
    fn the_active_environment_goes_before_one_beside_the_app() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let bin = folder.path().join(name).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("python"), "").unwrap();
            bin.join("python")
        };
        let nothing = BTreeMap::new();
        assert_eq!(found(folder.path(), &nothing), python());
        let beside = make("venv");
        assert_eq!(found(folder.path(), &nothing), beside);
        let active = make("active");
        let place = folder.path().join("active").display().to_string();
        let environment = BTreeMap::from([("VIRTUAL_ENV".to_owned(), place)]);
        assert_eq!(found(folder.path(), &environment), active);
    }
}
