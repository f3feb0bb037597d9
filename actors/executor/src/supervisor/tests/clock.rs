//! Waits: shutdowns that take long, backoffs, and a supervisor that answers meanwhile. The clock is ours.

use std::sync::Mutex;

use futures::future::{BoxFuture, join};
use tokio::sync::watch;
use ww_core::{
    Grants,
    grants::Reach,
    supervisor::{Backoff, Shutdown},
};

use super::*;
use crate::fixture::{ECHO, STUBBORN, limited};

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
struct Hands {
    now: watch::Sender<Duration>,
    /// How long somebody was to wait, each time.
    waits: Mutex<Vec<Duration>>,
    asked: watch::Sender<usize>,
}

impl Hands {
    fn new() -> Arc<Self> {
        let (now, asked) = (watch::Sender::new(Duration::from_secs(1_000)), watch::Sender::new(0));
        Arc::new(Self { now, waits: Mutex::default(), asked })
    }

    fn forward(&self, time: Duration) {
        self.now.send_modify(|now| *now += time);
    }

    /// Waits until somebody has asked for the `nth` wait: how long that one is.
    async fn wait_number(&self, nth: usize) -> Duration {
        let mut asked = self.asked.subscribe();
        soon(asked.wait_for(|asked| *asked >= nth)).await.expect("the clock lives");
        self.waits.lock().expect("no panic")[nth - 1]
    }
}

impl Clock for Hands {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        let until = *now.borrow() + time;
        self.waits.lock().expect("no panic").push(time);
        self.asked.send_modify(|asked| *asked += 1);
        Box::pin(async move {
            // The clock lives as long as the executor.
            let _ = now.wait_for(|now| *now >= until).await;
        })
    }
}

fn stubborn(id: &str) -> ChildSpec {
    let grants = Grants { process: Some(Reach::Nobody), ..Grants::none() };
    let spec = Spec { grants, limits: None, ..program(STUBBORN) };
    cell(id, spec, Serving::new(Mode::Async)).expect("an id")
}

#[tokio::test]
async fn a_cell_that_ignores_its_shutdown_is_killed_and_its_supervisor_answers_meanwhile() {
    let clock = Hands::new();
    let executor = House::shared().executor_with(Arc::clone(&clock) as _);
    let child = stubborn("a").shutdown(Shutdown::Timeout(Duration::from_secs(30)));
    let tree = Supervision::one_for_one().child(child).child(actor("b"));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let stubborn = process(&supervisor, "a").await;
    assert_eq!(ask(stubborn.cell().slot(), "trap exits").await, Ok(Bytes::new()));

    let terminating = supervisor.terminate_child(Which::Id(child_id("a")));
    let meanwhile = async {
        assert_eq!(clock.wait_number(1).await, Duration::from_secs(30));
        let children = soon(supervisor.which_children()).await.expect("it answers");
        assert!(matches!(children[0].status, ChildStatus::Stopping), "{children:?}");
        assert_eq!(ask(&slot(&supervisor, "b").await, "n").await, Ok("1".into()), "its sibling works");
        clock.forward(Duration::from_secs(29));
        assert_eq!(ask(stubborn.cell().slot(), "alive").await, Ok(Bytes::new()), "it lives on");
        clock.forward(Duration::from_secs(1));
    };
    let (terminated, ()) = soon(join(terminating, meanwhile)).await;
    assert_eq!(terminated, Ok(()));
    assert_eq!(soon(stubborn.exit().wait()).await, Reason::Killed);
    soon(supervisor.stop()).await;
}

#[tokio::test]
async fn a_child_that_is_killed_brutally_is_not_asked() {
    let executor = executor();
    let tree = Supervision::one_for_one().child(stubborn("a").shutdown(Shutdown::BrutalKill));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let stubborn = process(&supervisor, "a").await;
    assert_eq!(ask(stubborn.cell().slot(), "trap exits").await, Ok(Bytes::new()));
    soon(supervisor.stop()).await;
    assert_eq!(soon(stubborn.exit().wait()).await, Reason::Killed);
}

#[tokio::test]
async fn a_supervisor_answers_while_a_child_waits_for_its_restart() {
    let clock = Hands::new();
    let executor = House::shared().executor_with(Arc::clone(&clock) as _);
    let backoff = Backoff { base: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(60), jitter: 0.0 };
    let tree = Supervision::one_for_one().intensity(9, Duration::from_secs(5));
    let tree = tree.child(actor("a").backoff(backoff)).child(actor("b"));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    for (nth, wait) in [(1, 1), (2, 2), (3, 4)] {
        let mortal = process(&supervisor, "a").await;
        let slot = mortal.cell().slot().clone();
        crash(&mortal, "t").await;
        assert_eq!(clock.wait_number(nth).await, Duration::from_secs(wait));
        let children = soon(supervisor.which_children()).await.expect("it answers");
        assert!(matches!(children[0].status, ChildStatus::Restarting), "{children:?}");
        let (waited, ()) = join(ask(&slot, "n"), async { clock.forward(Duration::from_secs(wait)) }).await;
        assert_eq!(waited, Ok("1".into()), "the message waits as well");
    }
    soon(supervisor.stop()).await;
}

