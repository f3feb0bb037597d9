//! Who takes the next turn of a task that was woken.
//!
//! Cells and supervisors run on the threads of the multi-threaded runtime, and capabilities on an arbiter. To leave a turn of a
//! microsecond to another thread costs many times as much: a core has to wake up, and the message is cold there. So the turn is
//! taken by the thread that has just written the message, where that can be said to be done soon:
//!
//! - who asks, and is about to wait for the answer, gives the turn [at once](at_once), within its own, and goes on with the one
//!   that was woken by it, for a while;
//! - a cell's thread, once the cell waits, does the same;
//! - an arbiter that has a [`lender`] does so after what it has at hand.
//!
//! A thread of the runtime goes on with a task wherever it is woken otherwise, or did not finish. What others have to wait for
//! is bounded:
//!
//! - [`Pace`] knows how long turns have been, for all tasks that have it in common: only those that are expected to be
//!   short are taken, and after a long one none for a while. So at most a slice is lost in 256 turns.
//! - When a second task is woken before the first one's turn has come, the first goes to the threads of the runtime: there
//!   is work for several cores.
//! - Whoever is woken by a task that an arbiter has lent itself to goes to the threads as well: cells that talk with one
//!   another do not move in.

mod pace;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, TryLockError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::BoxFuture,
    task::{ArcWake, waker_ref},
};
use tokio::{
    runtime,
    task::{coop, yield_now},
};

pub use pace::Pace;

use crate::task::{self, Kind};

/// A turn that is given within another one: no more than it costs to wake another thread, and be woken.
const BRIEF: Duration = Duration::from_micros(20);

/// A turn that an arbiter, or the thread of another cell, can spare.
const SHORT: Duration = Duration::from_micros(100);

/// Turns that a thread takes one after the other, and the time after which it takes no other: whatever else waits for it has
/// its turn in between, sockets as well.
const IN_A_ROW: u32 = 32;
const IN_A_ROW_TIME: Duration = Duration::from_micros(100);

/// Time that an asker gives to those whom it asks before others have the thread: as little as this where there are others,
/// as much as that where there were none of late. To find out costs about as much as to wake another thread.
const GIVEN_LEAST: Duration = Duration::from_micros(5);
const GIVEN_MOST: Duration = Duration::from_micros(200);

/// A task.
struct Job {
    runtime: runtime::Handle,
    pace: Pace,
    /// `None` once it has ended.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Whether somebody wanted it to have a turn while it had one.
    again: AtomicBool,
    /// Whether its carrier has been started.
    carried: AtomicBool,
    /// Wakes the carrier.
    carrier: OnceLock<Waker>,
}

/// What the threads of the runtime see of a task, from its first turn there.
struct Carrier(Arc<Job>);

/// What became of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The task has ended.
    Done,
    /// It waits until it is woken, or has its turn elsewhere.
    Waits,
    /// It was woken while it had its turn.
    Again,
}

/// Who on this thread is going to look whether a task was woken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// Its lender, if it has one.
    Lender,
    /// Whoever asks.
    Asker,
    /// A carrier.
    Carrier,
    /// Nobody: a turn is being given.
    Nobody,
}

/// A thread.
struct Here {
    lender: Option<Waker>,
    looks: Looks,
    /// Whose turn is next.
    next: Option<Arc<Job>>,
    /// Time that askers gave to those whom they asked, since others had the thread.
    given: Duration,
    /// After how much of it they have to have it.
    may_give: Duration,
    /// Turns and questions so far.
    moves: u64,
}

/// Who has to be told of a task that was woken.
enum Told {
    /// Nobody: its turn is to come.
    Nobody,
    /// The lender. The task before it is for the threads of the runtime.
    Lender(Waker, Option<Arc<Job>>),
    /// Nobody but the task before it.
    Before(Arc<Job>),
    /// The threads of the runtime.
    Carrier,
}

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here::NEW) };
}

/// Starts a task, which ends by itself. Its first turn is taken by the calling thread if that lends itself, later, and by the
/// threads of the runtime otherwise.
pub fn spawn(on: &runtime::Handle, kind: Kind, pace: &Pace, future: impl Future<Output = ()> + Send + 'static) {
    ArcWake::wake(Job::new(on, kind, pace, future));
}

/// The same for a task that has much to do at first: its first turn is left to the threads of the runtime.
pub fn spawn_busy(on: &runtime::Handle, kind: Kind, pace: &Pace, future: impl Future<Output = ()> + Send + 'static) {
    Job::new(on, kind, pace, future).carry();
}

