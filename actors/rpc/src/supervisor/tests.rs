//! Spawning, supervising and watching over a connection.

use capnp::capability::Promise;
use ww_core::{Grants, Limits, grants::Reach};
use ww_schema::{
    cell_capnp::{self, observer},
    peer_capnp::process,
    supervision_capnp::{child_spec, options, supervisor},
};

use super::*;
use crate::fixture::{
    ACTOR, Session,
    calls::{actor, spawn},
    limited_session, local, session, soon, wait, wasm,
};

/// An observer that passes on what it is told.
struct Observer(tokio::sync::mpsc::Sender<(u64, u8)>);

impl observer::Server for Observer {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        let params = params.get()?;
        let told = (params.get_cell(), params.get_reason()?.get_code());
        self.0.send(told).await.map_err(failed)
    }
}

/// Fills in the spec of a cell.
type Fill = fn(cell_capnp::spec::Builder<'_>);

async fn supervise(session: &Session, fill: impl FnOnce(options::Builder<'_>)) -> Result<supervisor::Client, Error> {
    let mut request = session.executor().supervisor_request();
    fill(request.get().init_options());
    soon(request.send().promise).await?.get()?.get_supervisor()
}

fn child(mut spec: child_spec::Builder<'_>, id: &str) {
    spec.set_id(id);
    actor(spec.init_child().init_cell());
}

async fn send(process: &process::Client, message: &str) -> Result<String, String> {
    let mut request = process.send_request();
    request.get().set_message(message.as_bytes());
    let reply = soon(request.send().promise).await.map_err(|error| error.extra)?;
    let reply = reply.get().and_then(|reply| reply.get_reply()).expect("bytes");
    Ok(String::from_utf8_lossy(reply).into_owned())
}

async fn status(process: &process::Client) -> (u64, bool) {
    let status = soon(process.status_request().send().promise).await.expect("an answer");
    let status = status.get().and_then(|status| status.get_status()).expect("a status");
    (status.get_cell(), matches!(status.get_state().which(), Ok(cell_capnp::status::state::Running(()))))
}

/// Ids of children, each with its process if it runs.
async fn children(supervisor: &supervisor::Client) -> Vec<(String, Option<process::Client>)> {
    let response = soon(supervisor.which_children_request().send().promise).await.expect("an answer");
    let children = response.get().and_then(|response| response.get_children()).expect("a list");
    let line = |child: supervisor::child::Reader<'_>| {
        let id = child.get_id().expect("an id").to_string().expect("text");
        let process = match child.get_state().which() {
            Ok(supervisor::child::state::Running(process)) => Some(process.expect("a process")),
            _ => None,
        };
        (id, process)
    };
    children.iter().map(line).collect()
}

#[test]
fn a_tree_is_declared_restarted_and_stopped() {
    local(async {
        let session = session(Grants::all()).await;
        let root = supervise(&session, |options| {
            let mut children = options.init_children(2);
            child(children.reborrow().get(0), "a");
            let mut inner = children.get(1);
            inner.set_id("inner");
            inner.reborrow().init_shutdown().set_infinity(());
            child(inner.init_child().init_supervisor().init_children(1).get(0), "b");
        })
        .await
        .expect("it starts");
        let (id, first) = children(&root).await.remove(0);
        let first = first.expect("it runs");
        assert_eq!((id.as_str(), send(&first, "n").await), ("a", Ok("1".into())));
        assert!(send(&first, "t").await.expect_err("it traps").contains("unreachable"));
        assert_eq!(wait(&first).await, Ok(134), "this incarnation has ended");
        assert!(!status(&first).await.1);

        // Refused when its turn has come: after the restart.
        let mut restart = root.restart_child_request();
        restart.get().set_id("a");
        let error = soon(restart.send().promise).await.map(drop).expect_err("it runs");
        assert!(error.extra.contains("terminate it first"), "{error}");
        let second = children(&root).await.remove(0).1.expect("it runs again");
        assert_eq!(send(&second, "n").await, Ok("1".into()), "a new incarnation");

        let mut terminate = root.terminate_child_request();
        terminate.get().set_id("a");
        soon(terminate.send().promise).await.expect("it runs");
        let mut delete = root.delete_child_request();
        delete.get().set_id("a");
        soon(delete.send().promise).await.expect("it is down");
        let mut start = root.start_child_request();
        child(start.get().init_spec(), "c");
        soon(start.send().promise).await.expect("it starts");
        let ids: Vec<_> = children(&root).await.into_iter().map(|(id, process)| (id, process.is_some())).collect();
        assert_eq!(ids, [("inner".to_owned(), false), ("c".to_owned(), true)]);
        let counts = soon(root.count_children_request().send().promise).await.expect("an answer");
        let counts = counts.get().expect("counts");
        let counts = (counts.get_specs(), counts.get_active(), counts.get_supervisors(), counts.get_workers());
        assert_eq!(counts, (2, 2, 1, 1));

        soon(root.stop_request().send().promise).await.expect("it stops");
        let ended = soon(root.wait_request().send().promise).await.expect("an answer");
        let code = ended.get().and_then(|ended| Ok(ended.get_reason()?.get_code())).expect("a reason");
        assert_eq!(code, 143);
    });
}

#[test]
fn children_are_counted_before_they_are_looked_at() {
    local(async {
        let session = session(Grants::all()).await;
        let refused = supervise(&session, |options| {
            options.init_children(1_025);
        })
        .await;
        let error = refused.map(drop).expect_err("one list is too long");
        assert!(error.extra.contains("1025 children"), "{error}");
        let refused = supervise(&session, |options| {
            let mut children = options.init_children(5);
            for at in 0..5 {
                let inner = children.reborrow().get(at).init_child().init_supervisor();
                inner.init_children(1_000);
            }
        });
        let error = refused.await.map(drop).expect_err("no list is too long, and all of them are");
        assert!(error.extra.contains("more than 4096 children"), "{error}");
    });
}

#[test]
fn instances_of_a_template_have_ids_that_stay() {
    local(async {
        let session = session(Grants::all()).await;
        let pool = supervise(&session, |mut options| {
            options.set_strategy(options::Strategy::SimpleOneForOne);
            child(options.init_template(), "worker");
        })
        .await
        .expect("it starts");
        for _ in 0..2 {
            soon(pool.start_child_request().send().promise).await.expect("there is room");
        }
        let instances = children(&pool).await;
        assert_ne!(instances[0].0, instances[1].0);
        let mut terminate = pool.terminate_child_request();
        terminate.get().set_id(instances[0].0.as_str());
        soon(terminate.send().promise).await.expect("it is there");
        let left = children(&pool).await;
        assert_eq!((left.len(), &left[0].0), (1, &instances[1].0));
        let mut terminate = pool.terminate_child_request();
        terminate.get().set_id("worker");
        assert!(soon(terminate.send().promise).await.is_err(), "instances have no ids of their own");
    });
}

#[test]
fn a_cell_ends_with_the_last_reference_unless_it_is_detached() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let held = spawn(&executor, |_| {}).await.expect("a program");
        let detached = spawn(&executor, |mut spec| spec.set_detached(true)).await.expect("a program");
        let (tx, mut down) = tokio::sync::mpsc::channel(1);
        let mut monitors = Vec::new();
        for process in [&held, &detached] {
            let mut request = process.monitor_request();
            request.get().set_observer(capnp_rpc::new_client(Observer(tx.clone())));
            monitors.push(soon(request.send().promise).await.expect("there is room"));
        }
        let [held_id, detached_id] = [status(&held).await.0, status(&detached).await.0];
        drop((held, detached));
        assert_eq!(soon(down.recv()).await, Some((held_id, 143)));
        let cell = session.directory().cell(ww_core::CellId::new(detached_id)).expect("it lives on");
        let (owner, gone) = session.disconnect();
        drop(owner);
        soon(gone).await.expect("the vat ends");
        assert_eq!(soon(cell.exit().wait()).await.code(), 143, "it ends with its owner");
    });
}

