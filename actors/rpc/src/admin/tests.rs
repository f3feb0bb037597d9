//! What a client of the control socket can see and end.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
};

use capnp::{ErrorKind, capability::Response};
use tokio::sync::{Notify, mpsc};
use ww_core::{Name, events::Event, exit::Reason};
use ww_executor::{Owner, Process, Streams};
use ww_schema::{
    admin_capnp::{event, listener},
    cell_capnp::{exchange::outcome, observer, status},
    peer_capnp::{host, process},
};

use super::*;
use crate::{
    client::{Connection, Local, sink},
    fixture::{
        ACTOR, COMPLAIN, ECHO, SPIN, close, controller, local, peer, read, run, shared_executor, soon, spec_of, wasm,
        write,
    },
};

/// Events that wait for a test: more than any of them causes.
const MAX_TOLD: usize = 65_536;

fn connect() -> (Connection, Local) {
    controller(Arc::new(|| {}))
}

/// A cell of somebody else.
async fn cell(wat: &str) -> (Process, Streams) {
    shared_executor().run(Owner::Node, spec_of(wat)).await.expect("a program")
}

async fn process_of(client: &Local, cell: u64) -> Result<process::Client, Error> {
    let mut request = client.admin.process_request();
    request.get().set_cell(cell);
    soon(request.send().promise).await?.get()?.get_process()
}

/// What a listener was told, as a text for each event. It takes nothing while its gate is closed.
struct Listener {
    told: mpsc::Sender<(u64, String)>,
    gate: RefCell<Option<Arc<Notify>>>,
}

impl listener::Server for Listener {
    async fn event(self: Rc<Self>, params: listener::EventParams) -> Result<(), Error> {
        let gate = self.gate.borrow().clone();
        if let Some(gate) = gate {
            gate.notified().await;
            self.gate.take();
        }
        let event = params.get()?.get_event()?;
        assert!(event.get_at() > 1_700_000_000_000, "milliseconds since the epoch");
        let text = match event.which()? {
            event::Started(()) => "started".to_owned(),
            event::Exited(reason) => format!("exited: {}", reason?.get_text()?.to_str()?),
            event::Registered(name) => format!("registered {}", name?.to_str()?),
            event::Unregistered(name) => format!("unregistered {}", name?.to_str()?),
            event::Lost(count) => format!("lost {count}"),
            _ => "other".to_owned(),
        };
        // The test may have seen enough.
        let _ = self.told.try_send((event.get_cell(), text));
        Ok(())
    }
}

async fn watch(client: &Local, gate: Option<Arc<Notify>>) -> (subscription::Client, mpsc::Receiver<(u64, String)>) {
    let (told, events) = mpsc::channel(MAX_TOLD);
    let mut request = client.admin.watch_request();
    request.get().set_listener(capnp_rpc::new_client(Listener { told, gate: gate.into() }));
    let subscribed = soon(request.send().promise).await.expect("subscribed");
    (subscribed.get().and_then(|answer| answer.get_subscription()).expect("a subscription"), events)
}

#[test]
fn events_are_told_until_the_subscription_is_cancelled() {
    local(async {
        let (_connection, client) = connect();
        let (subscription, mut events) = watch(&client, None).await;
        let (process, _streams) = cell(SPIN).await;
        let id = process.id().get();
        process.kill().await;
        let mut own = Vec::new();
        while own.len() < 2 {
            let (cell, text) = soon(events.recv()).await.expect("told");
            own.extend((cell == id).then_some(text));
        }
        assert_eq!(own, ["started", "exited: killed"]);
        soon(subscription.cancel_request().send().promise).await.expect("cancelled");
        while soon(events.recv()).await.is_some() {}
    });
}

