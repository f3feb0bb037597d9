//! What one client may have under way: a bound on its calls, on their bytes, on the capabilities that it holds, and on the
//! answers that it does not read.
//!
//! A client that exceeds one of the first two is `overloaded` and loses its connection, and nobody else does. The calls of one
//! that holds too many capabilities are refused with `overloaded` until it releases some; if the answers that are due by then
//! double what it holds, it loses its connection as well. One that does not read its answers is not read from, until it does.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use capnp::Error;
use futures::AsyncRead;
use tokio::{sync::Notify, time::sleep};

/// How much one client may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Words of 8 bytes that one message may have.
    pub(crate) message_words: usize,
    /// Calls at once that are not answered; as many again may be answered and not finished.
    pub(crate) calls: usize,
    /// Bytes of the messages of all calls that are not answered.
    pub(crate) call_bytes: usize,
    /// Capabilities that it was given and has not released, for its calls to be served. It never holds twice as many.
    pub(crate) exports: u32,
    /// Bytes of answers that wait to be read.
    pub(crate) unread_bytes: usize,
}

impl Bounds {
    /// Those of a cell, and of a client of this user's: room for the largest program and some data besides, many times the
    /// calls that a program with one thread waits for, as many children as a cell may own with the streams of each, four times
    /// over, and a few of the largest answers.
    pub(crate) const OWN: Self =
        Self { message_words: 8 << 20, calls: 16_384, call_bytes: 64 << 20, exports: 16_384, unread_bytes: 8 << 20 };

    /// The same with messages of at most this many bytes, and room for one call of that size.
    pub(crate) fn with_messages_of(self, bytes: usize) -> Self {
        Self { message_words: bytes / WORD, call_bytes: self.call_bytes.max(bytes), ..self }
    }

    /// Those of a peer, of another node as well as of a stranger to whom something was granted: a program of a usual size,
    /// and as much of the rest as one busy node of ours has.
    pub(crate) const PEER: Self =
        Self { message_words: 2 << 20, calls: 1_024, call_bytes: 16 << 20, exports: 4_096, unread_bytes: 4 << 20 };
}

/// Bytes of one message of a peer, unless its node is told otherwise.
pub const DEFAULT_PEER_MESSAGE: usize = Bounds::PEER.message_words * WORD;

/// Bytes of one message that a peer may be allowed: as many as a client of this user's.
pub const MAX_PEER_MESSAGE: usize = Bounds::OWN.message_words * WORD;

/// Bytes of one message that a peer has to be allowed: what this node sends in one piece of a stream fits, with room.
pub const MIN_PEER_MESSAGE: usize = 2 << 20;

/// How long a client whose connection has ended may take to read what was sent before: one that reads needs a round trip.
const GOODBYE: Duration = Duration::from_secs(1);

/// Bytes of one word.
const WORD: usize = 8;

/// What one client has under way.
pub(crate) struct Load {
    pub(crate) bounds: Bounds,
    state: RefCell<State>,
    received: Cell<usize>,
    /// Whether something was written that may not have left.
    buffered: Cell<bool>,
    /// Whether a whole message has come.
    heard: Arc<AtomicBool>,
    /// Bytes were written, so that answers may have left.
    progress: Notify,
    /// The client holds too much.
    overrun: Notify,
    /// Told of the end of the connection, before anything is dropped that the client held.
    when_over: RefCell<Option<Box<dyn FnOnce()>>>,
    /// The connection has ended.
    over: Notify,
}

#[derive(Default)]
struct State {
    /// Bytes of each call, by the number that the client gave it; `None` once it is answered, until it is finished.
    calls: HashMap<u32, Option<usize>>,
    /// Those of them that are not answered.
    open: usize,
    call_bytes: usize,
    /// Messages that are not written whole, in the order in which they are written. Whoever else keeps them does not matter:
    /// the library has an answer until its call is finished.
    queue: VecDeque<Queued>,
    /// Bytes that were queued and written since the connection began.
    queued: u64,
    written: u64,
    answer_bytes: usize,
    /// Whether it holds as many capabilities as it may, as far as that is known.
    full: bool,
}

/// A message that waits to be written.
struct Queued {
    /// Of all bytes that were queued, those up to its end.
    end: u64,
    /// Of an answer; 0 for all else, which flow control or a bound of its own keeps small.
    bytes: usize,
}

