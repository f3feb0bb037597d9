//! The connection as numbers. To read from one waits, and so it is read from between two turns only.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use ww_guest::bindings::streams::wetware::streams::streams::{read, write};

use crate::again;

/// Bytes that are read at once.
const CHUNK: u32 = 16 * 1024;

#[derive(Clone)]
pub(crate) struct Streams(Rc<Inner>);

struct Inner {
    input: u32,
    output: u32,
    /// What was read, and is not taken yet; or why nothing more comes.
    arrived: RefCell<Result<Vec<u8>, String>>,
    /// The input has ended.
    ended: Cell<bool>,
    /// The last turn has moved bytes.
    moved: Cell<bool>,
}

pub(crate) struct Reader(Streams);

pub(crate) struct Writer(Streams);

impl Streams {
    pub(crate) fn new(input: u32, output: u32) -> Self {
        // Nothing is read before the first calls are written.
        let (arrived, ended, moved) = (RefCell::new(Ok(Vec::new())), Cell::new(false), Cell::new(true));
        Self(Rc::new(Inner { input, output, arrived, ended, moved }))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(self.clone())
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.clone())
    }

    pub(crate) fn wait(&self) {
        let Inner { input, arrived, ended, moved, .. } = &*self.0;
        // What its own future asked for in this turn is written in the next one.
        if moved.take() {
            return;
        }
        let bytes = read(*input, CHUNK);
        ended.set(bytes.as_ref().is_ok_and(Vec::is_empty));
        *arrived.borrow_mut() = bytes;
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Inner { arrived, ended, moved, .. } = &*self.0.0;
        match &mut *arrived.borrow_mut() {
            Ok(bytes) if bytes.is_empty() && !ended.get() => again(cx),
            Ok(bytes) => {
                let len = bytes.len().min(buf.len());
                buf[..len].copy_from_slice(&bytes[..len]);
                bytes.drain(..len);
                moved.set(true);
                Poll::Ready(Ok(len))
            }
            Err(error) => Poll::Ready(Err(io::Error::other(error.clone()))),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Inner { output, moved, .. } = &*self.0.0;
        moved.set(true);
        Poll::Ready(write(*output, buf).map(|()| buf.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
