//! Cells that are started through what was narrowed: of this node, of another one, and of one behind that.

use std::collections::HashMap;

use ww_core::events::{Event, Listener};
use ww_schema::supervision_capnp::{child_spec, supervisor};

use super::*;

const SUPERVISOR: u64 = supervisor::Client::TYPE_ID;

/// More children than anybody here has.
const MORE: u32 = 1_025;

/// Runs a test with the `Host` of this node, and with those of others, which are narrowed here.
fn everywhere_from_host(test: impl AsyncFn(&Session, host::Client)) {
    local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session.host, "friend");
        let further = connect(&far, "friend");
        for host in [&session.host, &far, &further] {
            test(&session, host.clone()).await;
        }
    });
}

/// The same with their executors.
fn everywhere(test: impl AsyncFn(&Session, executor::Client)) {
    everywhere_from_host(async |session, host| test(session, executor_of(&host)).await);
}

async fn id_of(process: &process::Client) -> u64 {
    let status = soon(process.status_request().send().promise).await.expect("an answer");
    status.get().and_then(|status| status.get_status()).expect("a status").get_cell()
}

/// How these cells end, in the order of their start: they are asked at once.
async fn ends(events: &mut Listener, cells: &[u64]) -> Vec<(u64, u8)> {
    let mut ended = Vec::new();
    while ended.len() < cells.len() {
        if let Some(Event::Exited { cell, reason, .. }) = soon(events.next()).await
            && cells.contains(&cell.get())
        {
            ended.push((cell.get(), reason.code()));
        }
    }
    ended.sort_unstable();
    ended
}

async fn give(executor: &executor::Client, name: &str) -> Result<(), Error> {
    let fill = |spec: cell_capnp::spec::Builder<'_>| spec.init_grants(1).get(0).set_name(name);
    spawn(executor, fill).await.map(drop)
}

#[test]
fn cells_that_were_started_through_it_end_with_shutdown() {
    everywhere(async |session, executor| {
        let (narrowed, revoker) = narrow::<executor::Client>(&session.host, executor, &|_| {}).await.expect("a cap");
        let mut events = session.directory().events().listen();
        let (mut processes, mut ids) = (Vec::new(), Vec::new());
        for detached in [false, true, false] {
            processes.push(spawn(&narrowed, |mut spec| spec.set_detached(detached)).await.expect("it starts"));
            ids.push(id_of(&processes[ids.len()]).await);
        }
        revoke(&revoker, "enough").await;
        let expected: Vec<_> = ids.iter().map(|id| (*id, 143)).collect();
        assert_eq!(ends(&mut events, &ids).await, expected);
        contains(spawn(&narrowed, |_| {}).await.map(drop), "revoked: enough");
    });
}

#[test]
fn they_end_with_shutdown_when_it_expires() {
    everywhere(async |session, executor| {
        // Long enough for all of them to start.
        let hour: Fill<'_> = &|mut to| to.set_expires(3_600_000);
        let (longer, _revoker) = narrow::<executor::Client>(&session.host, executor, hour).await.expect("a cap");
        let soon_over: Fill<'_> = &|mut to| to.set_expires(2_000);
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, longer.clone(), soon_over).await.expect("a cap");
        let mut events = session.directory().events().listen();
        let detached = spawn(&narrowed, |mut spec| spec.set_detached(true)).await.expect("it starts");
        let one = spawn(&narrowed, |_| {}).await.expect("it starts");
        let ids = [id_of(&detached).await, id_of(&one).await];
        let other = spawn(&longer, |_| {}).await.expect("it starts");
        let mut expected = ids.map(|id| (id, 143));
        expected.sort_unstable();
        assert_eq!(ends(&mut events, &ids).await, expected);
        contains(wait(&one).await.map_err(|error| error.extra), "revoked: it has expired");
        soon(other.status_request().send().promise).await.expect("the other one goes on");
    });
}

#[test]
fn they_end_when_nobody_holds_what_they_were_started_through() {
    everywhere(async |session, executor| {
        let (narrowed, revoker) = narrow::<executor::Client>(&session.host, executor, &|_| {}).await.expect("a cap");
        let mut events = session.directory().events().listen();
        let process = spawn(&narrowed, |mut spec| spec.set_detached(true)).await.expect("it starts");
        let id = id_of(&process).await;
        drop((narrowed, revoker, process));
        assert_eq!(ends(&mut events, &[id]).await, [(id, 143)]);
    });
}

