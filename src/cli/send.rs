//! `ww send`: sends one message to a cell, of a running node or of a peer.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, stdin},
    runtime::Runtime,
    time::timeout,
};
use ww_core::Name;
use ww_net::{
    Identity, Multiaddr, OpenError, PeerId, Protocol, Stream,
    call::{self, Asked, Ending, Header, Part, ReadError, Status, Target as CallTarget},
    multiaddr,
};

use super::{
    Failure, ask, code, node, not_written,
    place::Which,
    remote::{self, Network},
    target::Target,
};
use crate::terminal::Output;

/// How long a reply may take after the whole message was sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the reply that are printed at once.
const CHUNK: usize = 16 * 1024;

/// Send one message to a cell and print its reply
///
/// Sends TEXT, or standard input if TEXT is - or missing, to a cell of this user's running node, or to one that a peer
/// publishes, and prints the reply as it comes. The
/// exit code is 0 if the cell answered, 1 if it returned an error, that of its end if it ended, and 69 if it could not
/// be reached or refused the message. With --raw the message travels without framing, as any libp2p client sends it:
/// then an empty reply can also mean that the cell failed or was busy.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name or an id of `ww ps`, where name:NAME and id:ID say which; or where the cell is published: the address of a peer, with its id and the name of
    /// the cell, as in /ip4/127.0.0.1/tcp/2020/p2p/<peer id>/<name>
    #[arg(value_name = "CELL|PEER/NAME")]
    to: To,

    /// What to send; - for standard input
    #[arg(default_value = "-")]
    text: String,

    /// Give up after this many milliseconds; the cell learns how many are left
    #[arg(long, value_name = "MS")]
    deadline: Option<u64>,

    #[command(flatten)]
    which: Which,

    /// Send the message to a peer as a raw stream, without a status
    #[arg(long, conflicts_with = "deadline")]
    raw: bool,
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    /// A cell of a running node.
    Cell(Target),
    /// A cell of a peer.
    Peer(Published),
}

/// A cell that a peer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    addr: Multiaddr,
    peer: PeerId,
    name: Name,
}

impl std::str::FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected /ip4/<address>/tcp/<port>/p2p/<peer id>/<name>";
        let (addr, name) = text.rsplit_once('/').ok_or(expected)?;
        let addr: Multiaddr = addr.parse().map_err(|error| format!("{error}; {expected}"))?;
        let Some(multiaddr::Protocol::P2p(peer)) = addr.iter().last() else {
            return Err(format!("no peer id; {expected}"));
        };
        let name = Name::new(name).map_err(|error| error.to_string())?;
        Ok(Self { addr, peer, name })
    }
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') { text.parse().map(Self::Peer) } else { text.parse().map(Self::Cell) }
    }
}

pub(super) fn send(args: Args, runtime: &Runtime) -> Result<u8, Failure> {
    let deadline = args.deadline.map(Duration::from_millis);
    match &args.to {
        To::Cell(_) if args.raw => {
            let message = "--raw is for messages to peers: expected /ip4/<address>/tcp/<port>/p2p/<peer id>/<name>";
            Err(Failure { code: code::USAGE, message: message.into() })
        }
        To::Cell(cell) => node::ask(runtime, args.which, async |node| ask::ask(node, cell, deadline, &args.text).await),
        To::Peer(target) => runtime.block_on(to_peer(target.clone(), &args)),
    }
}

async fn to_peer(Published { addr, peer, name }: Published, args: &Args) -> Result<u8, Failure> {
    // A cell may answer some peers alone.
    let identity = args.which.identity.clone().map(|file| remote::identity(Some(file))).transpose()?;
    let network = Network::start(identity.unwrap_or_else(Identity::ephemeral)).await?;
    let net = &network.net;
    let protocol = if args.raw { Protocol::from(name.clone()) } else { Protocol::Call };
    let sent = match net.open(peer, vec![addr], protocol).await {
        Ok(stream) if args.raw => raw(stream, &args.text).await,
        Ok(stream) => call(stream, name, args.deadline.map(Duration::from_millis), &args.text).await,
        Err(error) => Err(open_failure(&error)),
    };
    network.stop().await;
    sent
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(code::UNAVAILABLE, error)
}

