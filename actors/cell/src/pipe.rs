//! A bounded, in-memory pipe: what connects a guest's streams to whoever is at the other side.
//!
//! One side writes, the other reads; both sides can wait. A full pipe holds its writer up, an empty one
//! its reader. Closing the writer is the end of the stream; [`Writer::fail`] is an error that the reader
//! sees after the bytes before it, never as an end. A reader that goes away closes the pipe for the
//! writer. A pipe with a payer holds little until the payer's account has room for all that the pipe may hold. All methods
//! are cancel safe: a wait that is dropped has moved no byte.

mod gauge;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ww_core::{Account, account::Capacity};

pub use self::gauge::Gauge;
use self::gauge::{Wait, Waits};
use crate::wakers::Wakers;

mod demand;

pub use demand::Demand;
use demand::UNSAID;

/// Bytes that a pipe holds before its writer waits: what WASI hosts commonly permit in one write.
pub const CAPACITY: usize = 64 * 1024;

/// Bytes that a pipe holds before its payer is asked: a few small messages, so that a pipe for those costs nothing, and
/// one whose payer has no room left still carries something.
pub const UNPAID: usize = 8 * 1024;

/// Why no more bytes come or go.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The other side closed the pipe.
    #[error("the stream is closed")]
    End,
    /// The other side failed.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// The reading end.
#[derive(Debug)]
pub struct Reader(Arc<Shared>);

/// The writing end.
#[derive(Debug)]
pub struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    /// Whether the other end of it is a terminal.
    terminal: bool,
    state: Mutex<State>,
    /// Those that wait in [`Reader::ready`], and in [`Writer::ready`].
    readers: Waits,
    writers: Waits,
}

#[derive(Debug, Default)]
struct State {
    buffer: BytesMut,
    /// For more than [`UNPAID`] bytes.
    capacity: Capacity,
    /// Set once by the writer, or by either side where the reader went away.
    closed: Option<Closed>,
    /// Bytes that the reader waits for, since it has found nothing.
    wanted: usize,
    readers: Wakers,
    writers: Wakers,
    /// Bytes that were read.
    passed: u64,
}

/// Makes a pipe that holds at most `capacity` bytes.
pub fn pipe(capacity: usize) -> (Writer, Reader) {
    pipe_of_terminal(capacity, false)
}

/// A [`pipe`] of which a guest is told whether it leads to a terminal, or comes from one.
pub fn pipe_of_terminal(capacity: usize, terminal: bool) -> (Writer, Reader) {
    let shared = Arc::new(Shared::new(capacity, terminal, State::default()));
    (Writer(Arc::clone(&shared)), Reader(shared))
}

/// A [`pipe`] that holds more than [`UNPAID`] bytes only when an account has paid for its capacity, once, until it ends.
pub fn charged(capacity: usize, payer: &Account) -> (Writer, Reader) {
    let (writer, reader) = pipe(capacity);
    writer.charge_to(payer);
    (writer, reader)
}

impl Reader {
    /// A reader that is at its end.
    pub fn empty() -> Self {
        pipe(0).1
    }

    /// Makes an account the payer of the pipe, unless another one has paid.
    pub(crate) fn charge_to(&self, payer: &Account) {
        self.0.lock().capacity.charge_to(payer);
    }

    /// A reader of these bytes and nothing after them.
    pub fn whole(bytes: Bytes) -> Self {
        let state = State { buffer: bytes.into(), closed: Some(Closed::End), ..State::default() };
        Self(Arc::new(Shared::new(0, false, state)))
    }

    /// At most `max` bytes that are there already; `None` where nothing is there yet.
    ///
    /// # Errors
    ///
    /// Once all bytes were read and the writer is closed or has failed.
    pub fn try_read(&self, max: usize) -> Result<Option<Bytes>, Closed> {
        let mut state = self.0.lock();
        if state.buffer.is_empty() {
            let nothing = state.closed.clone().map_or(Ok(None), Err);
            let asked = state.want(max);
            drop(state);
            asked.wake();
            return nothing;
        }
        let taken = state.buffer.len().min(max);
        let bytes = state.buffer.split_to(taken).freeze();
        state.passed += taken as u64;
        let writers = state.writers.take();
        drop(state);
        writers.wake();
        Ok(Some(bytes))
    }

