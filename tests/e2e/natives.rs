//! Rust actors and cells, linked with and monitoring each other.

use std::sync::Arc;

use futures::StreamExt;
use ww::{
    CellId, Node,
    cell::{Native, Notices},
    exit::Reason,
    links::{Exit, Refused, Signal},
};

use crate::{
    actors::node,
    neighbours::{ask, name, neighbour, soon},
};

async fn heard(notices: &mut Notices) -> Signal {
    soon(notices.next()).await.expect("the actor lives")
}

fn link(cell: CellId, reason: Reason) -> Reason {
    Reason::Link { cell, reason: Arc::new(reason) }
}

fn enter(node: &Node) -> (Native, Notices) {
    node.directory().enter()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_actor_monitors_a_cell() {
    let node = node().await;
    let (watcher, mut notices) = enter(&node);
    let cell = neighbour(&node, "a").await;
    ask(&cell, "register known").await.expect("granted");
    let first = watcher.monitor(cell.id()).expect("there is room");
    let taken_back = watcher.monitor(cell.id()).expect("there is room");
    let second = watcher.monitor(cell.id()).expect("there is room");
    assert!(watcher.demonitor(taken_back));
    assert!(ask(&cell, "quit 7").await.is_err());
    for monitor in [first, second] {
        let down = Signal::Down { monitor, cell: cell.id(), reason: Reason::Exit(7) };
        assert_eq!(heard(&mut notices).await, down, "one for each");
    }
    assert_eq!(node.directory().names().owner(&name("known")), None, "names are free before that is told");
    let late = watcher.monitor(cell.id()).expect("there is room");
    let down = Signal::Down { monitor: late, cell: cell.id(), reason: Reason::NoProcess };
    assert_eq!(heard(&mut notices).await, down);
    watcher.end(&Reason::Normal);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_between_a_rust_actor_and_a_cell_takes_either_down() {
    let node = node().await;
    let [a, b, traps] = [neighbour(&node, "a").await, neighbour(&node, "b").await, neighbour(&node, "c").await];
    ask(&traps, "trap on").await.expect("granted");

    // The cell ends first: the actor is told if it traps exits, and has ended if not.
    let [(native, mut notices), (trapping, mut told)] = [(); 2].map(|()| enter(&node));
    trapping.trap_exits(true);
    native.link(a.id()).expect("there is room");
    assert_eq!(ask(&a, format!("link {}", trapping.id())).await.as_deref(), Ok(""), "a cell links with it as well");
    native.link(a.id()).expect("a second one is the same");
    assert!(ask(&a, "panic").await.is_err());
    let reason = soon(a.exit().wait()).await;
    assert!(matches!(reason, Reason::Trap(_)), "{reason}");
    assert_eq!(heard(&mut told).await, Signal::Exit { from: a.id(), reason: reason.clone() });
    assert_eq!(soon(notices.next()).await, None, "its signals end with it");
    assert_eq!(native.exit().reason(), Some(link(a.id(), reason)));
    assert_eq!(native.link(b.id()), Err(Refused::Ended(native.id())));

    // The actor ends first, with its own reason.
    for cell in [&b, &traps] {
        trapping.link(cell.id()).expect("there is room");
    }
    let id = trapping.id();
    trapping.end(&Reason::Exit(3));
    assert_eq!(soon(b.exit().wait()).await, link(id, Reason::Exit(3)));
    assert_eq!(ask(&traps, "heard").await, Ok(format!("exit {id} End::Exit exit(3)")));

    // In order, it does no harm to who does not trap; and a link that was taken back is none.
    let d = neighbour(&node, "d").await;
    for reason in [Reason::Normal, Reason::Killed] {
        let (native, _notices) = enter(&node);
        native.link(d.id()).expect("there is room");
        if reason == Reason::Killed {
            assert_eq!(ask(&d, format!("unlink {}", native.id())).await.as_deref(), Ok(""));
        }
        native.end(&reason);
        assert!(ask(&d, "count").await.is_ok(), "{reason}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_finds_a_rust_actor_by_its_name_monitors_it_and_can_kill_it() {
    let node = node().await;
    let cell = neighbour(&node, "a").await;
    let (native, mut notices) = enter(&node);
    native.trap_exits(true);
    native.register(name("clock")).expect("it is free");
    let id = native.id();
    assert_eq!(ask(&cell, "whereis clock").await, Ok(format!("Some({id})")));
    assert!(ask(&cell, "ask clock\nhello").await.is_err(), "it takes no messages");
    let mut monitors = Vec::new();
    for _ in 0..2 {
        monitors.push(ask(&cell, format!("monitor {id}")).await.expect("a monitor"));
    }
    assert_eq!(ask(&cell, format!("shutdown {id}")).await.as_deref(), Ok(""));
    assert_eq!(heard(&mut notices).await, Signal::Exit { from: cell.id(), reason: Reason::Shutdown });
    assert_eq!(ask(&cell, format!("kill {id}")).await.as_deref(), Ok(""), "that cannot be trapped");
    assert_eq!(soon(notices.next()).await, None);
    assert_eq!(native.exit().reason(), Some(Reason::Killed));
    let downs: Vec<String> = monitors.iter().map(|monitor| format!("down {monitor} {id} End::Killed killed")).collect();
    assert_eq!(ask(&cell, "heard").await, Ok(downs.join("\n")));
    assert_eq!(ask(&cell, "whereis clock").await.as_deref(), Ok("None"));
    let monitor = ask(&cell, format!("monitor {id}")).await.expect("a monitor");
    let heard = ask(&cell, "heard").await.expect("it lives");
    assert!(heard.ends_with(&format!("down {monitor} {id} End::NoProcess no process")), "{heard}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_of_a_rust_actor_to_a_cell_keep_their_order() {
    let node = node().await;
    let cell = neighbour(&node, "a").await;
    ask(&cell, "trap on").await.expect("granted");
    let (native, _notices) = enter(&node);
    native.link(cell.id()).expect("there is room");
    let mut sent = Vec::new();
    for code in 1..=100 {
        assert!(native.signal(cell.id(), Exit::With(Reason::Exit(code))));
        sent.push(format!("exit {} End::Exit exit({code})", native.id()));
    }
    sent.push(format!("exit {} End::Killed killed", native.id()));
    native.end(&Reason::Killed);
    // Signals come before messages.
    assert_eq!(ask(&cell, "heard").await, Ok(sent.join("\n")));
    node.stop().await;
}
