//! A guest's standard streams as WASI sees them, for components and for preview 1 modules alike.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::{
    cli::{IsTerminal, StdinStream, StdoutStream},
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};

use crate::{
    pipe::{self, Closed},
    tail,
};

/// Most bytes that one read may ask for: what is larger only costs memory.
const MAX_READ: usize = 1 << 20;

/// Bytes that standard error takes in one write.
const STDERR_PERMIT: usize = 64 * 1024;

/// Where the three standard streams of a guest lead.
#[derive(Debug)]
pub struct Stdio {
    /// What the guest reads.
    pub stdin: pipe::Reader,
    /// What the guest writes.
    pub stdout: pipe::Writer,
    /// What the guest reports.
    pub stderr: Stderr,
}

/// Where a guest's standard error leads.
#[derive(Debug)]
pub enum Stderr {
    /// To a reader that the guest waits for: a terminal.
    Pipe(pipe::Writer),
    /// To the log; the guest never waits.
    Tail(tail::Writer),
}

/// The guest's end of a stream that it reads. Clones read from the same stream.
#[derive(Clone)]
pub(crate) struct Input(Arc<pipe::Reader>);

/// The guest's end of a stream that it writes. Clones write to the same stream.
#[derive(Clone)]
pub(crate) enum Output {
    Pipe(Arc<pipe::Writer>),
    Tail(tail::Writer),
}

impl Input {
    pub(crate) fn new(reader: pipe::Reader) -> Self {
        Self(Arc::new(reader))
    }

    pub(crate) async fn wait_read(&self, max: usize) -> Result<Bytes, Closed> {
        self.0.read(max.min(MAX_READ)).await
    }
}

impl Output {
    pub(crate) fn new(writer: pipe::Writer) -> Self {
        Self::Pipe(Arc::new(writer))
    }

    pub(crate) async fn wait_write(&self, bytes: &[u8]) -> Result<(), Closed> {
        match self {
            Self::Pipe(writer) => writer.write_all(bytes).await,
            Self::Tail(writer) => {
                writer.write(bytes);
                Ok(())
            }
        }
    }
}

impl From<Stderr> for Output {
    fn from(stderr: Stderr) -> Self {
        match stderr {
            Stderr::Pipe(writer) => Self::new(writer),
            Stderr::Tail(writer) => Self::Tail(writer),
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
        self.0.ready().await;
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        self.0.try_read(size.min(MAX_READ)).map(Option::unwrap_or_default).map_err(stream_error)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if let Self::Pipe(writer) = self {
            writer.ready().await;
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self {
            Self::Pipe(writer) => {
                if !writer.write_permitted(&bytes).map_err(stream_error)? {
                    return Err(StreamError::trap("write beyond what check-write permitted"));
                }
            }
            Self::Tail(writer) => writer.write(&bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Bytes are with the reader's side as soon as they are written.
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self {
            Self::Pipe(writer) => writer.room().map_err(stream_error),
            Self::Tail(_) => Ok(STDERR_PERMIT),
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
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
        false
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
