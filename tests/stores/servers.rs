//! Real servers in temporary folders, on free ports, ended with the test.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Account of servers that refuse to run as root; everyone has it.
const NOBODY: (u32, u32) = (65534, 65534);

/// A program, where it is installed: `None` after saying that the test is skipped.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    // Debian keeps PostgreSQL's programs by version, off the path.
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut versions: Vec<_> = versions
        .flatten()
        .map(|one| one.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    folders.splice(0..0, versions);
    let found = folders.iter().map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        let said = format!("{name} is not installed: sudo apt-get install {package}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{said}");
        eprintln!("SKIPPED: {said}");
    }
    found
}

/// A running server of any kind.
pub(crate) struct Server {
    child: Option<Child>,
    command: Box<dyn Fn() -> Command + Send>,
    folder: TempDir,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(
        folder: TempDir,
        port: u16,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        let mut server = Self {
            child: None,
            command: Box::new(command),
            folder,
            port,
        };
        server.up();
        server
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn up(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.path().join("server.log"))
            .unwrap();
        let mut command = (self.command)();
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap());
        self.child = Some(command.stdout(log).spawn().unwrap());
    }

    /// Ends it at once.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that was frozen must go on to end.
            signal("CONT", &tree(child.id()));
            // PostgreSQL ends its children on SIGQUIT, the others end on it too.
            signal("QUIT", &[child.id()]);
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if began.elapsed() > Duration::from_secs(10) {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Stops it and its children where they stand.
    pub(crate) fn freeze(&self) {
        signal("STOP", &tree(self.child.as_ref().unwrap().id()));
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        signal("CONT", &tree(self.child.as_ref().unwrap().id()));
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("server.log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
        if std::thread::panicking() {
            eprintln!("---- the server's log\n{}", self.log());
        }
    }
}

/// A process and its children, by their ids.
fn tree(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![id];
    all.extend(
        children
            .split_whitespace()
            .filter_map(|child| child.parse::<u32>().ok()),
    );
    all
}

fn signal(name: &str, ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    let done = Command::new("kill")
        .arg(format!("-{name}"))
        .args(ids)
        .status();
    assert!(done.is_ok());
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    })
}

/// A folder that the servers' account owns.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("stores-")
        .tempdir()
        .unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    if is_root() {
        chown(folder.path(), Some(NOBODY.0), Some(NOBODY.1)).unwrap();
    }
    folder
}

/// A command that does not run as root, and ends with the thread that began it.
pub(crate) fn lowly(program: &Path, at: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={}", NOBODY.0),
            format!("--regid={}", NOBODY.1),
        ]);
        command.args(["--clear-groups", "--pdeathsig", "KILL", "--"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(at).env("HOME", at).env_remove("LC_ALL");
    command
}

pub(crate) fn run(mut command: Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}");
}

/// A key and a certificate that nobody signed, in files that only the server may read.
pub(crate) fn certificate(at: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (at.join("cert.pem"), at.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    for file in [&certificate, &key] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(file, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
        }
    }
    (certificate, key)
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
