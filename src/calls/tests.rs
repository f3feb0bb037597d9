//! Messages of the node's own cells.

use ww_cell::{Cell, Class, Config, Envelope, Mode, Runtime, Spec, Stderr, Stop, tail};
use ww_core::{CellId, Limits, exit};

use super::*;

/// Copies the message to the reply.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $copy (export "poll")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 4000))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then (return)))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eqz (i32.load (i32.const 16))) (then (return)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $more)))
    (func (export "_start") (call $copy)))"#;

const CELL: CellId = CellId::new(1);
const OTHER: CellId = CellId::new(2);
const THIRD: CellId = CellId::new(3);

struct World {
    calls: Calls,
    cell: Cell,
    gate: Gate,
    own: PeerId,
    name: Name,
}

async fn world_of(mode: Mode, audience: Audience) -> World {
    world_with(mode, audience, Limits::default()).await
}

async fn world_with(mode: Mode, audience: Audience, limits: Limits) -> World {
    let runtime = Runtime::start(Config::default(), Handle::current()).expect("a runtime starts");
    let wasm = wat::parse_str(ECHO).expect("valid text");
    let program = runtime.load(wasm.into(), Class::Standard).await.expect("a valid program");
    let (spec, stderr) = (Spec { mode, limits, ..Spec::default() }, Stderr::Tail(tail::tail(CELL).0));
    let cell = runtime.spawn(CELL, program, spec, stderr, Stop::default()).expect("the exports");
    let calls = Calls::default();
    let gate = calls.gate(cell.slot(), cell.at_once());
    let name = Name::new("echo").expect("a name");
    let (slot, before, patience) = (cell.slot().clone(), gate.clone(), Duration::from_millis(100));
    let callee =
        Callee { slot, gate: before, audience, patience, deadline: None, payers: Payers::new(Account::unlimited()) };
    calls.insert(name.clone(), Arc::new(callee));
    World { calls, cell, gate, own: PeerId::random(), name }
}

impl World {
    fn dial(&self, from: CellId) -> Dial {
        Dial { from, peer_id: Vec::new(), addrs: Vec::new(), name: self.name.clone(), deadline: None, cause: None }
    }

    async fn ask(&self, from: CellId, body: &'static [u8]) -> (Outcome, Result<Vec<u8>, ()>) {
        let (reply, read_reply) = pipe::pipe(pipe::CAPACITY);
        let request = pipe::Reader::whole(body.into());
        let outcome = self.calls.ask(self.own, &self.dial(from), (None, &Account::unlimited()), request, reply).await;
        let mut all = Vec::new();
        loop {
            match read_reply.read(usize::MAX).await {
                Ok(bytes) if bytes.is_empty() => return (outcome, Ok(all)),
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(_) => return (outcome, Err(())),
            }
        }
    }
}

