//! A table of authority: every method of every interface, granted or not, narrowed to it or away from it, and revoked.
//!
//! The methods are read from the schemas, so that one that is added has its rows. The same rows run against a node that is
//! connected directly, against one behind another vat, and against another node that is reached through this one, where both
//! can narrow.

use std::{collections::BTreeMap, rc::Rc};

use capnp::{
    Error, any_pointer,
    capability::{Client, FromClientHook},
    traits::HasTypeId,
};
use ww_core::{
    Grants,
    grants::{ExecutorMethod, HostMethod},
    task::{self, Task},
};
use ww_schema::{
    admin_capnp::{admin, subscription},
    cell_capnp::{exchange, lease, monitor, observer, program, registry},
    grant_capnp::revoker,
    peer_capnp::{byte_stream, executor, host, nodes, process},
    supervision_capnp::supervisor,
};

use crate::fixture::{self, Session, calls, controller, local, soon, wasm};

/// The schemas, in which an interface looks like `interface Name {`, and a method like `  name @0 (`.
const SCHEMAS: [&str; 5] = [
    include_str!("../../../capnp/peer.capnp"),
    include_str!("../../../capnp/cell.capnp"),
    include_str!("../../../capnp/grant.capnp"),
    include_str!("../../../capnp/supervision.capnp"),
    include_str!("../../../capnp/admin.capnp"),
];

/// Interfaces that the node calls and does not serve, that have no methods of their own, or that nobody needs a grant for.
const NOT_SERVED: [&str; 5] = ["Observer", "Listener", "Local", "Neighbour", "Membrane"];

/// Returns at once.
const RETURN: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The method was there: it was answered, or failed for a reason of its own.
    Served,
    Denied,
    Revoked,
    Unimplemented,
}

/// The interfaces of the schemas with their methods, by ordinal.
fn interfaces() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut interfaces = BTreeMap::<_, Vec<_>>::new();
    for schema in SCHEMAS {
        let mut current = None;
        for line in schema.lines() {
            if let Some(name) = line.strip_prefix("interface ") {
                current = name.split([' ', '(']).next();
            } else if line.starts_with('}') {
                current = None;
            } else if let Some((name, rest)) = line.trim().split_once(" @")
                && let Some((ordinal, _)) = rest.split_once(" (")
                && let Some(interface) = current
                && !name.starts_with('#')
            {
                let methods = interfaces.entry(interface).or_default();
                assert_eq!(ordinal.parse(), Ok(methods.len()), "{interface}.{name}");
                methods.push(name);
            }
        }
    }
    interfaces
}

/// A capability of each interface, as far as a `Host` leads to it. All of them are promised and not awaited: what is
/// denied on the way fails the calls.
async fn subjects(host: &host::Client) -> BTreeMap<&'static str, (u64, Client)> {
    let executor = host.executor_request().send().pipeline.get_executor();
    let mut run = executor.run_bytes_request();
    run.get().set_wasm(&wasm(RETURN));
    let process = run.send().pipeline.get_process();
    let mut load = executor.load_request();
    load.get().set_wasm(&wasm(RETURN));
    let mut monitor = process.monitor_request();
    monitor.get().set_observer(capnp_rpc::new_client(Deaf));
    let supervisor = executor.supervisor_request().send().pipeline.get_supervisor();
    let mut narrow = host.narrow_request();
    narrow.get().init_cap().set_as_capability(host.client.hook.add_ref());
    let admin: admin::Client = host.clone().cast_to();

    let subjects = BTreeMap::from([
        ("Host", (host::Client::TYPE_ID, host.clone().cast_to())),
        ("Executor", (executor::Client::TYPE_ID, executor.clone().cast_to())),
        ("Process", (process::Client::TYPE_ID, process.clone().cast_to())),
        ("ByteStream", (byte_stream::Client::TYPE_ID, process.stdin_request().send().pipeline.get_stream().cast_to())),
        ("Program", (program::Client::TYPE_ID, load.send().pipeline.get_program().cast_to())),
        ("Exchange", (exchange::Client::TYPE_ID, process.open_request().send().pipeline.get_exchange().cast_to())),
        ("Monitor", (monitor::Client::TYPE_ID, monitor.send().pipeline.get_monitor().cast_to())),
        ("Lease", (lease::Client::TYPE_ID, process.lease_request().send().pipeline.get_lease().cast_to())),
        ("Registry", (registry::Client::TYPE_ID, host.registry_request().send().pipeline.get_registry().cast_to())),
        ("Nodes", (nodes::Client::TYPE_ID, host.nodes_request().send().pipeline.get_nodes().cast_to())),
        ("Revoker", (revoker::Client::TYPE_ID, narrow.send().pipeline.get_revoker().cast_to())),
        ("Supervisor", (supervisor::Client::TYPE_ID, supervisor.clone().cast_to())),
        ("Subscription", (subscription::Client::TYPE_ID, subscribe(&admin).cast_to())),
        ("Admin", (admin::Client::TYPE_ID, admin.cast_to())),
    ]);
    // So that nothing is waited for below. It may not be there.
    let _ = soon(supervisor.stop_request().send().promise).await;
    let _ = soon(process.wait_request().send().promise).await;
    subjects
}

