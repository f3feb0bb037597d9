//! Cells that send messages to one another, through the library: one node, several guests, and what they may do.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::timeout;
use ww::{
    CellId, Grants, Name, Node, Owner, Process, Serving, Spec,
    cell::{Envelope, Failure, Mode},
    exit::Reason,
    grants::Reach,
};

use crate::{actors::node, image::in_repository};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes far too long")
}

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

/// Everything that `wetware:cell` offers, with all cells in reach, and nothing else.
pub(crate) fn actor() -> Grants {
    let Grants { mail, identity, registry, process, log, .. } = Grants::operator();
    Grants { mail, identity, registry, process, log, ..Grants::none() }
}

/// Starts the guest `neighbour` in async mode under a name.
pub(crate) async fn start(
    node: &Node,
    called: &str,
    grants: Grants,
    change: impl FnOnce(&mut Spec, &mut Serving),
) -> Process {
    start_below(node, Owner::Node, called, grants, change).await
}

/// The same, with this owner.
pub(crate) async fn start_below(
    node: &Node,
    owner: Owner,
    called: &str,
    grants: Grants,
    change: impl FnOnce(&mut Spec, &mut Serving),
) -> Process {
    let wasm = std::fs::read(in_repository("guests/target/wasm32-wasip2/release/neighbour.wasm"));
    let wasm = wasm.expect("make test-guests has built the guest");
    let mut spec = Spec { name: called.into(), names: vec![name(called)], grants, ..Spec::new(wasm) };
    let mut serving = Serving::new(Mode::Async);
    change(&mut spec, &mut serving);
    soon(node.executor().spawn(owner, spec, serving)).await.expect("the guest serves async mode")
}

pub(crate) async fn neighbour(node: &Node, called: &str) -> Process {
    start(node, called, actor(), |_, _| {}).await
}

pub(crate) async fn ask(cell: &Process, message: impl Into<String>) -> Result<String, Failure> {
    ask_as(cell, cell.cell().envelope(None), message).await
}

pub(crate) async fn ask_as(cell: &Process, envelope: Envelope, message: impl Into<String>) -> Result<String, Failure> {
    let reply = soon(cell.cell().ask(envelope, message.into())).await?;
    Ok(String::from_utf8(reply.into()).expect("the guest replies in UTF-8"))
}

