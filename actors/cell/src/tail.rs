//! A guest's standard error: a stream that never holds its writer up.
//!
//! The last [`CAPACITY`] bytes wait for a reader; older ones are dropped and counted. They stay in the cell's
//! [`History`], whether they were read or not. Every whole line also goes to the log, up to [`MAX_LINES`] a second.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::ready;
use ww_core::{CellId, text};

pub use crate::history::CAPACITY;
use crate::history::History;

/// Lines of one cell that reach the log in one second: more than a person reads, less than fills a disk in a day.
pub const MAX_LINES: u32 = 1_000;

/// Longest line in the log, in bytes; the rest of it becomes another line.
const MAX_LINE: usize = 4 * 1024;

/// The window in which [`MAX_LINES`] are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The writing end. Dropping the last clone ends the stream.
#[derive(Clone)]
pub struct Writer(Arc<WriterEnd>);

/// The reading end. Clones share what is left to read.
#[derive(Clone)]
pub struct Reader {
    history: History,
    read: Arc<Mutex<Read>>,
}

struct WriterEnd {
    history: History,
    lines: Mutex<Lines>,
}

/// How far the reading end has come.
#[derive(Default)]
struct Read {
    position: u64,
    dropped: u64,
}

/// What goes to the log.
struct Lines {
    cell: CellId,
    line: Vec<u8>,
    rate: Rate,
}

/// Bounds the lines that one cell writes to the log: [`MAX_LINES`] a second, the rest is counted.
#[derive(Debug)]
pub(crate) struct Rate {
    window_start: Instant,
    lines_in_window: u32,
    lines_dropped: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { window_start: Instant::now(), lines_in_window: 0, lines_dropped: 0 }
    }
}

impl Rate {
    /// Whether there is room for another line. Tells of those that were dropped once there is.
    pub(crate) fn admit(&mut self, cell: CellId) -> bool {
        if self.window_start.elapsed() >= WINDOW {
            self.window_start = Instant::now();
            self.lines_in_window = 0;
            self.tell(cell);
        }
        if self.lines_in_window >= MAX_LINES {
            self.lines_dropped += 1;
            return false;
        }
        self.lines_in_window += 1;
        true
    }

    fn tell(&mut self, cell: CellId) {
        if self.lines_dropped > 0 {
            tracing::warn!(target: "ww::stderr", %cell, dropped = self.lines_dropped, "lines were dropped: the cell writes too many");
            self.lines_dropped = 0;
        }
    }
}

/// Makes the standard error of a cell.
pub fn tail(cell: CellId) -> (Writer, Reader) {
    let history = History::default();
    let lines = Mutex::new(Lines { cell, line: Vec::new(), rate: Rate::default() });
    let writer = Writer(Arc::new(WriterEnd { history: history.clone(), lines }));
    (writer, Reader { history, read: Arc::default() })
}

impl Writer {
    /// Takes all bytes at once.
    pub fn write(&self, bytes: &[u8]) {
        lock(&self.0.lines).log(bytes);
        self.0.history.record(bytes);
    }

    /// What was written, for whoever looks.
    pub(crate) fn history(&self) -> &History {
        &self.0.history
    }
}

impl Reader {
    /// Waits for at least one byte, and returns at most `max`; empty at the end. Cancel safe.
    pub async fn read(&self, max: usize) -> Bytes {
        poll_fn(|cx| {
            let mut read = lock(&self.read);
            let part = ready!(self.history.poll_read(cx, &mut read.position, max));
            read.dropped += part.lost;
            Poll::Ready(part.bytes)
        })
        .await
    }

    /// Bytes that were dropped because nobody read them.
    pub fn dropped(&self) -> u64 {
        let read = lock(&self.read);
        read.dropped + self.history.start().saturating_sub(read.position)
    }
}

impl Lines {
    fn log(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' {
                self.log_line();
            } else if self.line.len() >= MAX_LINE {
                // A character stays whole.
                let rest = self.line.split_off(self.line.len() - text::begun(&self.line));
                self.log_line();
                self.line = rest;
            }
        }
    }

    fn log_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !self.rate.admit(self.cell) {
            return;
        }
        let line = text::bytes(&line, MAX_LINE);
        tracing::info!(target: "ww::stderr", cell = %self.cell, "{line}");
    }
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !lines.line.is_empty() {
            lines.log_line();
        }
        let cell = lines.cell;
        lines.rate.tell(cell);
        self.history.close();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tail::Writer")
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tail::Reader")
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while the lock is held, so a poisoned state is whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_bytes_are_kept_and_the_rest_is_counted() {
        let (tx, rx) = tail(CellId::new(1));
        tx.write(&vec![b'a'; CAPACITY]);
        tx.write(b"bcd");
        drop(tx);
        assert_eq!(rx.dropped(), 3);
        let mut all = Vec::new();
        loop {
            let bytes = rx.read(1_000).await;
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(&bytes);
        }
        assert_eq!(all.len(), CAPACITY);
        assert!(all.ends_with(b"abcd"));
    }

    #[test]
    fn a_long_line_is_not_cut_within_a_character() {
        let mut lines = Lines { cell: CellId::new(1), line: Vec::new(), rate: Rate::default() };
        lines.log(&vec![b'a'; MAX_LINE - 1]);
        lines.log("é".as_bytes());
        assert_eq!(lines.line, "é".as_bytes(), "it begins the next line");
        lines.log(b"\n");
        assert!(lines.line.is_empty());
        // What is no character is no reason to wait.
        lines.log(&[0xff; MAX_LINE]);
        assert!(lines.line.is_empty());
    }

    #[tokio::test]
    async fn a_write_larger_than_the_buffer_keeps_its_end() {
        let (tx, rx) = tail(CellId::new(1));
        let mut bytes = vec![b'a'; CAPACITY];
        bytes.extend_from_slice(b"end");
        tx.write(&bytes);
        let kept = rx.read(CAPACITY * 2).await;
        assert_eq!(kept.len(), CAPACITY);
        assert!(kept.ends_with(b"end"));
    }
}
