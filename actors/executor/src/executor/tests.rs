//! The actor with real cells.

use std::time::Duration;

use futures::{FutureExt, future::join_all};
use ww_core::{Text, exit::Limit};

use super::*;
use crate::fixture::{
    BY_TURNS, COMPLAIN, CONNECT, ECHO, FLOOD, GROW, House, SPIN, TERMINALS, TURNS, exits, limited, owner, spec, unseen,
};

/// Longer than anything here takes on a busy machine: what is still missing then will never come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
}

fn executor() -> Executor {
    House::shared().executor().0
}

/// The actor has seen all that was sent before.
async fn settled(executor: &Executor) {
    // Its messages arrive in order.
    drop(soon(executor.open_session(Limits::default())).await.expect("it runs"));
}

#[tokio::test]
async fn a_cell_runs_to_its_end() {
    let executor = executor();
    for (code, reason) in [(0, Reason::Normal), (7, Reason::Exit(7)), (255, Reason::Exit(255))] {
        let (process, _streams) = executor.run(Owner::Node, spec(&exits(code))).await.expect("a program");
        assert_eq!(soon(process.exit().wait()).await, reason);
        assert_eq!(soon(process.exit().wait()).await, reason, "as often as somebody asks");
        assert_eq!(process.kill().await, reason, "what has ended cannot be killed");
    }
}

#[tokio::test]
async fn bytes_pass_through_a_cell() {
    let executor = executor();
    let (process, streams) = executor.run(Owner::Node, spec(ECHO)).await.expect("a program");
    streams.stdin.write_all(b"hello").await.expect("the cell reads");
    assert_eq!(soon(streams.stdout.read(99)).await, Ok(Bytes::from_static(b"hello")));
    streams.stdin.close();
    assert_eq!(soon(process.exit().wait()).await, Reason::Normal);
    assert_eq!(soon(streams.stdout.read(99)).await, Ok(Bytes::new()));
    assert_eq!(soon(streams.stderr.read(99)).await, Bytes::new());
}

#[tokio::test]
async fn what_a_cell_reports_is_there_after_its_end() {
    let (process, streams) = executor().run(Owner::Node, spec(COMPLAIN)).await.expect("a program");
    assert_eq!(soon(process.exit().wait()).await, Reason::Exit(3));
    assert_eq!(soon(streams.stderr.read(99)).await, Bytes::from_static(b"oops\n"));
    assert_eq!(soon(streams.stderr.read(99)).await, Bytes::new());
}

async fn all(reader: &pipe::Reader) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match soon(reader.read(usize::MAX)).await.expect("no failure") {
            bytes if bytes.is_empty() => return all,
            bytes => all.extend_from_slice(&bytes),
        }
    }
}

#[tokio::test]
async fn an_owner_gets_every_byte_of_standard_error_or_its_order_if_it_asks_for_that() {
    let executor = executor();
    for (errors, out, err) in [
        (Errors::Held, "out\n".repeat(TURNS), "error\n".repeat(TURNS)),
        (Errors::Merged, "out\nerror\n".repeat(TURNS), String::new()),
    ] {
        let attachment = Attachment { errors, ..Attachment::default() };
        let started = executor.run_attached(Owner::Node, spec(BY_TURNS), attachment).await;
        let (process, streams) = started.expect("a program");
        let held = streams.held.expect("it was asked for");
        let read = tokio::join!(all(&streams.stdout), all(&held));
        assert!(read == (out.into_bytes(), err.into_bytes()), "{errors:?}: {} and {}", read.0.len(), read.1.len());
        assert_eq!(soon(process.exit().wait()).await, Reason::Normal);
        assert!(soon(streams.stderr.read(usize::MAX)).await.ends_with(b"error\n"), "it is kept as well");
    }
}

#[tokio::test]
async fn a_cell_is_told_which_of_its_streams_are_a_terminal() {
    let executor = executor();
    let terminals =
        Attachment { stdin_terminal: true, stdout_terminal: true, stderr_terminal: true, ..Attachment::default() };
    for (attachment, kinds) in [
        (Attachment::default(), [0, 0, 0]),
        (Attachment { stdin_terminal: true, ..Attachment::default() }, [2, 0, 0]),
        (Attachment { errors: Errors::Held, ..terminals }, [2, 2, 2]),
        (Attachment { errors: Errors::Held, stdout_terminal: false, ..terminals }, [2, 0, 2]),
        (Attachment { errors: Errors::Merged, ..terminals }, [2, 2, 2]),
        (Attachment { errors: Errors::Tail, ..terminals }, [2, 2, 0]),
    ] {
        let started = executor.run_attached(Owner::Node, spec(TERMINALS), attachment).await;
        let (_process, streams) = started.expect("a program");
        assert_eq!(all(&streams.stdout).await, kinds, "{attachment:?}");
    }
}

