//! What one client may have under way: a bound on its calls, on their bytes, on the capabilities that it holds, and on the
//! answers that it does not read.
//!
//! A client that exceeds one of the first two is `overloaded` and loses its connection, and nobody else does. The calls of one
//! that holds too many capabilities are refused with `overloaded` until it releases some; if the answers that are due by then
//! double what it holds, it loses its connection as well. One that does not read its answers is not read from, until it does.
//!
//! Everything that is held for a connection is charged to the account of its client besides, until it is gone: a message from
//! the moment at which its length is known until nobody needs it, a call until it is finished, an answer until it is
//! written and its call is finished, all else that is to be written until it is, capabilities until they are released.
//! A connection for which the account has no room ends, with the account's word as the reason. That is for what the client
//! itself says. What others send to it, answers and calls, leaves one part in [`LEFT`] of the account and of each above it. An
//! answer or call for which there is less room fails, and nobody but the client ends its connection.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use capnp::Error;
use tokio::{sync::Notify, time::sleep};
use ww_core::account::{Account, Charge, Overdrawn};

use crate::promises::Promises;

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
pub(crate) const WORD: usize = 8;

/// Bytes that are charged for a call besides its message, until it is finished: its entries in tables, and what serves it.
const CALL_BYTES: u64 = 2 << 10;

/// Bytes that the library keeps of a call that was given up, until it is answered all the same, or for ever: it is not told.
const ABANDONED_BYTES: u64 = 256;

/// Bytes that a call which is not answered keeps for each call, or parameter, that is what it promises.
const PIPELINED_BYTES: u64 = 512;

/// Bytes that are charged for each number under which the client was given a capability: entries in tables.
const EXPORT_BYTES: u64 = 256;

/// Bytes that are charged for each capability of the client: entries in tables.
const IMPORT_BYTES: u64 = 512;

/// Bytes that are charged for a question to the client until it answers, and for a promise of the client's until it has
/// sent back the calls that went there.
const QUESTION_BYTES: u64 = 512;

/// Of each account, one part in so many is left by what others send for what its holder says itself.
const LEFT: u64 = 8;

/// Of the account, one part in so many is the most that one answer may take, or all calls together that wait to be read.
const PART: u64 = 4;

/// Bytes of a short error, for which the charge for its call is enough.
pub(crate) const SHORT_ERROR: usize = CALL_BYTES as usize / ERROR_COPIES as usize;

/// Copies that the library keeps of the text of an error until its call is finished.
const ERROR_COPIES: u64 = 4;

/// What one client has under way.
pub(crate) struct Load {
    pub(crate) bounds: Bounds,
    /// What is promised over the connection.
    pub(crate) promises: Rc<Promises>,
    account: Account,
    state: RefCell<State>,
    received: Cell<usize>,
    /// For the message that is being read.
    reading: RefCell<Charge>,
    /// Why the connection cannot go on.
    failed: RefCell<Option<Error>>,
    /// Whether something was written that may not have left.
    buffered: Cell<bool>,
    /// Whether a whole message has come.
    heard: Arc<AtomicBool>,
    /// Bytes were written, so that answers may have left.
    progress: Notify,
    /// The connection cannot go on.
    overrun: Notify,
    /// Told of the end of the connection, before anything is dropped that the client held.
    when_over: RefCell<Option<Box<dyn FnOnce()>>>,
    /// The connection has ended.
    over: Notify,
}

#[derive(Default)]
struct State {
    /// By the numbers that the client gave them, until they are finished.
    calls: HashMap<u32, Call>,
    /// Those of them that are not answered.
    open: usize,
    call_bytes: usize,
    /// Messages that are not written whole, in the order in which they are written. Whoever else keeps them does not matter:
    /// the library has an answer until its call is finished.
    queue: VecDeque<Queued>,
    /// Bytes that were queued and written since the connection began.
    queued: u64,
    written: u64,
    unread_bytes: usize,
    /// Calls that were given up before they were answered.
    abandoned: HashMap<u32, Charge>,
    /// Questions to the client that it has not answered.
    questions: HashSet<u32>,
    /// Bytes of calls that wait to be written.
    unsent_calls: usize,
    /// For what tables hold: capabilities of both sides, questions to the client.
    tables: Charge,
    /// The numbers under which it was given capabilities are below this one.
    exports: u32,
    /// Promises of the client's that were kept by this node's own, and to which calls had gone.
    embargoes: u32,
    /// Whether it holds as many capabilities as it may, as far as that is known.
    full: bool,
}