/// Sends and receives at the same time, in frames, and says what became of the message.
async fn call(stream: Stream, name: Name, deadline: Option<Duration>, text: &str) -> Result<u8, Failure> {
    let header = Header { target: CallTarget::Name(name), remaining: deadline, trace: rand::random(), message: 0 };
    let Asked { mut body, mut reply } = call::ask(stream, &header);
    let sending = async {
        if text == "-" {
            let (mut input, mut buffer) = (stdin(), vec![0; CHUNK]);
            loop {
                match input.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(read) => body.write(&buffer[..read]).await?,
                    Err(error) => {
                        super::say(&format!("cannot read the rest of the message: {error}"));
                        return body.finish(Ending::Aborted).await;
                    }
                }
            }
        } else {
            body.write(text.as_bytes()).await?;
        }
        body.finish(Ending::Whole).await
    };
    let receiving = async {
        loop {
            let part = reply.read().await.map_err(|error| match (error, deadline) {
                (ReadError::Timeout, Some(deadline)) => Failure {
                    code: code::UNAVAILABLE,
                    message: format!("no whole reply within {deadline:?}: the cell goes on, but nobody waits for it"),
                },
                (error, _) => broken(&error),
            });
            match part? {
                Part::Data(bytes) => print(bytes).await?,
                Part::End(status) => return Ok(status),
            }
        }
    };
    let status = both(sending, receiving).await?;
    let failed = |code, what: &str, text: &str| Err(Failure::told(code, what, text));
    match status {
        Status::Ok => Ok(code::OK),
        Status::Guest(error) => failed(code::GUEST, "the cell could not answer: ", &error),
        Status::Exit { code, reason } => failed(code.max(1), "the cell ended before it had answered: ", &reason),
        Status::Refused { reason, text } => {
            failed(code::UNAVAILABLE, &format!("the message was refused ({reason:?}): "), &text)
        }
        other => failed(code::UNAVAILABLE, "a status that this version does not know: ", &format!("{other:?}")),
    }
}

/// Sends and receives at the same time, without framing.
async fn raw(stream: Stream, text: &str) -> Result<u8, Failure> {
    let (mut from, mut to) = stream.into_split();
    let sending = async {
        if text == "-" {
            copy(&mut stdin(), &mut to).await?;
        } else {
            to.write_all(text.as_bytes()).await?;
        }
        to.shutdown().await
    };
    let receiving = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer).await.map_err(|error| broken(&error))? {
                0 => return Ok(code::OK),
                read => print(&buffer[..read]).await?,
            }
        }
    };
    both(sending, receiving).await
}

async fn print(bytes: &[u8]) -> Result<(), Failure> {
    let printed = Output::Stdout.write(bytes.to_vec().into()).await;
    printed.map_err(|error| not_written(Output::Stdout, &error))
}

/// Sends while it receives. A cell may answer without reading everything: then what is left of the message is of no
/// interest. One that is silent after the whole message has a bounded time.
async fn both<T, E: std::fmt::Display>(
    sending: impl Future<Output = Result<(), E>>,
    receiving: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let (mut sending, mut receiving) = (std::pin::pin!(sending), std::pin::pin!(receiving));
    tokio::select! {
        received = &mut receiving => return received,
        sent = &mut sending => {
            if let Err(error) = sent {
                tracing::debug!(%error, "the cell did not take the whole message");
            }
        }
    }
    timeout(PATIENCE, receiving).await.unwrap_or_else(|_| {
        let message = format!("the reply did not end within {PATIENCE:?} after the message: is the cell stuck?");
        Err(Failure { code: code::UNAVAILABLE, message })
    })
}

fn open_failure(error: &OpenError) -> Failure {
    Failure::new(code::UNAVAILABLE, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_a_peer_and_a_name() {
        let peer = Identity::ephemeral().peer_id();
        let target: Published = format!("/ip4/127.0.0.1/tcp/2020/p2p/{peer}/echo").parse().expect("valid");
        assert_eq!((target.peer, target.name.as_str()), (peer, "echo"));
        for (bad, why) in [
            ("echo", "expected"),
            ("/ip4/127.0.0.1/tcp/2020/echo", "no peer id"),
            ("/ip4/nowhere/tcp/2020/echo", "expected"),
            (&*format!("/ip4/127.0.0.1/tcp/2020/p2p/{peer}/call"), "reserved"),
        ] {
            let error = bad.parse::<Published>().expect_err(bad);
            assert!(error.contains(why), "{error}");
        }
    }
}
