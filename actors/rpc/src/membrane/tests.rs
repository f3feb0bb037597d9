use capnp::{
    capability::{FromClientHook, Promise},
    traits::HasTypeId,
};
use ww_core::{Grants, Limits};
use ww_schema::{
    cell_capnp,
    grant_capnp::revoker,
    peer_capnp::{executor, host, process},
};

mod afar;
mod cells;

use super::*;
use crate::fixture::{
    ACTOR, SPIN, Session,
    calls::{Fill, connect, executor_of, methods, narrow, spawn},
    limited_session, local, run, session, soon, wait, wasm,
};

const HOST: u64 = host::Client::TYPE_ID;
const EXECUTOR: u64 = executor::Client::TYPE_ID;
const PROCESS: u64 = process::Client::TYPE_ID;

async fn revoke(revoker: &revoker::Client, reason: &str) {
    let mut request = revoker.revoke_request();
    request.get().set_reason(reason);
    soon(request.send().promise).await.expect("it is revoked");
}

async fn echo(executor: &executor::Client) -> Result<String, String> {
    let mut request = executor.echo_request();
    request.get().set_message("x");
    let response = soon(request.send().promise).await.map_err(|error| error.extra)?;
    let text = response.get().and_then(|response| response.get_response()).map_err(|error| error.extra)?;
    Ok(text.to_string().expect("text"))
}

async fn id(host: &host::Client) -> Result<(), String> {
    soon(host.id_request().send().promise).await.map(drop).map_err(|error| error.extra)
}

fn contains<T: std::fmt::Debug>(result: Result<T, impl std::fmt::Display>, part: &str) {
    let error = result.map_err(|error| error.to_string()).expect_err(part);
    assert!(error.contains(part), "{error:?} does not contain {part:?}");
}

/// Keeps what it is given, and gives it back: `narrow` takes a capability and returns it, `grant` returns it again. `id`
/// calls it.
#[derive(Default)]
struct Keeper(RefCell<Option<Client>>);

impl host::Server for Keeper {
    async fn narrow(self: Rc<Self>, params: host::NarrowParams, mut results: host::NarrowResults) -> Result<(), Error> {
        let client: Client = params.get()?.get_cap().get_as_capability()?;
        results.get().init_cap().set_as_capability(client.hook.add_ref());
        self.0.replace(Some(client));
        Ok(())
    }

    async fn grant(self: Rc<Self>, _: host::GrantParams, mut results: host::GrantResults) -> Result<(), Error> {
        let client = self.0.borrow().clone().ok_or_else(|| Error::failed("nothing".into()))?;
        results.get().init_cap().set_as_capability(client.hook);
        Ok(())
    }

    async fn id(self: Rc<Self>, _: host::IdParams, mut results: host::IdResults) -> Result<(), Error> {
        let client: host::Client = self.0.borrow().clone().ok_or_else(|| Error::failed("nothing".into()))?.cast_to();
        let response = client.id_request().send().promise.await?;
        results.get().set_peer_id(response.get()?.get_peer_id()?);
        Ok(())
    }
}

/// Answers `id`, and never answers `addrs`.
struct Outsider;

impl host::Server for Outsider {
    async fn id(self: Rc<Self>, _: host::IdParams, mut results: host::IdResults) -> Result<(), Error> {
        results.get().set_peer_id(b"outsider");
        Ok(())
    }

    async fn addrs(self: Rc<Self>, _: host::AddrsParams, _: host::AddrsResults) -> Result<(), Error> {
        std::future::pending().await
    }
}

#[test]
fn what_was_narrowed_works_until_it_is_revoked_and_all_that_it_led_to_with_it() {
    local(async {
        let session = session(Grants::all()).await;
        let (narrowed, revoker) =
            narrow::<host::Client>(&session.host, session.host.clone(), &|_| {}).await.expect("a cap");
        let executor = executor_of(&narrowed);
        assert_eq!(echo(&executor).await.as_deref(), Ok("x"), "pipelined");
        let process = run(&executor, &wasm(SPIN), &[], &[]).done().await.expect("it starts");
        let waiting = wait(&process);
        let own = run(&session.executor(), &wasm(SPIN), &[], &[]).done().await.expect("it starts");

        revoke(&revoker, "no longer needed").await;
        contains(waiting.await.map_err(|error| error.extra), "revoked: no longer needed");
        contains(id(&narrowed).await, "revoked: no longer needed");
        contains(echo(&executor).await, "revoked: no longer needed");
        contains(wait(&process).await.map_err(|error| error.extra), "revoked: no longer needed");
        revoke(&revoker, "again").await;
        contains(id(&narrowed).await, "revoked: no longer needed");

        assert_eq!(echo(&session.executor()).await.as_deref(), Ok("x"), "the giver's own goes on");
        let status = soon(own.status_request().send().promise).await.expect("an answer");
        let status = status.get().and_then(|status| status.get_status()).expect("a status");
        assert!(matches!(status.get_state().which(), Ok(cell_capnp::status::state::Running(()))));
    });
}