fn subscribe(admin: &admin::Client) -> subscription::Client {
    let mut watch = admin.watch_request();
    watch.get().set_listener(capnp_rpc::new_client(Deaf));
    watch.send().pipeline.get_subscription()
}

/// Listens to nothing.
struct Deaf;

impl observer::Server for Deaf {}

impl ww_schema::admin_capnp::listener::Server for Deaf {}

/// Calls a method with nothing but defaults.
async fn call(client: &Client, interface: u64, ordinal: u16) -> Outcome {
    let request = client.new_call::<any_pointer::Owned, any_pointer::Owned>(interface, ordinal, None);
    match soon(request.send().promise).await {
        Ok(_) => Outcome::Served,
        Err(error) if error.extra.contains("revoked: ") => Outcome::Revoked,
        // What is denied for another reason than the method says of whom.
        Err(error) if error.extra.contains("denied: ") && !error.extra.contains("denied: \"\"") => Outcome::Denied,
        Err(error) if error.kind == capnp::ErrorKind::Unimplemented => Outcome::Unimplemented,
        Err(_) => Outcome::Served,
    }
}

async fn narrow(host: &host::Client, cap: &Client, methods: &[(u64, u16)]) -> Result<(Client, revoker::Client), Error> {
    calls::narrow(host, cap.clone(), &|to| calls::methods(to, methods)).await
}

/// Everything but one method, if it is one that can be granted.
fn all_but(interface: &str, method: &str) -> Option<Grants> {
    let name = format!("{interface}.{method}");
    let mut grants = Grants::all();
    let host = HostMethod::ALL.into_iter().find(|method| method.to_string() == name);
    let executor = ExecutorMethod::ALL.into_iter().find(|method| method.to_string() == name);
    host.is_some_and(|method| grants.host.remove(&method))
        .then_some(())
        .or_else(|| executor.is_some_and(|method| grants.executor.remove(&method)).then_some(()))?;
    Some(grants)
}

/// A `Host`, who else can narrow what it leads to, and what keeps it connected.
type Connected = (host::Client, Option<host::Client>, Box<dyn std::any::Any>);

/// Runs the table against what `connect` leads to with some grants.
async fn run(connect: impl AsyncFn(Grants) -> Connected) {
    let nothing = connect(Grants::none()).await;
    let unreachable = subjects(&nothing.0).await;
    let (host, near, _connection) = connect(Grants::all()).await;
    let reachable = subjects(&host).await;
    for (interface, methods) in interfaces() {
        if NOT_SERVED.contains(&interface) {
            continue;
        }
        let of_clients = ["Admin", "Subscription"].contains(&interface);
        for (ordinal, method) in (0..).zip(&methods) {
            let row = format!("{interface}.{method}");
            let (id, cap) = &reachable[interface];
            let (_, denied) = &unreachable[interface];
            if of_clients {
                let outcome = call(cap, *id, ordinal).await;
                assert!(matches!(outcome, Outcome::Unimplemented | Outcome::Denied), "{row}: not granted: {outcome:?}");
                continue;
            }
            assert_eq!(call(denied, *id, ordinal).await, Outcome::Denied, "{row}: nothing granted");
            if let Some(grants) = all_but(interface, method) {
                let (host, _, _connection) = connect(grants).await;
                let cap = match interface {
                    "Host" => host.cast_to(),
                    _ => host.executor_request().send().pipeline.get_executor().cast_to(),
                };
                assert_eq!(call(&cap, *id, ordinal).await, Outcome::Denied, "{row}: all but this granted");
            }
            check(&host, &row, cap, *id, ordinal).await;
            if let Some(near) = &near {
                check(near, &format!("{row} narrowed here"), cap, *id, ordinal).await;
            }
        }
    }
}