/// Does something, and gives the task that was woken by it a turn, if that is expected to be brief, and then whoever that one
/// has woken, for a while. For whoever has nothing else to do before: the last task that was woken has the turn, the others
/// go to the threads of the runtime.
///
/// Whoever does so again and again waits afterwards, so that others have the thread. What is to be done is done before anything is
/// waited for, so that what one task asks at the same time keeps its order.
pub async fn at_once<T>(what: impl FnOnce() -> T) -> T {
    let done = now(what);
    let Some(before) = HERE.with_borrow(Here::is_due) else { return done };
    let thread = thread::current().id();
    yield_now().await;
    // A thread that had nothing to do has taken it over, or this one had.
    let alone = thread != thread::current().id() || HERE.with_borrow(|here| here.moves == before);
    HERE.with_borrow_mut(|here| here.paused(alone));
    done
}

fn now<T>(what: impl FnOnce() -> T) -> T {
    let Some(looking) = Looking::begin(Looks::Asker) else { return what() };
    let done = what();
    let given = looking.turns(Job::given_turn);
    HERE.with_borrow_mut(|here| here.given += given);
    done
}

/// Leaves the task whose turn is next on this thread to others: the one that runs goes on.
pub fn go_on() {
    let next = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        if here.looks == Looks::Carrier { here.next.take() } else { None }
    });
    if let Some(next) = next.ok().flatten() {
        next.carry();
    }
}

/// Lends the calling thread, as long as it is polled there: a task of an arbiter, without an end.
pub async fn lender() {
    let _leave = Leave;
    poll_fn(|cx| {
        let next = HERE.with_borrow_mut(|here| {
            here.lender.get_or_insert_with(|| cx.waker().clone());
            here.next.take()
        });
        if let Some(job) = next {
            let _nobody = Looking::begin(Looks::Nobody);
            let _ = job.given_turn();
        }
        Poll::Pending
    })
    .await
}

/// The end of a lender: what waits for its turn is not forgotten.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(next) = HERE.replace(Here::NEW).next {
            next.carry();
        }
    }
}

/// Somebody looks, until this is dropped.
struct Looking {
    /// Whose turn was next before.
    before: Option<Arc<Job>>,
}

impl Looking {
    /// Begins to look, unless somebody does already or a turn is being given.
    fn begin(looks: Looks) -> Option<Self> {
        HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            if here.looks != Looks::Lender {
                return None;
            }
            here.looks = looks;
            here.moves += 1;
            Some(Self { before: here.next.take() })
        })
        .ok()
        .flatten()
    }

    /// Lets turns be given to whoever was woken, one after the other, for a while: how long all of them took.
    fn turns(&self, mut give: impl FnMut(&Arc<Job>) -> Duration) -> Duration {
        let mut taken = Duration::ZERO;
        for _ in 0..IN_A_ROW {
            let Some(next) = Self::next() else { break };
            taken += give(&next);
            if taken > IN_A_ROW_TIME || !coop::has_budget_remaining() {
                break;
            }
        }
        // Whoever is left goes to the threads of the runtime.
        taken
    }

    /// Whose turn it is.
    fn next() -> Option<Arc<Job>> {
        HERE.with_borrow_mut(|here| here.next.take())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let left = HERE.with_borrow_mut(|here| {
            here.looks = Looks::Lender;
            std::mem::replace(&mut here.next, self.before.take())
        });
        // Nobody took it.
        if let Some(left) = left {
            left.carry();
        }
    }
}

impl Here {
    const NEW: Self =
        Self { lender: None, looks: Looks::Lender, next: None, given: Duration::ZERO, may_give: GIVEN_LEAST, moves: 0 };

    /// Whether askers have given enough, and what has moved so far. An arbiter sees to it itself that others have it.
    fn is_due(&self) -> Option<u64> {
        (self.lender.is_none() && self.given > self.may_give).then_some(self.moves)
    }

    /// An asker has let others have the thread, if there were any.
    fn paused(&mut self, alone: bool) {
        self.given = Duration::ZERO;
        self.may_give = if alone { GIVEN_MOST.min(2 * self.may_give) } else { GIVEN_LEAST };
    }

    /// A task was woken on this thread.
    fn woken(&mut self, job: &Arc<Job>) -> Told {
        let most = match (self.looks, &self.lender) {
            (Looks::Nobody, _) | (Looks::Lender, None) => return Told::Carrier,
            (Looks::Asker, _) => BRIEF,
            (Looks::Carrier, _) | (Looks::Lender, Some(_)) => SHORT,
        };
        if self.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, job)) {
            return Told::Nobody;
        }
        if !job.pace.is_within(most) {
            return Told::Carrier;
        }
        let before = self.next.replace(Arc::clone(job));
        match (self.looks, &self.lender, before) {
            (Looks::Lender, Some(lender), before) => Told::Lender(lender.clone(), before),
            (_, _, Some(before)) => Told::Before(before),
            (_, _, None) => Told::Nobody,
        }
    }
}

