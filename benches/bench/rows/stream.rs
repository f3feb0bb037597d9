//! A peer sends messages to a live cell over libp2p, each on a stream of its own: raw, as any libp2p client does, and in
//! frames.
//!
//! The floor is the same stream behaviour of the same node with an echo in Rust behind it. Where many small messages are under
//! way, a second record has a bare guest in its floor besides: what an echo in Rust spares itself is a part of the whole
//! there that no node can save.

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
};
use ww::{Audience, Node, Owner, Serving, cell::Mode, executor::Spec};
use ww_core::{Name, Platform, task};
use ww_net::{
    Identity, IncomingStream, Protocol, Stream,
    call::{self, Accepted, Asked, Ending, Header, Part, Status, Target as To},
};

use super::{IN_FLIGHT, Row, SIZES, message};
use crate::{
    floor::{Actor, Polling, Program},
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{Peer, TRANSPORTS, guest, node},
};

pub(crate) const ROW: Row = Row { name: "stream", about: "a peer sends messages to a cell", run };

const GUEST: &str = "mirror";

/// What the cell is published as.
const CELL: &str = "cell";

/// How messages travel, and whether in frames.
const KINDS: [(&str, bool); 2] = [("raw", false), ("framed", true)];

/// Bytes of a small message, at most.
const SMALL: usize = 1024;

/// One record.
struct Case {
    name: String,
    framed: bool,
    bytes: usize,
    in_flight: usize,
    /// Who answers on the floor.
    floor: Name,
    target: Target,
}

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let (node, settings) = node(|_| {}).await?;
        let spec = Spec::new(guest(GUEST)?);
        let cell = node.executor().spawn(Owner::Node, spec, Serving::new(Mode::Async)).await?;
        let published = node.publish(Name::new(CELL)?, cell.cell(), Audience::All)?;
        let bare = Program::new(&settings.engine()?, &guest(GUEST)?)?;
        echo(&node, &Actor::start(Polling::start(&bare).await?))?;
        let platform = Platform::start(Handle::current())?;
        let mut records = Vec::new();
        for (transport, marker) in TRANSPORTS {
            let peer = Peer::connect(&platform, Identity::ephemeral(), &node, marker).await?;
            for case in cases(transport)?.into_iter().filter(|case| plan.wants(&case.name)) {
                records.push(measure(plan, &peer, case).await?);
            }
            peer.stop().await;
        }
        drop(published);
        drop(cell);
        node.stop().await;
        platform.stop();
        Ok(records)
    })
}

/// Everything that is measured over a transport.
fn cases(transport: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (kind, framed) in KINDS {
        for (bytes, size) in SIZES {
            // The sizes of the table: the smallest is that of a line.
            let (bytes, size) = if bytes == 16 { (64, "64B") } else { (bytes, size) };
            for in_flight in IN_FLIGHT {
                let crowd = in_flight > 1 && bytes <= SMALL;
                let name = format!("stream/{transport}/{kind}/{size}/{in_flight}");
                // Out of reach for the reasons in `docs/performance.md`, which says how far it is.
                let target = if crowd && transport == "quic" { Target::Aim(1.3) } else { Target::Ratio(1.3) };
                let (plain, floor) = (name.clone(), echo_name(kind, false)?);
                cases.push(Case { name: plain, framed, bytes, in_flight, floor, target });
                if crowd {
                    let (name, floor) = (format!("{name}/guest"), echo_name(kind, true)?);
                    cases.push(Case { name, framed, bytes, in_flight, floor, target: Target::Ratio(1.3) });
                }
            }
        }
    }
    Ok(cases)
}

async fn measure(plan: &Plan, peer: &Peer, case: Case) -> Result<Record> {
    let Case { name, framed, bytes, in_flight, floor, target } = case;
    let floor = side(peer, floor, framed, framed, bytes);
    let value = side(peer, Name::new(CELL)?, framed, false, bytes);
    let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
    let record = if in_flight == 1 { Record::time(name, &both) } else { Record::rate(name, &both) };
    Ok(record.target(target))
}

