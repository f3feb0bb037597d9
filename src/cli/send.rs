//! `ww send`: sends one message to a published cell.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, stdin, stdout},
    runtime::Handle,
    time::timeout,
};
use ww_core::{Name, Platform};
use ww_net::{Identity, Multiaddr, Net, OpenError, PeerId, Protocol, Stream, multiaddr::Protocol as Part};

use super::{Failure, code};

/// How long a peer may take no byte of the message, or be silent before and within its reply.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Bytes of the reply that are printed at once.
const CHUNK: usize = 16 * 1024;

/// Send one message to a cell and print its reply
///
/// Connects to the peer, sends TEXT, or standard input if TEXT is - or missing, and prints the reply as it comes.
/// A raw stream carries no status: an empty reply can also mean that the cell failed or was busy.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the cell is published: the address of a peer, with its id and the name of the cell, as in
    /// /ip4/127.0.0.1/tcp/2020/p2p/<peer id>/<name>
    #[arg(value_name = "PEER/NAME")]
    to: Target,

    /// What to send; - for standard input
    #[arg(default_value = "-")]
    text: String,
}

/// A cell of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    addr: Multiaddr,
    peer: PeerId,
    name: Name,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected /ip4/<address>/tcp/<port>/p2p/<peer id>/<name>";
        let (addr, name) = text.rsplit_once('/').ok_or(expected)?;
        let addr: Multiaddr = addr.parse().map_err(|error| format!("{error}; {expected}"))?;
        let Some(Part::P2p(peer)) = addr.iter().last() else { return Err(format!("no peer id; {expected}")) };
        let name = Name::new(name).map_err(|error| error.to_string())?;
        Ok(Self { addr, peer, name })
    }
}

pub(super) async fn send(args: Args, runtime: &Handle) -> Result<u8, Failure> {
    let Target { addr, peer, name } = args.to;
    let platform = Platform::start(runtime.clone()).map_err(|error| Failure::new(code::HOST, &error))?;
    // A peer of its own for one message: it listens nowhere.
    let net = Net::start(ww_net::Config::default(), Identity::ephemeral(), &platform.arbiter())
        .await
        .map_err(|error| Failure::new(code::HOST, &error))?;
    let sent = match net.open(peer, vec![addr], Protocol::from(name)).await {
        Ok(stream) => exchange(stream, &args.text).await,
        Err(error) => Err(open_failure(&error)),
    };
    net.stop().await;
    sent
}

/// Sends and receives at the same time.
async fn exchange(stream: Stream, text: &str) -> Result<u8, Failure> {
    let broken = |error: std::io::Error| Failure::new(code::UNAVAILABLE, &error);
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
        let mut out = stdout();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return out.flush().await;
            }
            out.write_all(&buffer[..read]).await?;
            out.flush().await?;
        }
    };
    // A cell may answer without reading everything: then what is left of the message is of no interest.
    let sending = async {
        let sent = sending.await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the cell did not take the whole message");
        }
    };
    tokio::pin!(receiving, sending);
    tokio::select! {
        received = &mut receiving => return received.map(|()| code::OK).map_err(broken),
        () = &mut sending => {}
    }
    match timeout(PATIENCE, receiving).await {
        Ok(received) => received.map(|()| code::OK).map_err(broken),
        Err(_) => Err(Failure {
            code: code::UNAVAILABLE,
            message: format!("the reply did not end within {PATIENCE:?} after the message: is the cell stuck?"),
        }),
    }
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
        let target: Target = format!("/ip4/127.0.0.1/tcp/2020/p2p/{peer}/echo").parse().expect("valid");
        assert_eq!((target.peer, target.name.as_str()), (peer, "echo"));
        for (bad, why) in [
            ("echo", "expected"),
            ("/ip4/127.0.0.1/tcp/2020/echo", "no peer id"),
            ("/ip4/nowhere/tcp/2020/echo", "expected"),
            (&*format!("/ip4/127.0.0.1/tcp/2020/p2p/{peer}/call"), "reserved"),
        ] {
            let error = bad.parse::<Target>().expect_err(bad);
            assert!(error.contains(why), "{error}");
        }
    }
}