#[test]
fn limits_bind_the_cells_that_are_started_through_it() {
    everywhere(async |session, executor| {
        let fill: Fill<'_> = &|to| {
            let mut limits = to.init_limits();
            limits.set_children(1);
            limits.set_memory(1 << 20);
            limits.set_deadline(500);
        };
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, executor.clone(), fill).await.expect("a cap");
        for (why, fill) in [
            (
                "`memory` is 2097152",
                (|spec| spec.init_limits().set_memory(2 << 20)) as fn(cell_capnp::spec::Builder<'_>),
            ),
            ("`deadline` is 501", |spec| spec.init_limits().set_deadline(501)),
        ] {
            contains(spawn(&narrowed, fill).await.map(drop), why);
        }
        let first = spawn(&narrowed, |_| {}).await.expect("one may run");
        contains(spawn(&narrowed, |_| {}).await.map(drop), "owns 1 children already");
        spawn(&executor, |_| {}).await.map(drop).expect("the giver has its own limit");
        soon(first.kill_request().send().promise).await.expect("it lives");
        drop(spawn(&narrowed, |_| {}).await.expect("its place is free"));

        let more: Fill<'_> = &|to| to.init_limits().set_children(2 * MORE);
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, executor.clone(), more).await.expect("a cap");
        contains(
            spawn(&narrowed, |spec| spec.init_limits().set_children(MORE)).await.map(drop),
            &format!("at most {}", MORE - 1),
        );
    });
}

#[test]
fn what_cells_are_given_that_are_started_through_it_is_narrowed_as_well() {
    everywhere(async |session, executor| {
        // `Host.executor` and `spawn` alone: children get no reserved name that is not listed.
        let spawn_only: Fill<'_> = &|to| methods(to, &[(HOST, 4), (EXECUTOR, 3)]);
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, executor.clone(), spawn_only).await.expect("a cap");
        for name in ["wetware:cell/log", "wetware:cell/mail", "wetware:cell/mail/store", "wetware:cell/self"] {
            contains(give(&narrowed, name).await, "denied");
        }
        contains(
            spawn(&narrowed, |mut spec| {
                spec.set_name("free");
                spec.set_publish(true)
            })
            .await
            .map(drop),
            "denied: publishing",
        );
        give(&narrowed, "wetware:peer/host").await.expect("it means no more than `spawn`");
        contains(run(&narrowed, &wasm(SPIN), &[], &[]).done().await.map(drop), "denied: Executor.runBytes");

        let listed: Fill<'_> = &|mut to| {
            methods(to.reborrow(), &[(EXECUTOR, 3)]);
            let mut list = to.init_grants(2);
            list.set(0, "wetware:cell/log");
            list.set(1, "wetware:cell/mail/store");
        };
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, executor.clone(), listed).await.expect("a cap");
        for name in ["wetware:cell/log", "wetware:cell/mail/store"] {
            give(&narrowed, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in ["wetware:cell/mail/other", "wetware:peer/host", "wetware:cell/process"] {
            contains(give(&narrowed, name).await, "denied");
        }
        contains(spawn(&narrowed, |mut spec| spec.set_name("narrowed")).await.map(drop), "denied: a name");
        let plain: Fill<'_> = &|to| to.init_grants(1).set(0, "wetware:cell/process");
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, executor.clone(), plain).await.expect("a cap");
        give(&narrowed, "wetware:cell/process").await.expect("it is listed");
        contains(give(&narrowed, "wetware:cell/process/store").await, "denied");
    });
}

#[test]
fn what_is_narrowed_again_is_a_part_of_what_was_narrowed_first() {
    everywhere(async |session, executor| {
        let three: Fill<'_> = &|to| to.init_limits().set_children(2);
        let (outer, revoker) = narrow::<executor::Client>(&session.host, executor, three).await.expect("a cap");
        let more: Fill<'_> = &|mut to| {
            to.reborrow().init_grants(1).set(0, "wetware:cell/log");
            to.init_limits().set_memory(1 << 20);
        };
        let mut started = Vec::new();
        for _ in 0..2 {
            let (inner, revoker) = narrow::<executor::Client>(&session.host, outer.clone(), more).await.expect("a cap");
            started.push((spawn(&inner, |_| {}).await.expect("it starts"), inner, revoker));
        }
        let (inner, _revoker) = narrow::<executor::Client>(&session.host, outer.clone(), more).await.expect("a cap");
        contains(spawn(&inner, |_| {}).await.map(drop), "owns 2 children already");
        let (first, inner, revoke_first) = started.swap_remove(0);
        contains(give(&inner, "wetware:cell/self").await, "denied");
        give(&inner, "wetware:cell/log").await.expect("granted");
        contains(spawn(&inner, |spec| spec.init_limits().set_memory(2 << 20)).await.map(drop), "`memory` is 2097152");

        let mut events = session.directory().events().listen();
        let (one, other) = (id_of(&first).await, id_of(&started[0].0).await);
        revoke(&revoke_first, "the first").await;
        assert_eq!(ends(&mut events, &[one]).await, [(one, 143)]);
        assert_eq!(id_of(&started[0].0).await, other, "it goes on");
        revoke(&revoker, "all").await;
        assert_eq!(ends(&mut events, &[other]).await, [(other, 143)]);
    });
}

