//! How guests share the cores.
//!
//! A thread ticks every [`TICK`]. A guest that has computed for a [slice](SLICE_TICKS) yields; it is woken
//! from a thread outside the runtime, so that it queues behind every other task of the runtime instead of
//! at its own worker.
//!
//! Guests that yield wait here, and few of them at a time in the queue of the runtime: a task that has little to do is
//! behind some slices, however many guests compute. The parts of the node take turns: one client with a thousand
//! guests that compute leaves half of the cores to another with one.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use wasmtime::{Engine, EngineWeak};
use ww_core::Account;

/// How often the epoch advances: the resolution of slices.
const TICK: Duration = Duration::from_millis(1);

/// Ticks that a guest may compute before it yields: 2 ms, short enough for neighbours that answer requests.
pub(crate) const SLICE_TICKS: u64 = 2;

/// How many ticks a limit of computing time is: a started one counts.
pub(crate) fn ticks_in(limit: Duration) -> u64 {
    u64::try_from(limit.as_micros().div_ceil(TICK.as_micros())).unwrap_or(u64::MAX)
}

/// Drives the epochs of engines. The thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Ticker {
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    ticks: Ticks,
}

/// A clock that is cheap to read: it counts ticks, about one each [`TICK`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// So many ticks at once, instead of the thread that ticks.
    #[cfg(test)]
    pub(crate) fn advance(&self, ticks: u64) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }
}

/// Wakes guests that yield, each part of the node in its turn. The thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Requeue {
    owner: Arc<RequeueOwner>,
    /// The [part](Account::part) of the node whose turns these are.
    part: usize,
}

struct RequeueOwner(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    /// Somebody waits, or somebody who was woken has begun.
    moved: Condvar,
    /// Guests that are woken and have not begun: as many as there are threads that take them.
    most: usize,
}

#[derive(Default)]
struct State {
    /// One for each guest that yields right now, so as many as there are cells at the most. No queue is empty.
    waiting: HashMap<usize, VecDeque<Arc<Waiting>>>,
    /// The parts that wait, the next one first.
    order: VecDeque<usize>,
    woken: usize,
    closed: bool,
}

/// A guest that yields.
struct Waiting(Mutex<Turn>);

enum Turn {
    /// To be woken.
    Waits(Waker),
    /// Woken, and not begun.
    Woken,
    /// It goes on, or has ended.
    Over,
}

/// Yields once.
struct Yield {
    queue: Requeue,
    waiting: Option<Arc<Waiting>>,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let engines: Arc<Mutex<Vec<EngineWeak>>> = Arc::default();
        let weak = Arc::downgrade(&engines);
        let ticks = Ticks::default();
        let counted = ticks.clone();
        thread::Builder::new().name("ww-ticker".into()).spawn(move || {
            while let Some(engines) = weak.upgrade() {
                counted.0.fetch_add(1, Ordering::Relaxed);
                lock(&engines).retain(|engine| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
                drop(engines);
                thread::sleep(TICK);
            }
        })?;
        Ok(Self { engines, ticks })
    }

    /// The clock of this ticker.
    pub(crate) fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Advances the epoch of this engine from now on, until it is dropped.
    pub(crate) fn drive(&self, engine: &Engine) {
        lock(&self.engines).push(engine.weak());
    }
}

impl Requeue {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let queue = Arc::new(Queue { state: Mutex::default(), moved: Condvar::new(), most });
        let shared = Arc::clone(&queue);
        thread::Builder::new().name("ww-requeue".into()).spawn(move || shared.wake_until_closed())?;
        Ok(Self { owner: Arc::new(RequeueOwner(queue)), part: 0 })
    }

    /// The same for guests in the part of the node that an account is in.
    pub(crate) fn of(&self, account: &Account) -> Self {
        Self { owner: Arc::clone(&self.owner), part: account.part() }
    }

    /// Resolves when every task that is ready now has had its turn.
    pub(crate) fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Yield { queue: self.clone(), waiting: None })
    }
}