/// A call that is not finished.
struct Call {
    /// Bytes of its message; `None` once it is answered.
    open: Option<usize>,
    charge: Charge,
    /// For its message, until it is answered: what serves it may keep a copy.
    message: Option<Rc<Charge>>,
    /// Whether it was named as a promise.
    is_pipelined: bool,
    /// For its answer, which the library keeps.
    answer: Option<Rc<Charge>>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// The answer to a call.
    Answer {
        /// The call.
        question: u32,
        /// Whether it is an error.
        is_error: bool,
        /// Whether the other side has nothing to finish.
        is_final: bool,
    },
    /// A call, whose caller waits for the answer.
    Call,
    /// What follows from what the other side says.
    Other,
}

/// A message that waits to be written.
struct Queued {
    /// Of all bytes that were queued, those up to its end.
    end: u64,
    bytes: usize,
    is_call: bool,
    _charge: Rc<Charge>,
}

/// Of a program that is no node: it holds what it asked for, and nobody else pays.
impl Default for Load {
    fn default() -> Self {
        Self::new(Bounds::OWN, Account::unlimited())
    }
}

/// What an account has no room for ends a connection.
pub(crate) fn overloaded(overdrawn: Overdrawn) -> Error {
    Error::overloaded(overdrawn.to_string())
}

impl Load {
    /// Nothing yet, and at most this, for which the account pays.
    pub(crate) fn new(bounds: Bounds, account: Account) -> Self {
        // An account has room for nothing.
        let tables = account.charge(0).unwrap_or_default();
        Self {
            bounds,
            promises: Rc::default(),
            account,
            state: RefCell::new(State { tables, ..State::default() }),
            received: Cell::default(),
            reading: RefCell::default(),
            failed: RefCell::default(),
            buffered: Cell::default(),
            heard: Arc::default(),
            progress: Notify::new(),
            overrun: Notify::new(),
            when_over: RefCell::default(),
            over: Notify::new(),
        }
    }

    /// Says here as well whether a whole message has come.
    pub(crate) fn telling(self, heard: Arc<AtomicBool>) -> Self {
        Self { heard, ..self }
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

    /// The connection cannot go on. Only the first reason counts.
    pub(crate) fn fail(&self, why: Error) {
        self.failed.borrow_mut().get_or_insert(why);
        self.overrun.notify_one();
    }

    /// Bytes were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes);
    }

    /// A message of this many bytes is about to be read.
    ///
    /// # Errors
    ///
    /// `overloaded` where there is no room for it.
    pub(crate) fn announced(&self, bytes: u64) -> Result<(), Error> {
        let charge = self.account.charge(bytes).map_err(overloaded)?;
        *self.reading.borrow_mut() = charge;
        Ok(())
    }

    /// Bytes that were read since the last look: those of the message that was received, and the charge for it.
    pub(crate) fn take_received(&self) -> (usize, Charge) {
        self.heard.store(true, Ordering::Relaxed);
        (self.received.take(), self.reading.take())
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
        let charge = self.account.charge(CALL_BYTES).map_err(overloaded)?;
        state.answered(question);
        state
            .calls
            .insert(question, Call { open: Some(bytes), charge, message: None, is_pipelined: false, answer: None });
        state.open += 1;
        state.call_bytes += bytes;
        Ok(())
    }

    /// A call was answered, of which nobody else here knows.
    #[cfg(test)]
    pub(crate) fn answered(&self, question: u32) {
        self.state.borrow_mut().answered(question);
    }

    /// The charge for a message stays until its call is answered.
    pub(crate) fn keep(&self, question: u32, message: &Rc<Charge>) {
        if let Some(call) = self.state.borrow_mut().calls.get_mut(&question) {
            call.message = Some(Rc::clone(message));
        }
    }

    /// A call, or one of its parameters, is what another call promises.
    ///
    /// # Errors
    ///
    /// `overloaded` where there is no room for that.
    pub(crate) fn pipelined(&self, question: u32) -> Result<(), Error> {
        match self.state.borrow_mut().calls.get_mut(&question) {
            Some(call) if call.open.is_some() => {
                call.is_pipelined = true;
                call.charge.grow(PIPELINED_BYTES).map_err(overloaded)
            }
            _ => Ok(()),
        }
    }

    /// Whether the client cannot give a call this number: another one has it.
    pub(crate) fn is_used(&self, question: u32) -> bool {
        let state = self.state.borrow();
        state.calls.contains_key(&question) || state.abandoned.contains_key(&question)
    }

