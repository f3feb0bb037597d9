//! Whatever happens to a slot, every message is answered, refused, or its sender is told: random messages, crashes,
//! kills, restarts and full mailboxes, from a seed that is printed.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const SENDERS: u64 = 6;
const EACH: usize = 60;
const ROUNDS: u64 = 12;

/// What became of the messages of one sender, by what it was.
type Outcomes = HashMap<&'static str, usize>;

fn outcome(sent: &Result<Bytes, Failure>) -> &'static str {
    match sent {
        Ok(_) => "answered",
        Err(Failure::Guest(_)) => "failed",
        Err(Failure::Ended(_)) => "ended",
        Err(Failure::Refused(_)) => "refused",
        Err(Failure::Timeout) => "late",
        Err(other) => panic!("not to be expected here: {other}"),
    }
}

/// Sends messages one after the other. Those that are answered are answered by an instance that has seen only earlier
/// ones of this sender: the order is kept.
async fn send(slot: Slot, mut random: StdRng) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for _ in 0..EACH {
        let body = ["hello", "hello", "hello", "hello", "hello", "", "e", "u", "t", "x"][random.random_range(0..10)];
        let timeout = random.random_bool(0.1).then_some(Duration::from_millis(1));
        let sent = slot.ask(slot.envelope(timeout), body).await;
        if let Ok(reply) = &sent {
            assert!(body == "u" || reply[1..] == *body.as_bytes(), "{body}: {reply:?}");
        }
        *outcomes.entry(outcome(&sent)).or_default() += 1;
        if random.random_bool(0.3) {
            tokio::task::yield_now().await;
        }
    }
    outcomes
}

/// One slot whose cells crash and are killed, and that somebody moves into again each time.
async fn round(runtime: Runtime, program: Program, seed: u64) -> Outcomes {
    let mut random = StdRng::seed_from_u64(seed);
    let mode = if random.random_bool(0.7) { Mode::Async } else { Mode::Sync };
    let overflow = [Overflow::Wait, Overflow::Reject, Overflow::DropOldest][random.random_range(0..3)];
    let slot = runtime.directory().new_slot(random.random_range(1..5), overflow, 1_000, runtime.account());
    let mut sending = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        sending.spawn(send(slot.clone(), StdRng::seed_from_u64(seed * SENDERS + sender)));
    }
    let mut all = Outcomes::new();
    let mut cell: Option<Cell> = None;
    while !sending.is_empty() {
        if cell.as_ref().is_none_or(|cell| cell.exit().reason().is_some()) {
            let spec = Spec { limits: Limits { instances: 2, ..Limits::default() }, ..spec(mode) };
            let stop = Stop::default();
            let started = runtime.spawn_in(slot.clone(), next_id(), program.clone(), spec, stderr(), stop);
            cell = Some(started.expect("both modes are exported"));
        }
        // Now and then also one that has not begun anything; on an idle machine this loop is faster than a start.
        let has_begun = |cell: &Cell| cell.meters().answered() + cell.meters().failed() > 0;
        if let Some(cell) = &cell
            && random.random_bool(if has_begun(cell) { 0.02 } else { 0.000_5 })
        {
            cell.stop(Reason::Killed);
            cell.exit().wait().await;
        }
        tokio::task::yield_now().await;
        while let Some(sent) = sending.try_join_next() {
            for (outcome, count) in sent.expect("no panic") {
                *all.entry(outcome).or_default() += count;
            }
        }
    }
    runtime.directory().remove_slot(&slot, &Reason::Shutdown);
    assert_eq!(slot.mailbox().0, 0, "nothing is left behind");
    if let Some(cell) = cell {
        cell.stop(Reason::Shutdown);
        cell.exit().wait().await;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_answered_or_its_sender_is_told() {
    let base = rand::random::<u32>();
    println!("seed {base}");
    let runtime = runtime();
    let program = program(&runtime, COUNTER).await;
    let mut all = Outcomes::new();
    // `make soak` storms for longer.
    let seconds = std::env::var("WW_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| std::time::Instant::now() + Duration::from_secs(seconds));
    let mut rounds = 0;
    for number in 0.. {
        if until.map_or(number >= ROUNDS, |until| std::time::Instant::now() >= until) {
            break;
        }
        rounds += 1;
        let outcomes = round(runtime.clone(), program.clone(), u64::from(base) + number).await;
        assert_eq!(outcomes.values().sum::<usize>(), EACH * SENDERS as usize, "seed {base}, round {number}");
        for (outcome, count) in outcomes {
            *all.entry(outcome).or_default() += count;
        }
    }
    println!("{rounds} rounds: {all:?}");
    for outcome in ["answered", "failed", "ended"] {
        assert!(all.contains_key(outcome), "seed {base}: a storm without messages that {outcome}: {all:?}");
    }
}
