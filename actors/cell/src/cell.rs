//! A cell: one incarnation of a program, in a slot.
//!
//! The slot owns the mailbox; the incarnation serves it, in one of two modes. In **async** mode one live
//! instance answers one message after the other, through `handle` or `poll`. In **sync** mode every message
//! gets a fresh instance whose `main` runs once, several at a time. A program that runs its `main` once is a
//! cell as well, one that takes no messages.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;
use ww_core::{
    Account, CellId, Grants, Limits, Name,
    exit::{self, Reason},
    mailbox::{self, Mailbox, Overflow, Refused},
    registry,
};

use crate::{
    history::History,
    lanes::Signals,
    loader::Files,
    message::{Envelope, Failure, Message},
    meters::Meters,
    pipe,
    program::Exports,
    reach::Kinship,
    slot::Slot,
    stop::Stop,
    streams::Connect,
};

/// How a cell serves its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One live instance; `poll` or `handle` is called once per message.
    Async,
    /// A fresh instance per message; its `main` runs once.
    #[default]
    Sync,
}

/// With what a cell starts.
#[derive(Clone)]
pub struct Spec {
    /// What the program sees as its own name, and the log shows.
    pub name: String,
    /// Names that its slot is registered under.
    pub names: Vec<Name>,
    /// How it serves its messages.
    pub mode: Mode,
    /// Arguments after the name.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What it may use: in sync mode, what each of its instances may use.
    pub limits: Limits,
    /// What the node holds for it.
    pub account: Account,
    /// What it may ask for. Its parts for the node's capabilities are for whoever serves `connect`.
    pub grants: Grants,
    /// Messages that may wait.
    pub mailbox: usize,
    /// What happens to one more.
    pub overflow: Overflow,
    /// Room for the memory of instances besides the first, in sync mode; `None` if nothing bounds that.
    pub room: Option<Arc<dyn Room>>,
    /// Serves the connection of an instance to its node; `None` if it has no node to talk to.
    pub connect: Option<Connect>,
    /// The files of its image; `None` if it may not read them.
    pub files: Option<Arc<dyn Files>>,
    /// Says what is below it; `None` if nothing ever is.
    pub kin: Option<Arc<dyn Kinship>>,
}

/// Room for the memory of further instances of one cell.
pub trait Room: Send + Sync {
    /// Takes room for one more. Whether there was some.
    fn take(&self) -> bool;

    /// Gives the room of one back.
    fn give_back(&self);
}

/// Why a cell was not started.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The program does not export what the mode needs.
    #[error(transparent)]
    Mode(#[from] NotExported),
    /// A name of its spec cannot be registered.
    #[error(transparent)]
    Name(#[from] registry::Error),
}

/// A program does not export what a mode needs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the program cannot run in {mode:?} mode: it exports {exports}")]
pub struct NotExported {
    /// The mode that was asked for.
    pub mode: Mode,
    /// What the program can do.
    pub exports: Exports,
}

/// How far the start of a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its program is being compiled, or waits for that.
    Compiling,
    /// Its program is there, and its instance is not.
    Starting,
    /// Its instance has been there.
    Running,
}

/// A cell, from the moment its start was asked for. Clones are the same cell; it lives until it is stopped or ends by itself.
#[derive(Clone)]
pub struct Cell(Arc<Inner>);

struct Inner {
    id: CellId,
    name: String,
    mode: Option<Mode>,
    limits: Limits,
    account: Account,
    started: SystemTime,
    slot: Slot,
    history: History,
    exit: exit::Watch,
    /// Whether its program is there.
    loaded: AtomicBool,
    /// Whether its instance is there, and serves the mailbox.
    serves: watch::Sender<bool>,
    stop: Stop,
    signals: Signals,
    meters: Meters,
}

/// What a new [`Cell`] is made of.
pub(crate) struct Parts {
    pub(crate) id: CellId,
    pub(crate) name: String,
    /// `None` for a program that runs its `main` once.
    pub(crate) mode: Option<Mode>,
    pub(crate) limits: Limits,
    pub(crate) account: Account,
    pub(crate) slot: Slot,
    pub(crate) history: History,
    pub(crate) exit: exit::Watch,
    pub(crate) stop: Stop,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            name: "cell".to_owned(),
            names: Vec::new(),
            mode: Mode::default(),
            args: Vec::new(),
            env: Vec::new(),
            limits: Limits::default(),
            account: Account::unlimited(),
            grants: Grants::none(),
            mailbox: mailbox::DEFAULT_CAPACITY,
            overflow: Overflow::default(),
            room: None,
            connect: None,
            files: None,
            kin: None,
        }
    }
}

impl Mode {
    /// Checks that a program can be run like this.
    ///
    /// # Errors
    ///
    /// Where it does not export what that needs.
    pub fn check(self, exports: Exports) -> Result<(), NotExported> {
        let served = match self {
            Self::Async => exports.poll || exports.handle,
            Self::Sync => exports.run,
        };
        if served { Ok(()) } else { Err(NotExported { mode: self, exports }) }
    }

    /// Messages that a cell serves at the same time within its limits.
    pub fn at_once(self, limits: &Limits) -> usize {
        match self {
            Self::Sync => usize::try_from(limits.instances).unwrap_or(usize::MAX),
            Self::Async => 1,
        }
    }
}

