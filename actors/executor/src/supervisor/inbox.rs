//! What reaches a supervisor: the word of others, and what it waits for itself.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};
use ww_cell::Notices;
use ww_core::{
    CellId,
    exit::Reason,
    lend, limits,
    supervisor::{self as machine, ChildId, Event, Incarnation},
};

use super::{CallError, ChildInfo, Driver, GRACE, Which};
use crate::{SpawnError, blueprint::Blueprint, start::Started};

/// Questions that may be on their way to one supervisor: one for each cell of a subtree by default, so
/// that all of them may be started without waiting.
const MAX_ASKED: usize = limits::DEFAULT_SUBTREE_CELLS as usize;

/// How others reach a supervisor. Cheap to clone; usable from any thread. What comes after its end is lost.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    tx: mpsc::UnboundedSender<Message>,
    /// Questions that have not arrived.
    asked: Arc<AtomicUsize>,
}

/// Where what they say arrives. Bounded by who says it: each child ends once, and no more than
/// [`MAX_ASKED`] questions are on their way.
pub(super) type Arriving = mpsc::UnboundedReceiver<Message>;

/// What others say.
#[derive(Debug)]
pub(super) enum Message {
    Told(Tell),
    ChildEnded(ChildEnded),
    Asked(Ask, oneshot::Sender<Result<Told, CallError>>),
    /// Others had their turn: more of the cells that wait are started.
    StartMore,
}

/// What its supervisor or owner tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tell {
    Stop,
    /// Its owner has ended, or the node stops: it has to end in time.
    OwnerEnded,
    Kill,
}

/// A child has ended, and all that it owned.
#[derive(Debug)]
pub(crate) struct ChildEnded {
    pub(crate) id: CellId,
    pub(crate) reason: Reason,
    /// Whether it had started: this may be known here before the news of the start.
    pub(crate) started: bool,
}

/// What somebody asks of it.
#[derive(Debug)]
pub(crate) enum Ask {
    Start(crate::ChildSpec),
    StartInstance(Option<Blueprint>),
    Terminate(Which),
    Restart(ChildId),
    Delete(ChildId),
    Children,
    Count,
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Told {
    Child(ChildInfo),
    Done,
    Children(Vec<ChildInfo>),
    Counts(machine::Counts),
}

/// What it waits for itself.
pub(super) enum Waited {
    /// A timer of the machine.
    Elapsed(machine::Timer),
    /// A child may be started again after those that could not be.
    Paused(Incarnation),
    /// Its own end has taken too long.
    OutOfTime,
    /// A child serves, or has ended instead.
    Started(Incarnation, Result<(), Reason>),
    /// The program of a cell was loaded.
    Loaded(machine::Slot, Incarnation, CellId, Result<Started, SpawnError>),
}

/// All that it waits for.
pub(super) type Waiting = FuturesUnordered<BoxFuture<'static, Waited>>;

impl Inbox {
    pub(super) fn new() -> (Self, Arriving) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by who says something, and the end of a child must not be lost"
        )]
        let (tx, rx) = mpsc::unbounded_channel();
        (Self { tx, asked: Arc::default() }, rx)
    }

    pub(crate) fn tell(&self, what: Tell) {
        self.send(Message::Told(what));
    }

    pub(crate) fn child_ended(&self, ended: ChildEnded) {
        self.send(Message::ChildEnded(ended));
    }

    pub(super) fn start_more(&self) {
        self.send(Message::StartMore);
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Told, CallError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MAX_ASKED {
            self.arrived();
            // What came after its end has never arrived.
            return Err(if self.tx.is_closed() { CallError::Ended } else { machine::Error::Busy.into() });
        }
        let (tx, rx) = oneshot::channel();
        lend::at_once(|| self.send(Message::Asked(ask, tx))).await;
        rx.await.unwrap_or(Err(CallError::Ended))
    }

    /// A question has arrived, or is not going to.
    fn arrived(&self) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
    }

    fn send(&self, message: Message) {
        // Whoever wants to know whether it has ended waits for its exit.
        let _ = self.tx.send(message);
    }
}

impl Driver {
    /// Lives until the machine is done.
    pub(super) async fn run(mut self, mut arriving: Arriving, notices: Notices) {
        // As in OTP: it traps exits, and those of strangers are nothing to it. Its children tell it of their ends otherwise.
        let mut notices = pin!(notices.filter(|_| std::future::ready(false)));
        let mut killed = false;
        self.drive(Event::Start);
        while !self.done {
            let mut others_first = false;
            // Nothing has precedence: however much of the one there is, the other is heard.
            tokio::select! {
                Some(waited) = self.waiting_for.next() => self.waited(waited),
                message = arriving.recv() => match message {
                    Some(message) => {
                        others_first = matches!(message, Message::StartMore);
                        self.arrived(message);
                    }
                    None => return,
                },
                None = notices.next(), if !killed => {
                    // Somebody has killed it.
                    killed = true;
                    self.drive(Event::Kill);
                }
            }
            if others_first {
                yield_now().await;
            }
        }
    }

    fn arrived(&mut self, message: Message) {
        match message {
            Message::Told(Tell::Stop) => self.drive(Event::Stop),
            Message::Told(Tell::OwnerEnded) => {
                self.waiting_for.push(self.clock.sleep(GRACE).map(|()| Waited::OutOfTime).boxed());
                self.drive(Event::Stop);
            }
            Message::Told(Tell::Kill) => self.drive(Event::Kill),
            Message::ChildEnded(ended) => self.child_ended(ended),
            Message::Asked(ask, answer) => {
                self.inbox.arrived();
                self.asked(ask, answer);
            }
            Message::StartMore => {
                self.more = false;
                self.go_on([].into());
            }
        }
    }

    fn waited(&mut self, waited: Waited) {
        match waited {
            Waited::Elapsed(timer) => {
                self.timers.remove(&timer);
                self.drive(Event::Elapsed(timer));
            }
            Waited::Paused(incarnation) => {
                let event = self.start_paused(incarnation);
                self.go_on(event.into_iter().collect());
            }
            Waited::OutOfTime => {
                tracing::warn!(supervisor = %self.id, "what has not ended within {GRACE:?} of the owner's end is killed");
                if let Some(shared) = self.executor.upgrade() {
                    shared.ownership.out_of_time(self.id);
                }
            }
            Waited::Started(incarnation, Ok(())) => self.has_started(incarnation),
            // Its end is on its way.
            Waited::Started(_, Err(_)) => {}
            Waited::Loaded(slot, incarnation, id, started) => {
                self.starting -= 1;
                let event = self.loaded(slot, incarnation, id, started);
                self.go_on(event.into_iter().collect());
            }
        }
    }
}
