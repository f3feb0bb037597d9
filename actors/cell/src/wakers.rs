//! The tasks that wait for one thing.

use std::task::{Context, Waker};

/// Wakers kept at once. A task is kept once; one that has given up waiting is kept until something happens, so that
/// without a bound a program that begins and gives up waits would fill the memory of the node.
const MAX_KEPT: usize = 64;

/// The tasks that wait at one side of a stream.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Adds the calling task. Returns those to be woken without need, once no lock is held: whoever still waits among
    /// them comes back, and the others are forgotten.
    #[must_use]
    pub(crate) fn register(&mut self, cx: &Context<'_>) -> Self {
        if self.0.iter().any(|waker| waker.will_wake(cx.waker())) {
            return Self::default();
        }
        let crowd = if self.0.len() >= MAX_KEPT { std::mem::take(&mut self.0) } else { Vec::new() };
        self.0.push(cx.waker().clone());
        Self(crowd)
    }

    /// Takes all of them, to be woken once no lock is held.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Wakes them.
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_crowd_is_woken_rather_than_kept() {
        let mut wakers = Wakers::default();
        let counters: Vec<Arc<Counter>> = (0..=MAX_KEPT).map(|_| Arc::default()).collect();
        for counter in &counters {
            wakers.register(&Context::from_waker(&Waker::from(Arc::clone(counter)))).wake();
        }
        assert_eq!(wakers.0.len(), 1);
        let woken: usize = counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum();
        assert_eq!(woken, MAX_KEPT);
    }

    #[test]
    fn a_task_is_kept_once() {
        let mut wakers = Wakers::default();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        for _ in 0..3 {
            wakers.register(&Context::from_waker(&waker)).wake();
        }
        wakers.take().wake();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    }
}
