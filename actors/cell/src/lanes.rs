//! The three lanes of a cell, in the order in which they are served: control, signals, messages.
//!
//! Control does not wait for the cell at all: a stop is a flag that the guest meets at its next tick, and whoever
//! inspects a cell reads counters. Signals tell of the ends of other cells. They are never dropped: links and
//! monitors bound their number, and what cells send one another besides is refused beyond [`MAX_SENT`].

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use ww_core::{exit::Reason, links::Signal, mailbox::Mailbox};

use crate::{
    incarnation::Stop,
    message::{Failure, Message},
};

/// Signals that may wait when a cell sends one more, or asks for one more itself: twice as many as links and monitors can
/// bring about at once.
pub(crate) const MAX_SENT: usize = 4_096;

/// The signals that wait for one incarnation. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals(Arc<SignalLane>);

#[derive(Debug, Default)]
struct SignalLane {
    /// Looked at before the lock is taken, for there is hardly ever one.
    some: AtomicBool,
    queue: Mutex<(VecDeque<Signal>, Option<Waker>)>,
}

/// What a cell does next.
pub(crate) enum Next {
    Signal(Signal),
    Message(Message),
}

/// Where the work of a cell comes from.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<'a> {
    pub(crate) stop: &'a Stop,
    /// `None` for whom no signals are meant.
    pub(crate) signals: Option<&'a Signals>,
    pub(crate) mailbox: &'a Mailbox<Message>,
}

impl Signals {
    /// Puts a signal behind the others.
    pub(crate) fn push(&self, signal: Signal) {
        let mut lane = self.lock();
        lane.0.push_back(signal);
        self.0.some.store(true, Ordering::Release);
        let waker = lane.1.take();
        drop(lane);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether a cell may send another one.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().0.len() < MAX_SENT
    }

    /// The next signal. Cancel safe.
    pub(crate) async fn next(&self) -> Signal {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn try_next(&self) -> Option<Signal> {
        if !self.0.some.load(Ordering::Acquire) {
            return None;
        }
        let mut lane = self.lock();
        let signal = lane.0.pop_front();
        self.0.some.store(!lane.0.is_empty(), Ordering::Release);
        signal
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Signal> {
        let mut lane = self.lock();
        match lane.0.pop_front() {
            Some(signal) => {
                self.0.some.store(!lane.0.is_empty(), Ordering::Release);
                Poll::Ready(signal)
            }
            None => {
                if !lane.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    lane.1 = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<Signal>, Option<Waker>)> {
        // Nothing panics while the lock is held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes<'_> {
    /// What comes next, or the reason why nothing is begun any more. Messages that expired before their turn are
    /// refused. Cancel safe.
    ///
    /// `stopping` is [`Stop::requested`] of this stop, the same one at every call: it would cost a good part of a message to
    /// begin anew each time.
    pub(crate) async fn next(&self, mut stopping: Pin<&mut impl Future<Output = Reason>>) -> Result<Next, Reason> {
        loop {
            let next = poll_fn(|cx| {
                if let Poll::Ready(reason) = stopping.as_mut().poll(cx) {
                    return Poll::Ready(Err(reason));
                }
                if let Some(Poll::Ready(signal)) = self.signals.map(|signals| signals.poll_next(cx)) {
                    return Poll::Ready(Ok(Next::Signal(signal)));
                }
                self.mailbox.poll_receive(cx).map(|message| Ok(Next::Message(message)))
            });
            if let Some(next) = unexpired(next.await?) {
                return Ok(next);
            }
        }
    }

    /// What is there already, without a wait.
    pub(crate) fn ready(&self) -> Result<Option<Next>, Reason> {
        loop {
            if let Some(reason) = self.stop.reason() {
                return Err(reason.clone());
            }
            if let Some(signal) = self.signals.and_then(Signals::try_next) {
                return Ok(Some(Next::Signal(signal)));
            }
            let Some(message) = self.mailbox.try_receive() else { return Ok(None) };
            if let Some(next) = unexpired(Next::Message(message)) {
                return Ok(Some(next));
            }
        }
    }
}

/// Refuses a message that nobody waits for any more.
fn unexpired(next: Next) -> Option<Next> {
    match next {
        Next::Message(message) if message.envelope.has_expired() => {
            message.refuse(Failure::Timeout);
            None
        }
        next => Some(next),
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures::FutureExt;
    use ww_core::{CellId, mailbox::Overflow};

    use super::*;
    use crate::message::{Body, Envelope};

    fn signal(number: u64) -> Signal {
        Signal::Exit { from: CellId::new(number), reason: Reason::Killed }
    }

    fn message(timeout: Option<Duration>) -> Message {
        Message::new(Envelope::host(1, timeout), Body::Whole("x".into())).0
    }

    #[tokio::test]
    async fn a_stop_comes_before_signals_and_those_before_messages() {
        let (stop, signals, mailbox) = (Stop::default(), Signals::default(), Mailbox::new(4, Overflow::Wait));
        let lanes = Lanes { stop: &stop, signals: Some(&signals), mailbox: &mailbox };
        let mut stopping = pin!(stop.requested());
        assert!(lanes.next(stopping.as_mut()).now_or_never().is_none(), "there is nothing to do");
        mailbox.send(message(Some(Duration::ZERO))).await.expect("there is room");
        mailbox.send(message(None)).await.expect("there is room");
        signals.push(signal(1));
        signals.push(signal(2));
        for number in [1, 2] {
            let next = lanes.next(stopping.as_mut()).await;
            assert!(matches!(next, Ok(Next::Signal(found)) if found == signal(number)));
        }
        let Ok(Next::Message(found)) = lanes.next(stopping.as_mut()).await else { panic!("a message is next") };
        assert!(!found.envelope.has_expired(), "the expired one was refused");
        mailbox.send(message(None)).await.expect("there is room");
        signals.push(signal(3));
        stop.request(Reason::Shutdown);
        assert!(matches!(lanes.next(stopping).await, Err(Reason::Shutdown)));
    }

    #[tokio::test]
    async fn a_signal_wakes_who_waits_for_a_message() {
        let (stop, signals, mailbox) = (Stop::default(), Signals::default(), Mailbox::new(4, Overflow::Wait));
        let lanes = Lanes { stop: &stop, signals: Some(&signals), mailbox: &mailbox };
        let stopping = pin!(stop.requested());
        let (next, ()) = futures::join!(lanes.next(stopping), async { signals.push(signal(1)) });
        assert!(matches!(next, Ok(Next::Signal(_))));
        assert!(signals.has_room());
    }
}
