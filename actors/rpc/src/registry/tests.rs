use ww_core::{
    CellId, Grants, Limits,
    grants::Reach,
    registry::{MAX_NAMES, MAX_NAMES_EACH, Owner},
};
use ww_schema::{cell_capnp, peer_capnp::executor};

use super::*;
use crate::{
    Entitlement,
    fixture::{Session, calls, controller, executor_alone, local, peer_with, session, soon, visitor_of, wait},
};

async fn spawn(executor: &executor::Client, name: &str) -> process::Client {
    calls::spawn(executor, |mut spec| spec.set_name(name)).await.expect("it starts")
}

async fn names(registry: &registry::Client) -> Vec<String> {
    let names = soon(registry.names_request().send().promise).await.expect("an answer");
    let names = names.get().and_then(|names| names.get_names()).expect("a list");
    names.iter().map(|name| name.expect("a name").to_string().expect("text")).collect()
}

async fn whereis(registry: &registry::Client, name: &str) -> Result<Option<process::Client>, Error> {
    let mut request = registry.whereis_request();
    request.get().set_name(name);
    let response = soon(request.send().promise).await?;
    let response = response.get()?;
    response.has_process().then(|| response.get_process()).transpose()
}

async fn register(registry: &registry::Client, name: &str, process: &process::Client) -> Result<(), String> {
    let mut request = registry.register_request();
    request.get().set_name(name);
    request.get().set_process(process.clone());
    soon(request.send().promise).await.map(drop).map_err(|error| error.extra)
}

async fn unregister(registry: &registry::Client, name: &str) -> Result<(), String> {
    let mut request = registry.unregister_request();
    request.get().set_name(name);
    soon(request.send().promise).await.map(drop).map_err(|error| error.extra)
}

async fn send(process: &process::Client) -> Result<(), String> {
    let mut request = process.send_request();
    request.get().set_message(b"x");
    soon(request.send().promise).await.map(drop).map_err(|error| error.extra)
}

fn contains<T: std::fmt::Debug>(result: Result<T, String>, part: &str) {
    let error = result.expect_err(part);
    assert!(error.contains(part), "{error:?} does not contain {part:?}");
}

fn registry_of(session: &Session) -> registry::Client {
    session.host.registry_request().send().pipeline.get_registry()
}

/// What a test of its own calls its cells: all tests share one node.
fn of<'a>(prefix: &str, names: &'a [String]) -> Vec<&'a str> {
    names.iter().filter_map(|name| name.strip_prefix(prefix)).collect()
}

#[test]
fn a_cell_sees_its_own_and_those_that_it_may_send_to() {
    local(async {
        let [friend, ward] =
            ["reg1-friend", "reg1-ward"].map(|name| Reach::Names([name.parse().expect("a name")].into()));
        let me = session(Grants { mail: friend, process: Some(ward), ..Grants::all() }).await;
        let other = session(Grants::all()).await;
        let [registry, executor] = [registry_of(&me), registry_of(&other)];
        let (own, everybody) = (registry, executor);
        let child = spawn(&me.executor(), "reg1-child").await;
        let friend = spawn(&other.executor(), "reg1-friend").await;
        let _stranger = spawn(&other.executor(), "reg1-stranger").await;
        let ward = spawn(&other.executor(), "reg1-ward").await;

        assert_eq!(of("reg1-", &names(&own).await), ["child", "friend", "ward"]);
        assert_eq!(
            of("reg1-", &names(&everybody).await),
            ["child", "friend", "stranger", "ward"],
            "it may send to all"
        );
        for missing in ["reg1-stranger", "reg1-nobody"] {
            assert!(whereis(&own, missing).await.expect("an answer").is_none(), "{missing}");
        }
        assert!(whereis(&own, "No Name").await.is_err());

        let found = whereis(&own, "reg1-friend").await.expect("an answer").expect("it is there");
        send(&found).await.expect("it may");
        let denied = soon(found.kill_request().send().promise).await.map(drop).map_err(|error| error.extra);
        contains(denied, "denied: method 6");
        let denied = soon(found.status_request().send().promise).await.map(drop).map_err(|error| error.extra);
        contains(denied, "denied: method 7");
        drop(found);
        let found = whereis(&own, "reg1-ward").await.expect("an answer").expect("it is there");
        contains(send(&found).await, "denied: method 4");
        soon(found.status_request().send().promise).await.expect("the grant names it");
        soon(found.kill_request().send().promise).await.expect("the grant names it");
        assert_eq!(wait(&ward).await, Ok(137));
        send(&friend).await.expect("it lives on");
        let found = whereis(&own, "reg1-child").await.expect("an answer").expect("it is there");
        soon(found.kill_request().send().promise).await.expect("it is its own");
        assert_eq!(wait(&child).await, Ok(137));
        assert!(whereis(&own, "reg1-child").await.expect("an answer").is_none(), "its name went with it");
    });
}

