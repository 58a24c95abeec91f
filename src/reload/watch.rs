//! Tells which of the watched files changed.
//!
//! Events of the system only say when to look; what changed is found by comparing each file with
//! what it was. So it does not matter how a file is renewed: written in place, renamed over, or by
//! the swap of a symlink anywhere on its path (certbot's `live/`, Kubernetes' `..data`). Where the
//! system cannot watch a folder, the files are looked at every few seconds instead.
//!
//! One thread does this. It ends when the [`FileWatch`] is dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::clock;

/// Twice this long a file must rest before its change is told, so that it is read whole.
const SETTLE: Duration = Duration::from_millis(100);
/// A file that never rests is told of all the same.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
/// Between two looks where the system tells of changes: some file systems do not.
const LOOK_WATCHED: Duration = Duration::from_secs(30);
/// Between two looks where the system cannot watch.
const LOOK_UNWATCHED: Duration = Duration::from_secs(3);
/// As the kernel has it: more symlinks on one path are a loop.
const SYMLINKS_AT_MOST: usize = 40;

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct FileWatch {
    changes: mpsc::Receiver<Vec<PathBuf>>,
    bell: Arc<Bell>,
}

impl FileWatch {
    /// Starts to watch `paths`, whether they exist or not. Changes from now on are told.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(paths: Vec<PathBuf>) -> io::Result<Self> {
        let (tell, changes) = mpsc::channel(1);
        let bell = Arc::new(Bell::default());
        let seen = looks(paths);
        let for_thread = Arc::clone(&bell);
        thread::Builder::new()
            .name("file-watch".to_owned())
            .spawn(move || Lookout::new(for_thread, tell, seen).run())?;
        Ok(Self { changes, bell })
    }

    /// Watches `paths` from now on, in place of those before. No change of a file that stays
    /// watched is lost.
    pub fn replace(&self, paths: Vec<PathBuf>) {
        let looks = looks(paths);
        self.bell.ring(|state| state.replacement = Some(looks));
    }

    /// Waits for the next change; names the files as they were given. Changes that come while
    /// nobody waits are told together. `None` when the watch has ended. Can be cancelled.
    pub async fn changed(&mut self) -> Option<Vec<PathBuf>> {
        self.changes.recv().await
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.bell.ring(|state| state.stop = true);
    }
}

/// What a file was when it was last looked at; `None` where it cannot be seen.
type Looks = HashMap<PathBuf, Option<Look>>;

/// Differs when the file may: another file, another size, written or touched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    identity: (u64, u64),
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    #[cfg(unix)]
    fn of(about: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            identity: (about.dev(), about.ino()),
            bytes: about.len(),
            written: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    fn of(about: &Metadata) -> Self {
        let written = about.modified().ok();
        let since = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self {
            identity: (0, 0),
            bytes: about.len(),
            written: (seconds, since.subsec_nanos().into()),
            changed: (0, 0),
        }
    }
}

fn looks(paths: impl IntoIterator<Item = PathBuf>) -> Looks {
    let look = |path: &Path| fs::metadata(path).ok().map(|about| Look::of(&about));
    let paths = paths.into_iter();
    paths
        .map(|path| (look(&path), path))
        .map(|(look, path)| (path, look))
        .collect()
}

/// Wakes the thread. Holds a state and no queue, so that a flood of events costs nothing.
#[derive(Debug, Default)]
struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    event: bool,
    replacement: Option<Looks>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.rung.notify_one();
    }

    /// Waits until `enough` or for `most`; `None` when the watch ends.
    fn wait(&self, most: Duration, enough: impl Fn(&State) -> bool) -> Option<Woken> {
        let waiting = |state: &mut State| !state.stop && !enough(state);
        let (mut state, _) = self
            .rung
            .wait_timeout_while(self.lock(), most, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return None;
        }
        Some(Woken {
            replacement: state.replacement.take(),
            event: std::mem::take(&mut state.event),
        })
    }
}

/// Why a wait ended.
struct Woken {
    event: bool,
    replacement: Option<Looks>,
}

/// Folders by their real path, with what tells one from another made in its place.
type Folders = BTreeMap<PathBuf, Option<(u64, u64)>>;

