//! A request on its way to the guest.

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::watch,
    time::Instant,
};
use ww_cell::pipe;

use super::{
    for_ever,
    pace::{Pace, Spent, TooLong, TooSlow},
};

/// Bytes read from a peer at once.
const CHUNK: usize = 16 * 1024;

/// How much of a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Learns how much is there.
pub(super) type Watch = watch::Receiver<Stage>;

/// Where a request comes from.
pub(super) trait Source: Send {
    /// Some bytes, or `None` at the end; or why there are no more. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<&[u8]>, String>> + Send;
}

/// Bytes without framing.
pub(super) struct Bytes<R> {
    from: R,
    buffer: BytesMut,
}

impl<R> Bytes<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new() }
    }
}

impl<R: AsyncRead + Unpin + Send> Source for Bytes<R> {
    async fn next(&mut self) -> Result<Option<&[u8]>, String> {
        self.buffer.clear();
        self.buffer.reserve(CHUNK);
        match self.from.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(&self.buffer)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The news of a request's stage, and who spreads it.
pub(super) fn stage() -> (watch::Sender<Stage>, Watch) {
    watch::channel(Stage::Silent)
}

/// Waits for a stage, or a later one.
pub(super) async fn at_least(watch: &mut Watch, least: Stage) -> Stage {
    // Whoever spreads it lives as long as the request is read.
    watch.wait_for(|stage| *stage >= least).await.map_or(Stage::Failed, |stage| *stage)
}

/// Reads a request into a pipe. Pends after its end.
pub(super) async fn read(pace: &Pace<'_>, source: impl Source, request: pipe::Writer, stage: watch::Sender<Stage>) {
    for_ever(async {
        match copy(pace, source, &request, &stage).await {
            Ok(()) => {
                request.close();
                reach(&stage, Stage::Whole);
            }
            Err(why) => {
                request.fail(why);
                reach(&stage, Stage::Failed);
            }
        }
    })
    .await;
}

async fn copy(
    pace: &Pace<'_>,
    mut source: impl Source,
    request: &pipe::Writer,
    stage: &watch::Sender<Stage>,
) -> Result<(), String> {
    let mut spent = Spent::default();
    let patience = pace.patience();
    let slow = |TooSlow| format!("the peer was too slow: {patience:?} is the longest silence");
    loop {
        let next = pace.wait(&mut spent, source.next()).await.map_err(slow)?;
        let Some(bytes) = next.map_err(|error| format!("the request broke off: {error}"))? else { return Ok(()) };
        pace.went_on(&mut spent, bytes.len()).map_err(slow)?;
        // A closed pipe says that the guest has finished without reading the rest.
        let Ok(written) = request.try_write(bytes) else { return Ok(()) };
        reach(stage, if request.room() == Ok(0) { Stage::Full } else { Stage::Begun });
        let began = Instant::now();
        if request.write_all(&bytes[written..]).await.is_err() {
            return Ok(());
        }
        let endless = |TooLong| "the request is longer than the cell has time for".to_owned();
        pace.kept_busy(&mut spent, began).map_err(endless)?;
    }
}

/// A request that was once whole for its reader stays so while it is read.
fn reach(stage: &watch::Sender<Stage>, reached: Stage) {
    stage.send_if_modified(|stage| {
        let later = reached > *stage;
        *stage = reached.max(*stage);
        later
    });
}