impl ArcWake for Job {
    fn wake_by_ref(job: &Arc<Self>) {
        // A thread that ends takes no turns any more.
        match HERE.try_with(|here| here.borrow_mut().woken(job)).unwrap_or(Told::Carrier) {
            Told::Nobody => {}
            Told::Carrier => job.carry(),
            Told::Before(before) => before.carry(),
            Told::Lender(waker, before) => {
                if let Some(before) = before {
                    before.carry();
                }
                waker.wake();
            }
        }
    }
}

impl Job {
    fn new(
        on: &runtime::Handle,
        kind: Kind,
        pace: &Pace,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime: on.clone(),
            pace: pace.clone(),
            future: Mutex::new(Some(task::catch(kind, future).map(drop).boxed())),
            again: AtomicBool::new(false),
            carried: AtomicBool::new(false),
            carrier: OnceLock::new(),
        })
    }

    /// Leaves the next turn to the threads of the runtime.
    fn carry(self: &Arc<Self>) {
        if let Some(carrier) = self.carrier.get() {
            return carrier.wake_by_ref();
        }
        if self.carried.swap(true, Ordering::AcqRel) {
            // It was started, and its first turn is either still to come, or has left its waker before this.
            if let Some(carrier) = self.carrier.get() {
                carrier.wake_by_ref();
            }
        } else {
            drop(self.runtime.spawn(Carrier(Arc::clone(self))));
        }
    }

    /// A turn on a thread that is not its carrier's: how long it took.
    fn given_turn(self: &Arc<Self>) -> Duration {
        let _runtime = self.runtime.enter();
        let (turn, took) = self.turn();
        self.after(turn);
        took
    }

    /// What comes of a turn that the carrier did not give.
    fn after(self: &Arc<Self>, turn: Turn) {
        match turn {
            Turn::Waits => {}
            Turn::Again => self.carry(),
            // The carrier ends as well.
            Turn::Done => self.carrier.get().into_iter().for_each(Waker::wake_by_ref),
        }
    }

    /// Keeps others from giving it a turn; `None` if somebody else does.
    fn hold(&self) -> Option<MutexGuard<'_, Option<BoxFuture<'static, ()>>>> {
        match self.future.try_lock() {
            Ok(future) => Some(future),
            // Panics are caught within.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A turn on this thread, unless it has one elsewhere; and how long it took.
    fn turn(self: &Arc<Self>) -> (Turn, Duration) {
        let mut future = match self.hold() {
            Some(future) => future,
            None => {
                self.again.store(true, Ordering::Relaxed);
                // Whoever has it looks at that afterwards; one that has looked already has let go before.
                fence(Ordering::SeqCst);
                match self.hold() {
                    Some(future) => future,
                    None => return (Turn::Waits, Duration::ZERO),
                }
            }
        };
        let Some(running) = future.as_mut() else { return (Turn::Done, Duration::ZERO) };
        let began = Instant::now();
        let waker = waker_ref(self);
        let done = running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let took = began.elapsed();
        self.pace.took(took);
        let ended = if done { future.take() } else { None };
        drop(future);
        drop(ended);
        if done {
            return (Turn::Done, took);
        }
        fence(Ordering::SeqCst);
        if self.again.load(Ordering::Relaxed) {
            self.again.store(false, Ordering::Relaxed);
            return (Turn::Again, took);
        }
        (Turn::Waits, took)
    }
}

impl Carrier {
    /// Gives its task a turn, and then whoever it has woken, one after the other, for a while.
    fn turns(&self) -> Turn {
        let looking = Looking::begin(Looks::Carrier);
        let (mut turn, _) = self.0.turn();
        let Some(looking) = looking else { return turn };
        looking.turns(|next| {
            let (its, took) = next.turn();
            if Arc::ptr_eq(next, &self.0) {
                turn = its;
            } else {
                next.after(its);
            }
            took
        });
        turn
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let job = &self.0;
        if job.carrier.get().is_none() {
            // A task of the runtime has one waker for all its life.
            let _ = job.carrier.set(cx.waker().clone());
            // Whoever comes after this finds the waker; what was before it is seen by this turn.
            job.carried.swap(true, Ordering::AcqRel);
        }
        match self.turns() {
            Turn::Done => Poll::Ready(()),
            Turn::Waits => Poll::Pending,
            Turn::Again => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Drop for Carrier {
    /// A runtime that shuts down drops what has not ended.
    fn drop(&mut self) {
        // Dropped when it is held no more.
        let future = self.0.hold().and_then(|mut future| future.take());
        drop(future);
    }
}

#[cfg(test)]
mod tests;