#[tokio::test]
async fn a_process_that_is_dropped_shuts_its_cell_down_and_one_that_is_killed_is_killed() {
    let executor = executor();
    for program in [SPIN, ECHO, FLOOD] {
        let (process, _streams) = executor.run(Owner::Node, spec(program)).await.expect("a program");
        let exit = process.exit().clone();
        assert_eq!(exit.reason(), None);
        drop(process);
        assert_eq!(soon(exit.wait()).await, Reason::Shutdown);

        let (process, _streams) = executor.run(Owner::Node, spec(program)).await.expect("a program");
        let exit = process.exit().clone();
        assert_eq!(soon(process.kill()).await, Reason::Killed);
        drop(process);
        assert_eq!(soon(exit.wait()).await, Reason::Killed);
    }
}

#[tokio::test]
async fn what_an_owner_started_ends_with_it_at_every_depth() {
    let executor = executor();
    let (top, _streams) = owner(&executor, Limits::default()).await;
    let mut cells: Vec<(Process, Streams)> = Vec::new();
    // Each with the number of its owner; 0 is `top`.
    for above in [0, 0, 2, 2, 0_usize] {
        let above = above.checked_sub(1).map_or(top.id(), |above| cells[above].0.id());
        cells.push(executor.run(Owner::Cell(above), spec(SPIN)).await.expect("there is room"));
    }
    assert_eq!(soon(top.kill()).await, Reason::Killed);
    for (process, _) in &cells {
        assert_eq!(soon(process.exit().wait()).await, Reason::Shutdown, "{}", process.id());
    }
    soon(executor.quiet()).await;
}

#[tokio::test]
async fn nothing_starts_below_a_cell_that_has_ended_or_never_was() {
    let executor = executor();
    let (top, _streams) = owner(&executor, Limits::default()).await;
    top.kill().await;
    for ended in [top.id(), CellId::new(4_711)] {
        for spec in [spec(SPIN), limited(SPIN, Limits::default())] {
            let refused = executor.run(Owner::Cell(ended), spec).await;
            assert!(matches!(refused, Err(SpawnError::Full(Full::OwnerEnded))));
        }
    }
}

#[tokio::test]
async fn a_stop_ends_everything_and_nothing_starts_after_it() {
    let executor = executor();
    let (first, _first) = owner(&executor, Limits::default()).await;
    let (below, _below) = executor.run(Owner::Cell(first.id()), spec(SPIN)).await.expect("there is room");
    let (second, _second) = executor.run(Owner::Node, spec(SPIN)).await.expect("there is room");
    soon(executor.stop()).await;
    for process in [first, below, second] {
        assert_eq!(process.exit().reason(), Some(Reason::Shutdown), "{}", process.id());
    }
    let refused = executor.run(Owner::Node, spec(SPIN)).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Stopped)), "{refused:?}");
    soon(executor.stop()).await;
    soon(executor.quiet()).await;
}

#[tokio::test]
async fn it_is_quiet_when_nothing_runs() {
    let executor = executor();
    soon(executor.quiet()).await;
    let (process, _streams) = executor.run(Owner::Node, spec(ECHO)).await.expect("a program");
    let mut quiet = Box::pin(executor.quiet());
    assert!(quiet.as_mut().now_or_never().is_none());
    settled(&executor).await;
    assert!(quiet.as_mut().now_or_never().is_none(), "a cell runs");
    process.kill().await;
    soon(quiet).await;
}