#[test]
fn a_call_under_way_fails_at_once_whoever_serves_it() {
    local(async {
        let session = session(Grants::all()).await;
        let outsider: host::Client = capnp_rpc::new_client(Outsider);
        let (narrowed, revoker) = narrow::<host::Client>(&session.host, outsider, &|_| {}).await.expect("a cap");
        id(&narrowed).await.expect("it is served by a cell");
        let waiting = narrowed.addrs_request().send().promise;
        revoke(&revoker, &"long".repeat(1_000)).await;
        let error = soon(waiting).await.map(drop).expect_err("it fails");
        assert!(error.extra.ends_with(&format!("revoked: {}", "long".repeat(256))), "{error}");
    });
}

#[test]
fn methods_bind_the_capability_and_the_interfaces_that_they_name() {
    local(async {
        let session = session(Grants::all()).await;
        let only = async |list: &[(u64, u16)]| {
            narrow::<host::Client>(&session.host, session.host.clone(), &|to| methods(to, list)).await
        };
        let denied = "denied: Host.id was narrowed away";
        // method 4 of Host is `executor`, 1 and 0 of Executor are `echo` and `runBytes`
        let cases: [(&'static [(u64, u16)], _, _); 4] = [
            (&[(HOST, 0)], None, Some("Host.executor")),
            (&[(HOST, 4)], Some(denied), None),
            (&[(HOST, 4), (EXECUTOR, 1)], Some(denied), None),
            (&[(HOST, 4), (EXECUTOR, 0)], Some(denied), Some("denied: Executor.echo")),
        ];
        for (list, own, reached) in cases {
            let (narrowed, _revoker) = only(list).await.expect("a cap");
            match own {
                None => id(&narrowed).await.expect("granted"),
                Some(part) => contains(id(&narrowed).await, part),
            }
            match reached {
                None => drop(echo(&executor_of(&narrowed)).await.expect("granted")),
                Some(part) => contains(echo(&executor_of(&narrowed)).await, part),
            }
        }
        // A method that nobody here knows.
        let outsider: host::Client = capnp_rpc::new_client(Outsider);
        let (unknown, _revoker) = narrow::<Client>(&session.host, outsider, &|_| {}).await.expect("a cap");
        let request = unknown.new_call::<any_pointer::Owned, any_pointer::Owned>(0xdead_beef, 7, None);
        let error = soon(request.send().promise).await.map(drop).expect_err("nobody implements it");
        assert_eq!(error.kind, capnp::ErrorKind::Unimplemented, "it was asked: {error}");
    });
}

#[test]
fn narrowing_what_was_narrowed_composes() {
    local(async {
        let session = limited_session(Grants::all(), Limits { children: 9, ..Limits::default() }).await;
        let two: Fill<'_> = &|mut to| {
            methods(to.reborrow(), &[(EXECUTOR, 1), (EXECUTOR, 3)]);
            to.init_limits().set_children(3);
        };
        let (outer, revoke_outer) =
            narrow::<executor::Client>(&session.host, session.executor(), two).await.expect("a cap");
        let more: Fill<'_> = &|mut to| {
            methods(to.reborrow(), &[(EXECUTOR, 0), (EXECUTOR, 3)]);
            to.init_limits().set_children(5);
        };
        let (inner, revoke_inner) =
            narrow::<executor::Client>(&session.host, outer.clone(), more).await.expect("a cap");
        contains(run(&inner, &wasm(SPIN), &[], &[]).done().await.map(drop), "denied: Executor.runBytes");
        contains(echo(&inner).await, "denied: Executor.echo");
        echo(&outer).await.expect("the outer one has it");

        // The inner one is a part of the outer one: it counts as one of its three, whatever it was told.
        let of_inner = spawn(&inner, |_| {}).await.expect("it starts");
        let of_outer = spawn(&outer, |_| {}).await.expect("it starts");
        revoke(&revoke_inner, "first").await;
        contains(wait(&of_inner).await.map_err(|error| error.extra), "revoked: first");
        contains(spawn(&inner, |_| {}).await.map(drop), "revoked: first");
        soon(of_outer.status_request().send().promise).await.expect("the outer one goes on");

        let (inner, _revoker) = narrow::<executor::Client>(&session.host, outer.clone(), more).await.expect("a cap");
        let of_inner = spawn(&inner, |_| {}).await.expect("it starts");
        revoke(&revoke_outer, "second").await;
        contains(wait(&of_outer).await.map_err(|error| error.extra), "revoked: second");
        contains(wait(&of_inner).await.map_err(|error| error.extra), "revoked: second");
        contains(spawn(&inner, |_| {}).await.map(drop), "revoked: second");
    });
}

