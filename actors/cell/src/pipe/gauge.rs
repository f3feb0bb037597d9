//! A pipe as it looks from outside: whether somebody waits at one of its ends, and how much has passed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Closed, Shared};

/// Looks at a pipe without being one of its ends: it keeps no end open.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Shared>);

/// The waits at one end of a pipe.
#[derive(Debug, Default)]
pub(super) struct Waits {
    now: AtomicU32,
    /// Nanoseconds of those that are over.
    over: AtomicU64,
}

/// One of them, until it is dropped.
pub(super) struct Wait<'a> {
    end: &'a Waits,
    since: Instant,
}

impl Gauge {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Whether the reader waits for bytes, or for the end.
    pub fn reader_waits(&self) -> bool {
        self.0.readers.now.load(Ordering::Relaxed) > 0
    }

    /// Whether the writer waits for room.
    pub fn writer_waits(&self) -> bool {
        self.0.writers.now.load(Ordering::Relaxed) > 0
    }

    /// For how long the writer has waited for room, in waits that are over.
    pub fn writer_waited(&self) -> Duration {
        Duration::from_nanos(self.0.writers.over.load(Ordering::Relaxed))
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
    pub(super) fn at(end: &'a Waits) -> Self {
        end.now.fetch_add(1, Ordering::Relaxed);
        Self { end, since: Instant::now() }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.end.over.fetch_add(nanos, Ordering::Relaxed);
        self.end.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[tokio::test(start_paused = true)]
    async fn it_knows_for_how_long_the_writer_has_waited() {
        let (tx, rx) = pipe(1);
        let (gauge, took) = (rx.gauge(), Duration::from_secs(3));
        assert_eq!(tx.try_write(b"1"), Ok(1));
        let mut writing = Box::pin(tx.ready());
        assert!(writing.as_mut().now_or_never().is_none());
        tokio::time::advance(took).await;
        assert_eq!(gauge.writer_waited(), Duration::ZERO, "it still does");
        assert!(rx.try_read(1).is_ok());
        writing.await;
        assert_eq!(gauge.writer_waited(), took);
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
