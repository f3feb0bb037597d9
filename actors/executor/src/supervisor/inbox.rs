//! What reaches a supervisor: the word of others, and what it waits for itself.

use std::pin::pin;

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use ww_cell::Notices;
use ww_core::{
    CellId,
    exit::Reason,
    lend,
    supervisor::{self as machine, ChildId, Event, Incarnation},
};

use super::{CallError, ChildInfo, Driver, Which};
use crate::{SpawnError, blueprint::Blueprint, start::Started};

/// How others reach a supervisor. Cheap to clone; usable from any thread. What comes after its end is lost.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(mpsc::UnboundedSender<Message>);

/// Where what they say arrives. Bounded by who says it: each child ends once, and whoever asks waits for the answer.
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
        (Self(tx), rx)
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
        let (tx, rx) = oneshot::channel();
        lend::at_once(|| self.send(Message::Asked(ask, tx))).await;
        rx.await.unwrap_or(Err(CallError::Ended))
    }

    fn send(&self, message: Message) {
        // Whoever wants to know whether it has ended waits for its exit.
        let _ = self.0.send(message);
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
            tokio::select! {
                biased;
                Some(waited) = self.waiting_for.next() => self.waited(waited),
                message = arriving.recv() => match message {
                    Some(message) => self.arrived(message),
                    None => return,
                },
                None = notices.next(), if !killed => {
                    // Somebody has killed it.
                    killed = true;
                    self.drive(Event::Kill);
                }
            }
        }
    }

    fn arrived(&mut self, message: Message) {
        match message {
            Message::Told(Tell::Stop) => self.drive(Event::Stop),
            Message::Told(Tell::Kill) => self.drive(Event::Kill),
            Message::ChildEnded(ended) => self.child_ended(ended),
            Message::Asked(ask, answer) => self.asked(ask, answer),
            Message::StartMore => self.go_on([].into()),
        }
    }

    fn waited(&mut self, waited: Waited) {
        match waited {
            Waited::Elapsed(timer) => self.drive(Event::Elapsed(timer)),
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