#[test]
fn layers_are_bounded() {
    local(async {
        let session = session(Grants::all()).await;
        let mut cap = session.host.clone();
        for _ in 0..MAX_DEPTH {
            id(&cap).await.expect("it is forwarded");
            cap = narrow::<host::Client>(&session.host, cap, &|_| {}).await.expect("one more layer").0;
        }
        id(&cap).await.expect("it is forwarded");
        contains(narrow::<Client>(&session.host, cap, &|_| {}).await.map(drop), "narrowed 16 times");
    });
}

/// A chain of layers, each around a promise of the next one, which is not known to be one when it is wrapped.
fn chain(layers: usize) -> (Client, [Rc<Membrane>; 2]) {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
    let membranes = [(); 2]
        .map(|()| Membrane::new(Narrowing::default(), std::sync::Arc::clone(&room).try_acquire_owned().expect("room")));
    let outsider: host::Client = capnp_rpc::new_client(Outsider);
    let mut client: Client = outsider.cast_to();
    for layer in 0..layers {
        let promise = capnp_rpc::new_future_client(std::future::ready(Ok(client)));
        client = membranes[layer % 2].wrap(promise, Side::Reached).expect("not known to be deep");
    }
    (client, membranes)
}

#[test]
fn a_chain_of_promises_needs_no_stack() {
    local(async {
        let (short, _membranes) = chain(2 * MAX_DEPTH);
        id(&short.cast_to()).await.expect("as long as it may be");
        let (long, membranes) = chain(10_000);
        contains(id(&long.clone().cast_to()).await, "a chain of more than 32");
        drop(long);
        assert!(membranes.iter().all(|membrane| membrane.held.borrow().is_empty()), "all of it is gone");
    });
}

#[test]
fn streams_pass_in_order() {
    local(async {
        let session = session(Grants::all()).await;
        let process = run(&session.executor(), &wasm(crate::fixture::ECHO), &[], &[]).done().await.expect("it starts");
        let (narrowed, _revoker) = narrow::<process::Client>(&session.host, process, &|_| {}).await.expect("a cap");
        let (stdin, stdout) = (crate::fixture::stdin(&narrowed), crate::fixture::stdout(&narrowed));
        let pieces = (0..100_u8).map(|piece| {
            let mut request = stdin.push_request();
            request.get().set_data(&[piece; 1_000]);
            request.send()
        });
        let pieces = futures::future::try_join_all(pieces.collect::<Vec<_>>());
        let closed = crate::fixture::close(&stdin);
        let reading = async {
            let mut all = Vec::new();
            loop {
                let bytes = crate::fixture::read(&stdout, 1 << 16).await.expect("open");
                if bytes.is_empty() {
                    break all;
                }
                all.extend(bytes);
            }
        };
        let (pushed, closed, all) = soon(futures::future::join3(pieces, closed, reading)).await;
        pushed.expect("open");
        closed.expect("open");
        assert_eq!(all, (0..100_u8).flat_map(|piece| [piece; 1_000]).collect::<Vec<_>>());
        assert_eq!(wait(&narrowed).await, Ok(0));
    });
}

#[test]
fn what_is_held_behind_one_is_bounded() {
    local(async {
        let (_client, [membrane, _]) = chain(0);
        let outsider: Client = capnp_rpc::new_client::<host::Client, _>(Outsider).cast_to();
        let mut held = Vec::new();
        for _ in 0..MAX_HELD {
            held.push(membrane.wrap(outsider.clone(), Side::Reached).expect("room"));
        }
        let refused = membrane.wrap(outsider.clone(), Side::Reached).map(drop);
        assert_eq!(refused.expect_err("full").kind, capnp::ErrorKind::Overloaded);
        held.pop();
        membrane.wrap(outsider, Side::Reached).map(drop).expect("room again");
    });
}

