//! Running one future to its end.
//!
//! A cell has one thread. [`block_on`] polls its future whenever something woke it, and otherwise
//! blocks in `wasi:io/poll` on exactly the sources that the future waits for: there is no timer that
//! polls and no loop that spins. Several things at once are one future made of several, with
//! [`futures::join!`] or [`futures::select!`].

use std::{
    cell::RefCell,
    future::Future,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use slab::Slab;
use wasip2::io::poll::{self, Pollable};

/// Turns of a future that keeps waking itself after which sources that are ready are looked for all
/// the same. Small enough that a timer is hardly late, large enough that its cost vanishes.
const TURNS_BETWEEN_SWEEPS: u32 = 64;

thread_local! {
    static REACTOR: Rc<Reactor<Pollable>> = Rc::default();
}

/// Runs a future to its end.
///
/// # Panics
///
/// If the future waits for something that nothing can bring about: neither a source nor a waker is left.
pub fn block_on<F: Future>(future: F) -> F::Output {
    REACTOR.with(Rc::clone).run(future)
}

/// Something that becomes ready, and can be waited for.
pub(crate) trait Waitable: Sized {
    fn is_ready(&self) -> bool;

    /// Blocks until at least one of the sources is ready; returns the indices of those that are.
    fn wait(sources: &[&Self]) -> Vec<u32>;
}

impl Waitable for Pollable {
    fn is_ready(&self) -> bool {
        self.ready()
    }

    fn wait(sources: &[&Self]) -> Vec<u32> {
        poll::poll(sources)
    }
}

/// The sources that are waited for.
///
/// It owns them, so that a source goes, with its handle on the host, the moment its [`Source`] is dropped:
/// the host traps if a stream goes before what was derived from it.
pub(crate) struct Reactor<P> {
    entries: RefCell<Slab<Entry<P>>>,
}

struct Entry<P> {
    pollable: P,
    /// Whoever waits for it now.
    waker: Option<Waker>,
}

/// One source, registered for as long as this lives.
pub(crate) struct Source<P = Pollable> {
    key: usize,
    reactor: Rc<Reactor<P>>,
}

impl<P> Default for Reactor<P> {
    fn default() -> Self {
        Self { entries: RefCell::new(Slab::new()) }
    }
}

impl<P: Waitable> Reactor<P> {
    fn register(self: &Rc<Self>, pollable: P) -> Source<P> {
        let key = self.entries.borrow_mut().insert(Entry { pollable, waker: None });
        Source { key, reactor: Rc::clone(self) }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut turns = 0_u32;
        loop {
            while woken.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(TURNS_BETWEEN_SWEEPS) {
                    self.sweep();
                }
            }
            self.wait();
        }
    }

    /// Blocks until one of the sources that somebody waits for is ready, and wakes who waits.
    fn wait(&self) {
        let ready: Vec<_> = {
            let entries = self.entries.borrow();
            let awaited = entries.iter().filter(|(_, entry)| entry.waker.is_some());
            let (keys, sources): (Vec<_>, Vec<_>) = awaited.map(|(key, entry)| (key, &entry.pollable)).unzip();
            assert!(!sources.is_empty(), "deadlock: the future waits, but for no stream and no timer");
            P::wait(&sources).into_iter().map(|index| keys[index as usize]).collect()
        };
        self.wake(&ready);
    }

    /// Wakes who waits for a source that is ready, without blocking.
    fn sweep(&self) {
        let ready: Vec<_> = {
            let entries = self.entries.borrow();
            let awaited = entries.iter().filter(|(_, entry)| entry.waker.is_some());
            awaited.filter(|(_, entry)| entry.pollable.is_ready()).map(|(key, _)| key).collect()
        };
        self.wake(&ready);
    }

    /// Wakers run when the table is free again: they may drop sources.
    fn wake(&self, keys: &[usize]) {
        let wakers: Vec<_> = {
            let mut entries = self.entries.borrow_mut();
            keys.iter().filter_map(|key| entries.get_mut(*key)?.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Source {
    /// Registers what a stream or a clock was subscribed to with.
    pub(crate) fn new(pollable: Pollable) -> Self {
        REACTOR.with(|reactor| reactor.register(pollable))
    }
}

impl<P: Waitable> Source<P> {
    /// Has the task woken when the source is ready. Once is for one wake-up; the last caller counts.
    pub(crate) fn arm(&self, cx: &Context<'_>) {
        if let Some(entry) = self.reactor.entries.borrow_mut().get_mut(self.key) {
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                waker => *waker = Some(cx.waker().clone()),
            }
        }
    }

    /// Whether the source is ready now.
    pub(crate) fn is_ready(&self) -> bool {
        self.reactor.entries.borrow().get(self.key).is_none_or(|entry| entry.pollable.is_ready())
    }
}

impl<P> Drop for Source<P> {
    fn drop(&mut self) {
        // In two steps: dropping the waker may drop other sources.
        let entry = self.reactor.entries.borrow_mut().try_remove(self.key);
        drop(entry);
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
