//! A guest's standard streams as WASI sees them, for components and for preview 1 modules alike.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::{
    cli::{IsTerminal, StdinStream, StdoutStream},
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};
use ww_core::Account;

use crate::{
    history::History,
    patience::Patience,
    pipe::{self, Closed},
    tail,
};

/// Most bytes that one read may ask for: what is larger only costs memory.
const MAX_READ: usize = 1 << 20;

/// Bytes that a stream takes in one write where nobody has to be waited for.
const PERMIT: usize = 64 * 1024;

/// Where the three standard streams of a guest lead. Clones lead to the same, one guest after the other; a stream ends
/// with the last of them.
#[derive(Clone, Debug)]
pub struct Stdio {
    /// What the guest reads.
    pub stdin: Arc<pipe::Reader>,
    /// What the guest writes.
    pub stdout: Arc<pipe::Writer>,
    /// What the guest reports.
    pub stderr: Stderr,
}

/// Where a guest's standard error leads.
#[derive(Clone, Debug)]
pub enum Stderr {
    /// To a reader that the guest waits for: a terminal. It may be the pipe of standard output, where both lead to the same
    /// place: then what is written to the two keeps its order.
    Pipe(Arc<pipe::Writer>),
    /// To such a reader, and to the log.
    Both(Arc<pipe::Writer>, tail::Writer),
    /// To the log; the guest never waits.
    Tail(tail::Writer),
}

/// The guest's end of a stream that it reads. Clones read from the same stream.
///
/// A language's standard library keeps the handle that it got once, so that what is behind the handle is exchanged
/// for the next message, not the handle.
#[derive(Clone)]
pub(crate) struct Input {
    armed: Armed<pipe::Reader>,
    patience: Patience,
}

/// The guest's end of a stream that it writes. Clones write to the same stream.
#[derive(Clone)]
pub(crate) enum Output {
    /// To a pipe. A guest that writes to a closed one is told.
    Pipe(Armed<pipe::Writer>),
    /// To the pipe of the message in progress. What is written to a closed one is discarded: a peer that stops
    /// reading must not end a guest that others need.
    Reply(Armed<pipe::Writer>, Patience),
    /// To a pipe, and to where it is kept.
    Kept(Armed<pipe::Writer>, Kept),
    Tail(tail::Writer),
}

/// Where else a guest's standard error goes.
#[derive(Clone)]
pub(crate) enum Kept {
    /// Into the history of the cell.
    History(History),
    /// There, and to the log.
    Tail(tail::Writer),
}

impl Kept {
    fn record(&self, bytes: &[u8]) {
        match self {
            Self::History(history) => history.record(bytes),
            Self::Tail(writer) => writer.write(bytes),
        }
    }
}

impl Stderr {
    /// Makes an account the payer of what waits for a reader.
    pub(crate) fn charge_to(&self, payer: &Account) {
        if let Self::Pipe(writer) | Self::Both(writer, _) = self {
            writer.charge_to(payer);
        }
    }
}

/// What is behind a handle right now. Locked for a moment only, by one guest and whoever arms it between two messages.
type Armed<T> = Arc<Mutex<Arc<T>>>;

fn armed<T>(now: impl Into<Arc<T>>) -> Armed<T> {
    Arc::new(Mutex::new(now.into()))
}

fn current<T>(armed: &Armed<T>) -> Arc<T> {
    // Nothing panics while the lock is held.
    Arc::clone(&armed.lock().unwrap_or_else(PoisonError::into_inner))
}

fn arm<T>(armed: &Armed<T>, next: Arc<T>) {
    let last = std::mem::replace(&mut *armed.lock().unwrap_or_else(PoisonError::into_inner), next);
    // Its end wakes whoever is at the other side: not under the lock.
    drop(last);
}

impl Input {
    pub(crate) fn new(reader: impl Into<Arc<pipe::Reader>>) -> Self {
        Self::patient(reader, Patience::default())
    }

    /// A stream of a peer, for which the guest's deadline waits.
    pub(crate) fn patient(reader: impl Into<Arc<pipe::Reader>>, patience: Patience) -> Self {
        Self { armed: armed(reader), patience }
    }

    /// Exchanges the stream. What was not read of the last one is discarded, once nobody holds it.
    pub(crate) fn arm(&self, reader: Arc<pipe::Reader>) {
        arm(&self.armed, reader);
    }