    /// Waits for at least one byte, and returns at most `max`; empty at the end of the stream.
    ///
    /// # Errors
    ///
    /// Where the writer failed.
    pub async fn read(&self, max: usize) -> Result<Bytes, Closed> {
        loop {
            match self.try_read(max) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => self.ready().await,
                Err(Closed::End) => return Ok(Bytes::new()),
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Whether [`Reader::try_read`] has bytes or the end of the stream.
    pub fn is_ready(&self) -> bool {
        let state = self.0.lock();
        !state.buffer.is_empty() || state.closed.is_some()
    }

    /// Whether the bytes come from a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.terminal
    }

    /// Whether all bytes were read, and the writer has closed the pipe without an error.
    pub fn is_at_end(&self) -> bool {
        let state = self.0.lock();
        state.buffer.is_empty() && state.closed == Some(Closed::End)
    }

    /// Waits until [`Reader::try_read`] has bytes or the end of the stream.
    pub async fn ready(&self) {
        let _wait = Wait::at(&self.0.readers);
        poll_fn(|cx| self.poll_ready(cx)).await;
    }

    /// Looks at the pipe from outside.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(&self.0)
    }

    /// Tells the writer that nobody reads any more, and forgets what was written.
    pub fn close(&self) {
        self.0.lock().buffer = BytesMut::new();
        self.0.close(Closed::End);
    }

    fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if !state.buffer.is_empty() || state.closed.is_some() {
            return Poll::Ready(());
        }
        let crowd = state.readers.register(cx);
        let asked = if state.wanted == 0 { state.want(UNSAID) } else { Wakers::default() };
        drop(state);
        crowd.wake();
        asked.wake();
        Poll::Pending
    }
}

impl Writer {
    /// A writer that nobody reads.
    pub fn discarding() -> Self {
        pipe(0).0
    }

    /// Makes an account the payer of the pipe, unless another one has paid.
    pub(crate) fn charge_to(&self, payer: &Account) {
        self.0.lock().capacity.charge_to(payer);
    }

    /// Whether the bytes go to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.terminal
    }

    /// Bytes that [`Writer::try_write`] would take now.
    ///
    /// # Errors
    ///
    /// Where the pipe is closed.
    pub fn room(&self) -> Result<usize, Closed> {
        let mut state = self.0.lock();
        match &state.closed {
            Some(closed) => Err(closed.clone()),
            None => Ok(state.limit(self.0.capacity, UNPAID, UNPAID / 2).saturating_sub(state.buffer.len())),
        }
    }

    /// Writes as many bytes as there is room for, and returns their number.
    ///
    /// # Errors
    ///
    /// Where the pipe is closed.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize, Closed> {
        self.write_up_to(1, bytes, false)
    }

    fn write_up_to(&self, times: usize, bytes: &[u8], whole: bool) -> Result<usize, Closed> {
        let mut state = self.0.lock();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        let limit = state.limit(times * self.0.capacity, times * UNPAID, bytes.len());
        let room = limit.saturating_sub(state.buffer.len());
        let taken = if whole && bytes.len() > room { 0 } else { bytes.len().min(room) };
        if taken > 0 {
            state.buffer.extend_from_slice(&bytes[..taken]);
            state.wanted = 0;
            let readers = state.readers.take();
            drop(state);
            readers.wake();
        }
        Ok(taken)
    }

    /// Writes all bytes at once, where they fit into twice the capacity: for a writer that asked for [`Writer::room`]
    /// through one of several handles and was overtaken by another one. Returns whether they did.
    ///
    /// # Errors
    ///
    /// Where the pipe is closed.
    pub fn write_permitted(&self, bytes: &[u8]) -> Result<bool, Closed> {
        self.write_up_to(2, bytes, true).map(|written| written == bytes.len())
    }

    /// Writes all bytes, waiting for room where there is none. Not cancel safe: a part may be written.
    ///
    /// # Errors
    ///
    /// Where the pipe is closed.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let written = self.try_write(bytes)?;
            bytes.advance(written);
            if written == 0 {
                self.ready().await;
            }
        }
        Ok(())
    }

    /// Waits until there is room, or the pipe is closed.
    pub async fn ready(&self) {
        let _wait = Wait::at(&self.0.writers);
        poll_fn(|cx| self.poll_ready(cx)).await;
    }

    /// Looks at the pipe from outside.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(&self.0)
    }

    /// Ends the stream.
    pub fn close(&self) {
        self.0.close(Closed::End);
    }

    /// Ends the stream with an error, which the reader sees after the bytes before it.
    pub fn fail(&self, why: impl Into<Arc<str>>) {
        self.0.close(Closed::Failed(why.into()));
    }

    fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.closed.is_some() || state.buffer.len() < state.limit(self.0.capacity, UNPAID, 1) {
            return Poll::Ready(());
        }
        let crowd = state.writers.register(cx);
        drop(state);
        crowd.wake();
        Poll::Pending
    }
}

impl State {
    /// The reader has found nothing, and takes so many bytes. Returns who waits for that.
    fn want(&mut self, most: usize) -> Wakers {
        self.wanted = most.max(1);
        self.writers.take()
    }

