//! Tasks whose turns an arbiter may take itself.
//!
//! Cells run on the threads of the multi-threaded runtime, and capabilities and supervisors on arbiters. An arbiter that
//! sends a message to a cell would have to wake another thread for a microsecond of work, and be woken by it for the
//! answer: two wake-ups of a core, at many times the price of the turn. So a task that is woken by an arbiter that has a
//! [`lender`] gets its next turn there, after what the arbiter has at hand, on the core that has just written the message. A
//! thread of the runtime goes on with the task wherever it is woken otherwise, or did not finish.
//!
//! An arbiter belongs to many, so it only lends itself for short turns, to one task at a time:
//!
//! - A turn that took longer than 100 µs is the last that it takes for a while: [`Pace`] counts, for all tasks that have
//!   it in common. At most a slice is lost in 256 turns.
//! - When a second task is woken before the first one's turn has come, the first goes to the threads of the runtime: there
//!   is work for several cores.
//! - Whoever is woken by a task that has its turn here goes to the threads as well: cells that talk with one another do not
//!   move in.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, TryLockError,
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

/// Lends the calling thread, as long as it is polled there: a task of an arbiter, without an end.
pub async fn lender() {
    let _leave = Leave;
    poll_fn(|cx| {
        let next = LENDER.with_borrow_mut(|lender| {
            let lender = lender.get_or_insert_with(|| Lender { waker: cx.waker().clone(), next: None, busy: false });
            let next = lender.next.take();
            lender.busy = next.is_some();
            next
        });
        if let Some(job) = next {
            job.lent_turn();
            LENDER.with_borrow_mut(|lender| lender.iter_mut().for_each(|lender| lender.busy = false));
        }
        Poll::Pending
    })
    .await
}

