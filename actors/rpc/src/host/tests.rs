//! What a guest may ask its node.

use std::{collections::HashMap, sync::Arc};

use capnp::{
    ErrorKind,
    capability::{Client, FromClientHook},
};
use ww_core::{Grants, grants::ExecutorMethod};

use super::*;
use crate::fixture::{ECHO, Session, local, parts, run, session, soon, vats, wasm};

fn list(list: capnp::Result<capnp::data_list::Reader<'_>>) -> Vec<Vec<u8>> {
    let list = list.expect("a list");
    list.iter().map(|data| data.expect("bytes").to_vec()).collect()
}

async fn connect(session: &Session, peer_id: &[u8], addrs: &[&[u8]]) -> Result<(), Error> {
    let mut request = session.host.connect_request();
    request.get().set_peer_id(peer_id);
    let mut list = request.get().init_addrs(count(addrs));
    for (index, addr) in (0..).zip(addrs) {
        list.set(index, addr);
    }
    soon(request.send().promise).await.map(drop)
}

#[test]
fn a_host_speaks_for_its_network() {
    local(async {
        let session = session(Grants::all()).await;
        let id = soon(session.host.id_request().send().promise).await.expect("an answer");
        assert_eq!(id.get().and_then(|id| id.get_peer_id()).expect("bytes"), b"me");
        let addrs = soon(session.host.addrs_request().send().promise).await.expect("an answer");
        assert_eq!(list(addrs.get().and_then(|addrs| addrs.get_addrs())), [&b"here"[..], b"", b"there"]);
        let peers = soon(session.host.peers_request().send().promise).await.expect("an answer");
        let peers: Vec<_> = peers
            .get()
            .and_then(|peers| peers.get_peers())
            .expect("a list")
            .iter()
            .map(|peer| (peer.get_peer_id().expect("bytes").to_vec(), list(peer.get_addrs())))
            .collect();
        let friend = (b"friend".to_vec(), vec![b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(peers, [friend, (b"lonely".to_vec(), Vec::new())]);
    });
}

#[test]
fn connecting_succeeds_or_says_why_not() {
    local(async {
        let session = session(Grants::all()).await;
        connect(&session, b"friend", &[b"a", b"b"]).await.expect("it answers");
        let error = connect(&session, b"stranger", &[]).await.expect_err("nobody answers");
        assert_eq!((error.kind, error.extra.contains("nobody answers at any address")), (ErrorKind::Failed, true));
        let most = usize::try_from(MAX_ADDRS).expect("small");
        connect(&session, b"friend", &vec![&b"a"[..]; most]).await.expect("as many as are tried");
        let error = connect(&session, b"friend", &vec![&b"a"[..]; most + 1]).await.expect_err("one more");
        assert!(error.extra.contains("65 addresses"), "{error}");
        let asked: Vec<_> = session.asked.lock().expect("no panic").iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(asked, [&b"friend"[..], b"stranger", b"friend"]);
    });
}

/// How a grant that was not handed over is refused.
const NOTHING: &str = "denied: \"nothing\"";

/// Calls each method that can be granted, and returns the names of those that were denied.
async fn denied_methods(session: &Session) -> Vec<String> {
    let executor = session.executor();
    let host = &session.host;
    let mut request = executor.echo_request();
    request.get().set_message("x");
    let mut load = executor.load_request();
    load.get().set_wasm(&wasm(ECHO));
    let mut spawn = executor.spawn_request();
    spawn.get().init_spec().init_program().set_wasm(&wasm(ECHO));
    let mut grant = host.grant_request();
    grant.get().set_name("nothing");
    let granted = soon(grant.send().promise).await.map(drop);
    let results = [
        soon(host.id_request().send().promise).await.map(drop),
        soon(host.addrs_request().send().promise).await.map(drop),
        soon(host.peers_request().send().promise).await.map(drop),
        connect(session, b"friend", &[]).await,
        granted.or_else(|error| {
            // Refused because nothing was handed over under this name, not because of the method.
            if error.extra.contains(NOTHING) { Ok(()) } else { Err(error) }
        }),
        soon(host.executor_request().send().promise).await.map(drop),
        run(&executor, &wasm(ECHO), &[], &[]).done().await.map(drop),
        soon(request.send().promise).await.map(drop),
        soon(load.send().promise).await.map(drop),
        soon(spawn.send().promise).await.map(drop),
        soon(executor.supervisor_request().send().promise).await.map(drop),
    ];
    let denied = results.into_iter().filter_map(|result| {
        let error = result.err()?;
        assert_eq!(error.kind, ErrorKind::Failed, "{error}");
        let (_, rest) = error.extra.split_once("denied: ").unwrap_or_else(|| panic!("{error}"));
        Some(rest.split(' ').next().unwrap_or_default().to_owned())
    });
    denied.collect()
}

#[test]
fn each_grant_grants_one_method() {
    /// All, in the order in which they are called.
    const METHODS: [&str; 11] = [
        "Host.id",
        "Host.addrs",
        "Host.peers",
        "Host.connect",
        "Host.grant",
        "Host.executor",
        "Executor.runBytes",
        "Executor.echo",
        "Executor.load",
        "Executor.spawn",
        "Executor.supervisor",
    ];
    let without = |denied: &str| METHODS.into_iter().filter(|method| *method != denied).collect::<Vec<_>>();
    local(async {
        assert_eq!(denied_methods(&session(Grants::all()).await).await, [""; 0]);
        // Without the executor, its methods are out of reach: they fail with the denial of what leads to them.
        let unreachable = ["Host.executor"; 6];
        let nothing: Vec<_> = METHODS[..5].iter().copied().chain(unreachable).collect();
        assert_eq!(denied_methods(&session(Grants::none()).await).await, nothing);

        for method in HostMethod::ALL {
            let mut all_but_one = Grants::all();
            all_but_one.host.remove(&method);
            let expected = match method {
                HostMethod::Executor => unreachable.map(str::to_owned).to_vec(),
                other => vec![other.to_string()],
            };
            assert_eq!(denied_methods(&session(all_but_one).await).await, expected, "without {method}");

            let one = Grants { host: [method].into(), ..Grants::none() };
            let mut expected = without(&method.to_string());
            if method != HostMethod::Executor {
                expected.splice(expected.len() - 6.., unreachable);
            }
            assert_eq!(denied_methods(&session(one).await).await, expected, "with {method}");
        }
        for method in ExecutorMethod::ALL {
            let mut all_but_one = Grants::all();
            all_but_one.executor.remove(&method);
            assert_eq!(denied_methods(&session(all_but_one).await).await, [method.to_string()], "without {method}");
        }
    });
}

#[test]
fn methods_that_do_not_exist_yet_are_unimplemented() {
    local(async {
        let session = session(Grants::all()).await;
        let executor = session.executor();
        let process = run(&executor, &wasm(ECHO), &[], &[]).process;
        let host = &session.host;
        let errors = [
            soon(host.registry_request().send().promise).await.map(drop),
            soon(host.dial_request().send().promise).await.map(drop),
            soon(host.nodes_request().send().promise).await.map(drop),
            soon(host.narrow_request().send().promise).await.map(drop),
            soon(process.open_request().send().promise).await.map(drop),
        ];
        for error in errors {
            assert_eq!(error.expect_err("unimplemented").kind, ErrorKind::Unimplemented);
        }
    });
}

#[test]
fn a_grant_is_the_capability_that_was_handed_over_under_its_name() {
    local(async {
        let (_duplex, own, _connected) = parts(None).await;
        let handed = HashMap::from([("self".to_owned(), own.cast_to::<Client>())]);
        let key = Key::new(handed, vats());
        let (_duplex, host, _connected) = parts(Some(Arc::new(key))).await;
        let grant = |name: &str| {
            let mut request = host.grant_request();
            request.get().set_name(name);
            soon(request.send().promise)
        };
        let response = grant("self").await.expect("it was handed over");
        let client: host::Client =
            response.get().and_then(|response| response.get_cap().get_as_capability()).expect("a capability");
        let id = soon(client.id_request().send().promise).await.expect("an answer");
        assert_eq!(id.get().and_then(|id| id.get_peer_id()).expect("bytes"), b"me");
        for other in ["", "Self", "wetware:cell/mail"] {
            let error = grant(other).await.map(drop).expect_err("it was not handed over");
            assert!(error.extra.contains("denied"), "{error}");
        }
    });
}
