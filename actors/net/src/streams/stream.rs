//! One stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::{ledger::Place, local::LocalStream};

/// Bytes in both directions, between this node and one peer or itself.
///
/// Each direction ends by itself: `shutdown` is the end of what is written, after which reading goes on. There is no
/// other way to say that something is whole: a stream that is dropped without it is **reset**, as far as libp2p can.
/// On TCP a reset is an error to who writes, but an end to who reads, as yamux has it; on QUIC a drop is an end. Only
/// a stream of a node to itself shows it to both. So an EOF proves nothing, and what must be whole travels in frames.
///
/// A stream keeps its connection open, and its place among the streams of the peer and the node, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    place: Place,
}

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Io {
    Remote(Compat<libp2p::Stream>),
    Local(LocalStream),
}

impl Stream {
    pub(crate) fn new(io: Io, place: Place) -> Self {
        Self { io, place }
    }

    /// What carries the bytes, without the place.
    pub(crate) fn into_io(self) -> Io {
        self.io
    }

    /// The two directions, for two owners. The stream is dropped with the second of them: until then, dropping the
    /// writing half without `shutdown` tells the peer nothing.
    pub fn into_split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        tokio::io::split(self)
    }
}

impl From<libp2p::Stream> for Io {
    fn from(stream: libp2p::Stream) -> Self {
        Self::Remote(stream.compat())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = match &mut self.io {
            Io::Remote(io) => Pin::new(io).poll_read(cx, buf),
            Io::Local(io) => Pin::new(io).poll_read(cx, buf),
        };
        if read.is_ready() && !self.place.is_heard() {
            self.place.hear();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Remote(io) => Pin::new(io).poll_write(cx, buf),
            Self::Local(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Remote(io) => Pin::new(io).poll_flush(cx),
            Self::Local(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Remote(io) => Pin::new(io).poll_shutdown(cx),
            Self::Local(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
