//! A peer of the test's own, that sends messages to nodes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    time::timeout,
};
use ww_core::{Name, Platform};
use ww_net::{
    Config, Identity, Multiaddr, Net, OpenError, PeerId, Protocol, Stream,
    call::{self, Asked, Ending, Header, Part, ReadError, Status, Target},
};

use crate::harness::PATIENCE;

/// A peer that listens nowhere.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) net: Net,
    /// The node that it talks to, and where.
    pub(crate) to: (PeerId, Multiaddr),
}

/// The threads of the peers of one test.
pub(crate) fn platform() -> Platform {
    Platform::start(Handle::current()).expect("threads")
}

/// Bounds a wait.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes far too long")
}

impl Client {
    /// With a key of its own.
    pub(crate) async fn new(platform: &Platform, to: (PeerId, Multiaddr)) -> Self {
        Self::with(platform, to, Identity::ephemeral()).await
    }

    /// With this key.
    pub(crate) async fn with(platform: &Platform, to: (PeerId, Multiaddr), identity: Identity) -> Self {
        let net = Net::start(Config::default(), identity, &platform.arbiter().expect("a thread starts"))
            .await
            .expect("a network");
        Self { net, to }
    }

    /// Opens a stream.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Stream, OpenError> {
        let (peer, addr) = self.to.clone();
        soon(self.net.open(peer, vec![addr], protocol)).await
    }

    /// Opens a raw stream to a cell.
    pub(crate) async fn open_raw(&self, name: &str) -> Result<Stream, OpenError> {
        self.open(Protocol::from(Name::new(name).expect("a name"))).await
    }

    /// Begins a call.
    pub(crate) async fn open_call(&self, name: &str, deadline: Option<Duration>) -> Asked<Stream> {
        let stream = self.open(Protocol::Call).await.expect("calls are accepted");
        let target = Target::Name(Name::new(name).expect("a name"));
        call::ask(stream, &Header { target, remaining: deadline, trace: 1, message: 1 })
    }

    /// Begins a call to a cell that echoes lines: its reply has come in part, and its request goes on.
    pub(crate) async fn begin_call(&self, name: &str) -> Asked<Stream> {
        let mut asked = self.open_call(name, None).await;
        asked.body.write(b"a line\n").await.expect("open");
        let part = soon(asked.reply.read()).await.expect("a part of the reply");
        assert_eq!(part, Part::Data(b"a line\n"));
        asked
    }

    /// Sends a whole message without framing, and returns the whole reply.
    pub(crate) async fn send_raw(&self, name: &str, message: &[u8]) -> Vec<u8> {
        let mut stream = self.open_raw(name).await.expect("published");
        soon(async {
            stream.write_all(message).await.expect("open");
            stream.shutdown().await.expect("open");
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).await.expect("a reply");
            reply
        })
        .await
    }

    /// Calls a cell: the reply as far as it came, and how it ended.
    pub(crate) async fn call(&self, name: &str, message: &[u8]) -> (Vec<u8>, Result<Status, ReadError>) {
        let Asked { mut body, mut reply } = self.open_call(name, None).await;
        let sending = async {
            // A cell that is busy or gone does not take it; the status tells.
            if body.write(message).await.is_ok() {
                body.finish(Ending::Whole).await.unwrap_or_default();
            }
        };
        let receiving = async {
            let mut all = Vec::new();
            let ended = loop {
                match reply.read().await {
                    Ok(Part::Data(bytes)) => all.extend_from_slice(bytes),
                    Ok(Part::End(status)) => break Ok(status),
                    Err(error) => break Err(error),
                }
            };
            (all, ended)
        };
        soon(async { tokio::join!(sending, receiving).1 }).await
    }
}
