//! A request on its way to the guest.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicU8, Ordering},
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use ww_cell::pipe;

use super::{
    for_ever,
    pace::{Pace, Silent, TooLong},
};

/// Bytes read from a peer at first, and most that are read at once: most messages are small.
const FIRST_CHUNK: usize = 1024;
const CHUNK: usize = 16 * 1024;

/// By how much more is read at once, after a read of as much as there was room for.
const GROWTH: usize = 4;

/// How much of a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nothing.
    Silent,
    /// Something.
    Begun,
    /// As much as is read ahead.
    Full,
    /// All of it.
    Whole,
    /// It broke off.
    Failed,
}

/// A request that is read, until all of it is there: its guest must not take what is there for the whole.
struct Unfinished(pipe::Writer);

/// How much of a request is there, as far as it was read. Between two futures of one task, of which that which reads is
/// polled first.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

/// Where a request comes from.
pub(super) trait Source: Send {
    /// Some bytes, or `None` at the end; or why there are no more. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<&[u8]>, String>> + Send;
}

/// Bytes without framing.
pub(super) struct Bytes<R> {
    from: R,
    buffer: BytesMut,
    chunk: usize,
}

impl<R> Bytes<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new(), chunk: FIRST_CHUNK }
    }
}

impl<R: AsyncRead + Unpin + Send> Source for Bytes<R> {
    async fn next(&mut self) -> Result<Option<&[u8]>, String> {
        if self.buffer.len() >= self.chunk {
            self.chunk = CHUNK.min(GROWTH * self.chunk);
        }
        self.buffer.clear();
        self.buffer.reserve(self.chunk);
        match self.from.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(&self.buffer)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Progress {
    /// Of a request that its caller has announced.
    pub(super) fn announced() -> Self {
        Self(AtomicU8::new(Stage::Begun as u8))
    }

    /// How much is there.
    fn stage(&self) -> Stage {
        const STAGES: [Stage; 5] = [Stage::Silent, Stage::Begun, Stage::Full, Stage::Whole, Stage::Failed];
        STAGES[usize::from(self.0.load(Ordering::Relaxed))]
    }

    /// A request that was once whole for its reader stays so while it is read.
    pub(super) fn reach(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// Waits for a stage, or a later one, in the task that reads, and after it was polled to read.
    pub(super) async fn at_least(&self, least: Stage) -> Stage {
        poll_fn(|_| match self.stage() {
            stage if stage >= least => Poll::Ready(stage),
            _ => Poll::Pending,
        })
        .await
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.fail("the caller gave the message up, or was given up");
    }
}

/// Reads a request into a pipe. Pends after its end. Dropped before, it fails the request.
pub(super) async fn read(pace: &Pace, source: impl Source, request: pipe::Writer, progress: &Progress) {
    for_ever(async {
        let request = Unfinished(request);
        match copy(pace, source, &request.0, progress).await {
            Ok(()) => {
                request.0.close();
                progress.reach(Stage::Whole);
            }
            Err(why) => {
                request.0.fail(why);
                progress.reach(Stage::Failed);
            }
        }
    })
    .await;
}

async fn copy(pace: &Pace, mut source: impl Source, request: &pipe::Writer, progress: &Progress) -> Result<(), String> {
    let mut busy = Duration::ZERO;
    let slow = |Silent(patience)| format!("the caller was silent: expected something within {patience:?}");
    loop {
        let next = pace.wait(source.next()).await.map_err(slow)?;
        let Some(bytes) = next.map_err(|error| format!("the request broke off: {error}"))? else { return Ok(()) };
        // A closed pipe says that the guest has finished without reading the rest.
        let Ok(written) = request.try_write(bytes) else { return Ok(()) };
        progress.reach(if request.room() == Ok(0) { Stage::Full } else { Stage::Begun });
        if written == bytes.len() {
            continue;
        }
        let given = pace.give();
        if request.write_all(&bytes[written..]).await.is_err() {
            return Ok(());
        }
        let endless = |TooLong| "the request is longer than the cell has time for".to_owned();
        pace.kept_busy(&mut busy, given).map_err(endless)?;
    }
}
