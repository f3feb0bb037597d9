//! A pipe as it looks from outside: whether somebody waits at one of its ends, and how much has passed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{Closed, Shared};

/// Looks at a pipe without being one of its ends: it keeps no end open.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Shared>);

/// A wait at one end of a pipe, until it is dropped.
pub(super) struct Wait<'a>(&'a AtomicU32);

impl Gauge {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Whether the reader waits for bytes, or for the end.
    pub fn reader_waits(&self) -> bool {
        self.0.readers.load(Ordering::Relaxed) > 0
    }

    /// Whether the writer waits for room.
    pub fn writer_waits(&self) -> bool {
        self.0.writers.load(Ordering::Relaxed) > 0
    }

    /// Bytes that were read so far.
    pub fn passed(&self) -> u64 {
        self.0.lock().passed
    }

    /// Ends the stream with an error, which the reader sees after the bytes before it, and the writer at once. A stream
    /// that has ended stays as it ended.
    pub fn fail(&self, why: impl Into<Arc<str>>) {
        self.0.close(Closed::Failed(why.into()));
    }
}

impl<'a> Wait<'a> {
    pub(super) fn at(end: &'a AtomicU32) -> Self {
        end.fetch_add(1, Ordering::Relaxed);
        Self(end)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::*;

    #[test]
    fn it_shows_who_waits_and_what_has_passed() {
        let (tx, rx) = pipe(4);
        let gauge = rx.gauge();
        let waits = || (gauge.reader_waits(), gauge.writer_waits());
        let mut reading = Box::pin(rx.ready());
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(waits(), (true, false));
        assert_eq!(tx.try_write(b"1234"), Ok(4));
        assert!(reading.as_mut().now_or_never().is_some());
        drop(reading);
        let mut writing = Box::pin(tx.ready());
        assert!(writing.as_mut().now_or_never().is_none());
        assert_eq!((waits(), gauge.passed()), ((false, true), 0));
        assert!(rx.try_read(3).is_ok());
        assert!(writing.as_mut().now_or_never().is_some());
        drop(writing);
        assert_eq!((waits(), gauge.passed()), ((false, false), 3));
        gauge.fail("no more");
        assert_eq!(tx.try_write(b"5"), Err(Closed::Failed("no more".into())));
        assert_eq!(rx.try_read(9), Ok(Some(Bytes::from_static(b"4"))));
        assert_eq!(rx.try_read(9), Err(Closed::Failed("no more".into())));
    }

    #[test]
    fn it_keeps_no_end_open() {
        let (tx, rx) = pipe(4);
        let gauge = rx.gauge();
        drop(tx);
        assert!(rx.is_at_end());
        gauge.fail("too late");
        assert!(rx.is_at_end(), "it stays as it ended");
    }
}
