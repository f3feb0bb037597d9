//! Messages to a peer that plays its part by hand.

use std::time::Duration;

use tokio::{io::WriteHalf, time::timeout};
use ww_cell::{Cause, message::Chain};
use ww_core::{CellId, Name, Platform, exit::Reason as Exit};
use ww_net::{
    Config, Identity, Incoming,
    call::{Accepted, Reader, Writer},
};

use super::*;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    _platform: Platform,
    net: Net,
    peer: Net,
    incoming: Incoming,
    cause: Option<Cause>,
}

async fn world() -> World {
    let platform = Platform::start(Handle::current()).expect("threads");
    let listening = Config { listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("valid")], ..Config::default() };
    let peer = Net::start(listening, Identity::ephemeral(), &platform.arbiter().expect("a thread starts"))
        .await
        .expect("a network");
    let net = Net::start(Config::default(), Identity::ephemeral(), &platform.arbiter().expect("a thread starts"))
        .await
        .expect("a network");
    let incoming = peer.accept(Protocol::Call).expect("nobody accepts calls");
    World { _platform: platform, net, peer, incoming, cause: None }
}

impl World {
    async fn try_dial(&self, to: PeerId, deadline: Option<Duration>) -> Result<Dialled, String> {
        let addrs = self.peer.addrs().await.iter().map(Multiaddr::to_vec).collect();
        let (from, peer_id) = (CellId::new(7), to.to_bytes());
        let (name, cause) = (Name::new("echo").expect("a name"), self.cause.clone());
        let asked = Dial { from, peer_id, addrs, name, deadline, cause };
        dial(&self.net, &Calls::default(), &Handle::current(), asked, Account::unlimited()).await
    }

    /// A message on its way, and the other end of it.
    async fn dial(&mut self, deadline: Option<Duration>) -> (Dialled, Accepted<Stream>) {
        let dialled = self.try_dial(self.peer.peer_id(), deadline).await.expect("the peer answers");
        dialled.request.write_all(b"hello").await.expect("open");
        let incoming = timeout(PATIENCE, self.incoming.next()).await.expect("in time").expect("a stream");
        (dialled, call::accept(incoming.stream).await.expect("a call"))
    }
}

async fn body<R: tokio::io::AsyncRead + Unpin>(mut body: Reader<R, Ending>) -> Result<(Vec<u8>, Ending), ReadError> {
    let mut all = Vec::new();
    loop {
        match timeout(PATIENCE, body.read()).await.expect("in time")? {
            Part::Data(bytes) => all.extend_from_slice(bytes),
            Part::End(ending) => return Ok((all, ending)),
        }
    }
}

async fn ended(dialled: Dialled) -> (Result<Vec<u8>, ()>, Outcome) {
    let mut all = Vec::new();
    let read = loop {
        match timeout(PATIENCE, dialled.reply.read(usize::MAX)).await.expect("in time") {
            Ok(bytes) if bytes.is_empty() => break Ok(all),
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(_) => break Err(()),
        }
    };
    (read, timeout(PATIENCE, dialled.outcome).await.expect("in time").expect("no panic"))
}

async fn answer(mut reply: Writer<WriteHalf<Stream>, Status>, status: Option<Status>) {
    reply.write(b"HELLO").await.expect("open");
    if let Some(status) = status {
        reply.finish(status).await.expect("open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_learns_exactly_what_the_peer_says() {
    let mut world = world().await;
    let refused = Status::Refused { reason: Reason::Busy, text: "later".into() };
    let killed = Status::Exit { code: 137, reason: "killed".into() };
    for (status, expected) in [
        (Some(Status::Ok), (Ok(b"HELLO".to_vec()), Outcome::Ok)),
        (Some(Status::Guest("no".into())), (Err(()), Outcome::Failed("no".into()))),
        (Some(killed), (Err(()), Outcome::Ended(Exit::Killed))),
        (Some(refused), (Err(()), Outcome::Refused("busy: later".into()))),
        (None, (Err(()), Outcome::Ended(Exit::NoConnection))),
    ] {
        let (dialled, accepted) = world.dial(None).await;
        assert_eq!(accepted.header.remaining, None);
        dialled.request.close();
        assert_eq!(body(accepted.body).await.expect("whole"), (b"hello".to_vec(), Ending::Whole));
        answer(accepted.reply, status).await;
        assert_eq!(ended(dialled).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_travels_and_ends_the_wait() {
    let mut world = world().await;
    let deadline = Duration::from_millis(300);
    let (dialled, accepted) = world.dial(Some(deadline)).await;
    let remaining = accepted.header.remaining.expect("a deadline");
    assert!(remaining <= deadline, "{remaining:?}");
    let (read, outcome) = ended(dialled).await;
    assert!(matches!(&outcome, Outcome::Refused(why) if why.starts_with("timeout: ")), "{outcome:?}");
    assert_eq!(read, Err(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_given_up_is_not_taken_for_a_whole_one() {
    let mut world = world().await;
    for fails in [true, false] {
        let (dialled, accepted) = world.dial(None).await;
        if fails {
            dialled.request.fail("never mind");
        }
        let Dialled { request, outcome, .. } = dialled;
        if !fails {
            drop(outcome);
        }
        match body(accepted.body).await {
            Ok((_, ending)) => assert_eq!(ending, Ending::Aborted),
            Err(error) => assert!(matches!(error, ReadError::Torn | ReadError::Io(_)), "{error}"),
        }
        drop(request);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_carries_the_trace_and_the_rest_of_the_deadline_of_what_the_sender_handles() {
    let mut world = world().await;
    let left = Duration::from_secs(5);
    world.cause = Some(Cause { trace: 4711, deadline: Some(Instant::now() + left), chain: Chain::default() });
    for (own, most) in [(None, left), (Some(PATIENCE), left), (Some(left / 5), left / 5)] {
        let (_dialled, accepted) = world.dial(own).await;
        assert_eq!(accepted.header.trace, 4711);
        let remaining = accepted.header.remaining.expect("a deadline");
        assert!(remaining <= most && remaining > most / 5, "{remaining:?} of {most:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_dialled_says_why() {
    let world = world().await;
    let error = world.try_dial(PeerId::random(), None).await.expect_err("another peer is there");
    assert!(error.contains("expected the peer"), "{error}");
    let mut asked = Dial {
        from: CellId::new(7),
        peer_id: b"nonsense".to_vec(),
        addrs: Vec::new(),
        name: Name::new("echo").expect("a name"),
        deadline: None,
        cause: None,
    };
    let dial = async |asked: &Dial| {
        dial(&world.net, &Calls::default(), &Handle::current(), asked.clone(), Account::unlimited()).await
    };
    let error = dial(&asked).await.expect_err("no peer id");
    assert!(error.contains("not a peer id"), "{error}");
    (asked.peer_id, asked.addrs) = (world.peer.peer_id().to_bytes(), vec![b"nowhere".to_vec()]);
    let error = dial(&asked).await.expect_err("no address");
    assert!(error.contains("not a binary multiaddr"), "{error}");
    // This node, in both ways to say so, has no such cell.
    for own in [Vec::new(), world.net.peer_id().to_bytes()] {
        (asked.peer_id, asked.addrs) = (own, Vec::new());
        let (read, outcome) = ended(dial(&asked).await.expect("this node answers")).await;
        assert!(matches!(&outcome, Outcome::Refused(why) if why.starts_with("no-such-cell: ")), "{outcome:?}");
        assert_eq!(read, Err(()));
    }
}