/// What an echo is reached by: one in Rust, or one that has a bare guest answer.
fn echo_name(kind: &str, guest: bool) -> Result<Name> {
    Ok(Name::new(if guest { format!("{kind}-guest") } else { kind.to_owned() })?)
}

/// Accepts streams of the floor.
fn echo(node: &Node, guest: &Actor<Bytes>) -> Result<()> {
    for ((kind, framed), guest) in KINDS.into_iter().flat_map(|kind| [(kind, None), (kind, Some(guest))]) {
        let name = echo_name(kind, guest.is_some())?;
        let (mut incoming, guest) = (node.net().accept(name.into())?, guest.cloned());
        drop(task::spawn(&Handle::current(), task::Kind::detached("accept", "floor"), async move {
            while let Some(IncomingStream { stream, .. }) = incoming.next().await {
                let guest = guest.clone();
                drop(task::spawn(&Handle::current(), task::Kind::detached("echo", "floor"), async move {
                    // Whoever sent it sees what became of it.
                    let _ = if framed { echo_framed(stream, guest).await } else { echo_raw(stream, guest).await };
                }));
            }
        }));
    }
    Ok(())
}

async fn echo_raw(mut stream: Stream, guest: Option<Actor<Bytes>>) -> Result<()> {
    let mut message = Vec::new();
    stream.read_to_end(&mut message).await?;
    stream.write_all(&answer(message, guest).await?).await?;
    Ok(stream.shutdown().await?)
}

async fn echo_framed(stream: Stream, guest: Option<Actor<Bytes>>) -> Result<()> {
    let Accepted { mut body, reply, .. } = call::accept(stream).await?;
    let mut message = Vec::new();
    while let Part::Data(bytes) = body.read().await? {
        message.extend_from_slice(bytes);
    }
    Ok(reply.finish_with(&answer(message, guest).await?, Status::Ok).await?)
}

async fn answer(message: Vec<u8>, guest: Option<Actor<Bytes>>) -> Result<Bytes> {
    match guest {
        Some(guest) => guest.ask(message.into()).await,
        None => Ok(message.into()),
    }
}

/// Messages of so many bytes to whoever has this name. Calls go by the header, those of the floor by the protocol.
fn side(peer: &Peer, to: Name, framed: bool, bare: bool, bytes: usize) -> Side {
    let message = message(bytes);
    Side::new((peer.clone(), to), move |(peer, to)| async move {
        let protocol = if framed && !bare { Protocol::Call } else { to.clone().into() };
        let stream = peer.open(protocol).await?;
        if framed { send_framed(stream, to, message).await } else { send_raw(stream, message).await }
    })
}

async fn send_raw(stream: Stream, message: &[u8]) -> Result<()> {
    let (mut reply, mut body) = stream.into_split();
    let sending = async {
        body.write_all(message).await?;
        anyhow::Ok(body.shutdown().await?)
    };
    let receiving = async {
        let mut all = Vec::new();
        reply.read_to_end(&mut all).await?;
        anyhow::ensure!(all == message, "{} bytes of {} came back", all.len(), message.len());
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}

async fn send_framed(stream: Stream, to: Name, message: &[u8]) -> Result<()> {
    let header = Header { target: To::Name(to), remaining: None, trace: 1, message: 1 };
    let Asked { body, mut reply } = call::ask(stream, &header);
    // As a node sends what it has all of.
    let sending = async { anyhow::Ok(body.finish_with(message, Ending::Whole).await?) };
    let receiving = async {
        let mut all = Vec::new();
        loop {
            match reply.read().await? {
                Part::Data(bytes) => all.extend_from_slice(bytes),
                Part::End(Status::Ok) => break,
                Part::End(status) => bail!("{status:?}"),
            }
        }
        anyhow::ensure!(all == message, "{} bytes of {} came back", all.len(), message.len());
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}
