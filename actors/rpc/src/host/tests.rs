//! What a guest may ask its node.

use capnp::ErrorKind;
use ww_core::{Grants, grants::ExecutorMethod};

use super::*;
use crate::fixture::{ECHO, Session, local, run, session, soon, wasm};

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

/// Calls each method that can be granted, and returns the names of those that were denied.
async fn denied_methods(session: &Session) -> Vec<String> {
    let executor = session.executor();
    let host = &session.host;
    let mut request = executor.echo_request();
    request.get().set_message("x");
    let results = [
        soon(host.id_request().send().promise).await.map(drop),
        soon(host.addrs_request().send().promise).await.map(drop),
        soon(host.peers_request().send().promise).await.map(drop),
        connect(session, b"friend", &[]).await,
        soon(host.executor_request().send().promise).await.map(drop),
        run(&executor, &wasm(ECHO), &[], &[]).done().await.map(drop),
        soon(request.send().promise).await.map(drop),
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
    const METHODS: [&str; 7] =
        ["Host.id", "Host.addrs", "Host.peers", "Host.connect", "Host.executor", "Executor.runBytes", "Executor.echo"];
    let without = |denied: &str| METHODS.into_iter().filter(|method| *method != denied).collect::<Vec<_>>();
    local(async {
        assert_eq!(denied_methods(&session(Grants::all()).await).await, [""; 0]);
        // Without the executor, its methods are out of reach: they fail with the denial of what leads to them.
        let unreachable = ["Host.executor"; 3];
        let nothing: Vec<_> = METHODS[..4].iter().copied().chain(unreachable).collect();
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
                expected.splice(expected.len() - 3.., unreachable);
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
            soon(host.grant_request().send().promise).await.map(drop),
            soon(host.registry_request().send().promise).await.map(drop),
            soon(host.dial_request().send().promise).await.map(drop),
            soon(host.nodes_request().send().promise).await.map(drop),
            soon(host.narrow_request().send().promise).await.map(drop),
            soon(executor.load_request().send().promise).await.map(drop),
            soon(executor.spawn_request().send().promise).await.map(drop),
            soon(executor.supervisor_request().send().promise).await.map(drop),
            soon(process.kill_request().send().promise).await.map(drop),
            soon(process.status_request().send().promise).await.map(drop),
        ];
        for error in errors {
            assert_eq!(error.expect_err("unimplemented").kind, ErrorKind::Unimplemented);
        }
    });
}
