//! Rust actors among the cells of a node: what is not WebAssembly, and links, monitors and has names all the same.
//!
//! A [`Native`] is what a Rust actor owns for as long as it lives: the embedder's own actor, or a supervisor. Other
//! actors see it as they see a cell. Signals of others arrive as a stream, [`Notices`], in the order in which they
//! were sent, before which nothing else comes and of which nothing is dropped. Their number is bounded by
//! [`MAX_LINKS`](ww_core::links::MAX_LINKS), [`MAX_MONITORS`](ww_core::links::MAX_MONITORS), and for what comes besides
//! by what a cell may be sent.
//!
//! Nobody can stop Rust code that does not want to end. So whatever takes a native actor down, a kill or the end of
//! what it is linked to, ends it at once for everybody else: its names are free, its monitors and links are told. It
//! notices by the end of its [`Notices`], on which an actix actor stops by default.
//!
//! ```no_run
//! # use ww_cell::Directory;
//! use actix::{Actor, Context, StreamHandler};
//! use ww_cell::Native;
//! use ww_core::{CellId, exit::Reason, links::{Refused, Signal}};
//!
//! struct Watcher(Native);
//!
//! impl Actor for Watcher {
//!     type Context = Context<Self>;
//! }
//!
//! impl StreamHandler<Signal> for Watcher {
//!     fn handle(&mut self, signal: Signal, _: &mut Self::Context) {
//!         println!("{} ended: {}", signal.cell(), signal.reason());
//!     }
//! }
//!
//! # fn example(directory: &Directory, cell: CellId) -> Result<(), Refused> {
//! let (native, notices) = directory.enter();
//! native.monitor(cell)?;
//! Watcher::create(|ctx| {
//!     Watcher::add_stream(notices, ctx);
//!     Watcher(native)
//! });
//! # Ok(()) }
//! ```

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures::Stream;
use ww_core::{
    CellId, Name,
    exit::{self, Reason},
    links::{Exit, Monitor, Refused, Signal},
    registry,
};

use crate::{directory::Directory, lanes::MAX_SENT, slot::Slot};

/// The place of a Rust actor among the cells of a node. Dropped without [`Native::end`], it ends with a fault of the host:
/// an actor that was lost did not end in order.
#[derive(Debug)]
pub struct Native {
    id: CellId,
    exit: exit::Watch,
    directory: Directory,
}

/// The signals that arrive at a native actor: a stream that ends when the actor has ended, whoever ended it.
#[derive(Debug)]
pub struct Notices(Lane);

/// What the directory keeps of a native actor.
#[derive(Clone, Debug)]
pub(crate) struct Lane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where it lives, if it has a slot.
    slot: Option<Slot>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Signal>,
    reader: Option<Waker>,
    /// Taken by its end.
    notifier: Option<exit::Notifier>,
}

impl Native {
    /// A native actor, and what the directory keeps of it.
    pub(crate) fn new(id: CellId, directory: Directory, slot: Option<Slot>) -> (Self, Lane) {
        let (notifier, exit) = exit::channel();
        let state = State { waiting: VecDeque::new(), reader: None, notifier: Some(notifier) };
        let lane = Lane(Arc::new(Inner { slot, state: Mutex::new(state) }));
        (Self { id, exit, directory }, lane)
    }

    /// Identifies it among all that lives on the node.
    pub fn id(&self) -> CellId {
        self.id
    }

    /// Learns of its end: also from here, where somebody else has ended it.
    pub fn exit(&self) -> &exit::Watch {
        &self.exit
    }

    /// Monitors a cell, or another native actor: one `Down` when that ends, at once with `no-process` if it is not there.
    /// As often as one likes, with one message each.
    ///
    /// # Errors
    ///
    /// Where it has too many monitors, or too many signals wait for it, or it has ended.
    pub fn monitor(&self, target: CellId) -> Result<Monitor, Refused> {
        self.directory.monitor(self.id, target)
    }

    /// Takes a monitor back. Whether it was there: if not, its message has been sent.
    pub fn demonitor(&self, monitor: Monitor) -> bool {
        self.directory.demonitor(self.id, monitor)
    }

    /// Links with a cell, or another native actor: an abnormal end of either is the end of the other, unless that one traps
    /// exits. A link with one that is not there is its end with `no-process`.
    ///
    /// # Errors
    ///
    /// Where one of the two has too many links, or too many signals wait for this one, or it has ended.
    pub fn link(&self, other: CellId) -> Result<(), Refused> {
        self.directory.link(self.id, other)
    }

    /// Takes a link back.
    pub fn unlink(&self, other: CellId) {
        self.directory.unlink(self.id, other);
    }

    /// Says whether it traps exits: then the end of what it is linked to is a signal, and not its own end. Whether it did
    /// before.
    pub fn trap_exits(&self, on: bool) -> bool {
        self.directory.trap_exits(self.id, on)
    }

    /// Sends an exit signal. Whether there was room for it.
    pub fn signal(&self, to: CellId, exit: Exit) -> bool {
        self.directory.exit(self.id, to, exit)
    }

    /// Takes a name, which goes with it: cells find its id behind that, and can monitor it and link with it. It takes no
    /// messages.
    ///
    /// # Errors
    ///
    /// Where the name is taken, there are too many, or it has ended.
    pub fn register(&self, name: Name) -> Result<(), registry::Error> {
        self.directory.register(name, self.id)
    }

    /// Gives a name back.
    ///
    /// # Errors
    ///
    /// Where it does not have it.
    pub fn unregister(&self, name: &Name) -> Result<(), registry::Error> {
        self.directory.unregister(name, self.id)
    }

    /// Ends it with a reason, which its monitors and links are told. Nothing if it has ended before.
    pub fn end(self, reason: &Reason) {
        self.directory.end(self.id, reason);
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // As a rule it has ended.
        self.directory.end(self.id, &Reason::host_fault("a native actor was lost: it did not say why it ended"));
    }
}

impl Lane {
    /// The reading end.
    pub(crate) fn notices(&self) -> Notices {
        Notices(self.clone())
    }

    pub(crate) fn slot(&self) -> Option<&Slot> {
        self.0.slot.as_ref()
    }

    /// Puts a signal behind the others.
    pub(crate) fn push(&self, signal: Signal) {
        let mut state = self.lock();
        if state.notifier.is_none() {
            return;
        }
        state.waiting.push_back(signal);
        wake(state);
    }

    /// Whether something that no link or monitor has a place for may come.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().waiting.len() < MAX_SENT
    }

    /// Its end: what waits is for nobody any more.
    pub(crate) fn close(&self, reason: &Reason) {
        let mut state = self.lock();
        state.waiting.clear();
        if let Some(notifier) = state.notifier.take() {
            notifier.notify(reason.clone());
        }
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Stream for Notices {
    type Item = Signal;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        let mut state = self.0.lock();
        match state.waiting.pop_front() {
            Some(signal) => Poll::Ready(Some(signal)),
            None if state.notifier.is_none() => Poll::Ready(None),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
