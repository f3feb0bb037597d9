//! Tasks whose turns an arbiter may take itself.
//!
//! Cells run on the threads of the multi-threaded runtime, and capabilities and supervisors on arbiters. An arbiter that
//! sends a message to a cell would have to wake another thread for a microsecond of work, and be woken by it for the
//! answer: two wake-ups of a core, at ten times the price of the turn. So a task that is woken by an arbiter that has a
//! [`lender`] gets its next turn there, after what the arbiter has at hand, on the core that has just written the message. A
//! thread of the runtime goes on with the task wherever it is woken otherwise, or did not finish.
//!
//! An arbiter belongs to many, so it only lends itself for short turns, to one task at a time:
//!
//! - A turn that took longer than [`SHORT`] is the last that it takes for a while: [`Pace`] counts, for all tasks that have
//!   it in common. At most a slice is lost in [`AVOIDED`] turns.
//! - When a second task is woken before the first one's turn has come, the first goes to the threads of the runtime: there
//!   is work for several cores.
//! - Whoever is woken by a task that has its turn here goes to the threads as well: cells that talk with one another do not
//!   move in.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, TryLockError,
        atomic::{AtomicBool, AtomicU32, Ordering, fence},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::BoxFuture,
    task::{ArcWake, waker_ref},
};
use tokio::runtime;

use crate::task::{self, Kind};

/// A turn that an arbiter can spare: a few times what it costs to wake another thread, and be woken.
const SHORT: Duration = Duration::from_micros(100);

/// Turns that are left to the threads of the runtime after one that was longer.
const AVOIDED: u32 = 256;

/// How the turns of some tasks have been. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<AtomicU32>);

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
enum Turn {
    /// The task has ended.
    Done,
    /// It waits until it is woken, or has its turn elsewhere.
    Waits,
    /// It was woken while it had its turn.
    Again,
}

/// An arbiter that lends itself.
struct Lender {
    waker: Waker,
    next: Option<Arc<Job>>,
    /// It has lent itself at this moment.
    busy: bool,
}

thread_local! {
    static LENDER: RefCell<Option<Lender>> = const { RefCell::new(None) };
}

/// Starts a task, which ends by itself. Its first turn is taken by the calling thread if that lends itself, later, and by the
/// threads of the runtime otherwise.
pub fn spawn(on: &runtime::Handle, kind: Kind, pace: &Pace, future: impl Future<Output = ()> + Send + 'static) {
    let job = Job {
        runtime: on.clone(),
        pace: pace.clone(),
        future: Mutex::new(Some(task::catch(kind, future).map(drop).boxed())),
        again: AtomicBool::new(false),
        carried: AtomicBool::new(false),
        carrier: OnceLock::new(),
    };
    ArcWake::wake(Arc::new(job));
}

/// Lends the calling thread, as long as it is polled there: a task of an arbiter.
pub fn lender() -> impl Future<Output = ()> {
    /// What waits is not forgotten.
    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            if let Some(next) = LENDER.take().and_then(|lender| lender.next) {
                next.carry();
            }
        }
    }

    let mut leave = None;
    poll_fn(move |cx| {
        leave.get_or_insert(Leave);
        let next = LENDER.with_borrow_mut(|lender| {
            let lender = lender.get_or_insert_with(|| Lender { waker: cx.waker().clone(), next: None, busy: false });
            let next = lender.next.take();
            lender.busy = next.is_some();
            next
        });
        if let Some(job) = next {
            job.lent_turn();
            LENDER.with_borrow_mut(|lender| lender.as_mut().map(|lender| lender.busy = false));
        }
        Poll::Pending
    })
}

impl Pace {
    /// Whether the next turn may be expected to be short.
    fn is_short(&self) -> bool {
        // Two at the same time may count as one.
        match self.0.load(Ordering::Relaxed) {
            0 => true,
            avoided => {
                self.0.store(avoided - 1, Ordering::Relaxed);
                false
            }
        }
    }
}

impl ArcWake for Job {
    fn wake_by_ref(job: &Arc<Self>) {
        let lent = LENDER.with_borrow_mut(|lender| {
            let lender = lender.as_mut().filter(|lender| !lender.busy)?;
            match &lender.next {
                // Its turn is to come.
                Some(next) if Arc::ptr_eq(next, job) => return Some((None, None)),
                _ if !job.pace.is_short() => return None,
                _ => {}
            }
            let before = lender.next.replace(Arc::clone(job));
            Some((before, Some(lender.waker.clone())))
        });
        match lent {
            None => job.carry(),
            Some((before, waker)) => {
                if let Some(before) = before {
                    before.carry();
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

impl Job {
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

    /// A turn on a thread that is lent.
    fn lent_turn(self: &Arc<Self>) {
        let _runtime = self.runtime.enter();
        let began = Instant::now();
        let turn = self.turn();
        if began.elapsed() > SHORT {
            self.pace.0.store(AVOIDED, Ordering::Relaxed);
        }
        match turn {
            Turn::Waits => {}
            Turn::Again => self.carry(),
            // The carrier ends as well.
            Turn::Done => self.carrier.get().into_iter().for_each(Waker::wake_by_ref),
        }
    }

    /// A turn on this thread, unless it has one elsewhere.
    fn turn(self: &Arc<Self>) -> Turn {
        let mut future = match self.future.try_lock() {
            Ok(future) => future,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.again.store(true, Ordering::Relaxed);
                // Whoever has it looks at that afterwards; one that has looked already has let go before.
                fence(Ordering::SeqCst);
                match self.future.try_lock() {
                    Ok(future) => future,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => return Turn::Waits,
                }
            }
        };
        let Some(running) = future.as_mut() else { return Turn::Done };
        let waker = waker_ref(self);
        let done = running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let ended = if done { future.take() } else { None };
        drop(future);
        drop(ended);
        if done {
            return Turn::Done;
        }
        fence(Ordering::SeqCst);
        if self.again.load(Ordering::Relaxed) {
            self.again.store(false, Ordering::Relaxed);
            return Turn::Again;
        }
        Turn::Waits
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
        match job.turn() {
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
        let future = self.0.future.try_lock().ok().and_then(|mut future| future.take());
        drop(future);
    }
}
