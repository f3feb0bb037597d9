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
    task::{Poll, Waker},
};

use ww_core::{exit::Reason, links::Signal, mailbox::Mailbox};

use crate::{
    message::{Failure, Message},
    stop::Stop,
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
pub(crate) struct Lanes<'a> {
    stop: &'a Stop,
    /// `None` for whom no signals are meant.
    signals: Option<&'a Signals>,
    mailbox: &'a Mailbox<Message>,
    /// Whom a stop or the next signal wakes.
    told: Option<Waker>,
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
        poll_fn(|cx| {
            self.tell(cx.waker());
            self.try_next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Whom to wake for the next signal.
    fn tell(&self, waker: &Waker) {
        let told = &mut self.lock().1;
        match told {
            Some(told) => told.clone_from(waker),
            None => *told = Some(waker.clone()),
        }
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

    fn lock(&self) -> MutexGuard<'_, (VecDeque<Signal>, Option<Waker>)> {
        // Nothing panics while the lock is held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(stop: &'a Stop, signals: Option<&'a Signals>, mailbox: &'a Mailbox<Message>) -> Self {
        Self { stop, signals, mailbox, told: None }
    }

    /// What comes next, or the reason why nothing is begun any more. Messages that expired before their turn are
    /// refused. Cancel safe.
    ///
    /// `stopping` is [`Stop::requested`] of this stop, the same one at every call, and wakes the task until there is a stop.
    pub(crate) async fn next(&mut self, mut stopping: Pin<&mut impl Future<Output = Reason>>) -> Result<Next, Reason> {
        loop {
            let next = poll_fn(|cx| {
                // Once for many messages: what is asked here lies in the memory of others, which is cold.
                if !self.told.as_ref().is_some_and(|told| told.will_wake(cx.waker())) {
                    if let Poll::Ready(reason) = stopping.as_mut().poll(cx) {
                        return Poll::Ready(Err(reason));
                    }
                    if let Some(signals) = self.signals {
                        signals.tell(cx.waker());
                    }
                    self.told = Some(cx.waker().clone());
                }
                if let Some(urgent) = self.urgent().transpose() {
                    return Poll::Ready(urgent.map(Next::Signal));
                }
                self.mailbox.poll_receive(cx).map(|message| Ok(Next::Message(message)))
            });
            if let Some(next) = unexpired(next.await?) {
                return Ok(next);
            }
        }
    }

    /// What is there already, without a wait.
    pub(crate) fn ready(&mut self) -> Result<Option<Next>, Reason> {
        loop {
            if let Some(signal) = self.urgent()? {
                return Ok(Some(Next::Signal(signal)));
            }
            let Some(message) = self.mailbox.try_receive() else { return Ok(None) };
            if let Some(next) = unexpired(Next::Message(message)) {
                return Ok(Some(next));
            }
        }
    }

    /// What comes before messages: a reason to stop, or a signal.
    fn urgent(&mut self) -> Result<Option<Signal>, Reason> {
        if let Some(reason) = self.stop.reason() {
            return Err(reason.clone());
        }
        let signal = self.signals.and_then(Signals::try_next);
        if signal.is_some() {
            // It has woken whoever was told.
            self.told = None;
        }
        Ok(signal)
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
    use std::{pin::pin, sync::atomic::AtomicUsize, task::Context, time::Duration};

    use futures::{
        FutureExt,
        task::{ArcWake, waker_ref},
    };
    use ww_core::{CellId, mailbox::Overflow};

    use super::*;
    use crate::message::{Body, Envelope};

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Woken {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    impl ArcWake for Woken {
        fn wake_by_ref(woken: &Arc<Self>) {
            woken.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn signal(number: u64) -> Signal {
        Signal::Exit { from: CellId::new(number), reason: Reason::Killed }
    }

    fn message(timeout: Option<Duration>) -> Message {
        Message::new(Envelope::host(1, timeout), Body::Whole("x".into())).0
    }

    #[tokio::test]
    async fn a_stop_comes_before_signals_and_those_before_messages() {
        let (stop, signals, mailbox) = (Stop::default(), Signals::default(), Mailbox::new(4, Overflow::Wait));
        let mut lanes = Lanes::new(&stop, Some(&signals), &mailbox);
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

    #[test]
    fn each_wakes_the_task_again_and_another_one_after_it() {
        let (stop, signals, mailbox) = (Stop::default(), Signals::default(), Mailbox::new(4, Overflow::Wait));
        let mut lanes = Lanes::new(&stop, Some(&signals), &mailbox);
        let mut stopping = pin!(stop.requested());
        let (one, other) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        for (round, task) in [&one, &one, &other, &other].into_iter().enumerate() {
            let waker = waker_ref(task);
            let mut cx = Context::from_waker(&waker);
            assert!(pin!(lanes.next(stopping.as_mut())).poll(&mut cx).is_pending());
            signals.push(signal(round as u64));
            assert_eq!(task.take(), 1, "round {round}");
            let next = pin!(lanes.next(stopping.as_mut())).poll(&mut cx);
            assert!(matches!(next, Poll::Ready(Ok(Next::Signal(_)))), "round {round}");
        }
        assert!(pin!(lanes.next(stopping.as_mut())).poll(&mut Context::from_waker(&waker_ref(&other))).is_pending());
        stop.request(Reason::Shutdown);
        assert_eq!((one.take(), other.take()), (0, 1), "only who waits is woken");
    }

    #[tokio::test]
    async fn a_signal_wakes_who_waits_for_a_message() {
        let (stop, signals, mailbox) = (Stop::default(), Signals::default(), Mailbox::new(4, Overflow::Wait));
        let mut lanes = Lanes::new(&stop, Some(&signals), &mailbox);
        let stopping = pin!(stop.requested());
        let (next, ()) = futures::join!(lanes.next(stopping), async { signals.push(signal(1)) });
        assert!(matches!(next, Ok(Next::Signal(_))));
        assert!(signals.has_room());
    }
}
