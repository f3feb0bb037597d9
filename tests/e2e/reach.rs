//! What a cell reaches by a number or a name: itself, what is below it, what was handed over to it,
//! and nothing else.

use std::collections::BTreeSet;

use ww::{CellId, Grants, Node, Owner, Process, grants::Reach};

use crate::{
    actors::node,
    neighbours::{actor, ask, name, soon, start, start_below, told},
};

/// What `wetware:cell` offers without naming cells, and the names of two.
fn plain() -> Grants {
    let process = Some(Reach::Names(BTreeSet::from([name("named")])));
    Grants { process, mail: Reach::Names(BTreeSet::from([name("friend")])), ..actor() }
}

async fn below(node: &Node, owner: &Process, called: &str) -> Process {
    trapping(start_below(node, Owner::Cell(owner.id()), called, plain(), |_, _| {}).await).await
}

async fn beside(node: &Node, called: &str) -> Process {
    trapping(start(node, called, actor(), |_, _| {}).await).await
}

/// It is told of signals, and goes on.
async fn trapping(cell: Process) -> Process {
    ask(&cell, "trap on").await.expect("granted");
    cell
}

async fn ended(cell: Process) -> CellId {
    let id = cell.id();
    cell.kill().await;
    id
}

/// Everything that takes a number, but for what ends those that trap exits.
const WAYS: [&str; 4] = ["link", "monitor", "shutdown", "unlink"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_reaches_oneself_what_is_below_and_what_the_grant_names() {
    let node = node().await;
    let parent = beside(&node, "parent").await;
    let me = below(&node, &parent, "me").await;
    let (child, sibling) = (below(&node, &me, "child").await, below(&node, &parent, "sibling").await);
    let (grandchild, nephew) = (below(&node, &child, "grandchild").await, below(&node, &sibling, "nephew").await);
    let [stranger, named] = [beside(&node, "stranger").await, beside(&node, "named").await];
    let dead_child = ended(below(&node, &me, "dead-child").await).await;
    let dead_sibling = ended(below(&node, &parent, "dead-sibling").await).await;
    let dead_stranger = ended(beside(&node, "dead-stranger").await).await;
    for (cell, id, reached) in [
        ("itself", me.id(), true),
        ("a child", child.id(), true),
        ("a grandchild", grandchild.id(), true),
        ("a child that has ended", dead_child, true),
        ("one that the grant names", named.id(), true),
        ("its parent", parent.id(), false),
        ("a sibling", sibling.id(), false),
        ("what is below a sibling", nephew.id(), false),
        ("a stranger", stranger.id(), false),
        ("a sibling that has ended", dead_sibling, false),
        ("a stranger that has ended", dead_stranger, false),
        ("what never was", CellId::new(u64::MAX), false),
    ] {
        for way in WAYS {
            let said = ask(&me, format!("{way} {id}")).await;
            let right = if reached { said.is_ok() } else { said == told("Error::Denied") };
            assert!(right, "{way}: {cell}: {said:?}");
        }
        if !reached {
            assert_eq!(ask(&me, format!("kill {id}")).await, told("Error::Denied"), "{cell}");
        }
    }
    let heard = ask(&me, "heard").await.expect("it lives");
    assert_eq!(heard.matches(&format!(" {dead_child} End::NoProcess")).count(), 2, "a link and a monitor: {heard}");
    for untouched in [&parent, &sibling, &nephew, &stranger] {
        assert_eq!(ask(untouched, "heard").await.as_deref(), Ok(""));
    }
    let kill = format!("kill {}", grandchild.id());
    assert_eq!(ask(&me, kill).await.as_deref(), Ok(""));
    assert_eq!(soon(grandchild.exit().wait()).await, ww::exit::Reason::Killed);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_handed_over_with_its_message_and_for_no_longer() {
    let node = node().await;
    let (me, friend) = (trapping(start(&node, "me", plain(), |_, _| {}).await).await, beside(&node, "friend").await);
    let other = beside(&node, "other").await;
    let id = friend.id();
    let from_friend = async |message: String| ask(&friend, format!("ask me\n{message}")).await;
    assert_eq!(ask(&me, format!("monitor {id}")).await, told("Error::Denied"));
    for way in WAYS {
        let said = from_friend(format!("{way} {id}")).await;
        assert!(said.is_ok(), "{way}: {said:?}");
        let of_other = from_friend(format!("{way} {}", other.id())).await.expect_err("it sent nothing").to_string();
        assert!(of_other.contains("Denied"), "{way}: {of_other}");
    }
    for way in ["link", "monitor", "shutdown", "kill"] {
        assert_eq!(ask(&me, format!("{way} {id}")).await, told("Error::Denied"), "{way}: the message is answered");
    }
    assert_eq!(
        ask(&me, format!("unlink {id}")).await.as_deref(),
        Ok(""),
        "a link of its own is taken back at any time"
    );
    friend.kill().await;
    assert!(ask(&me, format!("monitor {id}")).await.is_ok(), "it is told once more that it is gone");
    let heard = ask(&me, "heard").await.expect("it lives");
    assert!(heard.ends_with(&format!("{id} End::NoProcess no process")), "{heard}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_told_to_those_who_reach_its_cell_or_may_send_to_it() {
    let node = node().await;
    let parent = beside(&node, "parent").await;
    let me = below(&node, &parent, "me").await;
    let child = below(&node, &me, "child").await;
    let [named, friend] = [beside(&node, "named").await, beside(&node, "friend").await];
    for (called, seen) in [
        ("me", Some(me.id())),
        ("child", Some(child.id())),
        ("named", Some(named.id())),
        ("friend", Some(friend.id())),
        ("parent", None),
        ("nobody", None),
    ] {
        assert_eq!(ask(&me, format!("whereis {called}")).await, Ok(format!("{:?}", seen.map(CellId::get))), "{called}");
    }
    assert_eq!(ask(&me, format!("monitor {}", friend.id())).await, told("Error::Denied"), "it may send, and no more");
    node.stop().await;
}
