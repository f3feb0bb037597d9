//! A crash storm: supervised cells that trap, and an account of every restart.

use std::collections::HashSet;

use futures::{StreamExt, future::join, stream};

use super::*;

/// Cells of the storm; the example of the same name has a thousand, for a minute.
const CELLS: usize = 100;

/// Traps, each of a cell that the numbers of a linear congruence choose.
const TRAPS: usize = 500;

#[tokio::test]
async fn every_restart_of_a_storm_is_in_the_events_and_nothing_is_left_of_it() {
    let executor = executor();
    let pool = Supervision::simple_one_for_one(actor("worker")).intensity(100_000, Duration::from_secs(3_600));
    let pool = soon(executor.supervisor(Owner::Node, pool)).await.expect("it starts");
    let mut slots = Vec::new();
    for _ in 0..CELLS {
        let started = soon(pool.start_instance(None)).await.expect("there is room");
        slots.extend(started.slot.and_then(|slot| executor.directory().slot(slot)));
    }
    let ours: HashSet<_> = slots.iter().map(Slot::id).collect();
    assert_eq!(ours.len(), CELLS);
    let mut events = executor.directory().events().listen();
    let counting = async {
        let (mut trapped, mut restarting, mut started) = (0, 0, 0);
        while started < TRAPS {
            match events.next().await.expect("the directory lives") {
                Event::Exited { slot, reason: Reason::Trap(_), .. } if ours.contains(&slot) => trapped += 1,
                Event::Restarting { slot, .. } if ours.contains(&slot) => restarting += 1,
                Event::Started { slot, .. } if ours.contains(&slot) => started += 1,
                _ => {}
            }
        }
        (trapped, restarting, started, events.lost())
    };
    let mut seed = 1_usize;
    let victims = std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % CELLS
    });
    let trapping = stream::iter(victims.take(TRAPS)).for_each_concurrent(16, |victim| {
        let slot = slots[victim].clone();
        async move { drop(ask(&slot, "t").await.expect_err("it traps")) }
    });
    let (counted, ()) = tokio::time::timeout(3 * PATIENCE, join(counting, trapping)).await.expect("in time");
    assert_eq!(counted, (TRAPS, TRAPS, TRAPS, 0));
    soon(pool.stop()).await;
    soon(executor.quiet()).await;
    assert!(slots.iter().all(|slot| executor.directory().slot(slot.id()).is_none()));
}