#[test]
fn a_slow_listener_is_told_how_much_it_lost() {
    const EVENTS: u64 = 5_000;
    local(async {
        let (_connection, client) = connect();
        let gate = Arc::new(Notify::new());
        let (_subscription, mut events) = watch(&client, Some(Arc::clone(&gate))).await;
        let name = Name::new("nobody-at-all").expect("a name");
        for _ in 0..EVENTS {
            shared_executor().directory().events().publish(Event::Unregistered { name: name.clone() });
            tokio::task::yield_now().await;
        }
        // Behind all of them.
        let last = Name::new("the-last-one").expect("a name");
        shared_executor().directory().events().publish(Event::Unregistered { name: last });
        gate.notify_one();
        let (mut told, mut lost) = (0, 0);
        loop {
            let (_, text) = soon(events.recv()).await.expect("told");
            match text.strip_prefix("lost ") {
                Some(count) => lost += count.parse::<u64>().expect("a number"),
                None if text == "unregistered nobody-at-all" => told += 1,
                None if text == "unregistered the-last-one" => break,
                None => {}
            }
        }
        assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
        assert!(told + lost >= EVENTS, "none is lost without a word: {told} told, {lost} lost");
    });
}

#[test]
fn what_a_cell_reported_is_there_after_its_end_and_taken_from_nobody() {
    local(async {
        let (_connection, client) = connect();
        let (process, streams) = cell(COMPLAIN).await;
        soon(process.exit().wait()).await;
        for follow in [false, true] {
            let (sink, mut incoming) = sink();
            let mut request = client.admin.logs_request();
            request.get().set_cell(process.id().get());
            request.get().set_follow(follow);
            request.get().set_sink(sink);
            let subscription = soon(request.send().promise).await.expect("a cell");
            assert_eq!(soon(incoming.next()).await.as_deref(), Some(&b"oops"[..]));
            assert_eq!(soon(incoming.next()).await, None);
            drop(subscription);
        }
        assert_eq!(soon(streams.stderr.read(99)).await, "oops", "its owner has it as well");
    });
}

#[test]
fn subscriptions_are_bounded() {
    local(async {
        let (_connection, client) = connect();
        let mut held = Vec::new();
        for _ in 0..MAX_SUBSCRIPTIONS {
            held.push(watch(&client, None).await);
        }
        let mut request = client.admin.watch_request();
        request.get().set_listener(held_listener());
        let refused = soon(request.send().promise).await.err().expect("one too many");
        assert!(refused.extra.contains("64 subscriptions"), "{refused}");
        held.clear();
        watch(&client, None).await;
    });
}

fn held_listener() -> listener::Client {
    let (told, _) = mpsc::channel(1);
    capnp_rpc::new_client(Listener { told, gate: None.into() })
}

#[test]
fn any_cell_is_a_process_that_ends_nothing_when_it_is_dropped() {
    local(async {
        let (_connection, client) = connect();
        let (owned, _streams) = cell(SPIN).await;
        let id = owned.id().get();
        drop(process_of(&client, id).await.expect("a cell"));
        let process = process_of(&client, id).await.expect("it goes on");
        for stream in [
            soon(process.stdin_request().send().promise).await.err(),
            soon(process.stdout_request().send().promise).await.err(),
            soon(process.stderr_request().send().promise).await.err(),
        ] {
            assert!(stream.is_some_and(|error| error.extra.contains("belong to whoever started it")));
        }
        let mut message = process.send_request();
        message.get().set_message(b"hello");
        let refused = soon(message.send().promise).await.err().expect("it runs its main");
        assert!(refused.extra.contains("takes no messages"), "{refused}");
        let running = soon(process.status_request().send().promise).await.expect("a status");
        let status = running.get().and_then(|answer| answer.get_status()).expect("a status");
        assert!(matches!(status.get_state().which(), Ok(status::state::Running(()))));
        assert_eq!(status.get_cell(), id);

        soon(process.kill_request().send().promise).await.expect("killed");
        assert_eq!(owned.exit().wait().await, Reason::Killed);
        let code = soon(process.wait_request().send().promise).await.expect("an end");
        assert_eq!(code.get().expect("a code").get_exit_code(), 137);
        let unknown = process_of(&client, u64::MAX).await.err().expect("no such cell");
        assert!(unknown.extra.contains("no such cell"), "{unknown}");
    });
}