    /// The client has done with a call, answered or not. Whether it was one that was served.
    pub(crate) fn finished(&self, question: u32) -> bool {
        let mut state = self.state.borrow_mut();
        let is_open = state.answered(question);
        let Some(Call { mut charge, is_pipelined, .. }) = state.calls.remove(&question) else { return false };
        if is_open {
            if !is_pipelined {
                charge.shrink(CALL_BYTES - ABANDONED_BYTES);
            }
            state.abandoned.insert(question, charge);
        }
        true
    }

    /// The client answers a question. Whether it was asked.
    pub(crate) fn has_answered(&self, question: u32) -> bool {
        let mut state = self.state.borrow_mut();
        let was_asked = state.questions.remove(&question);
        if was_asked {
            state.tables.shrink(QUESTION_BYTES);
        }
        was_asked
    }

    /// Calls that went to a promise of the client's come back before others go to what it has become, or have come back.
    pub(crate) fn embargo(&self, is_over: bool) {
        let mut state = self.state.borrow_mut();
        if !is_over {
            state.embargoes += 1;
            let grown = state.tables.grow(QUESTION_BYTES);
            grown.unwrap_or_else(|overdrawn| self.fail(overloaded(overdrawn)));
        } else if state.embargoes > 0 {
            state.embargoes -= 1;
            state.tables.shrink(QUESTION_BYTES);
        }
    }

    /// Bytes that one answer may take of the account, and calls together that wait to be read. One call alone may be more.
    fn part(&self) -> u64 {
        self.account.most() / PART
    }

    /// Charges what others send to the client: some of the account is left for what it says itself.
    fn charge_others(&self, bytes: u64) -> Result<Charge, Error> {
        self.account.leaves_one_in(LEFT, bytes).map_err(overloaded)?;
        self.account.charge(bytes).map_err(overloaded)
    }

    /// A call of this many words is about to be sent to the client under this number. Returns the charge for it.
    ///
    /// # Errors
    ///
    /// `overloaded` where too many wait that it does not read: nobody but its caller is harmed.
    pub(crate) fn asks(&self, question: u32, words: usize) -> Result<Charge, Error> {
        let mut state = self.state.borrow_mut();
        let (bytes, waiting) = (words.saturating_mul(WORD), state.unsent_calls);
        let most = usize::try_from(self.part()).unwrap_or(usize::MAX).min(self.bounds.call_bytes);
        if waiting > 0 && waiting.saturating_add(bytes) > most {
            let why = format!(
                "{waiting} bytes of calls wait to be read by the other side, and {bytes} more are too many: at most {most} may"
            );
            return Err(Error::overloaded(why));
        }
        let charge = self.charge_others(bytes as u64)?;
        state.tables.grow(QUESTION_BYTES).map_err(overloaded)?;
        state.questions.insert(question);
        Ok(charge)
    }

    /// Charges what is about to be sent to the client, besides calls: so many words.
    ///
    /// # Errors
    ///
    /// `overloaded` where there is no room. An answer then fails, as a short error that costs nothing more where the call
    /// was served; with anything else the connection cannot go on.
    pub(crate) fn pays(&self, words: usize, outgoing: Outgoing) -> Result<Charge, Error> {
        let bytes = words.saturating_mul(WORD);
        match outgoing {
            Outgoing::Answer { is_error: false, .. } if bytes as u64 > self.part() => {
                let most = self.part();
                Err(Error::overloaded(format!("an answer of {bytes} bytes: at most {most} are held for its caller")))
            }
            Outgoing::Answer { is_error: false, .. } => self.charge_others(bytes as u64),
            Outgoing::Answer { question, is_error: true, .. } => {
                let charge = self.charge_others((bytes as u64).saturating_mul(ERROR_COPIES));
                charge.or_else(|why| match bytes <= SHORT_ERROR {
                    true if self.is_used(question) => Ok(Charge::none()),
                    // Nothing was charged for a call that was refused when it came.
                    true => self.account.charge(bytes as u64).map_err(overloaded),
                    false => Err(why),
                })
            }
            Outgoing::Call | Outgoing::Other => self.account.charge(bytes as u64).map_err(overloaded),
        }
    }

