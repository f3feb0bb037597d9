//! One end of a connection, and when what it writes leaves.
//!
//! capnp-rpc flushes after every message: each answer costs a call of the system, and may wake the other end. Here a vat
//! that is busy goes on before it flushes, so that what it has to say by then leaves together.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use capnp::{Error, capability::FromClientHook};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side};
use futures::{AsyncWrite, io::BufWriter, task::AtomicWaker};

use crate::{load::Load, promises::Turn};

/// Turns that what was written waits for while the vat is busy. A turn handles a message or two, so that an answer waits for
/// as many as a call of the system is worth. With more, the other end has nothing to do meanwhile, and then this one.
const MAX_TURNS: u32 = 8;

/// One end of a connection. It ends with the connection, when everything that was written has left.
pub(crate) struct Vat<W> {
    system: RpcSystem<Side>,
    writer: Delayed<W>,
    /// How it has ended, while its last words leave.
    ended: Option<Result<(), Error>>,
    /// Turns since the last flush.
    turns: u32,
    again: Arc<Again>,
    waker: Waker,
}

/// A buffered writer that is flushed by the [`Vat`] alone.
pub(crate) struct Delayed<W> {
    inner: Rc<RefCell<Inner<W>>>,
    load: Rc<Load>,
}

struct Inner<W> {
    writer: BufWriter<W>,
    /// Somebody waits to write: the writer itself is waiting for the other end, and knows whom to wake.
    blocked: bool,
}

/// Whether the vat wants another turn.
#[derive(Default)]
struct Again {
    wanted: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wanted.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<W: AsyncWrite + Unpin> Vat<W> {
    /// Drives a system whose network writes to a clone of `writer`.
    pub(crate) fn new(system: RpcSystem<Side>, writer: Delayed<W>) -> Self {
        let again = Arc::<Again>::default();
        Self { system, writer, ended: None, turns: 0, waker: Arc::clone(&again).into(), again }
    }

    /// What the other end serves.
    pub(crate) fn bootstrap<T: FromClientHook>(&mut self, side: Side) -> T {
        self.system.bootstrap(side)
    }
}

impl<W: AsyncWrite + Unpin> Future for Vat<W> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _turn = Turn::of(&this.writer.load.promises);
        if this.ended.is_none() {
            this.again.task.register(cx.waker());
            this.again.wanted.store(false, Ordering::Release);
            match Pin::new(&mut this.system).poll(&mut Context::from_waker(&this.waker)) {
                Poll::Ready(ended) => this.ended = Some(ended),
                Poll::Pending if this.turns < MAX_TURNS && this.again.wanted.load(Ordering::Acquire) => {
                    this.turns += 1;
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
        this.turns = 0;
        ready!(this.writer.poll_leave(cx, this.ended.is_some()));
        this.ended.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<W: AsyncWrite + Unpin> Delayed<W> {
    pub(crate) fn new(writer: W, load: Rc<Load>) -> Self {
        Self { inner: Rc::new(RefCell::new(Inner { writer: BufWriter::new(writer), blocked: false })), load }
    }

    /// Lets everything leave that was written. Leaves a writer alone that waits already, unless nobody writes any more.
    /// Where the other end is gone, the load is told, as whenever it turns out that it is.
    fn poll_leave(&self, cx: &mut Context<'_>, last: bool) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if (inner.blocked && !last) || self.load.has_left() {
            return Poll::Ready(());
        }
        let flushed = Pin::new(&mut inner.writer).poll_flush(cx);
        drop(inner);
        self.load.flushed(&flushed);
        flushed.map(drop)
    }
}

impl<W> Clone for Delayed<W> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner), load: Rc::clone(&self.load) }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Delayed<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        let written = Pin::new(&mut inner.writer).poll_write(cx, bytes);
        inner.blocked = written.is_pending();
        drop(inner);
        self.load.wrote(&written);
        written
    }

    /// Does nothing: see [`Vat`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner.borrow_mut().writer).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio_util::compat::TokioAsyncWriteCompatExt;

    use super::*;

    #[test]
    fn what_is_written_leaves_with_a_flush_of_the_vat_and_waits_for_a_slow_reader() {
        let (near, mut far) = tokio::io::duplex(4);
        let load = Rc::<Load>::default();
        let mut writer = Delayed::new(near.compat_write(), Rc::clone(&load));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(load.has_left());
        assert!(matches!(Pin::new(&mut writer).poll_write(&mut cx, b"answer"), Poll::Ready(Ok(6))));
        assert!(matches!(Pin::new(&mut writer).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        let mut read = [0; 4];
        assert!(tokio::io::AsyncReadExt::read(&mut far, &mut read).now_or_never().is_none(), "nothing has left");
        assert!(writer.poll_leave(&mut cx, false).is_pending(), "there is room for four bytes");
        assert!(!load.has_left());
        let read = tokio::io::AsyncReadExt::read(&mut far, &mut read).now_or_never();
        assert!(matches!(read, Some(Ok(4))));
        assert!(writer.poll_leave(&mut cx, false).is_ready());
        assert!(load.has_left());
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_connection() {
        let (near, far) = tokio::io::duplex(4);
        drop(far);
        let load = Rc::<Load>::default();
        let told = Rc::new(std::cell::Cell::new(false));
        let tell = Rc::clone(&told);
        load.when_over(move || tell.set(true));
        let mut writer = Delayed::new(near.compat_write(), Rc::clone(&load));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(&mut writer).poll_write(&mut cx, b"answer"), Poll::Ready(Ok(6))));
        assert!(writer.poll_leave(&mut cx, false).is_ready());
        assert!(told.get() && load.has_left());
    }
}
