//! What a guest may ask its node.

use std::collections::HashMap;

use capnp::{
    ErrorKind,
    capability::{Client, FromClientHook},
};
use ww_core::{Grants, grants::ExecutorMethod};
use ww_schema::cell_capnp::{
    exchange::{self, outcome::Which},
    exit_reason,
};

use super::*;
use crate::fixture::{ECHO, Session, close, local, parts, read, run, session, soon, vats, wasm, write};

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

async fn dial(session: &Session, peer_id: &[u8], name: &str, deadline: u32) -> Result<exchange::Client, Error> {
    let mut request = session.host.dial_request();
    request.get().set_peer_id(peer_id);
    request.get().init_addrs(1).set(0, b"a");
    request.get().set_name(name);
    request.get().set_deadline(deadline);
    soon(request.send().promise).await?.get()?.get_exchange()
}

async fn outcome(exchange: &exchange::Client) -> String {
    let response = soon(exchange.outcome_request().send().promise).await.expect("an outcome");
    let outcome = response.get().and_then(|results| results.get_outcome()).expect("an outcome");
    let text = |text: capnp::Result<capnp::text::Reader<'_>>| text.expect("a text").to_string().expect("UTF-8");
    match outcome.which().expect("one that is known") {
        Which::Ok(()) => "ok".to_owned(),
        Which::Failed(error) => format!("failed: {}", text(error)),
        Which::Ended(reason) => {
            let reason = reason.expect("a reason");
            assert!(matches!(reason.which(), Ok(exit_reason::Killed(()))));
            format!("ended with {}: {}", reason.get_code(), text(reason.get_text()))
        }
        Which::Refused(why) => format!("refused: {}", text(why)),
    }
}

#[test]
fn a_message_is_dialled_written_read_and_accounted_for() {
    local(async {
        let session = session(Grants::all()).await;
        let name = "x".repeat(63);
        for (name, deadline, expected) in [
            ("echo", 0, "ok".to_owned()),
            ("killed", 0, "ended with 137: killed".to_owned()),
            (&*name, 1_500, format!("failed: {name} within Some(1.5s)")),
        ] {
            let exchange = dial(&session, b"friend", name, deadline).await.expect("it answers");
            let request = exchange.request_request().send().pipeline.get_stream();
            let reply = exchange.reply_request().send().pipeline.get_stream();
            write(&request, b"hello").await.expect("open");
            assert_eq!(read(&reply, 99).await, Ok(b"HELLO".to_vec()));
            close(&request).await.expect("open");
            for _ in 0..2 {
                assert_eq!(outcome(&exchange).await, expected);
            }
        }
    });
}

#[test]
fn a_message_that_cannot_be_dialled_says_why() {
    local(async {
        let session = session(Grants::all()).await;
        for (peer, name, part) in [
            (&b"stranger"[..], "echo", "nobody answers at any address"),
            (b"friend", "Echo", "Echo"),
            (b"friend", "call", "reserved"),
            (b"friend", "", "name"),
        ] {
            let error = dial(&session, peer, name, 0).await.err().expect("no exchange");
            assert!(error.extra.contains(part), "{error}");
        }
    });
}

#[test]
fn a_cell_has_a_bounded_number_of_messages_under_way_and_gives_up_those_that_it_drops() {
    local(async {
        let session = session(Grants::all()).await;
        let mut exchanges = Vec::new();
        for _ in 0..MAX_DIALS {
            exchanges.push(dial(&session, b"friend", "echo", 0).await.expect("there is room"));
        }
        let error = dial(&session, b"friend", "echo", 0).await.err().expect("one more");
        assert!(error.extra.contains("64 messages of this cell are under way"), "{error}");
        // Its stream keeps a message alive, and nothing else does.
        let request = exchanges[0].request_request().send().pipeline.get_stream();
        write(&request, b"x").await.expect("open");
        exchanges.clear();
        write(&request, b"y").await.expect("still open");
        // A call is behind the releases before it.
        for _ in 0..MAX_DIALS - 1 {
            exchanges.push(dial(&session, b"friend", "echo", 0).await.expect("there is room again"));
        }
        assert!(dial(&session, b"friend", "echo", 0).await.is_err());
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
    let mut narrow = host.narrow_request();
    narrow.get().init_cap().set_as_capability(host.clone().client.hook);
    let results = [
        soon(host.id_request().send().promise).await.map(drop),
        soon(host.addrs_request().send().promise).await.map(drop),
        soon(host.peers_request().send().promise).await.map(drop),
        connect(session, b"friend", &[]).await,
        dial(session, b"friend", "echo", 0).await.map(drop),
        soon(host.nodes_request().send().promise).await.map(drop),
        granted.or_else(|error| {
            // Refused because nothing was handed over under this name, not because of the method.
            if error.extra.contains(NOTHING) { Ok(()) } else { Err(error) }
        }),
        soon(host.registry_request().send().promise).await.map(drop),
        soon(narrow.send().promise).await.map(drop),
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
    const METHODS: [&str; 15] = [
        "Host.id",
        "Host.addrs",
        "Host.peers",
        "Host.connect",
        "Host.dial",
        "Host.nodes",
        "Host.grant",
        "Host.registry",
        "Host.narrow",
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
        let nothing: Vec<_> = METHODS[..9].iter().copied().chain(unreachable).collect();
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
