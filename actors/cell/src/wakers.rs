//! The tasks that wait for one thing.

use std::task::{Context, Waker};

/// Wakers kept at once. A task is kept once; one that has given up waiting is kept until something happens, so that
/// without a bound a program that begins and gives up waits would fill the memory of the node.
const MAX_KEPT: usize = 64;

/// The tasks that wait at one side of a stream: one as a rule, which needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakers {
    /// Adds the calling task. Returns those to be woken without need, once no lock is held: whoever still waits among
    /// them comes back, and the others are forgotten.
    #[must_use]
    pub(crate) fn register(&mut self, cx: &Context<'_>) -> Self {
        if self.iter().any(|waker| waker.will_wake(cx.waker())) {
            return Self::default();
        }
        let crowd = if self.iter().count() >= MAX_KEPT { self.take() } else { Self::default() };
        match &mut self.first {
            none @ None => *none = Some(cx.waker().clone()),
            Some(_) => self.others.push(cx.waker().clone()),
        }
        crowd
    }

    /// Takes all of them, to be woken once no lock is held.
    #[must_use]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Wakes them.
    pub(crate) fn wake(self) {
        self.first.into_iter().chain(self.others).for_each(Waker::wake);
    }

    fn iter(&self) -> impl Iterator<Item = &Waker> {
        self.first.iter().chain(&self.others)
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
        assert_eq!(wakers.iter().count(), 1);
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
