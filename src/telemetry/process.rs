//! What the system says about this process. Linux: `proc(5)`; elsewhere nothing is told.

use std::fs;

/// Ticks a second of the times in `/proc/self/stat`. `USER_HZ` is 100 on every Linux architecture
/// that Rust runs on; it is part of the kernel's interface, not the timer's frequency.
const USER_HZ: f64 = 100.0;

/// What is known of this process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// User and system time in seconds.
    pub(super) cpu_s: Option<f64>,
    /// Resident memory.
    pub(super) resident_bytes: Option<u64>,
    /// Open descriptors.
    pub(super) open_fds: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Start, in seconds since 1970.
    pub(super) started_s: Option<f64>,
}

/// Asks the system.
pub(super) fn read() -> Process {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let stat = text("/proc/self/stat");
    let status = text("/proc/self/status");
    let booted = number_after(&text("/proc/stat"), "btime");
    Process {
        cpu_s: ticks(&stat, 11)
            .zip(ticks(&stat, 12))
            .map(|(user, system)| user + system),
        resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| {
            // The folder that is being read is one of them.
            (entries.count() as u64).saturating_sub(1)
        }),
        threads: number_after(&status, "Threads:"),
        started_s: booted.zip(ticks(&stat, 19)).map(|(boot, start)| {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
            let boot = boot as f64;
            boot + start
        }),
    }
}

/// A time of `/proc/self/stat` in seconds, by its place after the name in brackets, from 0.
fn ticks(stat: &str, place: usize) -> Option<f64> {
    let (_, after) = stat.rsplit_once(") ")?;
    let ticks: f64 = after.split(' ').nth(place)?.parse().ok()?;
    Some(ticks / USER_HZ)
}

/// The first number after a word at the start of a line.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_system_tells_about_this_process() {
        let process = read();
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.cpu_s.unwrap() >= 0.0);
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let now = clock::now().unix_seconds() as f64;
        let started = process.started_s.unwrap();
        assert!(
            (now - 3600.0..now + 5.0).contains(&started),
            "{started} {now}"
        );
    }

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 1000 5 6";
        assert_eq!(
            (ticks(stat, 11), ticks(stat, 12), ticks(stat, 19)),
            (Some(2.5), Some(0.5), Some(10.0))
        );
    }
}
