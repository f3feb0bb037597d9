//! Streams of `wasi:io` as asynchronous readers and writers.
//!
//! They wait without blocking the cell, so that other parts of a future go on meanwhile. A plain cell
//! that has nothing else to do is better off with [`std::io`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::io::{AsyncRead, AsyncWrite};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::executor::Source;

/// Most that one read asks for, in bytes: the node has to allocate what it returns.
const MAX_READ: usize = 64 * 1024;

/// Standard input, to be awaited.
///
/// Do not mix it with [`std::io::stdin`], whose buffer it does not see. For lines, wrap it:
/// `BufReader::new(stdin()).lines()` with the traits of [`futures::io`].
pub fn stdin() -> Reader {
    Reader::new(wasip2::cli::stdin::get_stdin())
}

/// The reading end of a stream.
pub struct Reader {
    // Before the stream: the host traps if a stream goes before what was derived from it.
    source: Option<Source>,
    stream: InputStream,
}

/// The writing end of a stream. Closing or dropping it ends the stream; what was not flushed may be lost.
pub struct Writer {
    source: Option<Source>,
    /// Until it is closed.
    stream: Option<OutputStream>,
    /// A flush was begun, and nothing was written since.
    flushing: bool,
}

impl Reader {
    /// Takes over a stream.
    pub fn new(stream: InputStream) -> Self {
        Self { source: None, stream }
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match this.stream.read(buf.len().min(MAX_READ) as u64) {
            Ok(bytes) if bytes.is_empty() => {
                this.source.get_or_insert_with(|| Source::new(this.stream.subscribe())).arm(cx);
                Poll::Pending
            }
            Ok(bytes) => {
                buf[..bytes.len()].copy_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            Err(StreamError::Closed) => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(into_io(error))),
        }
    }
}

impl Writer {
    /// Takes over a stream.
    pub fn new(stream: OutputStream) -> Self {
        Self { source: None, stream: Some(stream), flushing: false }
    }

    /// Waits until the stream takes bytes, and returns it with how many it takes.
    fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<io::Result<(&OutputStream, usize)>> {
        let Some(stream) = &self.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match stream.check_write() {
            Ok(0) => {
                self.source.get_or_insert_with(|| Source::new(stream.subscribe())).arm(cx);
                Poll::Pending
            }
            Ok(room) => Poll::Ready(Ok((stream, usize::try_from(room).unwrap_or(usize::MAX)))),
            Err(error) => Poll::Ready(Err(into_io(error))),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (stream, room) = std::task::ready!(this.poll_ready(cx))?;
        let written = room.min(buf.len());
        stream.write(&buf[..written]).map_err(into_io)?;
        this.flushing = false;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(stream) = this.stream.as_ref().filter(|_| !this.flushing) {
            stream.flush().map_err(into_io)?;
            this.flushing = true;
        }
        // A stream takes bytes again when its flush is done.
        std::task::ready!(this.poll_ready(cx))?;
        this.flushing = false;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_none() {
            return Poll::Ready(Ok(()));
        }
        let flushed = std::task::ready!(self.as_mut().poll_flush(cx));
        self.source = None;
        self.stream = None;
        Poll::Ready(flushed)
    }
}

fn into_io(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}