#[test]
fn nothing_is_handed_out_that_the_caller_does_not_have() {
    local(async {
        let some = Reach::Names(["store".parse().expect("a name")].into());
        let process = Some(some.clone());
        let grants = Grants { registry: false, loader: false, publish: false, mail: some, process, ..Grants::all() };
        let session = limited_session(grants, Limits { children: 8, ..Limits::default() }).await;
        let executor = session.executor();
        let with = async |name: &str| {
            let fill = |spec: cell_capnp::spec::Builder<'_>| spec.init_grants(1).get(0).set_name(name);
            spawn(&executor, fill).await.map(drop)
        };
        for name in [
            "wetware:cell/self",
            "wetware:cell/mail",
            "wetware:cell/mail/store",
            "wetware:cell/process",
            "wetware:cell/process/store",
            "wetware:cell/log",
        ] {
            with(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in
            ["wetware:cell/registry", "wetware:loader/loader", "wetware:cell/mail/other", "wetware:cell/process/other"]
        {
            let error = with(name).await.expect_err("the caller does not have it");
            assert!(error.extra.contains("denied"), "{error}");
        }
        for name in ["", "wetware:cell/nonsense", "store"] {
            let error = with(name).await.expect_err("it means nothing");
            assert!(error.extra.contains("no capability"), "{error}");
        }
        let refused: [(&str, Fill); 8] = [
            ("`children` is 9, but at most 8", |spec| spec.init_limits().set_children(9)),
            ("denied: a name", |mut spec| spec.set_name("echo")),
            ("denied: publishing", |mut spec| {
                spec.set_name("echo");
                spec.set_publish(true);
            }),
            ("is not a name", |mut spec| spec.set_name("No Name")),
            ("allow", |mut spec| spec.reborrow().init_allow(1).set(0, b"friend")),
            ("restart", |mut spec| spec.set_restart(cell_capnp::Restart::Permanent)),
            ("mailbox", |spec| spec.init_mailbox().set_capacity(1 << 20)),
            ("exports no", |mut spec| spec.set_async(false)),
        ];
        for (why, fill) in refused {
            let error = spawn(&executor, fill).await.map(drop).expect_err(why);
            assert!(error.extra.contains(why) || error.extra.contains("cannot run"), "{why}: {error}");
        }
    });
}

#[test]
fn a_cell_is_published_until_its_slot_ends_or_not_started() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let publish = async |name: &'static str| {
            let fill = |mut spec: cell_capnp::spec::Builder<'_>| {
                spec.set_name(name);
                spec.set_publish(true);
                spec.init_allow(1).set(0, b"friend");
            };
            spawn(&executor, fill).await.map(drop)
        };
        publish("free").await.expect("the name is free on the network");
        let error = publish("taken").await.expect_err("it is not");
        assert!(error.extra.contains("it cannot be published: the name is taken"), "{error}");
        let error = publish("").await.expect_err("no name");
        assert!(error.extra.contains("has no name"), "{error}");
    });
}