    /// Bytes that may be in the pipe when so many more are to be written: `limit` if they are paid for, else `unpaid`. What
    /// is paid for once stays so.
    fn limit(&mut self, limit: usize, unpaid: usize, more: usize) -> usize {
        let is_needed = self.buffer.len() + more > UNPAID;
        if self.capacity.covers(is_needed, limit) { limit } else { limit.min(unpaid) }
    }
}

impl Shared {
    fn new(capacity: usize, terminal: bool, state: State) -> Self {
        let (readers, writers) = Default::default();
        Self { capacity, terminal, state: Mutex::new(state), readers, writers }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, how: Closed) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.closed = Some(how);
        }
        let (readers, writers) = (state.readers.take(), state.writers.take());
        drop(state);
        readers.wake();
        writers.wake();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::End => Self::from(io::ErrorKind::BrokenPipe),
            Closed::Failed(why) => Self::other(why.to_string()),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buf.remaining()) {
                Ok(Some(bytes)) => {
                    buf.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => ready!(self.poll_ready(cx)),
                Err(Closed::End) => return Poll::Ready(Ok(())),
                Err(failed) => return Poll::Ready(Err(failed.into())),
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Ok(0) if !bytes.is_empty() => ready!(self.poll_ready(cx)),
                written => return Poll::Ready(written.map_err(Into::into)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use ww_core::account::Holder;

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_and_then_the_end() {
        let (tx, rx) = pipe(4);
        let writing = async move { tx.write_all(b"hello world").await };
        let reading = async {
            let mut all = Vec::new();
            loop {
                let bytes = rx.read(3).await.expect("no failure");
                if bytes.is_empty() {
                    return all;
                }
                assert!(bytes.len() <= 3);
                all.extend_from_slice(&bytes);
            }
        };
        let (written, read) = tokio::join!(writing, reading);
        assert_eq!(written, Ok(()));
        assert_eq!(read, b"hello world");
    }

    #[test]
    fn a_pipe_holds_little_until_its_payer_has_room() {
        let account = Account::root(Holder::Node, CAPACITY as u64);
        let (tx, rx) = charged(CAPACITY, &account);
        assert_eq!(tx.try_write(&[1; UNPAID]), Ok(UNPAID));
        assert_eq!(account.held(), 0, "a little costs nothing");
        let elsewhere = account.charge(1).expect("room");
        assert_eq!((tx.room(), tx.try_write(&[1; UNPAID])), (Ok(0), Ok(0)));
        assert_eq!(tx.write_permitted(&[1; UNPAID]), Ok(true), "what was permitted has its place");
        drop(elsewhere);
        assert_eq!(tx.room(), Ok(CAPACITY - 2 * UNPAID));
        assert_eq!(rx.try_read(usize::MAX).map(|read| read.map_or(0, |bytes| bytes.len())), Ok(2 * UNPAID));
        assert_eq!((account.held(), tx.room()), (CAPACITY as u64, Ok(CAPACITY)), "what was paid for stays so");
        drop((tx, rx));
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn a_full_pipe_takes_nothing_more() {
        let (tx, rx) = pipe(4);
        assert_eq!(tx.try_write(b"123456"), Ok(4));
        assert_eq!(tx.try_write(b"56"), Ok(0));
        assert_eq!(tx.room(), Ok(0));
        assert_eq!(rx.try_read(2), Ok(Some(Bytes::from_static(b"12"))));
        assert_eq!(tx.room(), Ok(2));
    }

    #[test]
    fn a_failure_comes_after_the_bytes_before_it_and_is_no_end() {
        let (tx, rx) = pipe(4);
        assert_eq!(tx.try_write(b"ab"), Ok(2));
        tx.fail("reset by peer");
        drop(tx);
        assert_eq!(rx.try_read(9), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(rx.try_read(9), Err(Closed::Failed("reset by peer".into())));
        assert!(!rx.is_at_end());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_frees_a_waiting_writer() {
        let (tx, rx) = pipe(1);
        assert_eq!(tx.try_write(b"a"), Ok(1));
        let (written, ()) = tokio::join!(tx.write_all(b"b"), async { drop(rx) });
        assert_eq!(written, Err(Closed::End));
    }

    #[tokio::test]
    async fn a_ready_reader_has_bytes_or_the_end() {
        let (tx, rx) = pipe(8);
        let (seen, ()) = tokio::join!(
            async {
                rx.ready().await;
                rx.try_read(8)
            },
            async {
                tx.try_write(b"x").expect("open");
            }
        );
        assert_eq!(seen, Ok(Some(Bytes::from_static(b"x"))));
        let (seen, ()) = tokio::join!(
            async {
                rx.ready().await;
                rx.try_read(8)
            },
            async { tx.close() }
        );
        assert_eq!(seen, Err(Closed::End));
        assert!(rx.is_at_end());
    }
}
