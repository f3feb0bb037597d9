//! What a cell holds of another node, and what becomes of it when the connection is lost.

use std::rc::Rc;

use capnp::{Error, ErrorKind, capability::FromClientHook};
use tokio::sync::mpsc;
use ww_core::{CellId, Grants, exit::Reason};
use ww_schema::{
    admin_capnp::admin,
    cell_capnp::{monitor, observer, program, status},
    peer_capnp::{executor, host, process},
};

use super::nodes::MAX_NODES;
use crate::exit_reason;
use crate::fixture::{
    ACTOR, SPIN, Session,
    calls::{self, executor_of},
    local, run, session, soon, wait, wasm,
};

/// Connects to another node.
async fn connect(session: &Session, peer: &str) -> Result<host::Client, Error> {
    let mut request = session.host.nodes_request().send().pipeline.get_nodes().connect_request();
    request.get().set_peer_id(peer.as_bytes());
    soon(request.send().promise).await?.get()?.get_bootstrap().get_as_capability()
}

/// A cell that serves messages.
async fn spawn(executor: &executor::Client) -> process::Client {
    calls::spawn(executor, |_| {}).await.expect("a cell")
}

async fn send(process: &process::Client, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut request = process.send_request();
    request.get().set_message(message);
    Ok(soon(request.send().promise).await?.get()?.get_reply()?.to_vec())
}

async fn id(process: &process::Client) -> u64 {
    let status = soon(process.status_request().send().promise).await.expect("a status");
    status.get().and_then(|status| status.get_status()).expect("a status").get_cell()
}

async fn kill(process: &process::Client) {
    soon(process.kill_request().send().promise).await.expect("killed");
}

async fn link(one: &process::Client, other: &process::Client) -> Result<(), Error> {
    let mut request = one.link_request();
    request.get().set_other(other.clone());
    soon(request.send().promise).await.map(drop)
}

/// How a cell ended, by its id.
async fn end(session: &Session, cell: u64) -> Reason {
    let cell = session.directory().cell_or_ended(CellId::new(cell)).expect("a cell");
    soon(cell.exit().wait()).await
}

struct Observer(mpsc::Sender<(u64, String)>);

impl observer::Server for Observer {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        let params = params.get()?;
        let reason = params.get_reason()?.get_text()?.to_string()?;
        self.0.try_send((params.get_cell(), reason)).map_err(|error| Error::failed(error.to_string()))
    }
}

async fn watch(process: &process::Client) -> (monitor::Client, mpsc::Receiver<(u64, String)>) {
    let (tx, told) = mpsc::channel(2);
    let mut request = process.monitor_request();
    request.get().set_observer(capnp_rpc::new_client(Observer(tx)));
    let answer = soon(request.send().promise).await.expect("a monitor");
    (answer.get().and_then(|answer| answer.get_monitor()).expect("a monitor"), told)
}

#[test]
fn a_cell_starts_another_on_another_node_and_talks_to_it() {
    local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session, "friend").await.expect("a node");
        let executor = executor_of(&far);
        // The connection lasts as long as anything that came over it.
        drop(far);
        let mut request = executor.load_request();
        request.get().set_wasm(&wasm(ACTOR));
        let loaded: program::Client = request.send().pipeline.get_program();
        let mut request = executor.spawn_request();
        let mut spec = request.get().init_spec();
        // The other node knows its own program again.
        spec.reborrow().init_program().set_loaded(loaded);
        spec.set_async(true);
        let spawned = soon(request.send().promise).await.expect("a cell");
        let process = spawned.get().and_then(|spawned| spawned.get_process()).expect("a process");
        drop((executor, spawned));
        assert_eq!(send(&process, b"hello").await.expect("an answer"), b"hello");
        assert_eq!(send(&process, b"n").await.expect("an answer"), b"2");
        let (_monitor, mut told) = watch(&process).await;
        let cell = id(&process).await;
        kill(&process).await;
        assert_eq!(soon(told.recv()).await, Some((cell, "killed".to_owned())));
        assert_eq!(wait(&process).await, Ok(137));
        let (_monitor, mut told) = watch(&process).await;
        assert_eq!(soon(told.recv()).await, Some((cell, "no process".to_owned())));
    });
}

#[test]
fn a_lost_connection_is_told_to_whoever_waits_watches_or_is_linked() {
    local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session, "friend").await.expect("a node");
        let process = spawn(&executor_of(&far)).await;
        let own = run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.expect("a program");
        link(&own, &process).await.expect("linked");
        let cell = id(&process).await;
        let (_monitor, mut told) = watch(&process).await;
        let waiting = wait(&process);
        session.cut();
        assert_eq!(waiting.await, Ok(69));
        assert_eq!(soon(told.recv()).await, Some((cell, "no connection".to_owned())));
        assert_eq!(wait(&own).await, Ok(69));
        let error = send(&process, b"hello").await.expect_err("it is out of reach");
        assert_eq!(error.kind, ErrorKind::Disconnected);
        assert_eq!(wait(&process).await, Ok(69), "also later");
        let status = soon(process.status_request().send().promise).await.expect("an answer");
        match status.get().and_then(|status| status.get_status()).expect("a status").get_state().which() {
            Ok(status::state::Ended(reason)) => assert_eq!(reason.expect("a reason").get_code(), 69),
            _ => panic!("it counts as ended"),
        }
        let (_monitor, mut told) = watch(&process).await;
        assert_eq!(soon(told.recv()).await, Some((0, "no connection".to_owned())));
        // What it started there ended for the same reason.
        assert_eq!(end(&session, cell).await, Reason::NoConnection);
        let again = connect(&session, "friend").await.expect("a new connection");
        soon(again.id_request().send().promise).await.expect("an id");
    });
}