    /// What others send to the client is about to give it capabilities under numbers up to this one, fewer than `most`. They
    /// are paid for from here on.
    ///
    /// # Errors
    ///
    /// `overloaded` where there are too many, or nobody pays.
    pub(crate) fn gives(&self, highest: u32, most: u32) -> Result<(), Error> {
        if highest >= most {
            return Err(self.too_many_held());
        }
        let mut state = self.state.borrow_mut();
        let more = u64::from(highest.saturating_add(1).saturating_sub(state.exports));
        // A promise may become another capability, which nobody can refuse then.
        self.account.leaves_one_in(LEFT, 2 * more * EXPORT_BYTES).map_err(overloaded)?;
        state.reach(highest).map_err(overloaded)
    }

    /// A question of another kind was sent to the client under this number.
    pub(crate) fn asked(&self, question: u32) {
        self.state.borrow_mut().questions.insert(question);
    }

    /// The client is given a capability under this number. Numbers are given out from the lowest that is free, so one of
    /// them says how many are held at least.
    pub(crate) fn exported(&self, number: u32) {
        let most = self.bounds.exports;
        let mut state = self.state.borrow_mut();
        if let Err(overdrawn) = state.reach(number) {
            self.fail(overloaded(overdrawn));
        }
        if number >= most {
            state.full = true;
        }
        if number >= most.saturating_mul(2) {
            self.fail(self.too_many_held());
        }
    }

    /// The client gives a capability of its own.
    ///
    /// # Errors
    ///
    /// `overloaded` where there is no room for one more.
    pub(crate) fn imported(&self, number: u32, is_promise: bool) -> Result<(), Error> {
        if self.promises.imported(number, is_promise) {
            self.state.borrow_mut().tables.grow(IMPORT_BYTES).map_err(overloaded)?;
        }
        Ok(())
    }

    /// A capability of the client is released.
    pub(crate) fn dropped(&self, number: u32) {
        if self.promises.dropped(number) {
            self.state.borrow_mut().tables.shrink(IMPORT_BYTES);
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

    /// Why they are, and those of others to it.
    pub(crate) fn too_many_held(&self) -> Error {
        let most = self.bounds.exports;
        let why = format!("{most} capabilities are held, as many as are given to one client: it has to release some");
        Error::overloaded(why)
    }

    /// Returns when the connection cannot go on, with the reason.
    pub(crate) async fn overrun(&self) -> Error {
        loop {
            if let Some(why) = self.failed.borrow_mut().take() {
                return why;
            }
            self.overrun.notified().await;
        }
    }

    /// A message waits to be written, which is paid for: so many words as they are written, with their segment table.
    pub(crate) fn queued(&self, words: usize, outgoing: Outgoing, charge: Charge) {
        let bytes = words.saturating_mul(WORD);
        let charge = Rc::new(charge);
        let mut state = self.state.borrow_mut();
        if let Outgoing::Answer { question, is_final, .. } = outgoing {
            state.answered(question);
            state.abandoned.remove(&question);
            if is_final {
                state.calls.remove(&question);
            } else if let Some(call) = state.calls.get_mut(&question) {
                call.answer = Some(Rc::clone(&charge));
            }
        }
        state.queued += bytes as u64;
        let is_call = outgoing == Outgoing::Call;
        *state.waiting(is_call) += bytes;
        let queued = Queued { end: state.queued, bytes, is_call, _charge: charge };
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
            if self.state.borrow().unread_bytes <= self.bounds.unread_bytes {
                return;
            }
            progress.await;
        }
    }
}

impl State {
    /// A call is answered. Whether it was not before.
    fn answered(&mut self, question: u32) -> bool {
        let Some(call) = self.calls.get_mut(&question) else { return false };
        let Some(bytes) = call.open.take() else { return false };
        call.message = None;
        self.call_bytes -= bytes;
        self.open -= 1;
        true
    }

    /// The client may hold capabilities under numbers up to this one, which are paid for.
    fn reach(&mut self, number: u32) -> Result<(), Overdrawn> {
        let exports = number.saturating_add(1).max(self.exports);
        self.tables.grow(u64::from(exports - self.exports) * EXPORT_BYTES)?;
        self.exports = exports;
        Ok(())
    }

    /// Bytes that wait to be written: of calls, or of all else, which holds up the reading.
    fn waiting(&mut self, is_call: bool) -> &mut usize {
        if is_call { &mut self.unsent_calls } else { &mut self.unread_bytes }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        while let Some(Queued { bytes, is_call, .. }) = self.queue.pop_front_if(|queued| queued.end <= self.written) {
            *self.waiting(is_call) -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
