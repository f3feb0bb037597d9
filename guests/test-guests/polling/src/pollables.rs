//! The connection as streams of `wasi:io`.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use wasip2::io::{
    poll::{self, Pollable},
    streams::{InputStream, OutputStream, StreamError},
};

use crate::again;

#[derive(Clone)]
pub(crate) struct Streams(Rc<Inner>);

struct Inner {
    // Before the streams: the host traps if a stream goes before what was derived from it.
    readable: Pollable,
    writable: Pollable,
    input: InputStream,
    output: OutputStream,
}

pub(crate) struct Reader(Streams);

pub(crate) struct Writer(Streams);

impl Streams {
    pub(crate) fn new(input: InputStream, output: OutputStream) -> Self {
        let (readable, writable) = (input.subscribe(), output.subscribe());
        Self(Rc::new(Inner { readable, writable, input, output }))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(self.clone())
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.clone())
    }

    pub(crate) fn wait(&self) {
        let Inner { readable, writable, .. } = &*self.0;
        if writable.ready() {
            poll::poll(&[readable]);
        } else {
            poll::poll(&[readable, writable]);
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.0.0.input.read(buf.len() as u64) {
            Ok(bytes) if bytes.is_empty() => again(cx),
            Ok(bytes) => {
                buf[..bytes.len()].copy_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            Err(StreamError::Closed) => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let output = &self.0.0.output;
        match output.check_write() {
            Ok(0) => again(cx),
            Ok(room) => {
                let len = buf.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                Poll::Ready(output.write(&buf[..len]).map(|()| len).map_err(io::Error::other))
            }
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.0.output.flush().map_err(io::Error::other))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