/// The end of a lender: what waits for its turn is not forgotten.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(next) = LENDER.take().and_then(|lender| lender.next) {
            next.carry();
        }
    }
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
        // A thread that ends has no lender any more.
        let lent = LENDER.try_with(|lender| {
            let mut lender = lender.borrow_mut();
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
        match lent.ok().flatten() {
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

    /// Keeps others from giving it a turn; `None` if somebody else does.
    fn hold(&self) -> Option<MutexGuard<'_, Option<BoxFuture<'static, ()>>>> {
        match self.future.try_lock() {
            Ok(future) => Some(future),
            // Panics are caught within.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A turn on this thread, unless it has one elsewhere.
    fn turn(self: &Arc<Self>) -> Turn {
        let mut future = match self.hold() {
            Some(future) => future,
            None => {
                self.again.store(true, Ordering::Relaxed);
                // Whoever has it looks at that afterwards; one that has looked already has let go before.
                fence(Ordering::SeqCst);
                match self.hold() {
                    Some(future) => future,
                    None => return Turn::Waits,
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
        // Dropped when it is held no more.
        let future = self.0.hold().and_then(|mut future| future.take());
        drop(future);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use tokio::{
        runtime::{Builder, Runtime},
        sync::Notify,
        task::{LocalSet, yield_now},
    };

    use super::*;

    fn workers() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).build().expect("a runtime starts")
    }

    fn kind() -> Kind {
        Kind::detached("turns", "a test")
    }

    /// Starts a task that says on which thread each of its turns is; it has one whenever it is told to.
    fn turns(on: &Runtime, pace: &Pace) -> (Arc<Notify>, mpsc::Receiver<thread::ThreadId>) {
        let (tx, rx) = mpsc::channel();
        let next = Arc::new(Notify::new());
        let told = Arc::clone(&next);
        spawn(on.handle(), kind(), pace, async move {
            while tx.send(thread::current().id()).is_ok() {
                told.notified().await;
            }
        });
        (next, rx)
    }

    /// Runs something on a thread that lends itself.
    fn lent<F: Future>(what: F) -> F::Output {
        let threads = Builder::new_current_thread().build().expect("a runtime starts");
        LocalSet::new().block_on(&threads, async {
            let lender = task::spawn_local(Kind::owned("lender", "a test"), lender());
            yield_now().await;
            let done = what.await;
            lender.abort();
            let _ = lender.await;
            done
        })
    }

    /// Lets the lender have its turn.
    async fn lend() {
        yield_now().await;
    }

    #[test]
    fn a_task_has_its_turns_on_the_thread_that_starts_and_wakes_it() {
        let (workers, here) = (workers(), thread::current().id());
        lent(async {
            let (next, turns) = turns(&workers, &Pace::default());
            assert!(turns.try_recv().is_err(), "after what is at hand");
            lend().await;
            assert_eq!(turns.try_recv(), Ok(here));
            next.notify_one();
            // It is woken once for two.
            next.notify_one();
            lend().await;
            assert_eq!(turns.try_recv(), Ok(here));
        });
    }

    #[test]
    fn without_a_lender_the_runtime_has_it() {
        let (workers, here) = (workers(), thread::current().id());
        let (next, turns) = turns(&workers, &Pace::default());
        assert_ne!(turns.recv(), Ok(here));
        next.notify_one();
        assert_ne!(turns.recv(), Ok(here));
    }

    #[test]
    fn of_two_that_are_woken_the_runtime_has_one() {
        let (workers, here) = (workers(), thread::current().id());
        lent(async {
            let (_, first) = turns(&workers, &Pace::default());
            let (_, second) = turns(&workers, &Pace::default());
            assert_ne!(first.recv(), Ok(here));
            lend().await;
            assert_eq!(second.recv(), Ok(here));
        });
    }

    #[test]
    fn whom_a_lent_turn_wakes_the_runtime_has() {
        let (workers, here) = (workers(), thread::current().id());
        lent(async {
            let (next, turns) = turns(&workers, &Pace::default());
            lend().await;
            assert_eq!(turns.recv(), Ok(here));
            spawn(workers.handle(), kind(), &Pace::default(), async move { next.notify_one() });
            lend().await;
            assert_ne!(turns.recv(), Ok(here));
        });
    }

    #[test]
    fn a_long_turn_is_the_last_for_a_while() {
        let (workers, here, pace) = (workers(), thread::current().id(), Pace::default());
        let (tx, turns) = mpsc::channel();
        let start = || {
            let tx = tx.clone();
            spawn(workers.handle(), kind(), &pace, async move {
                tx.send(thread::current().id()).expect("the test waits");
            });
        };
        lent(async {
            spawn(workers.handle(), kind(), &pace, async {
                let began = Instant::now();
                while began.elapsed() <= SHORT {
                    std::hint::spin_loop();
                }
            });
            lend().await;
            for _ in 0..AVOIDED {
                start();
                assert_ne!(turns.recv(), Ok(here));
            }
            start();
            lend().await;
            assert_eq!(turns.recv(), Ok(here), "it is tried again");
        });
    }

    #[test]
    fn a_task_that_did_not_finish_goes_on_in_the_runtime() {
        let (workers, here) = (workers(), thread::current().id());
        let (tx, rx) = mpsc::channel();
        lent(async {
            let mut turns = 2;
            spawn(
                workers.handle(),
                kind(),
                &Pace::default(),
                poll_fn(move |cx| {
                    tx.send(thread::current().id()).expect("the test waits");
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
                }),
            );
            lend().await;
            assert_eq!(rx.recv(), Ok(here));
            assert_ne!(rx.recv(), Ok(here));
        });
    }

    #[test]
    fn what_waits_when_the_lender_ends_goes_to_the_runtime() {
        let (workers, here) = (workers(), thread::current().id());
        let turns = lent(async { turns(&workers, &Pace::default()).1 });
        assert_ne!(turns.recv(), Ok(here));
    }

    #[test]
    fn no_wake_up_is_lost_between_the_two() {
        const ROUNDS: usize = 20_000;
        let workers = workers();
        let (tx, rx) = mpsc::channel();
        lent(async {
            let (here, there) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (to_here, to_there) = (Arc::clone(&here), Arc::clone(&there));
            spawn(workers.handle(), kind(), &Pace::default(), async move {
                for round in 0..ROUNDS {
                    futures::join!(here.notified(), there.notified());
                    tx.send(round).expect("the test waits");
                }
            });
            let wake = workers.handle().clone();
            for round in 0..ROUNDS {
                // Both at once, one from here and one from the runtime.
                let to_there = Arc::clone(&to_there);
                drop(task::spawn(&wake, kind(), async move { to_there.notify_one() }));
                to_here.notify_one();
                lend().await;
                let done = rx.recv_timeout(Duration::from_secs(20));
                assert_eq!(done, Ok(round), "a wake-up was lost");
            }
        });
    }

    #[test]
    fn a_runtime_that_shuts_down_drops_what_has_not_ended() {
        let workers = workers();
        let (_, turns) = turns(&workers, &Pace::default());
        turns.recv().expect("it runs");
        workers.shutdown_background();
        assert!(turns.recv().is_err());
    }

    #[test]
    fn a_panic_ends_the_task_and_not_the_lender() {
        let (workers, here) = (workers(), thread::current().id());
        lent(async {
            spawn(workers.handle(), kind(), &Pace::default(), async { panic!("on purpose") });
            lend().await;
            let (_, turns) = turns(&workers, &Pace::default());
            lend().await;
            assert_eq!(turns.recv(), Ok(here));
        });
    }
}