/// The thread.
struct Lookout {
    bell: Arc<Bell>,
    tell: mpsc::Sender<Vec<PathBuf>>,
    seen: Looks,
    changed: BTreeSet<PathBuf>,
    folders: Folders,
    /// `None` where the system cannot watch all of the folders.
    watcher: Option<RecommendedWatcher>,
}

impl Lookout {
    fn new(bell: Arc<Bell>, tell: mpsc::Sender<Vec<PathBuf>>, seen: Looks) -> Self {
        Self {
            bell,
            tell,
            seen,
            changed: BTreeSet::new(),
            folders: Folders::new(),
            watcher: None,
        }
    }

    /// Until the watch is dropped.
    fn run(mut self) {
        self.watch_folders();
        while self.look_around().is_some() && self.tell_changes() && self.rest().is_some() {}
    }

    /// Looks until the folders that matter are the ones that were watched before the last look, so
    /// that no change falls in between. `None` when the watch ends.
    fn look_around(&mut self) -> Option<()> {
        for _ in 0..SYMLINKS_AT_MOST {
            self.look()?;
            if !self.watch_folders() {
                break;
            }
        }
        Some(())
    }

    /// Watches the folders that matter now; they differ when a symlink was swapped. Whether they
    /// did, and all of them are watched.
    fn watch_folders(&mut self) -> bool {
        let folders = folders_of(self.seen.keys());
        if self.watcher.is_some() && folders == self.folders {
            return false;
        }
        self.watcher = watcher(&self.bell, folders.keys()).ok();
        self.folders = folders;
        self.watcher.is_some()
    }

    /// Finds what changed, once it has come to rest. `None` when the watch ends.
    fn look(&mut self) -> Option<()> {
        let mut latest = looks(self.seen.keys().cloned());
        let begun = clock::monotonic();
        while latest != self.seen && !is_over(begun, SETTLE_AT_MOST) {
            self.pause()?;
            let again = looks(self.seen.keys().cloned());
            if again == latest {
                break;
            }
            latest = again;
        }
        for (path, look) in latest {
            // It may not be watched any more.
            if let Some(known) = self.seen.get_mut(&path)
                && *known != look
            {
                *known = look;
                self.changed.insert(path);
            }
        }
        Some(())
    }

    /// Whether there is still someone to tell.
    fn tell_changes(&mut self) -> bool {
        if self.changed.is_empty() {
            return !self.tell.is_closed();
        }
        match self.tell.try_reserve() {
            Ok(place) => {
                place.send(std::mem::take(&mut self.changed).into_iter().collect());
                true
            }
            // What was told before is not taken yet; this joins what comes until then.
            Err(TrySendError::Full(())) => true,
            Err(TrySendError::Closed(())) => false,
        }
    }

    /// Until there may be something to see. `None` when the watch ends.
    fn rest(&mut self) -> Option<()> {
        let most = if !self.changed.is_empty() {
            SETTLE
        } else if self.watcher.is_some() {
            LOOK_WATCHED
        } else {
            LOOK_UNWATCHED
        };
        let woken = self
            .bell
            .wait(most, |state| state.event || state.replacement.is_some())?;
        let event = woken.event;
        self.adopt(woken.replacement);
        // A busy folder wakes the thread ten times a second, not ten thousand.
        if event { self.pause() } else { Some(()) }
    }

    /// Lets things settle; events within are part of what is settling.
    fn pause(&mut self) -> Option<()> {
        let woken = self.bell.wait(SETTLE, |_| false)?;
        self.adopt(woken.replacement);
        Some(())
    }

    fn adopt(&mut self, replacement: Option<Looks>) {
        let Some(mut new) = replacement else { return };
        for (path, look) in &mut new {
            if let Some(known) = self.seen.remove(path) {
                *look = known;
            }
        }
        self.changed.retain(|path| new.contains_key(path));
        self.seen = new;
    }
}

fn is_over(begun: Instant, most: Duration) -> bool {
    clock::monotonic().saturating_duration_since(begun) >= most
}