impl Cell {
    pub(crate) fn new(Parts { id, name, mode, limits, account, slot, history, exit, stop }: Parts) -> Self {
        let (signals, meters, serves) = (Signals::default(), Meters::default(), watch::Sender::new(false));
        let started = SystemTime::now();
        Self(Arc::new(Inner {
            id,
            name,
            mode,
            limits,
            account,
            started,
            slot,
            history,
            exit,
            loaded: AtomicBool::new(false),
            serves,
            stop,
            signals,
            meters,
        }))
    }

    /// Identifies the cell.
    pub fn id(&self) -> CellId {
        self.0.id
    }

    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it serves messages; `None` if it takes none.
    pub fn mode(&self) -> Option<Mode> {
        self.0.mode
    }

    /// Messages that it serves at the same time.
    pub fn at_once(&self) -> usize {
        self.0.mode.map_or(1, |mode| mode.at_once(&self.0.limits))
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What the node holds for it, and for all that it starts.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// When its start was asked for.
    pub fn started(&self) -> SystemTime {
        self.0.started
    }

    /// Where it lives: the mailbox, and whatever else stays when it is restarted.
    pub fn slot(&self) -> &Slot {
        &self.0.slot
    }

    /// How often its slot was started again, with a restart that is under way.
    pub fn restarts(&self) -> u32 {
        // One whose program is not there yet is not counted among those that lived there.
        let own = u32::from(self.phase() != Phase::Compiling);
        self.0.slot.incarnations().saturating_sub(own)
    }

    /// What it has done and holds.
    pub fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// What it has reported on its standard error, as far as it is kept.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Learns of its end.
    pub fn exit(&self) -> &exit::Watch {
        &self.0.exit
    }

    /// Waits until its instance is there and serves the mailbox. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where it ended before: the reason.
    pub async fn serving(&self) -> Result<(), Reason> {
        let mut serves = self.0.serves.subscribe();
        tokio::select! {
            biased;
            // The sender lives as long as the cell.
            _ = serves.wait_for(|serves| *serves) => Ok(()),
            reason = self.0.exit.wait() => Err(reason),
        }
    }

    /// Whether its instance has been there: it may have ended since.
    pub fn has_served(&self) -> bool {
        *self.0.serves.borrow()
    }

    /// How far its start is.
    pub fn phase(&self) -> Phase {
        match (self.has_served(), self.0.loaded.load(Ordering::Relaxed)) {
            (true, _) => Phase::Running,
            (false, true) => Phase::Starting,
            (false, false) => Phase::Compiling,
        }
    }

    /// Its program is there.
    pub(crate) fn loaded(&self) {
        self.0.loaded.store(true, Ordering::Relaxed);
    }

    /// Its instance is there, or instances can be had: from now on it serves the mailbox of its slot.
    pub(crate) fn serve(&self) -> &Mailbox<Message> {
        let mailbox = self.0.slot.messages();
        // Whoever is told can send.
        self.0.serves.send_replace(true);
        mailbox
    }

    /// Ends it.
    pub fn stop(&self, reason: Reason) {
        self.0.stop.request(reason);
    }

    pub(crate) fn stopping(&self) -> &Stop {
        &self.0.stop
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.0.signals
    }

    /// Messages that wait, and messages that were dropped for newer ones.
    pub fn mailbox(&self) -> (usize, u64) {
        self.0.slot.mailbox()
    }

    /// The envelope of a new message of the node.
    pub fn envelope(&self, timeout: Option<Duration>) -> Envelope {
        self.0.slot.envelope(timeout)
    }

    /// Sends a message and waits for the reply, both whole: [`Slot::ask`], of this incarnation.
    ///
    /// # Errors
    ///
    /// Where the message is not answered, for any of the reasons of [`Failure`].
    pub async fn ask(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<Bytes, Failure> {
        self.living()?;
        self.0.slot.ask(envelope, body).await
    }

    /// Sends a message and waits until the mailbox has taken it: [`Slot::send`], to this incarnation.
    ///
    /// # Errors
    ///
    /// Where the mailbox does not take it, or the message is too large.
    pub async fn send(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<(), Failure> {
        self.living()?;
        self.0.slot.send(envelope, body).await
    }

    /// Serves one message whose body and reply are streams: [`Slot::process_message`], by this incarnation.
    ///
    /// # Errors
    ///
    /// Where the message is not answered.
    pub async fn process_message(
        &self,
        envelope: Envelope,
        request: pipe::Reader,
        reply: pipe::Writer,
    ) -> Result<(), Failure> {
        self.living()?;
        self.0.slot.process_message(envelope, request, reply).await
    }

    /// Whoever holds a cell means this incarnation: when it has ended, it is not the next one's turn.
    ///
    /// # Errors
    ///
    /// Where it has ended: the reason.
    pub fn living(&self) -> Result<(), Failure> {
        match self.0.stop.is_ending().then(|| self.0.exit.reason()).flatten() {
            Some(reason) => Err(Failure::Refused(Refused::Ended(reason))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("id", &self.0.id).field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
