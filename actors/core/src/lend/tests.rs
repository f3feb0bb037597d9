//! Turns on several threads.

use std::sync::mpsc;

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::LocalSet,
};

use super::{
    pace::{AVOIDED, LONG},
    *,
};

fn workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().expect("a runtime starts")
}

fn kind() -> Kind {
    Kind::detached("turns", "a test")
}

/// What has a turn whenever it is told to, and says on which thread each of them is.
fn telling() -> (Arc<Notify>, mpsc::Receiver<thread::ThreadId>, impl Future<Output = ()> + Send) {
    let (tx, rx) = mpsc::channel();
    let next = Arc::new(Notify::new());
    let told = Arc::clone(&next);
    let telling = async move {
        while tx.send(thread::current().id()).is_ok() {
            told.notified().await;
        }
    };
    (next, rx, telling)
}

/// Starts that as a task.
fn turns(on: &Runtime, pace: &Pace) -> (Arc<Notify>, mpsc::Receiver<thread::ThreadId>) {
    let (next, turns, telling) = telling();
    spawn(on.handle(), kind(), pace, telling);
    (next, turns)
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
fn a_busy_task_has_its_first_turn_elsewhere_and_the_next_one_here() {
    let (workers, here) = (workers(), thread::current().id());
    lent(async {
        let (next, turns, telling) = telling();
        let pace = Pace::default();
        spawn_busy(workers.handle(), kind(), &pace, telling);
        assert_ne!(turns.recv(), Ok(here));
        // It may still be about to wait, and is woken there then.
        loop {
            pace.forget();
            next.notify_one();
            lend().await;
            if turns.recv() == Ok(here) {
                break;
            }
        }
    });
}

#[test]
fn who_asks_gives_the_turn_at_once_and_without_a_lender() {
    let (workers, here, pace) = (workers(), thread::current().id(), Pace::default());
    let (next, turns) = turns(&workers, &pace);
    turns.recv().expect("it runs");
    loop {
        // It may still be about to wait, and is woken there then.
        pace.forget();
        now(|| next.notify_one());
        if turns.recv() == Ok(here) {
            break;
        }
    }
    for _ in 0..10 {
        pace.forget();
        now(|| next.notify_one());
        assert_eq!(turns.try_recv(), Ok(here));
    }
}

#[test]
fn who_asks_again_and_again_lets_others_have_the_thread() {
    let (workers, pace) = (workers(), Pace::default());
    let (next, turns) = turns(&workers, &pace);
    turns.recv().expect("it runs");
    let threads = Builder::new_current_thread().build().expect("a runtime starts");
    LocalSet::new().block_on(&threads, async {
        let mut other = task::spawn_local(kind(), yield_now());
        // Otherwise this never ends.
        while (&mut other).now_or_never().is_none() {
            pace.forget();
            at_once(|| next.notify_one()).await;
            turns.recv().expect("it runs");
        }
    });
}

#[test]
fn of_two_that_are_woken_at_once_the_last_has_its_turn_here() {
    let (workers, here) = (workers(), thread::current().id());
    let mut kept = Vec::new();
    now(|| kept.extend((0..2).map(|_| turns(&workers, &Pace::default()))));
    assert_ne!(kept[0].1.recv(), Ok(here));
    assert_eq!(kept[1].1.try_recv(), Ok(here));
}

#[test]
fn whoever_takes_longer_than_it_costs_to_wake_another_thread_is_left_to_it() {
    let (workers, here, pace) = (workers(), thread::current().id(), Pace::default());
    let start = || {
        let (tx, turns) = mpsc::channel();
        now(|| {
            spawn(workers.handle(), kind(), &pace, async move {
                let began = Instant::now();
                while began.elapsed() < 2 * BRIEF {
                    std::hint::spin_loop();
                }
                tx.send(thread::current().id()).expect("the test waits");
            });
        });
        turns.recv().expect("it has its turn")
    };
    assert_eq!(start(), here, "nothing is known of it yet");
    assert!((0..100).any(|_| start() != here), "the mean of its turns is too long");
}

#[test]
fn tasks_that_wake_one_another_stay_on_one_thread_for_a_while() {
    let workers = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime starts");
    let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tx, threads) = mpsc::channel();
    let pace = Pace::default();
    let (told, tell) = (Arc::clone(&there), Arc::clone(&back));
    spawn(workers.handle(), kind(), &pace, async move {
        loop {
            told.notified().await;
            tell.notify_one();
        }
    });
    spawn(workers.handle(), kind(), &pace, async move {
        loop {
            if tx.send(thread::current().id()).is_err() {
                return;
            }
            there.notify_one();
            back.notified().await;
        }
    });
    for _ in 0..10_000 {
        threads.recv_timeout(Duration::from_secs(20)).expect("no wake-up is lost");
    }
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
        // Where the machine made another turn long, it begins anew.
        for _ in 0..10 {
            pace.forget();
            spawn(workers.handle(), kind(), &pace, async {
                let began = Instant::now();
                while began.elapsed() <= LONG {
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
            let last = turns.recv();
            if last == Ok(here) || !pace.avoids() {
                return assert_eq!(last, Ok(here), "it is tried again");
            }
        }
        panic!("all turns are long");
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
