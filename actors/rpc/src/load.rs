//! What one client may have under way: a bound on its calls, on their bytes, and on the answers that it does not read.
//!
//! A client that exceeds the first two is `overloaded` and loses its connection, and nobody else does. One that does
//! not read its answers is not read from, until it does.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    pin::Pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use capnp::{Error, message};
use futures::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// Calls under way at once: many times what a program with one thread waits for.
pub(crate) const MAX_CALLS: usize = 16_384;

/// Bytes of the messages of all calls under way: the largest program once, and some data besides.
pub(crate) const MAX_CALL_BYTES: usize = 64 << 20;

/// Bytes of answers that wait to be read: a few of the largest.
const MAX_UNREAD_BYTES: usize = 8 << 20;

/// Bytes of one word.
const WORD: usize = 8;

type Message = message::Builder<message::HeapAllocator>;

/// What one client has under way.
#[derive(Default)]
pub(crate) struct Load {
    state: RefCell<State>,
    received: Cell<usize>,
    /// Whether a whole message has come.
    heard: Arc<AtomicBool>,
    /// Bytes were written, so that answers may have left.
    progress: Notify,
}

#[derive(Default)]
struct State {
    /// Bytes of each call, by the number that the client gave it.
    calls: HashMap<u32, usize>,
    call_bytes: usize,
    /// Messages in the order in which they are written; gone when they are.
    answers: VecDeque<(Weak<Message>, usize)>,
    answer_bytes: usize,
}

/// Tells a [`Load`] which bytes of a stream are read and written.
pub(crate) struct Metered<S> {
    pub(crate) stream: S,
    pub(crate) load: Rc<Load>,
}

impl Load {
    /// Bytes that were read since the last look: those of the message that was received.
    pub(crate) fn take_received(&self) -> usize {
        self.heard.store(true, Ordering::Relaxed);
        self.received.take()
    }

    /// Whether a whole message has come, for whoever looks.
    pub(crate) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }

    /// A call of this many bytes begins.
    ///
    /// # Errors
    ///
    /// `overloaded` where that is too much: the connection cannot go on.
    pub(crate) fn begin(&self, question: u32, bytes: usize) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let calls = state.calls.len() + 1;
        let call_bytes = state.call_bytes.saturating_add(bytes);
        if calls > MAX_CALLS || call_bytes > MAX_CALL_BYTES {
            return Err(Error::overloaded(format!(
                "{calls} calls of {call_bytes} bytes under way: at most {MAX_CALLS} of {MAX_CALL_BYTES} are served"
            )));
        }
        if let Some(reused) = state.calls.insert(question, bytes) {
            state.call_bytes -= reused;
        }
        state.call_bytes += bytes;
        Ok(())
    }

    /// A call was answered or given up.
    pub(crate) fn end(&self, question: u32) {
        let mut state = self.state.borrow_mut();
        if let Some(bytes) = state.calls.remove(&question) {
            state.call_bytes -= bytes;
        }
    }

    /// A message waits to be written.
    pub(crate) fn queued(&self, message: &Rc<Message>, words: usize) {
        let bytes = words.saturating_mul(WORD);
        let mut state = self.state.borrow_mut();
        state.drop_written();
        state.answers.push_back((Rc::downgrade(message), bytes));
        state.answer_bytes += bytes;
    }

    /// Waits until no call is under way and every answer has left.
    pub(crate) async fn idle(&self) {
        loop {
            let progress = self.progress.notified();
            {
                let mut state = self.state.borrow_mut();
                state.drop_written();
                if state.calls.is_empty() && state.answers.is_empty() {
                    return;
                }
            }
            progress.await;
        }
    }

    /// Waits until the client has read enough of its answers.
    pub(crate) async fn has_room(&self) {
        loop {
            let progress = self.progress.notified();
            {
                let mut state = self.state.borrow_mut();
                state.drop_written();
                if state.answer_bytes <= MAX_UNREAD_BYTES {
                    return;
                }
            }
            progress.await;
        }
    }
}

impl State {
    fn drop_written(&mut self) {
        while let Some((_, bytes)) = self.answers.pop_front_if(|(message, _)| message.strong_count() == 0) {
            self.answer_bytes -= bytes;
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(read)) = read {
            self.load.received.set(self.load.received.get() + read);
        }
        read
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Metered<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.load.progress.notify_one();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.load.progress.notify_one();
        }
        flushed
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn calls_and_their_bytes_are_bounded_until_they_end() {
        let load = Load::default();
        load.begin(0, MAX_CALL_BYTES).expect("all there is");
        assert_eq!(load.begin(1, 1).expect_err("one too many").kind, capnp::ErrorKind::Overloaded);
        load.end(0);
        load.end(0);
        for question in 0..MAX_CALLS {
            load.begin(question as u32, 1).expect("within the bound");
        }
        assert_eq!(load.begin(u32::MAX, 1).expect_err("one too many").kind, capnp::ErrorKind::Overloaded);
    }

    #[test]
    fn unread_answers_hold_the_reading_up_until_they_are_written() {
        let load = Load::default();
        let answers: Vec<_> = (0..3).map(|_| Rc::new(Message::new_default())).collect();
        for answer in &answers {
            load.queued(answer, MAX_UNREAD_BYTES / WORD / 2);
        }
        let mut waiting = Box::pin(load.has_room());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(answers);
        load.progress.notify_one();
        assert!(waiting.as_mut().now_or_never().is_some());
    }
}