#[tokio::test]
async fn an_invalid_program_leaves_its_place_to_the_next() {
    let executor = executor();
    let (top, _streams) = owner(&executor, Limits { children: 1, subtree_cells: 1, ..Limits::default() }).await;
    let below = Owner::Cell(top.id());
    let garbage = Bytes::from_static(b"\0asm\x01\0\0\0garbage");
    let invalid = executor.run(below, Spec { wasm: garbage, ..spec(SPIN) }).await;
    assert!(matches!(invalid, Err(SpawnError::Program(LoadError::Invalid(_)))));
    let library = executor.run(below, spec(r#"(module (memory (export "memory") 1))"#)).await;
    assert!(matches!(library, Err(SpawnError::NoMain(_))));
    executor.run(below, spec(ECHO)).await.expect("the place is free");
}

#[tokio::test]
async fn a_place_is_free_as_soon_as_its_cell_has_ended() {
    let executor = executor();
    let (top, _streams) = owner(&executor, Limits { children: 1, ..Limits::default() }).await;
    for round in 0..100 {
        let started = executor.run(Owner::Cell(top.id()), spec(&exits(0))).await;
        let (process, _streams) = started.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(soon(process.exit().wait()).await, Reason::Normal);
    }
}

#[tokio::test]
async fn limits_of_owners_refuse_with_their_number() {
    let executor = executor();
    let start = |above: CellId, wat| executor.run(Owner::Cell(above), spec(wat));

    let (top, _top) = owner(&executor, Limits { children: 2, ..Limits::default() }).await;
    let _a = start(top.id(), ECHO).await.expect("one");
    let (b, _b) = start(top.id(), ECHO).await.expect("two");
    let refused = start(top.id(), ECHO).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Full(Full::Children { most: 2 }))), "{refused:?}");
    b.kill().await;
    let _again = start(top.id(), ECHO).await.expect("one has ended");

    let (top, _top) = owner(&executor, Limits { subtree_cells: 2, ..Limits::default() }).await;
    let (child, _child) = start(top.id(), ECHO).await.expect("one");
    let _grandchild = start(child.id(), ECHO).await.expect("two");
    for above in [child.id(), top.id()] {
        match start(above, ECHO).await.map(drop) {
            Err(SpawnError::Full(Full::Cells { above, most: 2 })) => assert_eq!(above, top.id()),
            other => panic!("expected a refused start, found {other:?}"),
        }
    }

    let memory = Limits { memory: 1_000_000, subtree_memory: Some(2_500_000), ..Limits::default() };
    let (top, _top) = owner(&executor, memory).await;
    let _children = [start(top.id(), ECHO).await.expect("one"), start(top.id(), ECHO).await.expect("two")];
    match start(top.id(), ECHO).await.map(drop) {
        Err(SpawnError::Full(Full::Memory { wanted, most, .. })) => assert_eq!((wanted, most), (1_000_000, 2_500_000)),
        other => panic!("expected a refused start, found {other:?}"),
    }
}

#[tokio::test]
async fn a_child_has_the_limits_of_its_owner() {
    let executor = executor();
    let limits = Limits { memory: 1 << 20, cpu: Some(Duration::from_millis(20)), ..Limits::default() };
    let (top, _streams) = owner(&executor, limits).await;
    let (child, _child) = executor.run(Owner::Cell(top.id()), spec(ECHO)).await.expect("there is room");
    for above in [top.id(), child.id()] {
        for (program, limit) in [(GROW, Limit::Memory), (SPIN, Limit::Cpu)] {
            let (process, _streams) = executor.run(Owner::Cell(above), spec(program)).await.expect("there is room");
            assert_eq!(soon(process.exit().wait()).await, Reason::Limit(limit));
        }
    }
}

#[tokio::test]
async fn output_that_nobody_reads_holds_up_its_own_cell_only() {
    let executor = executor();
    let (flood, unread) = executor.run(Owner::Node, spec(FLOOD)).await.expect("a program");
    // Its pipe is full.
    assert_eq!(soon(unread.stdout.read(1)).await.map(|bytes| bytes.len()), Ok(1));
    let (echo, streams) = executor.run(Owner::Node, spec(ECHO)).await.expect("a program");
    streams.stdin.write_all(b"hello").await.expect("the cell reads");
    assert_eq!(soon(streams.stdout.read(99)).await, Ok(Bytes::from_static(b"hello")));
    assert_eq!(flood.exit().reason(), None);
    assert_eq!(echo.exit().reason(), None);
    assert_eq!(soon(flood.kill()).await, Reason::Killed);
    let mut rest = 0;
    loop {
        match soon(unread.stdout.read(usize::MAX)).await.expect("no failure").len() {
            0 => break,
            len => rest += len,
        }
    }
    assert!(rest <= pipe::CAPACITY, "{rest}");
}

#[tokio::test]
async fn a_guest_reaches_the_vat_with_its_id_and_its_grants() {
    let (executor, vat) = House::shared().executor();
    let grants = Grants { loader: true, ..Grants::none() };
    let (process, _streams) =
        executor.run(Owner::Node, Spec { grants: grants.clone(), ..spec(CONNECT) }).await.expect("a program");
    assert_eq!(soon(process.exit().wait()).await, Reason::Normal);
    let guests: Vec<_> = vat.guests().into_iter().map(|guest| (guest.id, guest.grants)).collect();
    assert_eq!(guests, [(process.id(), grants)]);
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_any_more_leaves_nothing_running() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    // Before the actor has seen it, and after.
    for seen in [false, true] {
        let compiler = house.hold_compiler();
        let mut start = Box::pin(executor.run(Owner::Node, spec(&unseen(SPIN))));
        assert!(start.as_mut().now_or_never().is_none());
        if seen {
            settled(&executor).await;
        }
        drop(start);
        drop(compiler);
        soon(executor.quiet()).await;
    }
}

