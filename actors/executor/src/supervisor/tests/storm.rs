//! A crash storm: supervised cells that trap, and an account of every restart.

use std::collections::HashSet;

use futures::{StreamExt, future::join, stream};

use super::*;

/// Cells and traps of the storm, each trap of a cell that the numbers of a linear congruence choose.
const CELLS: usize = 100;
const TRAPS: usize = 500;

/// Cells where `make soak` storms for longer.
const SOAK_CELLS: usize = 1_000;

#[tokio::test]
async fn every_restart_of_a_storm_is_in_the_events_and_nothing_is_left_of_it() {
    let soak = std::env::var("WW_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let cells = if soak.is_some() { SOAK_CELLS } else { CELLS };
    let executor = executor();
    let pool = Supervision::simple_one_for_one(actor("worker"))
        .intensity(ww_core::supervisor::MAX_INTENSITY, Duration::from_millis(1));
    let pool = soon(executor.supervisor(Owner::Node, pool)).await.expect("it starts");
    let mut slots = Vec::new();
    for _ in 0..cells {
        let started = soon(pool.start_instance(None)).await.expect("there is room");
        slots.extend(started.slot.and_then(|slot| executor.directory().slot(slot)));
    }
    let ours: HashSet<_> = slots.iter().map(Slot::id).collect();
    assert_eq!(ours.len(), cells);
    let mut events = executor.directory().events().listen();
    let (tell, mut told) = tokio::sync::watch::channel(None);
    let counting = async {
        let (mut trapped, mut restarting, mut started) = (0, 0, 0);
        while *told.borrow() != Some(started) {
            let event = tokio::select! {
                event = events.next() => event.expect("the directory lives"),
                _ = told.changed() => continue,
            };
            match event {
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
        (seed >> 33) % cells
    });
    let until = soak.map(|soak| std::time::Instant::now() + soak);
    let enough = |traps: usize| until.map_or(traps >= TRAPS, |until| std::time::Instant::now() >= until);
    let traps = std::cell::Cell::new(0);
    let victims = victims.take_while(|_| !enough(traps.get()) && traps.replace(traps.get() + 1) < usize::MAX);
    let trapping = async {
        let each = stream::iter(victims).for_each_concurrent(16, |victim| {
            let slot = slots[victim].clone();
            async move { drop(ask(&slot, "t").await.expect_err("it traps")) }
        });
        each.await;
        tell.send_replace(Some(traps.get()));
    };
    let patience = 3 * PATIENCE + soak.unwrap_or_default();
    let (counted, ()) = tokio::time::timeout(patience, join(counting, trapping)).await.expect("in time");
    let traps = traps.get();
    println!("{traps} traps of {cells} cells");
    assert_eq!(counted, (traps, traps, traps, 0));
    soon(pool.stop()).await;
    soon(executor.quiet()).await;
    assert!(slots.iter().all(|slot| executor.directory().slot(slot.id()).is_none()));
}
