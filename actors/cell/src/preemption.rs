//! How guests share the cores.
//!
//! A thread ticks every [`TICK`]. A guest that has computed for a [slice](SLICE_TICKS) yields; it is woken
//! from a thread outside the runtime, so that it queues behind every other task of the runtime instead of
//! at its own worker.

use std::{
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

/// Wakes guests that yield. The thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Requeue(Arc<RequeueOwner>);

struct RequeueOwner(Arc<Queue>);

#[derive(Default)]
struct Queue {
    /// One waker for each guest that yields right now, so as many as there are cells at the most.
    waiting: Mutex<(Vec<Waker>, bool)>,
    arrived: Condvar,
}

/// Yields once.
struct Yield {
    queue: Requeue,
    yielded: bool,
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
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        thread::Builder::new().name("ww-requeue".into()).spawn(move || shared.wake_until_closed())?;
        Ok(Self(Arc::new(RequeueOwner(queue))))
    }

    /// Resolves when every task that is ready now has had its turn.
    pub(crate) fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Yield { queue: self.clone(), yielded: false })
    }
}

impl Queue {
    fn wake_until_closed(&self) {
        loop {
            let mut waiting = lock(&self.waiting);
            while waiting.0.is_empty() && !waiting.1 {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let (wakers, closed) = (std::mem::take(&mut waiting.0), waiting.1);
            drop(waiting);
            wakers.into_iter().for_each(Waker::wake);
            if closed {
                return;
            }
        }
    }
}

impl Drop for RequeueOwner {
    fn drop(&mut self) {
        lock(&self.0.waiting).1 = true;
        self.0.arrived.notify_one();
    }
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        let queue = &self.queue.0.0;
        lock(&queue.waiting).0.push(cx.waker().clone());
        queue.arrived.notify_one();
        Poll::Pending
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
