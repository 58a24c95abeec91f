//! Where log lines go: a bounded buffer that a thread of its own empties.
//!
//! Who logs never waits for who reads. A full disk, a stalled pipe or a reader that is gone costs
//! lines, which are counted, and nothing else. Lines are gathered for a few milliseconds and
//! written with one call, so that a busy gateway pays for no wake-up and no system call per line.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait to be written; what comes beyond is dropped.
const MAX_WAITING: usize = 4 << 20;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(10);

/// How long the end of the process waits for the last lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A buffer larger than this is given back once it is empty.
const KEEP_CAPACITY: usize = 256 << 10;

/// The way in. Shared by everyone who logs.
#[derive(Debug, Default)]
pub(super) struct Sink {
    waiting: Mutex<Waiting>,
    /// Rung when there is something to write, and at the end.
    bell: Condvar,
    /// Rung when the thread has written its last.
    gone: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// The thread sleeps and must be woken.
    asleep: bool,
    /// Nothing more will come.
    closed: bool,
    /// The thread has ended.
    ended: bool,
}

/// Ends the thread when dropped, once it has written what waits or a second is over.
#[derive(Debug)]
pub(super) struct Closer(Arc<Sink>);

impl Sink {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Arc<Self>, Closer)> {
        let sink = Arc::new(Self::default());
        let writer = Arc::clone(&sink);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_all(out))?;
        Ok((Arc::clone(&sink), Closer(sink)))
    }

    /// Takes one line, its newline included. Never waits for the reader.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.bytes.len() + line.len() > MAX_WAITING {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        if waiting.asleep {
            waiting.asleep = false;
            drop(waiting);
            self.bell.notify_one();
        }
    }

    /// Lines that were not written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does until the end.
    fn write_all(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let (lines, closed) = self.next(&mut batch);
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                self.dropped.fetch_add(lines, Ordering::Relaxed);
            }
            batch.clear();
            batch.shrink_to(KEEP_CAPACITY);
            if closed && lines == 0 {
                break;
            }
        }
        self.waiting().ended = true;
        self.gone.notify_all();
    }

    /// Waits for lines and swaps them into `batch`. Says how many there are, and whether no more
    /// will come.
    fn next(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() && !waiting.closed {
            waiting.asleep = true;
            waiting = self
                .bell
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        waiting.asleep = false;
        if !waiting.closed {
            // Nobody rings while `asleep` is false, but for the end.
            let gathered = self
                .bell
                .wait_timeout_while(waiting, GATHER, |now| !now.closed);
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut waiting.bytes, batch);
        (std::mem::take(&mut waiting.lines), waiting.closed)
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.closed = true;
        self.0.bell.notify_all();
        // A reader that does not read does not keep the process from ending.
        let ended = |now: &mut Waiting| !now.ended;
        drop(self.0.gone.wait_timeout_while(waiting, LAST_WORDS, ended));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Tells the test what was written.
    struct Reader(mpsc::Sender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map(|()| bytes.len()).map_err(io::Error::other)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until it is let go.
    struct Stalled(mpsc::Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct FullDisk;

    impl Write for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order_and_the_last_ones_too() {
        let (sender, receiver) = mpsc::channel();
        let (sink, closer) = Sink::start(Reader(sender)).unwrap();
        for number in 0..1000 {
            sink.push(format!("line {number}\n").as_bytes());
        }
        drop(closer);
        let written: Vec<u8> = receiver.try_iter().flatten().collect();
        let text = String::from_utf8(written).unwrap();
        let expected: Vec<_> = (0..1000).map(|number| format!("line {number}")).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(sink.dropped(), 0);
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_nobody_waits() {
        let (let_go, stalled) = mpsc::channel();
        let (sink, closer) = Sink::start(Stalled(stalled)).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..(2 * MAX_WAITING / line.len() + 100) {
            sink.push(&line);
        }
        assert!(sink.dropped() > 0);
        let waiting = sink.waiting().bytes.len();
        assert!(waiting <= MAX_WAITING, "{waiting}");
        drop(let_go);
        drop(closer);
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let (sink, closer) = Sink::start(FullDisk).unwrap();
        sink.push(b"one\n");
        sink.push(b"two\n");
        drop(closer);
        assert_eq!(sink.dropped(), 2);
        sink.push(b"after the end\n");
        assert_eq!(sink.dropped(), 3);
    }
}
