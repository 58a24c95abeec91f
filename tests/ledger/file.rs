//! The file: who may read it, who has it, what is told of damage, and what is left after kill -9.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::auth::ledger::{
    Cursor, Revocation, SessionId, SessionKey, SharedLedger, TokenMark,
};
use portcullis::clock;
use portcullis::store::ledger;
use tempfile::TempDir;

use crate::contract::keeps;
use crate::rig::{HOUR, begin, kept, list, load, renewed, tokens};

/// Names the file to a child of this test.
const CHILD: &str = "LEDGER_TEST_FILE";

fn home() -> (TempDir, PathBuf) {
    let folder = TempDir::with_prefix("ledger-").unwrap();
    let path = folder.path().join("data/portcullis.db");
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Opens a file that another handle of this process may still be closing.
fn open(path: &Path) -> SharedLedger {
    let began = Instant::now();
    loop {
        match ledger::in_file(path) {
            Ok(ledger) => return ledger,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The words of a file that is refused.
fn refused(path: &Path) -> String {
    let began = Instant::now();
    loop {
        let told = ledger::in_file(path).map(|_| ()).unwrap_err().to_string();
        if !told.contains("in use by") || began.elapsed() > Duration::from_secs(10) {
            return told;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_keeps_the_contract() {
    let (_folder, path) = home();
    let file = open(&path);
    keeps(&file, &file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_for_is_there_after_a_restart_and_private() {
    let (_folder, path) = home();
    let file = open(&path);
    let (id, session) = kept(&*file, "sarah").await;
    let next = renewed(&id, &session, "second");
    file.replace(id.key(), next).await.unwrap();
    let now = clock::now();
    let token = Revocation::of_token(TokenMark::of_token(b"x"), now.saturating_add(HOUR));
    let cursor = file.revoke(token.clone(), now).await.unwrap();
    drop(file);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(mode(&path.with_extension("db.lock")), 0o600);
    let bytes = std::fs::read(&path).unwrap();
    let cookie = id.cookie();
    let seen = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!seen(cookie.expose().as_bytes()) && !seen(b"second"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = open(&path);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        tokens(&id, &load(&*file, id.key()).await.unwrap()),
        "second"
    );
    let caught = file.revocations_since(Cursor::START, now).await.unwrap();
    assert_eq!((caught.revocations, caught.cursor), (vec![token], cursor));
    // The log's numbers go on, even where all before was swept.
    file.sweep(now.saturating_add(HOUR * 2)).await.unwrap();
    drop(file);
    let file = open(&path);
    let user = Revocation::of_user("sarah", now, now.saturating_add(HOUR)).unwrap();
    assert!(file.revoke(user, now).await.unwrap() > cursor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_in_use_names_who_has_it() {
    let (_folder, path) = home();
    let _file = open(&path);
    let told = ledger::in_file(&path).unwrap_err().to_string();
    let process = format!("is in use by the process {}", std::process::id());
    assert!(
        told.contains(&process) && told.contains("session.path"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_in_words_and_never_begun_anew() {
    let (_folder, path) = home();
    let file = open(&path);
    for number in 0..300 {
        kept(&*file, &format!("user{number}")).await;
    }
    drop(file);
    drop(open(&path));
    drop(open(&path));
    let whole = loop {
        // Closed when nobody holds the lock any more.
        let lock = std::fs::File::open(path.with_extension("db.lock")).unwrap();
        if lock.try_lock().is_ok() {
            break std::fs::read(&path).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let damages: [(&str, Vec<u8>); 5] = [
        ("emptied", Vec::new()),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("overwritten", vec![0; whole.len()]),
        (
            "another file",
            b"[session]\nstore = \"memory\"\n".repeat(200),
        ),
        ("one byte short of a header", whole[..100].to_vec()),
    ];
    for (what, bytes) in damages {
        std::fs::write(&path, &bytes).unwrap();
        let told = refused(&path);
        assert!(told.contains("is damaged"), "{what}: {told}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "{what}: it was changed"
        );
    }
    // A flipped bit in any page that holds something is found, or it was in no use.
    let mut found = 0;
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096 + 64] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        match ledger::in_file(&path) {
            Err(problem) => {
                assert!(problem.to_string().contains("is damaged"), "{problem}");
                found += 1;
            }
            Ok(file) => {
                assert_eq!(list(&*file, None, 500).await.len(), 300, "page {page}");
                drop(file);
                let lock = std::fs::File::open(path.with_extension("db.lock")).unwrap();
                while lock.try_lock().is_err() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
    assert!(found > 10, "{found} damaged pages were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_share_one_step_to_the_disk() {
    let (_folder, path) = home();
    let file = open(&path);
    kept(&*file, "first").await;
    let began = Instant::now();
    let mut making = Vec::new();
    for number in 0..1000 {
        let file = Arc::clone(&file);
        making.push(tokio::spawn(async move {
            kept(&*file, &format!("user{number}")).await;
        }));
    }
    for one in making {
        one.await.unwrap();
    }
    // One by one they would take that many writes to the disk.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(list(&*file, None, 500).await.len(), 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sweep_takes_all_that_is_over_however_much_it_is() {
    let (_folder, path) = home();
    let file = open(&path);
    let now = clock::now();
    for batch in 0..10 {
        let noted = (0..500).map(|number| {
            let mark = TokenMark::of_jti("app", &format!("{batch}-{number}"));
            let until = now.saturating_add(if number == 0 { HOUR * 9 } else { HOUR });
            tokio::spawn(file.revoke(Revocation::of_token(mark, until), now))
        });
        for one in noted.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
    }
    let later = now.saturating_add(HOUR * 2);
    assert_eq!(file.sweep(later).await.unwrap(), 4990);
    let left = file.revocations_since(Cursor::START, now).await.unwrap();
    assert_eq!(left.revocations.len(), 10);
}

#[test]
#[ignore = "it is what the child of the next test does, and ends by being killed"]
fn child_that_signs_in_until_it_is_killed() {
    let path = std::env::var_os(CHILD).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let file = open(Path::new(&path));
        let mut tasks = Vec::new();
        for task in 0..64 {
            let file = Arc::clone(&file);
            tasks.push(tokio::spawn(async move {
                for number in 0..100_000 {
                    let (id, session) = begin(&format!("{task}-{number}"));
                    file.create(id.key(), session.clone()).await.unwrap();
                    say(&format!("kept {}", id.key()));
                    if number % 3 == 0 {
                        let (new, step) = SessionId::succeed(id.key()).unwrap();
                        say(&format!("moving {} {}", id.key(), new.key()));
                        let moved = renewed(&new, &session, "moved");
                        file.rotate(step, moved).await.unwrap();
                        say(&format!("moved {} {}", id.key(), new.key()));
                    }
                }
            }));
        }
        for one in tasks {
            one.await.unwrap();
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_every_session_that_was_answered_for_is_there() {
    let (_folder, path) = home();
    let mut kept: Vec<SessionKey> = Vec::new();
    let mut moves: Vec<(SessionKey, SessionKey, bool)> = Vec::new();
    for round in 0..6_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "file::child_that_signs_in_until_it_is_killed",
                "--nocapture",
                "--ignored",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Killed)
            .unwrap();
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut heard = 0;
        // At another moment each time, thousands in all.
        let enough = 900 + round * 377;
        for line in lines.map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["kept", key] => kept.push(key.parse().unwrap()),
                ["moving", old, new] => {
                    moves.push((old.parse().unwrap(), new.parse().unwrap(), false));
                }
                ["moved", old, _] => {
                    let old: SessionKey = old.parse().unwrap();
                    let known = moves.iter_mut().rev().find(|(known, ..)| *known == old);
                    known.unwrap().2 = true;
                }
                _ => continue,
            }
            heard += 1;
            if heard == enough {
                child.0.kill().unwrap();
            }
        }
        drop(child);
        let file = open(&path);
        for key in &kept {
            let Some((_, new, done)) = moves.iter().find(|(old, ..)| old == key) else {
                assert!(
                    load(&*file, *key).await.is_some(),
                    "round {round}: lost {key}"
                );
                continue;
            };
            let (before, after) = (load(&*file, *key).await, load(&*file, *new).await);
            assert!(
                before.is_some() != after.is_some(),
                "{key} is under both or none"
            );
            assert!(!done || after.is_some(), "{key} moved and is back");
        }
    }
    assert!(kept.len() > 3000, "{} sessions", kept.len());
}