#[test]
fn names_are_given_to_own_cells_and_taken_back() {
    local(async {
        let (me, other) = (session(Grants::all()).await, session(Grants::all()).await);
        let (own, others) = (registry_of(&me), registry_of(&other));
        let child = spawn(&me.executor(), "reg2-child").await;
        let foreign = spawn(&other.executor(), "reg2-foreign").await;
        register(&own, "reg2-role", &child).await.expect("it is free");
        contains(register(&own, "reg2-role", &child).await, "taken");
        contains(register(&own, "reg2-other", &foreign).await, "none of this node");
        contains(register(&own, "rpc", &child).await, "reserved");
        struct Fake;
        impl process::Server for Fake {}
        contains(register(&own, "reg2-fake", &capnp_rpc::new_client(Fake)).await, "none of this node");
        assert_eq!(of("reg2-", &names(&own).await), ["child", "foreign", "role"]);
        contains(unregister(&others, "reg2-role").await, "not registered");
        contains(unregister(&own, "reg2-child").await, "not registered");
        unregister(&own, "reg2-role").await.expect("it has it");
        contains(unregister(&own, "reg2-role").await, "not registered");
        soon(child.kill_request().send().promise).await.expect("it lives");
        contains(register(&own, "reg2-role", &child).await, "not below it");
    });
}

#[test]
fn a_client_sees_all_and_may_name_all() {
    local(async {
        let (_connection, client) = controller(std::sync::Arc::new(|| {}));
        let cell = session(Grants::all()).await;
        let process = spawn(&cell.executor(), "reg3-cell").await;
        let registry = client.host.registry_request().send().pipeline.get_registry();
        assert_eq!(of("reg3-", &names(&registry).await), ["cell"]);
        let found = whereis(&registry, "reg3-cell").await.expect("an answer").expect("it is there");
        register(&registry, "reg3-role", &found).await.expect("it may name any cell");
        let cells = cell_capnp::registry::Client::clone(&registry_of(&cell));
        unregister(&cells, "reg3-role").await.expect("the cell's owner may as well");
        soon(found.kill_request().send().promise).await.expect("it may end any cell");
        assert_eq!(wait(&process).await, Ok(137));
    });
}

#[test]
fn a_client_on_another_machine_sees_its_own() {
    local(async {
        let (_connection, client) = peer_with(Grants { mail: Reach::Nobody, ..Grants::all() });
        let cell = session(Grants::all()).await;
        let _other = spawn(&cell.executor(), "regp-cell").await;
        let registry = client.host.registry_request().send().pipeline.get_registry();
        let _own = spawn(&client.host.executor_request().send().pipeline.get_executor(), "regp-own").await;
        assert_eq!(of("regp-", &names(&registry).await), ["own"]);
    });
}

#[test]
fn through_a_narrowed_host_only_what_was_started_through_it_is_below() {
    local(async {
        let me = session(Grants::all()).await;
        let mut request = me.host.narrow_request();
        request.get().init_cap().set_as_capability(me.host.clone().client.hook);
        // No messages to others: the list of grants is not empty, and does not name them.
        request.get().init_to().init_grants(1).set(0, "wetware:cell/registry");
        let response = soon(request.send().promise).await.expect("it is narrowed");
        let narrowed: ww_schema::peer_capnp::host::Client =
            response.get().and_then(|response| response.get_cap().get_as_capability()).expect("a capability");
        let own = spawn(&me.executor(), "reg4-own").await;
        let registry = narrowed.registry_request().send().pipeline.get_registry();
        assert_eq!(of("reg4-", &names(&registry).await), [""; 0]);
        contains(register(&registry, "reg4-x", &own).await, "not below it");
        let executor = narrowed.executor_request().send().pipeline.get_executor();
        let through = spawn(&executor, "reg4-through").await;
        assert_eq!(of("reg4-", &names(&registry).await), ["through"]);
        register(&registry, "reg4-x", &through).await.expect("it was started through it");
        assert_eq!(of("reg4-", &names(&registry_of(&me)).await), ["own", "through", "x"]);
    });
}

#[test]
fn a_client_leaves_as_many_names_to_others_as_it_has() {
    local(async {
        let node = executor_alone();
        let taken = node.directory().names();
        // Others have all but four: each as many as it leaves.
        let mut cells = (1_u64 << 40..).map(|number| Owner::Cell(CellId::new(number)));
        for part in 0..14 {
            for owner in cells.by_ref() {
                taken.open(owner, part);
                let fits = |number| {
                    let name = Name::new(format!("{part}-{}-{number}", taken.len())).expect("a name");
                    taken.register(name, owner).is_ok()
                };
                if !(0..MAX_NAMES_EACH).all(fits) {
                    break;
                }
            }
        }
        assert_eq!(taken.len(), MAX_NAMES - 4);
        let entitlement = Entitlement::everything(Limits::default());
        let (_connection, client) = visitor_of(&node, entitlement, std::sync::Arc::new(|| {}));
        let executor = client.host.executor_request().send().pipeline.get_executor();
        let process = calls::spawn(&executor, |_| {}).await.expect("it starts");
        let registry = client.host.registry_request().send().pipeline.get_registry();
        register(&registry, "one", &process).await.expect("four are left");
        register(&registry, "two", &process).await.expect("three are left");
        contains(register(&registry, "three", &process).await, "2 names here, as many as are left for all others");
        unregister(&registry, "one").await.expect("it has that");
        register(&registry, "three", &process).await.expect("it has one again");
        soon(process.kill_request().send().promise).await.expect("it may end what it started");
        wait(&process).await.expect("it has ended");
    });
}
