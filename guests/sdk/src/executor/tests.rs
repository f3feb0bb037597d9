use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
};

use futures::{StreamExt, channel::mpsc, channel::oneshot, future, join, stream::FuturesUnordered};

use super::*;

/// A source whose readiness the test decides; waiting for it lets its time pass.
#[derive(Clone)]
struct Fake {
    /// Waits that it takes until it is ready.
    waits: Rc<Cell<u32>>,
    log: Rc<RefCell<Vec<String>>>,
    name: &'static str,
}

impl Waitable for Fake {
    fn is_ready(&self) -> bool {
        self.waits.get() == 0
    }

    fn wait(sources: &[&Self]) -> Vec<u32> {
        let names: Vec<_> = sources.iter().map(|source| source.name).collect();
        sources[0].log.borrow_mut().push(names.join(" "));
        for source in sources {
            source.waits.set(source.waits.get().saturating_sub(1));
        }
        (0..).zip(sources).filter(|(_, source)| source.is_ready()).map(|(index, _)| index).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.log.borrow_mut().push(format!("drop {}", self.name));
    }
}

#[derive(Default)]
struct Bench {
    reactor: Rc<Reactor<Fake>>,
    log: Rc<RefCell<Vec<String>>>,
}

impl Bench {
    fn source(&self, name: &'static str, waits: u32) -> Source<Fake> {
        self.reactor.register(Fake { waits: Rc::new(Cell::new(waits)), log: Rc::clone(&self.log), name })
    }

    fn log(&self) -> Vec<String> {
        self.log.take()
    }
}

async fn ready(source: Source<Fake>) {
    poll_fn(|cx| {
        if source.is_ready() {
            return Poll::Ready(());
        }
        source.arm(cx);
        Poll::Pending
    })
    .await;
}

#[test]
fn a_future_that_waits_for_nothing_never_blocks() {
    let bench = Bench::default();
    assert_eq!(bench.reactor.run(async { 7 }), 7);
    assert!(bench.log().is_empty());
}

#[test]
fn it_blocks_on_exactly_what_is_awaited() {
    let bench = Bench::default();
    let (_idle, a, b) = (bench.source("idle", 0), bench.source("a", 1), bench.source("b", 2));
    bench.reactor.run(async { join!(ready(a), ready(b)) });
    assert_eq!(bench.log(), ["a b", "drop a", "b", "drop b"]);
}

#[test]
fn a_source_goes_with_its_owner_although_somebody_waits_for_it() {
    let bench = Bench::default();
    let (quick, slow) = (bench.source("quick", 1), bench.source("slow", 9));
    let race = future::select(Box::pin(ready(quick)), Box::pin(ready(slow)));
    bench.reactor.run(async { drop(race.await) });
    assert_eq!(bench.log(), ["quick slow", "drop quick", "drop slow"]);
    assert!(bench.reactor.entries.borrow().is_empty());
}

#[test]
fn what_one_part_does_for_another_is_seen_before_it_blocks() {
    // As in RPC: the second part queues something for the first, which was polled before it.
    let bench = Bench::default();
    let (tx, rx) = oneshot::channel();
    let a = bench.source("a", 1);
    let (got, ()) = bench.reactor.run(async {
        join!(rx, async {
            assert!(tx.send(7).is_ok());
            ready(a).await;
        })
    });
    assert_eq!(got, Ok(7));
    assert_eq!(bench.log(), ["a", "drop a"]);
}

#[test]
fn wakers_of_inner_executors_are_followed() {
    let bench = Bench::default();
    let sources = [bench.source("a", 2), bench.source("b", 1)];
    let order = bench.reactor.run(async {
        let named = ["a", "b"].into_iter().zip(sources);
        let tasks: FuturesUnordered<_> = named
            .map(|(name, source)| async move {
                ready(source).await;
                name
            })
            .collect();
        tasks.collect::<Vec<_>>().await
    });
    assert_eq!(order, ["b", "a"]);
}

#[test]
fn a_future_that_keeps_waking_itself_starves_no_source() {
    let bench = Bench::default();
    let source = bench.source("timer", 0);
    let fired = Cell::new(false);
    bench.reactor.run(async {
        let timer = async {
            // Armed first, looked at only when woken: as a task inside an inner executor would be.
            let mut armed = false;
            poll_fn(|cx| {
                if armed {
                    return Poll::Ready(());
                }
                armed = true;
                source.arm(cx);
                Poll::Pending
            })
            .await;
            fired.set(true);
        };
        let tasks = FuturesUnordered::from_iter([timer]);
        let busy = async {
            while !fired.get() {
                poll_fn(|cx| {
                    if fired.get() {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
        };
        join!(tasks.count(), busy)
    });
    assert!(bench.log().is_empty(), "it never had to block");
}

#[test]
fn a_block_inside_a_block_ends_and_the_outer_goes_on() {
    let bench = Bench::default();
    let (outer, inner) = (bench.source("outer", 1), bench.source("inner", 2));
    bench.reactor.run(async { join!(ready(outer), async { bench.reactor.run(ready(inner)) }) });
    assert_eq!(bench.log(), ["outer inner", "inner", "drop inner", "drop outer"]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn waiting_for_nothing_that_can_happen_is_an_error() {
    let bench = Bench::default();
    let (_tx, mut rx) = mpsc::channel::<()>(1);
    bench.reactor.run(async { rx.next().await });
}
