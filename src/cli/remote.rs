//! A verb's way to a node of the network: as a peer of its own, that listens nowhere and has a key.

use std::path::PathBuf;

use tokio::runtime::Handle;
use ww_core::Platform;
use ww_net::{Identity, Multiaddr, Net, OpenError, PeerId, Protocol, Stream, identity};

use super::{Failure, code, system};
use crate::Config;

/// A network that lasts as long as one command.
pub(super) struct Network {
    pub(super) net: Net,
    _platform: Platform,
}

impl Network {
    /// With this key.
    pub(super) async fn start(identity: Identity) -> Result<Self, Failure> {
        system::check_for_node()?;
        let host = |error: &(dyn std::error::Error + 'static)| Failure::new(code::HOST, error);
        let platform = Platform::start(Handle::current()).map_err(|error| host(&error))?;
        let arbiter = platform.arbiter().map_err(|error| host(&error))?;
        let net = Net::start(ww_net::Config::default(), identity, &arbiter).await;
        Ok(Self { net: net.map_err(|error| host(&error))?, _platform: platform })
    }

    /// Takes leave of all peers, who would otherwise keep a place for this one.
    pub(super) async fn stop(&self) {
        self.net.stop().await;
    }

    /// Opens a connection for capabilities.
    pub(super) async fn open(&self, peer: PeerId, addr: Multiaddr) -> Result<Stream, Failure> {
        let own = self.net.peer_id();
        self.net.open(peer, vec![addr], Protocol::Rpc).await.map_err(|error| match error {
            OpenError::NoSuchProtocol { .. } => Failure {
                code: code::NO_PERMISSION,
                message: format!(
                    "the node {peer} grants nothing to {own}, which is the id of the key that this command has: the \
                     configuration of that node has to name it under [[rpc.peers]]"
                ),
            },
            error => Failure::new(code::UNAVAILABLE, &error),
        })
    }
}

/// The key in a file, or that of this user.
pub(super) fn identity(file: Option<PathBuf>) -> Result<Identity, Failure> {
    let config = |message: String| Failure { code: code::CONFIG, message };
    let file = file.or_else(|| Config::default().identity).ok_or_else(|| {
        config("HOME is not set, so that this user has no key: name one with --identity; `ww keygen` makes one".into())
    })?;
    Identity::load_or_create_shared(&file).map_err(|error| match error {
        identity::Error::Locked { path } => config(format!(
            "the key in {} is in use by a node that runs: name another one with --identity, to which the other node \
             grants something; `ww keygen` makes one",
            path.display()
        )),
        error => Failure::new(code::CONFIG, &error),
    })
}