fn is_refused(outcome: &(Outcome, Result<Vec<u8>, ()>), word: &str) -> bool {
    matches!(outcome, (Outcome::Refused(why), Err(())) if why.starts_with(&format!("{word}: ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_of_the_node_answers_and_one_that_asks_itself_does_not_wait_for_ever() {
    let world = world_of(Mode::Async, Audience::All).await;
    assert_eq!(world.ask(OTHER, b"hello").await, (Outcome::Ok, Ok(b"hello".to_vec())));
    assert!(is_refused(&world.ask(CELL, b"hello").await, "deadlock"));
    world.cell.stop(exit::Reason::Killed);
    assert_eq!(world.ask(OTHER, b"hello").await, (Outcome::Ended(exit::Reason::Killed), Err(())));
    let several = world_of(Mode::Sync, Audience::All).await;
    assert_eq!(several.ask(CELL, b"hello").await, (Outcome::Ok, Ok(b"hello".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_itself_is_in_the_audience_or_finds_nobody() {
    let mut world = world_of(Mode::Async, [PeerId::random()].into_iter().collect()).await;
    let forbidden = world.ask(OTHER, b"hello").await;
    assert!(is_refused(&forbidden, "no-such-cell"), "{forbidden:?}");
    world.name = Name::new("nobody").expect("a name");
    assert_eq!(world.ask(OTHER, b"hello").await, forbidden);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_ended_the_callee_is_kept_out_and_no_other_one_of_its_node() {
    let world = world_of(Mode::Async, Audience::All).await;
    let trap = exit::Reason::Exit(1);
    world.gate.judge(Caller::Cell(OTHER), &Err(NotServed::Failed(Failure::Ended(trap))));
    assert!(is_refused(&world.ask(OTHER, b"hello").await, "busy"));
    assert_eq!(world.ask(THIRD, b"hello").await, (Outcome::Ok, Ok(b"hello".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_too_many_is_refused_and_a_silent_sender_is_not_waited_for() {
    let world = world_of(Mode::Async, Audience::All).await;
    let inside: Vec<_> = std::iter::from_fn(|| world.gate.enter(Caller::Cell(OTHER))).collect();
    assert_eq!(inside.len(), 1 + crate::gate::WAITING);
    assert!(is_refused(&world.ask(OTHER, b"hello").await, "busy"));
    let third = world.ask(THIRD, b"hello").await;
    assert_eq!(third, (Outcome::Ok, Ok(b"hello".to_vec())), "there are places for callers of which nothing is inside");
    drop(inside);
    let (_silent, request) = pipe::pipe(pipe::CAPACITY);
    let (reply, _) = pipe::pipe(pipe::CAPACITY);
    let outcome = world.calls.ask(world.own, &world.dial(OTHER), (None, &Account::unlimited()), request, reply).await;
    assert!(is_refused(&(outcome, Err(())), "timeout"));
    assert_eq!(world.ask(OTHER, b"next").await, (Outcome::Ok, Ok(b"next".to_vec())));
}

impl World {
    /// Opens a message to the cell, as one that holds its process.
    fn open(&self, from: CellId) -> (pipe::Writer, pipe::Reader, Task<Outcome>) {
        let ((request, read_request), (write_reply, reply)) = (pipe::pipe(pipe::CAPACITY), pipe::pipe(pipe::CAPACITY));
        let envelope = Envelope { client: Some(from), ..self.cell.envelope(None) };
        let (cell, payer) = (self.cell.clone(), Account::unlimited());
        let opened = Opened { from, cell, envelope, request: read_request, reply: write_reply, payer };
        let calls = self.calls.clone();
        let kind = task::Kind::owned("message", from);
        (request, reply, task::spawn(&Handle::current(), kind, async move { calls.open(opened).await }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_process_may_be_silent_until_others_wait_however_they_come() {
    let world = world_of(Mode::Async, Audience::All).await;
    for others_dial in [true, false] {
        let from = if others_dial { OTHER } else { CELL };
        let (request, _reply, silent) = world.open(from);
        request.write_all(b"half a message").await.expect("open");
        // Longer than peers may be silent here.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!world.gate.has_lagged(&Caller::Cell(from)));
        if others_dial {
            assert_eq!(world.ask(THIRD, b"hello").await, (Outcome::Ok, Ok(b"hello".to_vec())));
        } else {
            let (request, reply, outcome) = world.open(THIRD);
            request.write_all(b"hello").await.expect("open");
            request.close();
            assert_eq!(outcome.await.expect("no panic"), Outcome::Ok);
            assert_eq!(reply.read(9).await.as_deref(), Ok(&b"hello"[..]));
        }
        let outcome = silent.await.expect("no panic");
        assert!(is_refused(&(outcome, Err(())), "timeout"));
        assert!(world.gate.has_lagged(&Caller::Cell(from)) && !world.gate.has_lagged(&Caller::Cell(THIRD)));
    }
    world.cell.stop(exit::Reason::Killed);
    world.cell.exit().wait().await;
    let outcome = world.open(THIRD).2.await.expect("no panic");
    assert_eq!(outcome, Outcome::Ended(exit::Reason::Killed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_process_may_read_the_reply_slowly_while_it_sends() {
    const DEADLINE: Duration = Duration::from_millis(400);
    let limits = Limits { deadline: Some(DEADLINE), ..Limits::default() };
    let world = world_with(Mode::Async, Audience::All, limits).await;
    let (request, reply, outcome) = world.open(OTHER);
    let message = vec![b'x'; 1_000_000];
    let sending = async {
        request.write_all(&message).await.expect("the guest reads all");
        request.close();
    };
    let reading = async {
        // The time itself is what is tested: the guest waits for longer than it may work.
        tokio::time::sleep(2 * DEADLINE).await;
        let mut read = 0;
        while let Ok(bytes) = reply.read(usize::MAX).await
            && !bytes.is_empty()
        {
            read += bytes.len();
        }
        read
    };
    let ((), read) = tokio::join!(sending, reading);
    assert_eq!((read, outcome.await.expect("no panic")), (message.len(), Outcome::Ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_taken_back_from_one_publication_and_not_from_the_next_one_of_the_same_cell() {
    let world = world_of(Mode::Async, Audience::All).await;
    let first = world.calls.find(&world.own, &world.name).expect("it is published");
    let again = Callee {
        slot: first.slot.clone(),
        gate: first.gate.clone(),
        audience: Audience::All,
        payers: first.payers.clone(),
        ..*first
    };
    world.calls.insert(world.name.clone(), Arc::new(again));
    world.calls.remove(&world.name, &first);
    assert_eq!(world.ask(OTHER, b"hello").await, (Outcome::Ok, Ok(b"hello".to_vec())));
    let second = world.calls.find(&world.own, &world.name).expect("it is published");
    world.calls.remove(&world.name, &second);
    assert!(is_refused(&world.ask(OTHER, b"hello").await, "no-such-cell"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_holds_the_process_and_waits_outside_means_the_cell_that_it_held() {
    let world = world_of(Mode::Async, Audience::All).await;
    let served = world.gate.enter(Caller::Cell(OTHER));
    let (request, _reply, outcome) = world.open(THIRD);
    request.write_all(b"half a message").await.expect("open");
    world.cell.stop(exit::Reason::Killed);
    world.cell.exit().wait().await;
    drop(served);
    assert_eq!(outcome.await.expect("no panic"), Outcome::Ended(exit::Reason::Killed));
}

#[test]
fn a_cell_that_takes_no_messages_is_none_for_who_sends_one() {
    let refused = outcome(Err(NotServed::Failed(Refused::NotServed.into())));
    assert!(is_refused(&(refused.clone(), Err(())), "no-such-cell"), "{refused:?}");
}