/// What the guest was told, as an error of its own.
pub(crate) fn told(error: &str) -> Result<String, Failure> {
    Err(Failure::Guest(error.into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_reach_one_another_by_name_and_by_id() {
    let node = node().await;
    let (a, b) = (neighbour(&node, "a").await, neighbour(&node, "b").await);
    assert_eq!(ask(&a, "ask b\ncount").await.as_deref(), Ok("1"));
    assert_eq!(ask(&a, format!("ask #{}\ncount", b.id())).await.as_deref(), Ok("2"));
    assert_eq!(ask(&a, "tell b\ncount").await.as_deref(), Ok(""));
    assert_eq!(ask(&b, "count").await.as_deref(), Ok("4"), "what was told came first");
    assert_eq!(ask(&a, "ask nobody\n").await, told("Error::NoSuchCell"));
    assert_eq!(ask(&a, "ask #4711\n").await, told("Error::NoSuchCell"));
    assert_eq!(ask(&a, "ask b\nno command").await, told(r#"Error::Failed("no such command: \"no command\"")"#));
    assert_eq!(ask(&a, "ask b\npanic").await.err().map(|error| error.to_string().contains("unreachable")), Some(true));
    soon(b.exit().wait()).await;
    assert_eq!(ask(&a, "ask b\ncount").await, told("Error::NoSuchCell"));
    node.stop().await;
}

/// The functions that `wit/cell.wit` lets cells import.
fn imports() -> BTreeSet<String> {
    let wit = std::fs::read_to_string(in_repository("wit/cell.wit")).expect("the package");
    let mut interface = "";
    let mut functions = BTreeSet::new();
    for line in wit.lines() {
        if let Some(name) = line.strip_prefix("interface ") {
            interface = name.trim_end_matches(" {");
        } else if let Some((name, _)) = line.trim().split_once(": func(")
            && !["actor", "handler"].contains(&interface)
        {
            functions.insert(format!("{interface}.{name}"));
        }
    }
    functions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_granted_unless_it_is() {
    let node = node().await;
    let (a, b) = (start(&node, "a", Grants::none(), |_, _| {}).await, neighbour(&node, "b").await);
    let all = [
        ("mail.request", "ask b\n"),
        ("mail.send", "tell b\n"),
        ("self.id", "id"),
        ("self.name", "name"),
        ("self.current", "current"),
        ("registry.register", "register x"),
        ("registry.unregister", "unregister x"),
        ("registry.whereis", "whereis b"),
        ("process.link", "link 2"),
        ("process.unlink", "unlink 2"),
        ("process.monitor", "monitor 2"),
        ("process.demonitor", "demonitor 0"),
        ("process.trap-exits", "trap on"),
        ("process.signal", "kill 2"),
        ("process.signal", "shutdown 2"),
        ("process.exit", "quit 3"),
        ("log.log", "log info\nhello"),
    ];
    let known: BTreeSet<_> = all.iter().map(|(function, _)| (*function).to_owned()).collect();
    assert_eq!(imports(), known, "every import of the package is called below");
    for (_, call) in all {
        let error = ask(&a, call).await.expect_err("it is not granted").to_string();
        assert!(error.to_lowercase().contains("denied"), "{call}: {error}");
    }
    assert_eq!(ask(&b, "count").await.as_deref(), Ok("1"), "nothing arrived");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_can_be_granted_for_some_names_and_for_whoever_asked() {
    let node = node().await;
    let some = Grants { mail: Reach::Names(BTreeSet::from([name("b")])), ..actor() };
    let (a, b) = (start(&node, "a", some, |_, _| {}).await, neighbour(&node, "b").await);
    neighbour(&node, "c").await.shut_down().await;
    assert_eq!(ask(&a, "ask b\ncount").await.as_deref(), Ok("1"));
    for to in ["c".to_owned(), format!("#{}", b.id())] {
        assert_eq!(ask(&a, format!("ask {to}\ncount")).await, told("Error::Denied"), "{to}");
    }
    // Whoever asked can be answered with another message: here it waits for the first, and so would never answer.
    let back = format!("ask a\nask #{}\ncount", b.id());
    assert_eq!(ask(&b, back).await, told(r#"Error::Failed("Error::Deadlock")"#));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cycles_of_requests_are_answered_with_deadlock_and_nothing_is_lost() {
    let node = node().await;
    let [a, b, c] = [neighbour(&node, "a").await, neighbour(&node, "b").await, neighbour(&node, "c").await];
    assert_eq!(ask(&a, "ask a\ncount").await, told("Error::Deadlock"));
    let nested = |inner: &str| told(&format!("Error::Failed({inner:?})"));
    assert_eq!(ask(&a, "ask b\nask a\ncount").await, nested("Error::Deadlock"));
    let twice = format!("Error::Failed({:?})", "Error::Deadlock");
    assert_eq!(ask(&a, "ask b\nask c\nask a\ncount").await, nested(&twice));
    for cell in [&a, &b, &c] {
        assert!(ask(cell, "count").await.is_ok(), "its state survives");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_begin_to_ask_each_other_at_the_same_moment_do_not_wait_for_ever() {
    let node = node().await;
    let (a, b) = (neighbour(&node, "a").await, neighbour(&node, "b").await);
    for _ in 0..200 {
        let (one, other) = tokio::join!(ask(&a, "ask b\nask b 1\ncount"), ask(&b, "ask a\nask a 1\ncount"));
        for outcome in [one, other] {
            let error = outcome.expect_err("each message ends in a cell that asks itself").to_string();
            assert!(error.contains("Deadlock"), "{error}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_deadline_travels_and_so_does_the_trace() {
    let node = node().await;
    let (a, b) = (neighbour(&node, "a").await, neighbour(&node, "b").await);
    let spinning = ask_as(&a, a.cell().envelope(Some(Duration::from_millis(100))), "ask b\nspin");
    // Both ends of the chain run out of time at the same moment, and either may say so first.
    let outcome = spinning.await;
    assert!(outcome == Err(Failure::Timeout) || outcome == told("Error::Timeout"), "{outcome:?}");
    // The asking cell goes on; the other one still computes.
    assert_eq!(ask(&a, "ask b 20\ncount").await, told("Error::Timeout"));
    b.kill().await;
    let b = neighbour(&node, "b").await;
    let envelope = a.cell().envelope(Some(PATIENCE));
    let trace = format!("{:032x}", envelope.trace);
    let who = ask_as(&a, envelope, "ask b\nwho").await.expect("an answer");
    assert_eq!(who, format!("{} b Sender::Cell({}) true {trace}", b.id(), a.id()));
    let who = ask(&a, "who").await.expect("an answer");
    assert!(who.starts_with(&format!("{} a Sender::Node false ", a.id())), "{who}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_follows_its_policy_also_for_cells() {
    use ww::mailbox::Overflow;
    let node = node().await;
    let deadline = |spec: &mut Spec| {
        spec.limits = Some(ww::Limits { deadline: Some(Duration::from_millis(400)), ..ww::Limits::default() });
    };
    let sender = start(&node, "sender", actor(), |spec, _| deadline(spec)).await;
    for (overflow, flooded) in [
        (Overflow::Wait, told("Error::Full")),
        (Overflow::Reject, told("Error::Full")),
        (Overflow::DropOldest, Ok(String::new())),
    ] {
        let receiver = start(&node, "receiver", actor(), |_, serving| {
            (serving.mailbox, serving.overflow) = (2, overflow);
        })
        .await;
        receiver.cell().send(receiver.cell().envelope(None), "spin").await.expect("there is room");
        while receiver.cell().mailbox().0 > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&sender, "flood receiver 9\ncount").await, flooded, "{overflow:?}");
        let (waiting, dropped) = receiver.cell().mailbox();
        assert_eq!(waiting, 2, "{overflow:?}");
        assert_eq!(dropped > 0, overflow == Overflow::DropOldest, "{overflow:?}");
        assert_eq!(receiver.kill().await, Reason::Killed);
    }
    assert!(ask(&sender, "count").await.is_ok(), "it was told before its own deadline");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_registered_at_run_time_go_with_the_cell() {
    let node = node().await;
    let (a, b) = (neighbour(&node, "a").await, neighbour(&node, "b").await);
    assert_eq!(ask(&b, "register other").await.as_deref(), Ok(""));
    assert_eq!(ask(&a, "whereis other").await, Ok(format!("Some({})", b.id())));
    assert_eq!(ask(&a, "ask other\ncount").await.as_deref(), Ok("2"));
    for (call, why) in
        [("register other", "taken"), ("register call", "reserved"), ("unregister other", "registered by")]
    {
        let error = ask(&a, call).await.expect_err("refused").to_string();
        assert!(error.contains("Refused") && error.contains(why), "{call}: {error}");
    }
    b.kill().await;
    assert_eq!(ask(&a, "whereis other").await.as_deref(), Ok("None"));
    assert_eq!(ask(&a, "register other").await.as_deref(), Ok(""), "it is free again");
    assert_eq!(ask(&a, "unregister other").await.as_deref(), Ok(""));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_take_down_and_those_who_trap_are_told() {
    let node = node().await;
    let [a, b, c] = [neighbour(&node, "a").await, neighbour(&node, "b").await, neighbour(&node, "c").await];
    assert_eq!(ask(&a, format!("link {}", b.id())).await.as_deref(), Ok(""));
    assert_eq!(ask(&c, "trap on").await.as_deref(), Ok("false"));
    assert_eq!(ask(&c, format!("link {}", b.id())).await.as_deref(), Ok(""));
    let monitor = ask(&c, format!("monitor {}", a.id())).await.expect("a monitor");
    assert_eq!(b.kill().await, Reason::Killed);
    let reason = soon(a.exit().wait()).await;
    assert!(
        matches!(&reason, Reason::Link { cell, reason } if *cell == b.id() && **reason == Reason::Killed),
        "{reason}"
    );
    let heard = loop {
        let heard = ask(&c, "heard").await.expect("it lives");
        if heard.lines().count() == 2 {
            break heard;
        }
    };
    let link = format!("exit {} End::Killed killed", b.id());
    let down = format!("down {monitor} {} End::Link link to cell {}: killed", a.id(), b.id());
    assert_eq!(heard.lines().collect::<BTreeSet<_>>(), BTreeSet::from([&*link, &*down]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_signals_and_ends_of_ones_own() {
    let node = node().await;
    let [a, b, c] = [neighbour(&node, "a").await, neighbour(&node, "b").await, neighbour(&node, "c").await];
    ask(&b, "trap on").await.expect("granted");
    assert_eq!(ask(&a, format!("shutdown {}", b.id())).await.as_deref(), Ok(""));
    assert_eq!(ask(&b, "heard").await, Ok(format!("exit {} End::Shutdown shutdown", a.id())), "it traps exits");
    assert_eq!(ask(&a, format!("kill {}", b.id())).await.as_deref(), Ok(""));
    assert_eq!(soon(b.exit().wait()).await, Reason::Killed, "that cannot be trapped");
    assert_eq!(ask(&a, format!("shutdown {}", c.id())).await.as_deref(), Ok(""));
    assert_eq!(soon(c.exit().wait()).await, Reason::Shutdown);
    assert_eq!(ask(&a, format!("monitor {}", c.id())).await.map(|monitor| monitor.is_empty()), Ok(false));
    let heard = ask(&a, "heard").await.expect("it lives");
    assert!(heard.ends_with(&format!(" {} End::NoProcess no process", c.id())), "{heard}");
    assert_eq!(ask(&a, "quit 7").await, Err(Failure::Ended(Reason::Exit(7))));
    assert_eq!(soon(a.exit().wait()).await, Reason::Exit(7));
    assert_eq!(node.directory().cell(CellId::new(a.id().get())).map(|cell| cell.id()), None);
    node.stop().await;
}