#[test]
fn many_cells_start_from_a_program_that_was_loaded_once() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let mut load = executor.load_request();
        load.get().set_wasm(&wasm(ACTOR));
        let program = soon(load.send().promise).await.expect("a program");
        let program = program.get().and_then(|program| program.get_program()).expect("a capability");
        let info = soon(program.info_request().send().promise).await.expect("an answer");
        let exports = info.get().and_then(|info| info.get_info()?.get_exports()).expect("exports");
        assert_eq!(exports.iter().collect::<Vec<_>>(), [Ok(cell_capnp::program::Export::Poll)]);
        for _ in 0..3 {
            let cell = spawn(&executor, |spec| spec.init_program().set_loaded(program.clone())).await;
            assert_eq!(send(&cell.expect("a program"), "n").await, Ok("1".into()));
        }
        struct Fake;
        impl cell_capnp::program::Server for Fake {}
        let fake = capnp_rpc::new_client(Fake);
        let refused = spawn(&executor, |spec| spec.init_program().set_loaded(fake)).await.map(drop);
        assert!(refused.expect_err("not ours").extra.contains("Executor.load"));
    });
}

#[test]
fn links_leases_and_kills_end_cells_with_their_reasons() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let mut cells = Vec::new();
        for _ in 0..4 {
            cells.push(spawn(&executor, |_| {}).await.expect("a program"));
        }
        let link = |a: usize, b: usize| {
            let mut request = cells[a].link_request();
            request.get().set_other(cells[b].clone());
            soon(request.send().promise)
        };
        link(0, 1).await.expect("both live");
        link(0, 2).await.expect("both live");
        let mut unlink = cells[2].unlink_request();
        unlink.get().set_other(cells[0].clone());
        soon(unlink.send().promise).await.expect("they are linked");
        soon(cells[0].kill_request().send().promise).await.expect("it lives");
        assert_eq!(futures::join!(wait(&cells[0]), wait(&cells[1])), (Ok(137), Ok(137)), "the linked one ends as well");
        assert!(status(&cells[2]).await.1, "this one was unlinked");

        let lease: Promise<_, _> = cells[2].lease_request().send().promise;
        drop(soon(lease).await.expect("it lives"));
        assert_eq!(wait(&cells[2]).await, Ok(69));
        let released = soon(cells[3].lease_request().send().promise).await.expect("it lives");
        let released = released.get().and_then(|released| released.get_lease()).expect("a capability");
        soon(released.release_request().send().promise).await.expect("it is released");
        drop(released);
        assert_eq!(send(&cells[3], "n").await, Ok("1".into()));

        let (tx, mut down) = tokio::sync::mpsc::channel(1);
        let mut request = cells[0].monitor_request();
        request.get().set_observer(capnp_rpc::new_client(Observer(tx)));
        let _monitor = soon(request.send().promise).await.expect("there is room");
        assert_eq!(soon(down.recv()).await, Some((status(&cells[0]).await.0, 69)), "told at once: no process");
        let stdin = soon(cells[3].stdin_request().send().promise).await.map(drop);
        assert!(stdin.expect_err("it has none").extra.contains("serves messages"));
        assert!(link(0, 3).await.is_err(), "who is dead links with nobody");
        assert_eq!(send(&cells[3], "n").await, Ok("2".into()), "which harms nobody");
        link(3, 0).await.expect("a link with a dead one is its end");
        assert_eq!(wait(&cells[3]).await, Ok(69), "which is no process");
    });
}
