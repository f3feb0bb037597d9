//! A stream of a node to itself, in memory. Unlike a bare duplex it tells a reset from an end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes that each direction holds before its writer waits: as many as one frame of a call.
const CAPACITY: usize = 64 * 1024;

/// One end.
#[derive(Debug)]
pub(crate) struct LocalStream {
    io: DuplexStream,
    /// Whether this end has shut down its direction.
    ended: Arc<AtomicBool>,
    /// The same of the other end.
    peer_ended: Arc<AtomicBool>,
}

/// Both ends.
pub(crate) fn pair() -> (LocalStream, LocalStream) {
    let (one, other) = tokio::io::duplex(CAPACITY);
    let (one_ended, other_ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    (
        LocalStream { io: one, ended: Arc::clone(&one_ended), peer_ended: Arc::clone(&other_ended) },
        LocalStream { io: other, ended: other_ended, peer_ended: one_ended },
    )
}

impl AsyncRead for LocalStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if room > 0 && buf.filled().len() == before && !self.peer_ended.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // First, so that the other end finds it set when it sees the end.
        self.ended.store(true, Ordering::Release);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_from_a_reset() {
        let (mut one, mut other) = pair();
        one.write_all(b"whole").await.unwrap();
        one.shutdown().await.unwrap();
        let mut read = Vec::new();
        other.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"whole");
        other.write_all(b"torn").await.unwrap();
        drop(other);
        let mut read = Vec::new();
        let error = one.read_to_end(&mut read).await.unwrap_err();
        assert_eq!((read.as_slice(), error.kind()), (b"torn".as_slice(), io::ErrorKind::ConnectionReset));
    }
}