/// Tells a [`Load`] which bytes of a stream are read.
pub(crate) struct Metered<S> {
    pub(crate) stream: S,
    pub(crate) load: Rc<Load>,
}

impl Default for Load {
    fn default() -> Self {
        Self::new(Bounds::OWN)
    }
}

impl Load {
    /// Nothing yet, and at most this.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: RefCell::default(),
            received: Cell::default(),
            buffered: Cell::default(),
            heard: Arc::default(),
            progress: Notify::new(),
            overrun: Notify::new(),
            when_over: RefCell::default(),
            over: Notify::new(),
        }
    }

    /// Calls this at the end of the connection, before anything is dropped that the client held.
    pub(crate) fn when_over(&self, tell: impl FnOnce() + 'static) {
        *self.when_over.borrow_mut() = Some(Box::new(tell));
    }

    /// The connection has ended.
    pub(crate) fn over(&self) {
        let tell = self.when_over.take();
        tell.into_iter().for_each(|tell| tell());
        self.over.notify_one();
    }

    /// Returns when the connection has ended, and the client has had the time to read why.
    pub(crate) async fn gone(&self) {
        self.over.notified().await;
        sleep(GOODBYE).await;
    }

    /// An attempt to write was made. What is written leaves with the next flush.
    pub(crate) fn wrote(&self, outcome: &Poll<std::io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = outcome {
            self.buffered.set(true);
            self.state.borrow_mut().wrote(*written);
        }
        self.tried(outcome);
    }

    /// An attempt to flush was made.
    pub(crate) fn flushed(&self, outcome: &Poll<std::io::Result<()>>) {
        self.buffered.set(outcome.is_pending());
        self.tried(outcome);
    }

    /// Whether everything that was written has left.
    pub(crate) fn has_left(&self) -> bool {
        !self.buffered.get()
    }

    fn tried<T>(&self, outcome: &Poll<std::io::Result<T>>) {
        match outcome {
            Poll::Ready(Ok(_)) => self.progress.notify_one(),
            Poll::Ready(Err(_)) => self.over(),
            Poll::Pending => {}
        }
    }

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
        let Bounds { calls: most, call_bytes: most_bytes, .. } = self.bounds;
        let mut state = self.state.borrow_mut();
        let (calls, call_bytes) = (state.open + 1, state.call_bytes.saturating_add(bytes));
        if calls > most || call_bytes > most_bytes {
            return Err(Error::overloaded(format!(
                "{calls} calls of {call_bytes} bytes under way: at most {most} of {most_bytes} are served"
            )));
        }
        if state.calls.len() >= 2 * most {
            let why = format!("{most} calls that were answered are not finished: finish them, or drop their answers");
            return Err(Error::overloaded(why));
        }
        state.answered(question);
        state.calls.insert(question, Some(bytes));
        state.open += 1;
        state.call_bytes += bytes;
        Ok(())
    }

    /// A call was answered.
    pub(crate) fn answered(&self, question: u32) {
        self.state.borrow_mut().answered(question);
    }

    /// The client has done with a call, answered or not. Whether it was one that was served.
    pub(crate) fn finished(&self, question: u32) -> bool {
        let mut state = self.state.borrow_mut();
        state.answered(question);
        state.calls.remove(&question).is_some()
    }

    /// The client is given a capability under this number. Numbers are given out from the lowest that is free, so one of
    /// them says how many are held at least.
    pub(crate) fn exported(&self, number: u32) {
        let most = self.bounds.exports;
        if number >= most {
            self.state.borrow_mut().full = true;
        }
        if number >= most.saturating_mul(2) {
            self.overrun.notify_one();
        }
    }

    /// The client has released something: the next capability that it is given says whether that was enough.
    pub(crate) fn released(&self) {
        self.state.borrow_mut().full = false;
    }

    /// Whether it holds as many capabilities as it may, so that its calls are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.state.borrow().full
    }

    /// Why they are.
    pub(crate) fn too_many_held(&self) -> Error {
        let most = self.bounds.exports;
        Error::overloaded(format!("{most} capabilities are held, as many as are given to one client: release some"))
    }

    /// Returns when the client holds far more than it may: the connection cannot go on.
    pub(crate) async fn overrun(&self) -> Error {
        self.overrun.notified().await;
        self.too_many_held()
    }

    /// A message waits to be written, an answer or another one: so many words as they are written, with their segment table.
    pub(crate) fn queued(&self, words: usize, is_answer: bool) {
        let bytes = words.saturating_mul(WORD);
        let mut state = self.state.borrow_mut();
        state.queued += bytes as u64;
        let queued = Queued { end: state.queued, bytes: if is_answer { bytes } else { 0 } };
        state.answer_bytes += queued.bytes;
        state.queue.push_back(queued);
    }

    /// Waits until no call is under way and every message has left.
    pub(crate) async fn idle(&self) {
        loop {
            let progress = self.progress.notified();
            let is_idle = {
                let state = self.state.borrow();
                state.open == 0 && state.queue.is_empty() && self.has_left()
            };
            if is_idle {
                return;
            }
            progress.await;
        }
    }

    /// Waits until the client has read enough of its answers.
    pub(crate) async fn has_room(&self) {
        loop {
            let progress = self.progress.notified();
            if self.state.borrow().answer_bytes <= self.bounds.unread_bytes {
                return;
            }
            progress.await;
        }
    }
}

