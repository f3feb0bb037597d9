//! Whom a cell wakes while it has a turn.
//!
//! A cell that sends a message goes on for a moment: it finishes its own. If the receiver were woken at once, an idle core
//! would wake up to take it, and the two would work on two cores in turn, each with cold caches and at the price of a wake-up
//! of a core for every message. So the receiver of the only message of a turn is woken at its end, and runs next on the same
//! core. With a second message the first receiver is woken: who sends many has work for other cores. A turn is a slice of
//! time at the most, and ends where the cell waits.

use std::{cell::RefCell, task::Waker};

/// The turn of a thread: whom it wakes at its end.
#[derive(Default)]
struct Turn {
    last: Option<Waker>,
}

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// Ends a turn, however it ends.
struct End(Option<Turn>);

impl Drop for End {
    fn drop(&mut self) {
        let outer = self.0.take();
        let turn = TURN.with_borrow_mut(|turn| std::mem::replace(turn, outer));
        if let Some(last) = turn.and_then(|turn| turn.last) {
            last.wake();
        }
    }
}

/// Runs the turn of a cell on this thread.
pub fn run<T>(turn: impl FnOnce() -> T) -> T {
    let _end = End(TURN.replace(Some(Turn::default())));
    turn()
}

/// A message was sent, to somebody who waits for one or, without a waker, is awake: wakes that one at the end of the turn that
/// this thread is in, or at once where it is in none.
pub fn sent(to: Option<Waker>) {
    let now = TURN.with_borrow_mut(|turn| match turn {
        Some(turn) => std::mem::replace(&mut turn.last, to),
        None => to,
    });
    if let Some(now) = now {
        now.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Waker, impl Fn() -> usize) {
        let woken = Arc::new(Woken::default());
        (Waker::from(Arc::clone(&woken)), move || woken.0.load(Ordering::Relaxed))
    }

    #[test]
    fn the_last_is_woken_at_the_end_of_the_turn_and_the_others_at_once() {
        let ((first, first_woken), (last, last_woken)) = (waker(), waker());
        run(|| {
            sent(Some(first));
            assert_eq!(first_woken(), 0);
            sent(Some(last));
            assert_eq!((first_woken(), last_woken()), (1, 0));
        });
        assert_eq!((first_woken(), last_woken()), (1, 1));
    }

    #[test]
    fn a_second_message_wakes_the_receiver_of_the_first() {
        let (first, woken) = waker();
        run(|| {
            sent(Some(first));
            sent(None);
            assert_eq!(woken(), 1);
        });
        assert_eq!(woken(), 1);
    }

    #[test]
    fn outside_a_turn_and_after_one_that_panicked_nobody_waits() {
        let ((within, within_woken), (after, after_woken)) = (waker(), waker());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                sent(Some(within));
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(within_woken(), 1);
        sent(Some(after));
        assert_eq!(after_woken(), 1);
    }
}
