//! Capabilities of other nodes, narrowed, handed on and taken back, and chains that end with the node in their middle.

use capnp::{
    Error, ErrorKind,
    capability::{Client, FromClientHook},
    traits::HasTypeId,
};
use rustix::process::Signal;
use tokio::{net::UnixStream, task::LocalSet};
use ww_net::{Multiaddr, PeerId};
use ww_rpc::client::{self, Connection};
use ww_schema::{
    cell_capnp::spec,
    grant_capnp::revoker,
    peer_capnp::{executor, host, process},
};

use crate::{
    client::soon,
    harness::Running,
    image::{Image, guest},
    remote::{Key, everything, grants, place},
    server::Server,
    verbs::User,
};

/// Numbers of methods of `Executor`.
const LOAD: u16 = 2;
const SPAWN: u16 = 3;

/// Milliseconds after which a capability expires: enough to start a cell before, on a busy machine.
const EXPIRES: u64 = 4_000;

/// A node of this user with this key.
fn node<'image>(user: &User, image: &'image Image, key: &Key) -> Running<'image> {
    let control = format!("unix:{}", user.directory().join("my.sock").display());
    let node = user.run(image, &["--async", "--name", "near", "--control", &control]);
    let mut node = node.arg_path("--identity", &key.file()).start();
    node.wait_for_stderr("the cell serves messages");
    node
}

/// What a client of its control socket gets.
async fn client_of(user: &User) -> (Connection, host::Client) {
    let wire = UnixStream::connect(user.directory().join("my.sock")).await.expect("it listens");
    let (reader, writer) = tokio::io::split(wire);
    let (connection, local) = client::connect(reader, writer);
    (connection, local.host)
}

/// Connects a node to another.
async fn connect(host: &host::Client, (peer, addr): (PeerId, Multiaddr)) -> host::Client {
    let mut request = host.nodes_request().send().pipeline.get_nodes().connect_request();
    request.get().set_peer_id(&peer.to_bytes());
    request.get().init_addrs(1).set(0, &addr.to_vec());
    let answer = soon(request.send().promise).await.expect("connected");
    answer.get().and_then(|answer| answer.get_bootstrap().get_as_capability()).expect("a host")
}

fn first(server: &Server<'_>) -> (PeerId, Multiaddr) {
    server.places().next().expect("a place")
}

fn executor_of(host: &host::Client) -> executor::Client {
    host.executor_request().send().pipeline.get_executor()
}

/// Narrows an executor to these of its methods, and to cells with names and no other grants; to nothing less, if there are
/// none.
async fn narrow(
    by: &host::Client,
    cap: &executor::Client,
    methods: &[u16],
    expires: u64,
) -> (executor::Client, revoker::Client) {
    let mut request = by.narrow_request();
    request.get().init_cap().set_as_capability(cap.client.hook.add_ref());
    let mut to = request.get().init_to();
    to.set_expires(expires);
    if !methods.is_empty() {
        to.reborrow().init_grants(1).set(0, "wetware:cell/registry");
    }
    let mut list = to.init_methods(methods.len() as u32);
    for (index, method) in (0..).zip(methods) {
        let mut entry = list.reborrow().get(index);
        entry.set_interface(executor::Client::TYPE_ID);
        entry.set_method(*method);
    }
    let answer = soon(request.send().promise).await.expect("narrowed");
    let answer = answer.get().expect("narrowed");
    let narrowed = answer.get_cap().get_as_capability().expect("narrowed");
    (narrowed, answer.get_revoker().expect("a revoker"))
}

async fn revoke(revoker: &revoker::Client) {
    let mut request = revoker.revoke_request();
    request.get().set_reason("the test says so");
    soon(request.send().promise).await.expect("revoked");
}