#[test]
fn any_cells_are_watched_linked_and_leased() {
    local(async {
        let (_connection, client) = connect();
        let (one, _streams) = cell(SPIN).await;
        let (other, _more) = cell(SPIN).await;
        let [first, second] = [
            process_of(&client, one.id().get()).await.expect("a cell"),
            process_of(&client, other.id().get()).await.expect("a cell"),
        ];
        let link = async |link: bool| {
            if link {
                let mut request = first.link_request();
                request.get().set_other(second.clone());
                soon(request.send().promise).await.map(drop).expect("linked");
            } else {
                let mut request = first.unlink_request();
                request.get().set_other(second.clone());
                soon(request.send().promise).await.map(drop).expect("unlinked");
            }
        };
        link(true).await;
        link(false).await;
        let kept = soon(second.lease_request().send().promise).await.expect("a lease");
        let kept = kept.get().and_then(|answer| answer.get_lease()).expect("a lease");
        soon(kept.release_request().send().promise).await.expect("released");
        drop(kept);
        link(true).await;
        let (told, mut ends) = mpsc::channel(1);
        let mut request = second.monitor_request();
        request.get().set_observer(capnp_rpc::new_client(Observer(told)));
        let _monitor = soon(request.send().promise).await.expect("a monitor");
        let lease = soon(first.lease_request().send().promise).await.expect("a lease");
        drop(lease);
        assert_eq!(soon(one.exit().wait()).await, Reason::NoConnection);
        let reason = soon(ends.recv()).await.expect("told");
        assert_eq!(reason, format!("link to cell {}: no connection", one.id()));
        assert_eq!(soon(other.exit().wait()).await.to_string(), reason);
    });
}

struct Observer(mpsc::Sender<String>);

impl observer::Server for Observer {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        let text = params.get()?.get_reason()?.get_text()?.to_string()?;
        self.0.try_send(text).map_err(|error| Error::failed(error.to_string()))
    }
}

/// Calls as many as a peer may have under way, and how that ended.
async fn many(client: &Local) -> Vec<Result<Response<host::executor_results::Owned>, Error>> {
    let some: Vec<_> = (0..1_024).map(|_| client.host.executor_request().send().promise).collect();
    soon(futures::future::join_all(some)).await
}

#[test]
fn calls_that_are_never_finished_end_their_client_and_nobody_else() {
    local(async {
        let (_connection, other) = connect();
        let (_hoarding, client) = peer();
        let mut unfinished = Vec::new();
        let error = loop {
            match many(&client).await.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(some) => unfinished.extend(some),
                Err(error) => break error,
            }
        };
        assert!(error.extra.contains("calls that were answered"), "{error}");
        soon(other.admin.list_request().send().promise).await.expect("the other one goes on");
    });
}

#[test]
fn who_holds_too_many_capabilities_is_refused_until_some_are_released() {
    local(async {
        let (_hoarding, client) = peer();
        let mut held = Vec::new();
        let error = loop {
            let mut refused = None;
            for outcome in many(&client).await {
                match outcome {
                    Ok(answer) => {
                        held.push(answer.get().and_then(|answer| answer.get_executor()).expect("an executor"))
                    }
                    Err(error) => refused = Some(error),
                }
            }
            if let Some(error) = refused {
                break error;
            }
        };
        assert!(error.kind == ErrorKind::Overloaded && error.extra.contains("4096 capabilities are held"), "{error}");
        // What is held still exists, and calls on what was refused are refused as well.
        for pipelined in [false, true] {
            let executor = match pipelined {
                false => held[0].clone(),
                true => client.host.executor_request().send().pipeline.get_executor(),
            };
            let error = soon(executor.echo_request().send().promise).await.map(drop).expect_err("it holds too many");
            assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        }
        held.truncate(held.len() / 2);
        soon(async { while client.host.executor_request().send().promise.await.is_err() {} }).await;
        soon(held[0].echo_request().send().promise).await.expect("it is served again");
    });
}