/// A cell as another node shows it to whoever sees all of its cells.
async fn of_any(far: &host::Client, cell: u64) -> process::Client {
    let admin: admin::Client = far.clone().cast_to();
    let mut request = admin.process_request();
    request.get().set_cell(cell);
    let answer = soon(request.send().promise).await.expect("a cell");
    answer.get().and_then(|answer| answer.get_process()).expect("a process")
}

#[test]
fn a_lost_connection_is_told_to_both_ends_of_a_link() {
    local(async {
        let session = session(Grants::all()).await;
        let start = async || run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.expect("a program");
        // The other node has the same cells: these two do not end with the connection.
        let (own, linked, unlinked) = (start().await, start().await, start().await);
        let far = connect(&session, "overseer").await.expect("a node");
        for cell in [&linked, &unlinked] {
            link(&own, &of_any(&far, id(cell).await).await).await.expect("linked");
        }
        let mut request = own.unlink_request();
        request.get().set_other(of_any(&far, id(&unlinked).await).await);
        soon(request.send().promise).await.expect("unlinked");
        session.cut();
        assert_eq!((wait(&own).await, wait(&linked).await), (Ok(69), Ok(69)));
        let status = soon(unlinked.status_request().send().promise).await.expect("an answer");
        let status = status.get().and_then(|status| status.get_status()).expect("a status");
        assert!(matches!(status.get_state().which(), Ok(status::state::Running(()))), "it is linked no more");
    });
}

#[test]
fn what_nobody_holds_any_more_ends_with_its_connection() {
    local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session, "friend").await.expect("a node");
        let process = spawn(&executor_of(&far)).await;
        let cell = id(&process).await;
        drop(process);
        assert_eq!(end(&session, cell).await, Reason::Shutdown);

        let mut held = vec![far];
        for _ in 1..MAX_NODES {
            held.push(connect(&session, "friend").await.expect("a node"));
        }
        let error = connect(&session, "friend").await.err().expect("one too many");
        assert_eq!(error.kind, ErrorKind::Overloaded);
        held.pop();
        soon(async {
            while connect(&session, "friend").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let error = connect(&session, "stranger").await.err().expect("nobody is there");
        assert!(error.extra.contains("nobody answers"), "{error}");
    });
}

#[test]
fn links_reach_from_one_node_to_another_and_back() {
    local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session, "friend").await.expect("a node");
        let executor = executor_of(&far);
        let start = async || run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.expect("a program");
        // Whoever of the two is asked.
        for from_here in [true, false] {
            let (own, process) = (start().await, spawn(&executor).await);
            let (one, other) = if from_here { (&own, &process) } else { (&process, &own) };
            link(one, other).await.expect("linked");
            link(one, other).await.expect("once is enough");
            kill(&process).await;
            assert_eq!(wait(&own).await, Ok(137));

            let (own, process) = (start().await, spawn(&executor).await);
            let (one, other) = if from_here { (&own, &process) } else { (&process, &own) };
            link(one, other).await.expect("linked");
            kill(&own).await;
            assert_eq!(wait(&process).await, Ok(137));

            let (own, process) = (start().await, spawn(&executor).await);
            let (one, other) = if from_here { (&own, &process) } else { (&process, &own) };
            link(one, other).await.expect("linked");
            let mut request = one.unlink_request();
            request.get().set_other(other.clone());
            soon(request.send().promise).await.expect("unlinked");
            kill(&own).await;
            assert_eq!(send(&process, b"hello").await.expect("it goes on"), b"hello");
        }
        // It ends for the reason that the first did.
        let (own, process) = (start().await, spawn(&executor).await);
        link(&own, &process).await.expect("linked");
        let mut request = own.exit_request();
        exit_reason::set(request.get().init_reason(), &Reason::Shutdown);
        soon(request.send().promise).await.expect("it is told");
        assert_eq!((wait(&own).await, wait(&process).await), (Ok(143), Ok(143)));
        // Two of the other node are linked there.
        let (one, other) = (spawn(&executor).await, spawn(&executor).await);
        link(&one, &other).await.expect("linked");
        kill(&one).await;
        assert_eq!(wait(&other).await, Ok(137));
        let error = link(&spawn(&executor).await, &far.cast_to()).await.expect_err("no process");
        assert!(error.extra.contains("no process"), "{error}");
    });
}