    pub(crate) async fn wait_read(&self, max: usize) -> Result<Bytes, Closed> {
        current(&self.armed).read(max.min(MAX_READ)).await
    }
}

impl Output {
    pub(crate) fn new(writer: impl Into<Arc<pipe::Writer>>) -> Self {
        Self::Pipe(armed(writer))
    }

    /// A stream for the reply to one message.
    pub(crate) fn for_reply(writer: impl Into<Arc<pipe::Writer>>, patience: Patience) -> Self {
        Self::Reply(armed(writer), patience)
    }

    /// The standard error of a cell, and what is kept of it.
    pub(crate) fn stderr(stderr: Stderr) -> (Self, History) {
        match stderr {
            Stderr::Pipe(writer) => {
                let history = History::default();
                (Self::Kept(armed(writer), Kept::History(history.clone())), history)
            }
            Stderr::Both(writer, tail) => {
                let history = tail.history().clone();
                (Self::Kept(armed(writer), Kept::Tail(tail)), history)
            }
            Stderr::Tail(writer) => {
                let history = writer.history().clone();
                (Self::Tail(writer), history)
            }
        }
    }

    /// Ends the stream with an error, so that nobody takes what was written for the whole.
    pub(crate) fn fail(&self, why: &str) {
        if let Self::Pipe(writer) | Self::Reply(writer, _) = self {
            current(writer).fail(why);
        }
    }

    /// Exchanges the stream of replies, and ends the last one.
    pub(crate) fn arm(&self, writer: Arc<pipe::Writer>) {
        if let Self::Reply(reply, _) = self {
            arm(reply, writer);
        }
    }

    pub(crate) async fn wait_write(&self, bytes: &[u8]) -> Result<(), Closed> {
        match self {
            Self::Pipe(writer) | Self::Reply(writer, _) => current(writer).write_all(bytes).await,
            Self::Kept(writer, kept) => {
                kept.record(bytes);
                current(writer).write_all(bytes).await
            }
            Self::Tail(writer) => {
                writer.write(bytes);
                Ok(())
            }
        }
    }
}

fn stream_error(closed: Closed) -> StreamError {
    match closed {
        Closed::End => StreamError::Closed,
        Closed::Failed(why) => StreamError::LastOperationFailed(wasmtime::Error::msg(why.to_string())),
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        let reader = current(&self.armed);
        if !reader.is_ready() {
            let _wait = self.patience.wait();
            reader.ready().await;
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        current(&self.armed).try_read(size.min(MAX_READ)).map(Option::unwrap_or_default).map_err(stream_error)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        loop {
            // Asks before it waits, so that the other side learns how much is asked for.
            let bytes = self.read(size)?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
            self.ready().await;
            if size == 0 {
                return Ok(bytes);
            }
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        match self {
            Self::Pipe(writer) | Self::Kept(writer, _) => current(writer).ready().await,
            Self::Reply(writer, patience) => {
                let writer = current(writer);
                if writer.room() == Ok(0) {
                    let _wait = patience.wait();
                    writer.ready().await;
                }
            }
            Self::Tail(_) => {}
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let written = match self {
            Self::Pipe(writer) => current(writer).write_permitted(&bytes).map_err(stream_error)?,
            Self::Reply(writer, _) => current(writer).write_permitted(&bytes).unwrap_or(true),
            Self::Kept(writer, kept) => {
                let written = current(writer).write_permitted(&bytes).map_err(stream_error)?;
                if written {
                    kept.record(&bytes);
                }
                written
            }
            Self::Tail(writer) => {
                writer.write(&bytes);
                true
            }
        };
        if written { Ok(()) } else { Err(StreamError::trap("write beyond what check-write permitted")) }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Bytes are with the reader's side as soon as they are written.
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self {
            Self::Pipe(writer) | Self::Kept(writer, _) => current(writer).room().map_err(stream_error),
            Self::Reply(writer, _) => Ok(current(writer).room().unwrap_or(PERMIT)),
            Self::Tail(_) => Ok(PERMIT),
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        current(&self.armed).is_terminal()
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        unreachable!("WASI 0.2 and preview 1 use `p2_stream`")
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match self {
            Self::Pipe(writer) | Self::Kept(writer, _) => current(writer).is_terminal(),
            Self::Reply(..) | Self::Tail(_) => false,
        }
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        unreachable!("WASI 0.2 and preview 1 use `p2_stream`")
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