#[test]
fn what_a_client_started_ends_with_its_connection() {
    local(async {
        let (connection, client) = connect();
        let executor = client.host.executor_request().send().pipeline.get_executor();
        let child = run(&executor, &wasm(ECHO), &[], &[]).done().await.expect("a program");
        let status = soon(child.wait_request().send().promise);
        let tree = soon(client.admin.tree_request().send().promise).await.expect("a tree");
        let root = tree.get().and_then(|answer| answer.get_root()).expect("a tree");
        let children = root.get_children().expect("a list");
        // No other test starts anything as a client.
        let clients = children.iter().filter(|node| node.get_label().is_ok_and(|label| label == "client"));
        let owned = clients.flat_map(|node| node.get_children().expect("a list")).map(|node| node.get_cell());
        let directory = shared_executor().directory();
        let mine: Vec<_> = owned.filter_map(|id| directory.cell(CellId::new(id))).collect();
        assert_eq!(mine.len(), 1, "it owns what it started");
        drop((status, connection, child, executor, client));
        for cell in mine {
            soon(cell.exit().wait()).await;
        }
    });
}

/// What one message through a pair of streams is answered with, and what became of it.
async fn talk(process: &process::Client, message: &[u8]) -> (Vec<u8>, &'static str) {
    let opened = soon(process.open_request().send().promise).await.expect("room for a message");
    let exchange = opened.get().and_then(|opened| opened.get_exchange()).expect("an exchange");
    let body = exchange.request_request().send().pipeline.get_stream();
    let reply = exchange.reply_request().send().pipeline.get_stream();
    // One that has ended reads nothing.
    if write(&body, message).await.is_ok() {
        close(&body).await.expect("open");
    }
    let mut all = Vec::new();
    while let Ok(bytes) = read(&reply, 1_000).await
        && !bytes.is_empty()
    {
        all.extend_from_slice(&bytes);
    }
    let answer = soon(exchange.outcome_request().send().promise).await.expect("an outcome");
    let outcome = answer.get().and_then(|answer| answer.get_outcome()).expect("an outcome");
    let word = match outcome.which().expect("one that is known") {
        outcome::Ok(()) => "ok",
        outcome::Failed(_) => "failed",
        outcome::Ended(_) => "ended",
        outcome::Refused(_) => "refused",
    };
    (all, word)
}

#[test]
fn a_client_spawns_a_cell_and_talks_to_it_in_both_ways() {
    local(async {
        let (_connection, client) = connect();
        let executor = client.host.executor_request().send().pipeline.get_executor();
        let mut request = executor.spawn_request();
        let mut spec = request.get().init_spec();
        spec.reborrow().init_program().set_wasm(&wasm(ACTOR));
        spec.set_async(true);
        let spawned = soon(request.send().promise).await.expect("a cell");
        let own = spawned.get().and_then(|spawned| spawned.get_process()).expect("a process");
        assert_eq!(talk(&own, b"hello").await, (b"hello".to_vec(), "ok"));
        let status = soon(own.status_request().send().promise).await.expect("a status");
        let id = status.get().and_then(|answer| answer.get_status()).expect("a status").get_cell();
        let process = process_of(&client, id).await.expect("the same cell");
        assert_eq!(talk(&process, b"n").await, (b"2".to_vec(), "ok"));
        assert_eq!(talk(&process, b"t").await.1, "ended");
        assert_eq!(talk(&own, b"hello").await.1, "ended", "it does not begin anew");
    });
}

#[test]
fn a_client_tells_the_node_to_stop() {
    local(async {
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        let (_connection, client) = controller(Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        soon(client.admin.stop_request().send().promise).await.expect("told");
        assert_eq!(told.load(Ordering::Relaxed), 1);
    });
}