#[tokio::test]
async fn an_owner_that_starts_too_many_at_once_is_told_and_another_is_not() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (one, _one) = owner(&executor, Limits::default()).await;
    let (other, _other) = owner(&executor, Limits::default()).await;
    let compiler = house.hold_compiler();
    let program = unseen(ECHO);
    let mut starts: Vec<_> =
        (0..MAX_STARTING).map(|_| Box::pin(executor.run(Owner::Cell(one.id()), spec(&program)))).collect();
    for start in &mut starts {
        assert!(start.as_mut().now_or_never().is_none());
    }
    let refused = soon(executor.run(Owner::Cell(one.id()), spec(&program))).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Busy)), "{refused:?}");
    let mut neighbour = Box::pin(executor.run(Owner::Cell(other.id()), spec(&program)));
    assert!(neighbour.as_mut().now_or_never().is_none());
    drop(compiler);
    soon(neighbour).await.expect("it had its own turn");
    let started = soon(join_all(starts)).await;
    assert!(started.iter().all(Result::is_ok));
    soon(executor.run(Owner::Cell(one.id()), spec(&program))).await.expect("nothing is being started any more");
}

#[tokio::test]
async fn a_cell_whose_owner_ends_while_it_is_compiled_never_starts() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let (top, _streams) = owner(&executor, Limits::default()).await;
    let compiler = house.hold_compiler();
    let mut start = Box::pin(executor.run(Owner::Cell(top.id()), spec(&unseen(SPIN))));
    assert!(start.as_mut().now_or_never().is_none());
    settled(&executor).await;
    top.kill().await;
    settled(&executor).await;
    drop(compiler);
    let refused = soon(start).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Full(Full::OwnerEnded))), "{refused:?}");
    soon(executor.quiet()).await;
}

#[tokio::test]
async fn a_stop_neither_waits_for_what_is_being_compiled_nor_starts_it() {
    let house = House::slow();
    let (executor, _vat) = house.executor();
    let compiler = house.hold_compiler();
    let mut start = Box::pin(executor.run(Owner::Node, spec(&unseen(SPIN))));
    assert!(start.as_mut().now_or_never().is_none());
    soon(executor.stop()).await;
    let refused = soon(start).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Stopped)), "{refused:?}");
    drop(compiler);
}

#[tokio::test]
async fn a_cell_serves_its_mailbox_until_nobody_holds_it() {
    let executor = executor();
    let refused = soon(executor.spawn(Owner::Node, spec(ECHO), Serving::new(Mode::Async))).await.map(drop);
    assert!(matches!(refused, Err(SpawnError::Refused(_))), "{refused:?}");

    let process = soon(executor.spawn(Owner::Node, spec(ECHO), Serving::new(Mode::Sync))).await.expect("it has a main");
    let cell = process.cell().clone();
    assert_eq!(process.id(), cell.id());
    for message in ["hello", "again"] {
        assert_eq!(soon(cell.ask(cell.envelope(None), message)).await.as_deref(), Ok(message.as_bytes()));
    }
    let (child, _streams) = soon(executor.run(Owner::Cell(cell.id()), spec(SPIN))).await.expect("it may own children");
    drop(process);
    assert_eq!(soon(cell.exit().wait()).await, Reason::Shutdown);
    assert_eq!(soon(child.exit().wait()).await, Reason::Shutdown, "what it owned ends with it");
    assert!(soon(cell.ask(cell.envelope(None), "late")).await.is_err());
}

#[test]
fn what_the_node_cannot_do_is_its_own_fault_and_not_that_of_a_start() {
    for (error, of_host) in [
        (SpawnError::Program(LoadError::Worker("no process".into())), true),
        (SpawnError::Program(LoadError::Host(Text::new("no memory"))), true),
        (SpawnError::NotStarted(Reason::host_fault("no memory")), true),
        (SpawnError::Program(LoadError::Empty), false),
        (SpawnError::Busy, false),
    ] {
        assert_eq!((error.is_of_host(), matches!(error.reason(), Reason::HostFault(_))), (of_host, of_host), "{error}");
    }
}