/// The columns of one method that is granted.
async fn check(host: &host::Client, row: &str, cap: &Client, id: u64, ordinal: u16) {
    let narrow = async |methods: &[(u64, u16)]| narrow(host, cap, methods).await.expect("it is narrowed");
    assert_eq!(call(cap, id, ordinal).await, Outcome::Served, "{row}: granted");
    let (to_it, _revoker) = narrow(&[(id, ordinal)]).await;
    assert_eq!(call(&to_it, id, ordinal).await, Outcome::Served, "{row}: narrowed to it");
    let (away, _revoker) = narrow(&[(id, 999)]).await;
    assert_eq!(call(&away, id, ordinal).await, Outcome::Denied, "{row}: narrowed away");
    let (other, _revoker) = narrow(&[(0, ordinal)]).await;
    assert_eq!(call(&other, id, ordinal).await, Outcome::Denied, "{row}: narrowed to another interface");
    let (whole, revoker) = narrow(&[]).await;
    assert_eq!(call(&whole, id, ordinal).await, Outcome::Served, "{row}: narrowed, but not by method");
    soon(revoker.revoke_request().send().promise).await.expect("it is revoked");
    assert_eq!(call(&whole, id, ordinal).await, Outcome::Revoked, "{row}: revoked");
}

#[test]
fn every_interface_of_the_schemas_is_in_the_table() {
    let found = interfaces();
    assert_eq!(found["Host"].len(), 10);
    assert_eq!(found["Process"].len(), 13);
    local(async {
        let session = fixture::session(Grants::all()).await;
        let subjects = subjects(&session.host).await;
        for interface in found.keys() {
            let known = subjects.contains_key(interface) || NOT_SERVED.contains(interface);
            assert!(known, "{interface}: add it to the subjects of the table");
        }
    });
}

#[test]
fn a_cell_of_this_node_can_do_what_it_was_granted() {
    local(run(async |grants| {
        let session = fixture::session(grants).await;
        (session.host.clone(), None, Box::new(session) as Box<_>)
    }));
}

#[test]
fn a_peer_can_do_what_it_was_granted() {
    local(run(async |grants| {
        let (connection, client) = fixture::peer_with(grants);
        (client.host, None, Box::new(connection) as Box<_>)
    }));
}

#[test]
fn on_another_node_it_is_the_same_whoever_of_the_two_narrows_it() {
    local(run(async |grants| {
        let (session, far) = fixture::session_beside(grants).await;
        (far, Some(session.host.clone()), Box::new(session) as Box<_>)
    }));
}

#[test]
fn through_another_vat_it_is_the_same() {
    local(run(async |grants| {
        let session = fixture::session(grants).await;
        let (host, middle) = behind_another_vat(&session);
        (host, None, Box::new((session, middle)) as Box<_>)
    }));
}

/// A `Host` as it is seen through a vat in the middle, which forwards everything.
fn behind_another_vat(session: &Session) -> (host::Client, (Task<()>, Task<capnp::Result<()>>)) {
    let (to_middle, from_outside) = ww_cell::pipe::pipe(ww_cell::pipe::CAPACITY);
    let (to_outside, from_middle) = ww_cell::pipe::pipe(ww_cell::pipe::CAPACITY);
    let bootstrap = session.host.client.clone();
    let middle = crate::vats::drive(from_outside, to_outside, bootstrap, 0, Rc::default());
    let middle = task::spawn_local(task::Kind::owned("middle", "a test"), middle);
    let (host, system) = fixture::client(from_middle, to_middle);
    (host, (middle, system))
}

#[test]
fn a_chain_ends_with_its_middle() {
    local(async {
        let session = fixture::session(Grants::all()).await;
        let (host, (middle, _system)) = behind_another_vat(&session);
        let (narrowed, _revoker) =
            narrow(&session.host, &session.host.clone().cast_to(), &[]).await.expect("it is narrowed");
        let (handed_on, _revoker) = narrow(&host, &narrowed, &[]).await.expect("it is narrowed");
        assert_eq!(call(&handed_on, host::Client::TYPE_ID, 0).await, Outcome::Served);
        drop(middle);
        let request = handed_on.new_call::<any_pointer::Owned, any_pointer::Owned>(host::Client::TYPE_ID, 0, None);
        let error = soon(request.send().promise).await.map(drop).expect_err("the middle has ended");
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        assert_eq!(call(&narrowed, host::Client::TYPE_ID, 0).await, Outcome::Served, "the first part goes on");
    });
}

#[test]
fn a_client_of_the_control_socket_has_everything_and_can_narrow_it() {
    local(async {
        let (_connection, client) = controller(std::sync::Arc::new(|| {}));
        let found = interfaces();
        let reachable = subjects(&client.host).await;
        for interface in ["Admin", "Subscription", "Host", "Registry"] {
            let (id, cap) = &reachable[interface];
            for (ordinal, method) in (0..).zip(&found[interface]) {
                check(&client.host, &format!("{interface}.{method}"), cap, *id, ordinal).await;
            }
        }
    });
}
