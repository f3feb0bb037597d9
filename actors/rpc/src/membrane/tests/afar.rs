//! Capabilities of other nodes that are narrowed here, where that is another matter than with those of this node.

use std::collections::HashMap;

use ww_core::{CellId, exit::Reason};
use ww_schema::{
    cell_capnp::program,
    grant_capnp::{membrane, neighbour},
    peer_capnp::local,
};

use super::*;
use crate::{
    fixture::{self, local as run_local},
    membrane::revoker::narrow as narrow_here,
    remote::Node,
};

fn load(executor: &executor::Client) -> program::Client {
    let mut request = executor.load_request();
    request.get().set_wasm(&wasm(ACTOR));
    request.send().pipeline.get_program()
}

#[test]
fn the_other_node_knows_its_own_again() {
    run_local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session.host, "friend");
        let whole = executor_of(&far);
        let (narrowed, _revoker) =
            narrow::<executor::Client>(&session.host, whole.clone(), &|_| {}).await.expect("a cap");
        let (again, _revoker) =
            narrow::<executor::Client>(&session.host, narrowed.clone(), &|_| {}).await.expect("a cap");
        for from in [&whole, &narrowed, &again] {
            for to in [&whole, &narrowed, &again] {
                let program = load(from);
                let process = spawn(to, |spec| spec.init_program().set_loaded(program)).await.expect("its own program");
                let mut request = process.link_request();
                request.get().set_other(spawn(from, |_| {}).await.expect("it starts"));
                soon(request.send().promise).await.expect("its own process");
            }
        }
        let program = load(&session.executor());
        let refused = spawn(&narrowed, |spec| spec.init_program().set_loaded(program)).await;
        contains(refused.map(drop), "the program is none");
    });
}

/// Another node that keeps what it is given: `spawn` the capabilities that a cell is granted.
#[derive(Clone, Default)]
struct Other {
    /// What it has given away, as it is here.
    own: Rc<RefCell<HashMap<usize, &'static str>>>,
    granted: Rc<RefCell<Vec<Option<&'static str>>>>,
}

impl Other {
    fn give(&self, name: &'static str, client: &Client) {
        self.own.borrow_mut().insert(client.hook.get_ptr(), name);
    }
}

impl local::Server for Other {}

impl ww_schema::admin_capnp::admin::Server for Other {}

impl host::Server for Other {
    async fn executor(
        self: Rc<Self>,
        _: host::ExecutorParams,
        mut results: host::ExecutorResults,
    ) -> Result<(), Error> {
        let executor: executor::Client = capnp_rpc::new_client((*self).clone());
        self.give("a whole executor", &executor.client);
        results.get().set_executor(executor);
        Ok(())
    }
}

impl executor::Server for Other {
    async fn spawn(self: Rc<Self>, params: executor::SpawnParams, _: executor::SpawnResults) -> Result<(), Error> {
        for grant in params.get()?.get_spec()?.get_grants()? {
            let client: Client = grant.get_cap().get_as_capability()?;
            let client = capnp::capability::get_resolved_cap(client).await;
            self.granted.borrow_mut().push(self.own.borrow().get(&client.hook.get_ptr()).copied());
        }
        Ok(())
    }
}

impl neighbour::Server for Other {
    async fn membrane(
        self: Rc<Self>,
        _: neighbour::MembraneParams,
        mut results: neighbour::MembraneResults,
    ) -> Result<(), Error> {
        results.get().set_membrane(capnp_rpc::new_client((*self).clone()));
        Ok(())
    }
}

impl membrane::Server for Other {
    async fn within(
        self: Rc<Self>,
        _: membrane::WithinParams,
        mut results: membrane::WithinResults,
    ) -> Result<(), Error> {
        let executor: executor::Client = capnp_rpc::new_client((*self).clone());
        self.give("an executor within", &executor.client);
        results.get().init_cap().set_as_capability(executor.client.hook);
        Ok(())
    }
}