impl Queue {
    fn wake_until_closed(&self) {
        let mut state = lock(&self.state);
        while !state.closed {
            let next = if state.woken < self.most { state.next() } else { None };
            let Some(next) = next else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let turn = std::mem::replace(&mut *lock(&next.0), Turn::Woken);
            match turn {
                Turn::Waits(waker) => {
                    state.woken += 1;
                    drop(state);
                    waker.wake();
                    state = lock(&self.state);
                }
                turn => *lock(&next.0) = turn,
            }
        }
        // A guest that is left is not held up.
        while let Some(next) = state.next() {
            if let Turn::Waits(waker) = std::mem::replace(&mut *lock(&next.0), Turn::Over) {
                waker.wake();
            }
        }
    }

    fn push(&self, part: usize, waiting: &Arc<Waiting>) {
        lock(&self.state).push(part, Arc::clone(waiting));
        self.moved.notify_one();
    }

    /// The guest that waited goes on, or has ended.
    fn over(&self, waiting: &Waiting) {
        let mut state = lock(&self.state);
        if let Turn::Woken = std::mem::replace(&mut *lock(&waiting.0), Turn::Over) {
            state.woken -= 1;
            self.moved.notify_one();
        }
    }
}

impl State {
    fn push(&mut self, part: usize, waiting: Arc<Waiting>) {
        let queue = self.waiting.entry(part).or_default();
        if queue.is_empty() {
            self.order.push_back(part);
        }
        queue.push_back(waiting);
    }

    /// The one whose turn it is.
    fn next(&mut self) -> Option<Arc<Waiting>> {
        let part = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&part)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&part);
        } else {
            self.order.push_back(part);
        }
        next
    }
}

impl Drop for RequeueOwner {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.moved.notify_one();
    }
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let queue = &self.queue.owner.0;
        if let Some(waiting) = &self.waiting {
            queue.over(waiting);
            self.waiting = None;
            return Poll::Ready(());
        }
        let waiting = Arc::new(Waiting(Mutex::new(Turn::Waits(cx.waker().clone()))));
        queue.push(self.queue.part, &waiting);
        self.waiting = Some(waiting);
        Poll::Pending
    }
}

impl Drop for Yield {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            self.queue.owner.0.over(waiting);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_yield_ends() {
        let requeue = Requeue::start().expect("a thread starts");
        for _ in 0..100 {
            requeue.yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_parts_of_a_node_take_turns_however_many_wait_in_one() {
        let mut state = State::default();
        let waiting = || Arc::new(Waiting(Mutex::new(Turn::Over)));
        let many: Vec<_> = (0..1_000).map(|_| waiting()).collect();
        let one = waiting();
        many.iter().for_each(|waiting| state.push(1, Arc::clone(waiting)));
        state.push(2, Arc::clone(&one));
        let next: Vec<_> = (0..2).filter_map(|_| state.next()).collect();
        assert!(Arc::ptr_eq(&next[0], &many[0]) && Arc::ptr_eq(&next[1], &one));
        assert_eq!(std::iter::from_fn(|| state.next()).count(), many.len() - 1);
        assert!(state.waiting.is_empty() && state.order.is_empty());
    }

    #[tokio::test]
    async fn those_that_end_while_they_yield_hold_nobody_up() {
        let requeue = Requeue::start().expect("a thread starts");
        for _ in 0..100 {
            let mut given_up = requeue.yield_now();
            assert!(futures::poll!(&mut given_up).is_pending());
            drop(given_up);
        }
        requeue.yield_now().await;
    }

    #[test]
    fn the_ticker_advances_epochs_and_forgets_dropped_engines() {
        let ticker = Ticker::start().expect("a thread starts");
        let engine = Engine::default();
        ticker.drive(&engine);
        drop(engine);
        while !lock(&ticker.engines).is_empty() {
            thread::yield_now();
        }
    }
}