#[tokio::test]
async fn a_supervisor_answers_while_a_child_takes_for_ever_to_start() {
    let executor = executor();
    let endless = r#"(module (memory (export "memory") 1) (func (export "poll"))
        (func $start (loop (br 0))) (start $start))"#;
    let spec = Spec { limits: Some(Limits { deadline: None, ..small() }), ..program(endless) };
    let endless = cell("endless", spec, Serving::new(Mode::Async)).expect("an id");
    let supervisor = soon(executor.supervisor(Owner::Node, Supervision::one_for_one().child(actor("a")))).await;
    let supervisor = supervisor.expect("it starts");
    let mut events = executor.directory().events().listen();
    let meanwhile = async {
        // Its instance is on its way, and stays there.
        until(&mut events, |event| matches!(event, Event::Started { .. })).await;
        let children = soon(supervisor.which_children()).await.expect("it answers");
        assert!(matches!(children[1].status, ChildStatus::Starting), "{children:?}");
        assert_eq!(soon(supervisor.count_children()).await.expect("it answers").specs, 2);
        assert_eq!(ask(&slot(&supervisor, "a").await, "n").await, Ok("1".into()), "its sibling works");
        soon(supervisor.stop()).await
    };
    let (started, stopped) = join(supervisor.start_child(endless), meanwhile).await;
    assert_eq!((started.map(drop), stopped), (Err(CallError::Ended), Reason::Shutdown));
}

#[tokio::test]
async fn a_start_that_fails_at_once_waits_longer_each_time_and_its_supervisor_answers_meanwhile() {
    let clock = Hands::new();
    let executor = House::shared().executor_with(Arc::clone(&clock) as _);
    let mib = |mib: u64| Limits { memory: mib << 20, subtree_memory: Some(20 << 20), ..Limits::default() };
    let session = soon(executor.open_session(mib(20))).await.expect("a place");
    let owner = Owner::Cell(session.id());
    let a = cell("a", limited(ACTOR, mib(16)), Serving::new(Mode::Async)).expect("an id");
    let grants = Grants { process: Some(Reach::Nobody), ..Grants::none() };
    let b = cell("b", Spec { grants, ..limited(STUBBORN, mib(4)) }, Serving::new(Mode::Async)).expect("an id");
    let tree = Supervision::one_for_all()
        .intensity(machine::MAX_INTENSITY, Duration::from_millis(1))
        .child(a)
        .child(b.shutdown(Shutdown::Timeout(Duration::from_secs(30))));
    let supervisor = soon(executor.supervisor(owner, tree)).await.expect("it starts");
    let stubborn = process(&supervisor, "b").await;
    assert_eq!(ask(stubborn.cell().slot(), "trap exits").await, Ok(Bytes::new()));
    crash(&process(&supervisor, "a").await, "t").await;
    assert_eq!(clock.wait_number(1).await, Duration::from_secs(30));
    // While its sibling takes its time, somebody else takes the memory of the child.
    let (thief, _streams) = soon(executor.run(owner, limited(ECHO, mib(16)))).await.expect("there is room");
    clock.forward(Duration::from_secs(30));
    const LAST: usize = 10;
    for (nth, millis) in (2..=LAST).zip([1, 2, 4, 8, 16, 32, 64, 100, 100]) {
        assert_eq!(clock.wait_number(nth).await, Duration::from_millis(millis));
        assert_eq!(soon(supervisor.count_children()).await.expect("it answers").active, 0);
        if nth == LAST {
            thief.kill().await;
        }
        clock.forward(Duration::from_millis(millis));
    }
    assert_eq!(ask(&slot(&supervisor, "a").await, "n").await, Ok("1".into()), "it is back");
    drop(session);
    soon(supervisor.exit().wait()).await;
}

#[tokio::test]
async fn what_has_not_ended_in_time_after_its_owner_is_killed_at_every_depth() {
    let clock = Hands::new();
    let executor = House::shared().executor_with(Arc::clone(&clock) as _);
    let tree = Supervision::one_for_one().child(actor("a")).child(stubborn("b").shutdown(Shutdown::Infinity));
    let supervisor = soon(executor.supervisor(Owner::Node, tree)).await.expect("it starts");
    let (first, patient) = (process(&supervisor, "a").await, process(&supervisor, "b").await);
    assert_eq!(ask(patient.cell().slot(), "trap exits").await, Ok(Bytes::new()));
    let nested = Supervision::one_for_one().child(stubborn("c").shutdown(Shutdown::Infinity));
    let nested = soon(executor.supervisor(Owner::Cell(patient.id()), nested)).await.expect("it starts");
    let deep = process(&nested, "c").await;
    let meanwhile = async {
        assert_eq!(clock.wait_number(1).await, GRACE);
        assert_eq!(ask(patient.cell().slot(), "alive").await, Ok(Bytes::new()), "it has its time");
        assert_eq!(first.exit().reason(), None, "its turn comes after that");
        clock.forward(GRACE);
    };
    soon(join(executor.stop(), meanwhile)).await;
    for process in [&patient, &deep] {
        assert_eq!(process.exit().reason(), Some(Reason::Killed));
    }
    assert_eq!(soon(supervisor.exit().wait()).await, Reason::Killed);
}