#[test]
fn parameters_go_in_as_their_owners_and_come_out_again_as_they_were() {
    local(async {
        let session = session(Grants::all()).await;
        let keeper: host::Client = capnp_rpc::new_client(Keeper::default());
        let (narrowed, revoker) = narrow::<host::Client>(&session.host, keeper.clone(), &|_| {}).await.expect("a cap");
        let give = async |to: &host::Client, cap: Client| {
            let mut request = to.narrow_request();
            request.get().init_cap().set_as_capability(cap.hook);
            soon(request.send().promise).await?.get()?.get_cap().get_as_capability::<host::Client>()
        };
        let outsider: host::Client = capnp_rpc::new_client(Outsider);
        let back = give(&narrowed, outsider.cast_to()).await.expect("it is given back");
        id(&back).await.expect("it is the outsider's own");
        id(&keeper).await.expect("what is behind can call it");

        // What came out goes in as the narrowed one that it is.
        let only_id: Fill<'_> = &|to| methods(to, &[(HOST, 0), (HOST, 9)]);
        let (less, _revoker) = narrow::<host::Client>(&session.host, keeper.clone(), only_id).await.expect("a cap");
        give(&less, less.clone().cast_to()).await.expect("it is given back");
        let mut request = keeper.grant_request();
        request.get().set_name("x");
        let kept = soon(request.send().promise).await.expect("it was given one");
        let kept: host::Client = kept.get().and_then(|kept| kept.get_cap().get_as_capability()).expect("a capability");
        contains(soon(kept.addrs_request().send().promise).await.map(drop), "denied: Host.addrs");

        // After the revocation what is behind cannot call back either.
        let outsider: host::Client = capnp_rpc::new_client(Outsider);
        let back = give(&narrowed, outsider.cast_to()).await.expect("it is given back");
        revoke(&revoker, "apart").await;
        contains(id(&keeper).await, "revoked: apart");
        id(&back).await.expect("its own is its own");
    });
}

#[test]
fn servers_of_the_node_recognise_what_is_behind() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let a = spawn(&executor, |_| {}).await.expect("it starts");
        let b = spawn(&executor, |_| {}).await.expect("it starts");
        let link = |other: process::Client| {
            let mut request = a.link_request();
            request.get().set_other(other);
            soon(request.send().promise)
        };
        let status: Fill<'_> = &|to| methods(to, &[(PROCESS, 7)]);
        let (watched, _revoker) = narrow::<process::Client>(&session.host, b.clone(), status).await.expect("a cap");
        contains(link(watched).await.map(drop), "cannot be linked");
        let (whole, revoker) = narrow::<process::Client>(&session.host, b.clone(), &|_| {}).await.expect("a cap");
        link(whole.clone()).await.expect("it is a process of the node");
        revoke(&revoker, "gone").await;
        contains(link(whole).await.map(drop), "no process of this node");
        soon(a.kill_request().send().promise).await.expect("it lives");
        assert_eq!(wait(&b).await, Ok(137), "they were linked");

        // A program that was loaded through a narrowed executor starts through it.
        let (narrowed, _revoker) = narrow::<executor::Client>(&session.host, executor, &|_| {}).await.expect("a cap");
        let mut load = narrowed.load_request();
        load.get().set_wasm(&wasm(ACTOR));
        let program = load.send().pipeline.get_program();
        spawn(&narrowed, |spec| spec.init_program().set_loaded(program))
            .await
            .map(drop)
            .expect("a program of the node");
    });
}

#[test]
fn it_expires() {
    local(async {
        let session = session(Grants::all()).await;
        let outsider: host::Client = capnp_rpc::new_client(Outsider);
        let soon_over: Fill<'_> = &|mut to| to.set_expires(50);
        let (narrowed, _revoker) = narrow::<host::Client>(&session.host, outsider, soon_over).await.expect("a cap");
        let waiting: Promise<_, _> = narrowed.addrs_request().send().promise;
        contains(soon(waiting).await.map(drop), "revoked: it has expired");
    });
}

#[test]
fn narrowing_needs_the_grant_and_room() {
    local(async {
        let mut grants = Grants::all();
        grants.host.remove(&ww_core::grants::HostMethod::Narrow);
        let denied: Session = session(grants).await;
        contains(narrow::<Client>(&denied.host, denied.host.clone(), &|_| {}).await.map(drop), "denied: Host.narrow");
        let nonsense: Fill<'_> = &|to| to.init_grants(1).set(0, "store");
        let session = session(Grants::all()).await;
        contains(narrow::<Client>(&session.host, session.host.clone(), nonsense).await.map(drop), "no reserved name");
        let mut held = Vec::new();
        for _ in 0..MAX_NARROWED {
            held.push(narrow::<Client>(&session.host, session.host.clone(), &|_| {}).await.expect("room"));
        }
        contains(narrow::<Client>(&session.host, session.host.clone(), &|_| {}).await.map(drop), "1024 narrowed");
        drop(held);
        loop {
            // The releases are on their way.
            if narrow::<Client>(&session.host, session.host.clone(), &|_| {}).await.is_ok() {
                break;
            }
        }
    });
}