#[test]
fn what_is_handed_on_there_is_at_most_the_narrowed_one() {
    run_local(async {
        let (context, _cell) = fixture::context(ww_cell::Handling::default()).await;
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let other = Other::default();
        let bootstrap: local::Client = capnp_rpc::new_client(other.clone());
        let (reader, writer) = tokio::io::split(theirs);
        let served = crate::vats::drive(reader, writer, bootstrap.client, 0, Rc::default());
        let _served = task::spawn_local(task::Kind::owned("vat", "a test"), served);
        let room = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("room");
        let far: host::Client = Node::start(Box::new(ours), &context, room).cast_to();

        let mut message = capnp::message::Builder::new_default();
        let to: narrowing::Builder<'_> = message.init_root();
        let (narrowed, _revoker) = narrow_here(&context, far.clone().cast_to(), to.into_reader()).expect("a cap");
        let narrowed: host::Client = narrowed.cast_to();
        let (executor, unused) = (executor_of(&narrowed), executor_of(&narrowed));
        let outside = executor_of(&far);
        let mut calls = Vec::new();
        // The second time the executor is known to be within the end of the membrane there.
        for _ in 0..2 {
            let mut request = executor.spawn_request();
            let caps = [&executor.client, &unused.client, &narrowed.client, &outside.client];
            let mut grants = request.get().init_spec().init_grants(4);
            for (index, cap) in (0..).zip(caps) {
                grants.reborrow().get(index).init_cap().set_as_capability(cap.hook.add_ref());
            }
            calls.push(soon(request.send().promise).await.map(drop));
        }
        calls.into_iter().for_each(|call| call.expect("it answers"));
        let granted = other.granted.borrow();
        assert_eq!(granted[4..], [Some("an executor within"), None, None, Some("a whole executor")]);
        assert!(!granted[..3].contains(&Some("a whole executor")), "{granted:?}");
    });
}

#[test]
fn methods_bind_what_is_handed_back_there() {
    run_local(async {
        let session = session(Grants::all()).await;
        let far = connect(&session.host, "friend");
        for (list, may) in [(&[(PROCESS, 4)][..], true), (&[(PROCESS, 7)], false)] {
            let fill: Fill<'_> = &|to| {
                let own = [(HOST, 4), (HOST, 6)];
                methods(to, &[&own, list].concat());
            };
            let (narrowed, _revoker) = narrow::<host::Client>(&session.host, far.clone(), fill).await.expect("a cap");
            let process = spawn(&executor_of(&narrowed), |_| {}).await.expect("it starts");
            let mut request = narrowed.registry_request().send().pipeline.get_registry().register_request();
            request.get().set_name("known");
            request.get().set_process(process);
            let outcome = soon(request.send().promise).await.map(drop);
            if may {
                outcome.expect("it can be sent to");
            } else {
                contains(outcome, "cannot be sent to");
            }
        }
    });
}

#[test]
fn a_node_that_cannot_hold_its_cells_to_it_starts_none() {
    run_local(async {
        let session = session(Grants::all()).await;
        let older = connect(&session.host, "older");
        let executor = executor_of(&older);
        echo(&executor).await.expect("it is there");
        let (narrowed, _revoker) = narrow::<executor::Client>(&session.host, executor, &|_| {}).await.expect("a cap");
        contains(spawn(&narrowed, |_| {}).await.map(drop), "denied: the other node does not hold its cells");
        let (narrowed, _revoker) = narrow::<host::Client>(&session.host, older, &|_| {}).await.expect("a cap");
        id(&narrowed).await.expect("it starts nothing");
        contains(
            spawn(&executor_of(&narrowed), |_| {}).await.map(drop),
            "denied: the other node does not hold its cells",
        );
    });
}

#[test]
fn a_revocation_takes_effect_here_also_when_the_other_node_is_out_of_reach() {
    run_local(async {
        let session = session(Grants::all()).await;
        let executor = executor_of(&connect(&session.host, "friend"));
        let (narrowed, revoker) = narrow::<executor::Client>(&session.host, executor, &|_| {}).await.expect("a cap");
        let process = spawn(&narrowed, |mut spec| spec.set_detached(true)).await.expect("it starts");
        let status = soon(process.status_request().send().promise).await.expect("an answer");
        let cell = CellId::new(status.get().and_then(|status| status.get_status()).expect("a status").get_cell());
        let cell = session.directory().cell(cell).expect("it lives");
        session.stall();
        revoke(&revoker, "out of reach").await;
        contains(wait(&process).await.map_err(|error| error.extra), "revoked: out of reach");
        contains(spawn(&narrowed, |_| {}).await.map(drop), "revoked: out of reach");
        assert_eq!(cell.exit().reason(), None, "nobody has told the other node");
        session.cut();
        assert_eq!(soon(cell.exit().wait()).await, Reason::NoConnection);
    });
}

#[test]
fn a_peer_has_as_many_ends_of_membranes_as_it_may_narrow_capabilities() {
    run_local(async {
        let (_connection, client) = fixture::peer_with(Grants::none());
        let neighbour: neighbour::Client = client.host.cast_to();
        let open = async || soon(neighbour.membrane_request().send().promise).await;
        let mut held = Vec::new();
        for _ in 0..MAX_NARROWED {
            held.push(open().await.expect("nobody needs a grant for it"));
        }
        assert_eq!(open().await.map(drop).expect_err("full").kind, capnp::ErrorKind::Overloaded);
        drop(held);
        soon(async { while open().await.is_err() {} }).await;
    });
}
