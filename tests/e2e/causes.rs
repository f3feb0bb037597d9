//! What a cell sends over its capabilities belongs to the message that it is handling: chain, trace and deadline travel.

use std::{collections::BTreeSet, time::Duration};

use ww::{Audience, Grants, Node, Process, Published, cell::Failure, grants::HostMethod};

use crate::{
    actors::node,
    neighbours::{actor, ask, ask_as, name, soon, start},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A published cell that may dial.
async fn published(node: &Node, called: &str) -> (Process, Published) {
    let grants = Grants { host: BTreeSet::from([HostMethod::Dial]), ..actor() };
    let cell = start(node, called, grants, |_, _| {}).await;
    let published = node.publish(name(called), cell.cell(), Audience::All).expect("the name is free");
    (cell, published)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cycles_through_capabilities_are_told_deadlock_at_once() {
    let node = node().await;
    for (cycle, expected) in [
        ("dial b\nask a\ncount", r#"Failed("Error::Deadlock")"#),
        ("dial b\ndial a\ncount", r#"deadlock: the cell waits for its own sender"#),
        ("ask b\ndial a\ncount", r#"deadlock: the cell waits for its own sender"#),
        ("dial a\ncount", r#"deadlock: the cell asks itself"#),
        ("dial b\nask c\ndial a\ncount", r#"deadlock: the cell waits for its own sender"#),
    ] {
        let cells = [published(&node, "a").await, published(&node, "b").await, published(&node, "c").await];
        let error = ask(&cells[0].0, cycle).await.expect_err("nobody could answer").to_string();
        assert!(error.contains(expected), "{cycle:?}: {error}");
        for (cell, published) in cells {
            assert!(ask(&cell, "count").await.is_ok(), "its state survives");
            drop(published);
            cell.shut_down().await;
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_and_deadline_travel_over_capabilities() {
    let node = node().await;
    let [(a, _a), (b, _b)] = [published(&node, "a").await, published(&node, "b").await];
    let envelope = a.cell().envelope(Some(PATIENCE));
    let trace = format!("{:032x}", envelope.trace);
    let who = ask_as(&a, envelope, "dial b\nwho").await.expect("an answer");
    assert_eq!(who, format!("{} b Sender::Cell({}) true {trace}", b.id(), a.id()));
    // Without one, there is none to travel.
    let (c, _c) = published(&node, "c").await;
    let who = ask(&c, "dial b\nwho").await.expect("an answer");
    assert!(who.starts_with(&format!("{} b Sender::Cell({}) false ", b.id(), c.id())), "{who}");
    // What is left of the sender's is the most that the next one gets, whatever it asks for.
    let (d, _d) = published(&node, "d").await;
    let spinning = soon(ask_as(&d, d.cell().envelope(Some(Duration::from_millis(100))), "dial b\nspin")).await;
    assert!(
        spinning == Err(Failure::Timeout) || matches!(&spinning, Err(Failure::Guest(why)) if why.contains("timeout")),
        "{spinning:?}"
    );
    assert!(ask(&d, "count").await.is_ok(), "it goes on, although the other still computes");
    b.kill().await;
    node.stop().await;
}