async fn spawn(executor: &executor::Client, set: impl FnOnce(spec::Builder<'_>)) -> Result<process::Client, Error> {
    let mut request = executor.spawn_request();
    set(request.get().init_spec());
    soon(request.send().promise).await?.get()?.get_process()
}

/// A cell with a name that answers messages.
fn actor(name: &str) -> impl FnOnce(spec::Builder<'_>) {
    move |mut spec| {
        spec.reborrow().init_program().set_wasm(&guest("actor"));
        spec.set_async(true);
        spec.set_name(name);
    }
}

/// The same that outlives who holds it.
fn detached_actor(name: &str) -> impl FnOnce(spec::Builder<'_>) {
    move |mut spec| {
        spec.set_detached(true);
        actor(name)(spec);
    }
}

async fn send(process: &process::Client, message: &[u8]) -> Result<String, Error> {
    let mut request = process.send_request();
    request.get().set_message(message);
    let answer = soon(request.send().promise).await?;
    Ok(String::from_utf8_lossy(answer.get()?.get_reply()?).into_owned())
}

/// A cell of a node by its name, which does not keep it.
async fn whereis(host: &host::Client, name: &str) -> process::Client {
    let mut request = host.registry_request().send().pipeline.get_registry().whereis_request();
    request.get().set_name(name);
    let answer = soon(request.send().promise).await.expect("the registry answers");
    answer.get().and_then(|answer| answer.get_process()).expect("it is there")
}

async fn code(process: &process::Client) -> i32 {
    let answer = soon(process.wait_request().send().promise).await.expect("it ended");
    answer.get().expect("a code").get_exit_code()
}

async fn load(executor: &executor::Client, wasm: &[u8]) -> Result<Client, Error> {
    let mut request = executor.load_request();
    request.get().set_wasm(wasm);
    Ok(soon(request.send().promise).await?.get()?.get_program()?.cast_to())
}

/// Runs a test between a node of a user and a server that grants it everything, with the `Host` of the one and, through it, that
/// of the other.
async fn between_two_nodes(test: impl AsyncFnOnce(host::Client, host::Client, &Server<'_>)) {
    let (user, key, image) = (User::new(), Key::new(), Image::of("echo"));
    let server = grants(&image, "echo", &everything(&key.id));
    let running = node(&user, &image, &key);
    let test = async {
        let (_connection, near) = client_of(&user).await;
        let far = connect(&near, first(&server)).await;
        test(near, far, &server).await;
    };
    LocalSet::new().run_until(test).await;
    drop(running);
    server.stop().expect(143, "");
}

#[tokio::test]
async fn an_executor_of_another_node_is_narrowed_and_taken_back_by_either_node() {
    between_two_nodes(async |near, far, _| {
        let whole = executor_of(&far);
        for (by, name) in [(&near, "by-near"), (&far, "by-far")] {
            let (narrowed, revoker) = narrow(by, &whole, &[SPAWN], 0).await;
            let denied = load(&narrowed, &guest("actor")).await.err().expect("denied");
            assert!(denied.extra.contains("denied: Executor.load was narrowed away"), "{denied}");
            let process = spawn(&narrowed, actor(name)).await.expect("a cell");
            assert_eq!(send(&process, b"count\n").await.expect("an answer"), "1");
            let seen = whereis(&far, name).await;
            let detached = format!("{name}-detached");
            spawn(&narrowed, detached_actor(&detached)).await.expect("a cell");
            let detached = whereis(&far, &detached).await;
            revoke(&revoker).await;
            assert_eq!(code(&seen).await, 143, "{name}: what was started ends with `shutdown`");
            assert_eq!(code(&detached).await, 143, "{name}: also what is detached");
            for error in [send(&process, b"count\n").await.err(), spawn(&narrowed, actor(name)).await.err()] {
                let error = error.expect("revoked");
                assert!(error.extra.contains("revoked: the test says so"), "{error}");
            }

            // The node that loaded a program knows it again, whoever narrowed.
            let (narrowed, _revoker) = narrow(by, &whole, &[SPAWN], 0).await;
            let program = load(&whole, &guest("actor")).await.expect("a program").cast_to();
            let loaded = spawn(&narrowed, |mut spec| {
                spec.set_async(true);
                spec.init_program().set_loaded(program);
            });
            loaded.await.unwrap_or_else(|error| panic!("{name}: {error}"));

            // A list of methods is one of what cells may be given, too.
            let set = |mut spec: spec::Builder<'_>| {
                spec.reborrow().init_grants(1).get(0).set_name("wetware:cell/log");
                actor("with-log")(spec);
            };
            let denied = spawn(&narrowed, set).await.err().expect("denied");
            assert!(denied.extra.contains("denied: wetware:cell/log"), "{denied}");

            let (narrowed, _revoker) = narrow(by, &whole, &[], EXPIRES).await;
            let brief = format!("{name}-brief");
            let process = spawn(&narrowed, actor(&brief)).await.expect("a cell");
            let seen = whereis(&far, &brief).await;
            assert_eq!(code(&seen).await, 143, "{name}: it ends when what it was started through expires");
            for error in [send(&process, b"count\n").await.err(), spawn(&narrowed, actor(&brief)).await.err()] {
                let error = error.expect("it has expired");
                assert!(error.extra.contains("revoked: it has expired"), "{error}");
            }
        }
        load(&whole, &guest("actor")).await.expect("the whole one goes on");
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_here_is_so_also_when_the_other_node_is_out_of_reach() {
    between_two_nodes(async |near, far, server| {
        let (narrowed, revoker) = narrow(&near, &executor_of(&far), &[], 0).await;
        let process = spawn(&narrowed, detached_actor("detached")).await.expect("a cell");
        let seen = whereis(&far, "detached").await;
        server.running.signal(Signal::STOP);
        let waiting = process.wait_request().send().promise;
        revoke(&revoker).await;
        for error in [soon(waiting).await.err(), spawn(&narrowed, actor("another")).await.err()] {
            let error = error.expect("revoked");
            assert!(error.extra.contains("revoked: the test says so"), "{error}");
        }
        server.running.signal(Signal::CONT);
        assert_eq!(code(&seen).await, 143, "it ends when the other node is told");
    })
    .await;
}

#[tokio::test]
async fn a_cell_that_traps_exits_is_told_of_the_end_of_one_of_another_node() {
    between_two_nodes(async |near, far, _| {
        let set = |mut spec: spec::Builder<'_>| {
            spec.reborrow().init_program().set_wasm(&guest("neighbour"));
            spec.set_async(true);
            let mut grants = spec.init_grants(2);
            grants.reborrow().get(0).set_name("wetware:cell/self");
            grants.reborrow().get(1).set_name("wetware:cell/process");
        };
        let watcher = spawn(&executor_of(&far), set).await.expect("a cell");
        assert_eq!(send(&watcher, b"trap on").await.expect("an answer"), "false");
        let own = spawn(&executor_of(&near), actor("own")).await.expect("a cell");
        let mut request = own.link_request();
        request.get().set_other(watcher.clone());
        soon(request.send().promise).await.expect("linked");
        soon(own.kill_request().send().promise).await.expect("killed");
        let heard = soon(async {
            loop {
                let heard = send(&watcher, b"heard").await.expect("it goes on");
                if !heard.is_empty() {
                    break heard;
                }
            }
        });
        let heard = heard.await;
        assert!(heard.starts_with("exit ") && heard.ends_with("Killed killed"), "{heard}");
    })
    .await;
}

#[tokio::test]
async fn a_guest_is_handed_an_executor_of_another_node_until_it_is_taken_back() {
    between_two_nodes(async |near, far, _| {
        let whole = executor_of(&far);
        let program = load(&whole, &guest("caller")).await.expect("a program");
        let (narrowed, revoker) = narrow(&far, &whole, &[LOAD, SPAWN], 0).await;
        let own = executor_of(&near);
        let starter = spawn(&own, |mut spec| {
            spec.reborrow().init_program().set_wasm(&guest("caller"));
            let mut args = spec.reborrow().init_args(2);
            args.set(0, "start-with");
            args.set(1, "executor");
            let mut grants = spec.init_grants(2);
            for (index, (name, cap)) in (0..).zip([("executor", &narrowed.client), ("program", &program)]) {
                let mut grant = grants.reborrow().get(index);
                grant.set_name(name);
                grant.init_cap().set_as_capability(cap.hook.add_ref());
            }
        });
        let starter = starter.await.expect("a cell of this node");
        assert_eq!(send(&starter, b"").await.expect("an answer"), "ok\n");
        let started = whereis(&far, "started").await;
        revoke(&revoker).await;
        assert_eq!(code(&started).await, 143);
        let told = send(&starter, b"").await.expect("an answer");
        assert!(told.contains("revoked: the test says so"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn a_chain_of_nodes_ends_with_the_one_in_the_middle() {
    let (user, key, middle_key, image) = (User::new(), Key::new(), Key::new(), Image::of("echo"));
    let end = grants(&image, "echo", &everything(&middle_key.id));
    let file = middle_key.file();
    let config = everything(&key.id);
    let middle = crate::server::serve_with(&image, "echo", |ww| {
        ww.args(["--async"]).arg_path("--identity", &file).config(&config)
    });
    let running = node(&user, &image, &key);
    let test = async {
        let (_connection, near) = client_of(&user).await;
        let second = connect(&near, first(&middle)).await;
        let third = connect(&second, first(&end)).await;
        let process = spawn(&executor_of(&third), actor("far")).await.expect("a cell");
        assert_eq!(send(&process, b"count\n").await.expect("an answer"), "1");
        let (narrowed, _revoker) = narrow(&near, &executor_of(&third), &[], 0).await;
        soon(narrowed.echo_request().send().promise).await.expect("it answers");
        let waiting = process.wait_request().send().promise;
        middle.running.signal(Signal::KILL);
        let ended = soon(waiting).await.expect("it is told");
        assert_eq!(ended.get().expect("a code").get_exit_code(), 69, "no connection");
        for error in [
            send(&process, b"count\n").await.err(),
            soon(narrowed.echo_request().send().promise).await.err(),
            soon(third.id_request().send().promise).await.err(),
        ] {
            let error = error.expect("out of reach");
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        }
        soon(near.id_request().send().promise).await.expect("what is before the middle goes on");
        running.signal(Signal::KILL);
        soon(async { while near.id_request().send().promise.await.is_ok() {} }).await;
        let error = soon(near.id_request().send().promise).await.err().expect("out of reach");
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
    };
    LocalSet::new().run_until(test).await;
    drop(middle);
    // With the key of the middle one, as it is free again: what was started through it has ended for that reason.
    let place = place(&end);
    let ended = (2..10).map(|id: u64| id.to_string()).find(|id| {
        let ended = middle_key.ask(&place, &["inspect", id]);
        ended.stdout.contains("state: ended with 69: no connection")
    });
    assert!(ended.is_some(), "the cell of the last node has ended");
    end.stop().expect(143, "");
}