#[test]
fn all_executors_of_what_was_narrowed_share_its_limits() {
    everywhere_from_host(async |session, host| {
        let one: Fill<'_> = &|to| to.init_limits().set_children(1);
        let (narrowed, _revoker) = narrow::<host::Client>(&session.host, host, one).await.expect("a cap");
        let (first, second) = (executor_of(&narrowed), executor_of(&narrowed));
        let process = spawn(&first, |_| {}).await.expect("one may run");
        contains(spawn(&second, |_| {}).await.map(drop), "owns 1 children already");
        let registry = narrowed.registry_request().send().pipeline.get_registry();
        let mut request = registry.register_request();
        request.get().set_name("narrowed");
        request.get().set_process(process);
        soon(request.send().promise).await.expect("it is below what was narrowed");
    });
}

#[test]
fn children_of_a_narrowed_supervisor_end_with_it_and_the_others_stay() {
    everywhere(async |session, executor| {
        let mut request = executor.supervisor_request();
        child(request.get().init_options().init_children(1).get(0), "own");
        let response = soon(request.send().promise).await.expect("it starts");
        let supervisor = response.get().and_then(|response| response.get_supervisor()).expect("a capability");
        // `startChild` and `whichChildren`
        let two: Fill<'_> = &|mut to| {
            methods(to.reborrow(), &[(SUPERVISOR, 0), (SUPERVISOR, 4)]);
            to.init_limits().set_memory(1 << 20);
        };
        let (narrowed, revoker) =
            narrow::<supervisor::Client>(&session.host, supervisor.clone(), two).await.expect("a cap");
        let mut ids = HashMap::new();
        for id in ["first", "second"] {
            let mut start = narrowed.start_child_request();
            child(start.get().init_spec(), id);
            let started = soon(start.send().promise).await.expect("it starts");
            ids.insert(id, started);
        }
        contains(soon(narrowed.stop_request().send().promise).await.map(drop), "denied: method 6");
        let mut start = narrowed.start_child_request();
        child(start.get().init_spec(), "large");
        start.get().get_spec().expect("a spec").get_child().init_cell().init_limits().set_memory(2 << 20);
        contains(soon(start.send().promise).await.map(drop), "`memory` is 2097152");

        revoke(&revoker, "enough").await;
        loop {
            let left = soon(supervisor.which_children_request().send().promise).await.expect("an answer");
            let left = left.get().and_then(|left| left.get_children()).expect("a list");
            if left.len() == 1 {
                assert_eq!(left.get(0).get_id().expect("an id"), "own");
                break;
            }
        }
        let left = soon(supervisor.count_children_request().send().promise).await.expect("an answer");
        assert_eq!(left.get().expect("counts").get_active(), 1);
    });
}

fn child(mut spec: child_spec::Builder<'_>, id: &str) {
    spec.set_id(id);
    let mut cell = spec.init_child().init_cell();
    cell.set_async(true);
    cell.init_program().set_wasm(&wasm(ACTOR));
}

/// An executor of a cell or client.
struct Own;

impl executor::Server for Own {
    async fn echo(
        self: Rc<Self>,
        params: executor::EchoParams,
        mut results: executor::EchoResults,
    ) -> Result<(), Error> {
        results.get().set_response(params.get()?.get_message()?);
        Ok(())
    }
}

#[test]
fn what_a_client_serves_itself_is_not_narrowed_to_limits_and_grants() {
    local(async {
        let session = session(Grants::all()).await;
        let own: executor::Client = capnp_rpc::new_client(Own);
        let echo_only: Fill<'_> = &|to| methods(to, &[(EXECUTOR, 1)]);
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, own.clone(), echo_only).await.expect("a cap");
        echo(&narrowed).await.expect("it is served by a client");
        let limited: Fill<'_> = &|to| to.init_limits().set_children(1);
        let (narrowed, _revoker) = narrow::<executor::Client>(&session.host, own, limited).await.expect("a cap");
        contains(echo(&narrowed).await, "denied: limits and grants were narrowed");
    });
}