/// A watcher of all of `folders`.
fn watcher<'a>(
    bell: &Arc<Bell>,
    folders: impl Iterator<Item = &'a PathBuf>,
) -> notify::Result<RecommendedWatcher> {
    let bell = Arc::clone(bell);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means that events may have been lost: look, too.
        if event.as_ref().map_or(true, may_change) {
            bell.ring(|state| state.event = true);
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Reading changes nothing, and every look reads.
fn may_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

fn folders_of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Folders {
    let mut folders = BTreeSet::new();
    for path in paths {
        add_folders(path, &mut folders);
    }
    let identity = |folder: &Path| Some(Look::of(&fs::metadata(folder).ok()?).identity);
    folders
        .into_iter()
        .map(|folder| (identity(&folder), folder))
        .map(|(identity, folder)| (folder, identity))
        .collect()
}

/// Every folder in which a change can put another file under `path`: the one it lies in, and the
/// ones of symlinks on the way to it.
fn add_folders(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..SYMLINKS_AT_MOST {
        folders.extend(nearest_folder(&path));
        let Some((link, target)) = last_symlink(&path) else {
            return;
        };
        folders.extend(nearest_folder(&link));
        let below = path.strip_prefix(&link).unwrap_or(Path::new(""));
        let beside = link.parent().unwrap_or(Path::new("/"));
        let mut real = beside.join(target);
        // Joining nothing would add a slash, which asks for a folder.
        if !below.as_os_str().is_empty() {
            real.push(below);
        }
        path = real;
    }
}

/// The real path of the folder that `path` lies in, or of the nearest above it that is there.
fn nearest_folder(path: &Path) -> Option<PathBuf> {
    let mut above = path.ancestors().skip(1);
    above.find_map(|folder| fs::canonicalize(folder).ok())
}

/// The symlink on `path` that is furthest down, and what it points to.
fn last_symlink(path: &Path) -> Option<(PathBuf, PathBuf)> {
    path.ancestors().find_map(|part| {
        fs::read_link(part)
            .ok()
            .map(|target| (part.to_owned(), target))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.pem");
        fs::write(&path, "one").unwrap();
        (folder, path)
    }

    async fn told(watch: &mut FileWatch) -> Vec<PathBuf> {
        let told = timeout(Duration::from_secs(10), watch.changed()).await;
        told.expect("no change was told").unwrap()
    }

    async fn nothing_more(watch: &mut FileWatch) {
        let told = timeout(Duration::from_millis(500), watch.changed()).await;
        assert!(told.is_err(), "{told:?}");
    }

    #[tokio::test]
    async fn a_file_written_in_place_is_told_once_and_others_in_its_folder_are_not() {
        let (folder, path) = folder();
        let mut watch = FileWatch::start(vec![path.clone()]).unwrap();
        fs::write(folder.path().join("other"), "x").unwrap();
        nothing_more(&mut watch).await;
        for round in ["a", "ab", "abc"] {
            fs::write(&path, round).unwrap();
        }
        assert_eq!(told(&mut watch).await, [path]);
        nothing_more(&mut watch).await;
    }

    #[tokio::test]
    async fn a_file_renamed_over_and_one_removed_and_made_again_are_told() {
        let (folder, path) = folder();
        let mut watch = FileWatch::start(vec![path.clone()]).unwrap();
        let new = folder.path().join("new");
        fs::write(&new, "two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(told(&mut watch).await, std::slice::from_ref(&path));
        fs::remove_file(&path).unwrap();
        assert_eq!(told(&mut watch).await, std::slice::from_ref(&path));
        fs::write(&path, "three").unwrap();
        assert_eq!(told(&mut watch).await, [path]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_swap_of_a_symlink_is_told_as_certbot_and_kubernetes_do_it() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (archive, live) = (folder.path().join("archive"), folder.path().join("live"));
        for part in [&archive, &live] {
            fs::create_dir(part).unwrap();
        }
        for round in ["1", "2"] {
            fs::write(archive.join(format!("cert{round}.pem")), round).unwrap();
            fs::create_dir(live.join(format!("..{round}"))).unwrap();
            fs::write(live.join(format!("..{round}")).join("tls.crt"), round).unwrap();
        }
        let certbot = live.join("cert.pem");
        symlink("../archive/cert1.pem", &certbot).unwrap();
        let kubernetes = live.join("tls.crt");
        symlink("..1", live.join("..data")).unwrap();
        symlink("..data/tls.crt", &kubernetes).unwrap();

        let mut watch = FileWatch::start(vec![certbot.clone(), kubernetes.clone()]).unwrap();
        fs::remove_file(&certbot).unwrap();
        symlink("../archive/cert2.pem", &certbot).unwrap();
        assert_eq!(told(&mut watch).await, std::slice::from_ref(&certbot));
        symlink("..2", live.join("..data_tmp")).unwrap();
        fs::rename(live.join("..data_tmp"), live.join("..data")).unwrap();
        assert_eq!(told(&mut watch).await, std::slice::from_ref(&kubernetes));
        // What the links point to now is watched as well.
        fs::write(archive.join("cert2.pem"), "in place").unwrap();
        assert_eq!(told(&mut watch).await, [certbot]);
        fs::write(live.join("..2/tls.crt"), "in place").unwrap();
        assert_eq!(told(&mut watch).await, [kubernetes]);
    }

    #[tokio::test]
    async fn a_file_in_a_folder_that_is_not_there_yet_is_told_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        let mut watch = FileWatch::start(vec![path.clone()]).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        thread::sleep(Duration::from_millis(400));
        fs::write(&path, "x").unwrap();
        assert_eq!(told(&mut watch).await, [path]);
    }

    #[tokio::test]
    async fn a_replaced_list_is_watched_instead_and_loses_no_change() {
        let (folder, path) = folder();
        let second = folder.path().join("second");
        let third = folder.path().join("third");
        let mut watch = FileWatch::start(vec![path.clone(), third.clone()]).unwrap();
        fs::write(&path, "changed").unwrap();
        watch.replace(vec![path.clone(), second.clone()]);
        assert_eq!(told(&mut watch).await, [path]);
        fs::write(&third, "x").unwrap();
        nothing_more(&mut watch).await;
        fs::write(&second, "x").unwrap();
        assert_eq!(told(&mut watch).await, [second]);
    }

    #[tokio::test]
    async fn changes_that_nobody_fetches_are_told_together() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4).map(|n| folder.path().join(n.to_string())).collect();
        let mut watch = FileWatch::start(paths.clone()).unwrap();
        for path in &paths {
            fs::write(path, "x").unwrap();
            thread::sleep(Duration::from_millis(350));
        }
        assert_eq!(told(&mut watch).await, paths[..1]);
        assert_eq!(told(&mut watch).await, paths[1..]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn swaps_that_follow_each_other_at_any_pace_leave_the_last_one_watched() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/file");
        let swap = |to: u64| {
            let target = folder.path().join(to.to_string());
            fs::create_dir(&target).unwrap();
            fs::write(target.join("file"), to.to_string()).unwrap();
            let beside = folder.path().join("beside");
            symlink(&target, &beside).unwrap();
            fs::rename(&beside, folder.path().join("data")).unwrap();
        };
        swap(0);
        let mut watch = FileWatch::start(vec![path.clone()]).unwrap();
        for to in 1..7 {
            swap(to);
            thread::sleep(Duration::from_millis(to * 40));
            swap(100 + to);
            assert_eq!(told(&mut watch).await, std::slice::from_ref(&path));
            while timeout(Duration::from_millis(300), watch.changed())
                .await
                .is_ok()
            {}
            fs::write(folder.path().join("data/file"), "in place").unwrap();
            assert_eq!(told(&mut watch).await, std::slice::from_ref(&path));
        }
    }

    #[test]
    fn files_are_looked_at_where_the_system_cannot_watch() {
        let (_folder, path) = folder();
        let (tell, mut changes) = mpsc::channel(1);
        let bell = Arc::new(Bell::default());
        let mut lookout = Lookout::new(Arc::clone(&bell), tell, looks([path.clone()]));
        fs::write(&path, "changed").unwrap();
        assert!(lookout.watcher.is_none());
        lookout.look().unwrap();
        assert!(lookout.tell_changes());
        assert_eq!(changes.try_recv().unwrap(), [path]);
    }

    #[test]
    fn the_thread_ends_when_the_watch_is_dropped() {
        let (_folder, path) = folder();
        let watch = FileWatch::start(vec![path]).unwrap();
        let bell = Arc::downgrade(&watch.bell);
        drop(watch);
        let begun = clock::monotonic();
        while bell.strong_count() > 0 {
            assert!(!is_over(begun, Duration::from_secs(10)), "still there");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
