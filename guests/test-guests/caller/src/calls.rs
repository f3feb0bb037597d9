//! One call of each method that a cell can reach from its `Host`.

use ww_guest::{
    capnp::Error,
    peer_capnp::host,
    rpc::{Executor, Registry},
};

/// Bytes that are neither a peer id nor a program.
const NONSENSE: &[u8] = b"nonsense";

/// All methods, as `call` knows them.
pub(crate) const METHODS: [&str; 17] = [
    "id",
    "addrs",
    "peers",
    "connect",
    "executor",
    "registry",
    "dial",
    "nodes",
    "narrow",
    "run",
    "echo",
    "load",
    "spawn",
    "supervisor",
    "names",
    "whereis",
    "grant",
];

/// Calls one method and waits for its answer.
pub(crate) async fn call(host: &host::Client, method: &str) -> Result<(), Error> {
    match method {
        "id" => host.id_request().send().promise.await.map(drop),
        "addrs" => host.addrs_request().send().promise.await.map(drop),
        "peers" => host.peers_request().send().promise.await.map(drop),
        "connect" => {
            let mut request = host.connect_request();
            request.get().set_peer_id(NONSENSE);
            request.send().promise.await.map(drop)
        }
        "executor" => host.executor_request().send().promise.await.map(drop),
        "grant" => {
            let mut request = host.grant_request();
            request.get().set_name("nothing");
            request.send().promise.await.map(drop)
        }
        "registry" => host.registry_request().send().promise.await.map(drop),
        "dial" => {
            let mut request = host.dial_request();
            request.get().set_peer_id(NONSENSE);
            request.get().set_name("nothing");
            request.send().promise.await.map(drop)
        }
        "nodes" => host.nodes_request().send().promise.await.map(drop),
        "narrow" => host.narrow_request().send().promise.await.map(drop),
        "echo" => Executor::of(host).echo("hello").await.map(drop),
        "load" => {
            let mut request = Executor::of(host).client().load_request();
            request.get().set_wasm(NONSENSE);
            request.send().promise.await.map(drop)
        }
        "spawn" => Executor::of(host).client().spawn_request().send().promise.await.map(drop),
        "run" => Executor::of(host).run_bytes(NONSENSE, &[""; 0], &[""; 0]).await.map(drop),
        "names" => Registry::of(host).names().await.map(drop),
        "whereis" => Registry::of(host).whereis("nothing").await.map(drop),
        "supervisor" => Executor::of(host).client().supervisor_request().send().promise.await.map(drop),
        _ => Err(Error::failed(format!("no such method: {method}"))),
    }
}