impl State {
    fn answered(&mut self, question: u32) {
        if let Some(bytes) = self.calls.get_mut(&question).and_then(Option::take) {
            self.call_bytes -= bytes;
            self.open -= 1;
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        while let Some(Queued { bytes, .. }) = self.queue.pop_front_if(|queued| queued.end <= self.written) {
            self.answer_bytes -= bytes;
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(0) | Err(_)) => self.load.over(),
            Poll::Ready(Ok(read)) => self.load.received.set(self.load.received.get() + read),
            Poll::Pending => {}
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn overloaded(result: Result<(), Error>) -> bool {
        result.is_err_and(|error| error.kind == capnp::ErrorKind::Overloaded)
    }

    #[test]
    fn calls_and_their_bytes_are_bounded_until_they_are_answered() {
        let Bounds { calls, call_bytes, .. } = Bounds::PEER;
        let load = Load::new(Bounds::PEER);
        load.begin(0, call_bytes).expect("all there is");
        assert!(overloaded(load.begin(1, 1)));
        load.answered(0);
        load.answered(0);
        for question in 0..calls {
            load.begin(question as u32, 1).expect("within the bound");
        }
        assert!(overloaded(load.begin(u32::MAX, 1)));
        load.finished(7);
        load.begin(7, 1).expect("a place is free");
    }

    #[test]
    fn calls_that_are_never_finished_are_bounded() {
        let most = Bounds::PEER.calls as u32;
        let load = Load::new(Bounds::PEER);
        for question in 0..2 * most {
            load.begin(question, 1).expect("within the bound");
            load.answered(question);
        }
        assert!(overloaded(load.begin(2 * most, 1)));
        load.finished(0);
        load.begin(2 * most, 1).expect("one was finished");
    }

    #[test]
    fn capabilities_are_bounded_until_they_are_released() {
        let most = Bounds::PEER.exports;
        let load = Load::new(Bounds::PEER);
        load.exported(most - 1);
        assert!(!load.is_full());
        load.exported(most);
        assert!(load.is_full());
        load.released();
        assert!(!load.is_full(), "one is free");
        load.exported(most);
        assert!(load.is_full(), "it was taken by the one before, and this is one more");
        load.exported(2 * most - 1);
        assert!(load.overrun().now_or_never().is_none());
        load.exported(2 * most);
        let error = load.overrun().now_or_never().expect("too many");
        assert!(error.kind == capnp::ErrorKind::Overloaded && error.extra.contains("4096"), "{error}");
    }

    #[test]
    fn unread_answers_hold_the_reading_up_until_they_are_written() {
        let load = Load::default();
        let half = load.bounds.unread_bytes / 2;
        for is_answer in [false, false, true, false, true, true] {
            load.queued(half / WORD, is_answer);
        }
        let mut waiting = Box::pin(load.has_room());
        for (bytes, has_room) in [(2 * half, false), (half - 1, false), (1, true)] {
            assert!(waiting.as_mut().now_or_never().is_none());
            load.wrote(&Poll::Ready(Ok(bytes)));
            assert_eq!(waiting.as_mut().now_or_never().is_some(), has_room);
        }
        assert!(load.idle().now_or_never().is_none());
        load.wrote(&Poll::Ready(Ok(3 * half)));
        assert!(load.idle().now_or_never().is_none(), "it may not have left");
        load.flushed(&Poll::Ready(Ok(())));
        assert!(load.idle().now_or_never().is_some());
    }
}
