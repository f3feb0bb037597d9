//! A node that serves a guest to peers.

use rustix::process::Signal;
use ww_net::{Multiaddr, PeerId};

use crate::{
    harness::{Ended, Running, Ww},
    image::Image,
};

/// A node that serves a guest under its own name, over TCP and QUIC.
pub(crate) struct Server<'image> {
    pub(crate) running: Running<'image>,
    pub(crate) peer: String,
    /// TCP first.
    pub(crate) addrs: Vec<String>,
    name: &'static str,
}

/// Serves an image, with these options besides.
pub(crate) fn serve<'image>(image: &'image Image, name: &'static str, options: &[&str]) -> Server<'image> {
    serve_with(image, name, |ww| ww.args(options))
}

/// Serves an image, with whatever else is set.
pub(crate) fn serve_with<'image>(
    image: &'image Image,
    name: &'static str,
    set: impl FnOnce(Ww<'image>) -> Ww<'image>,
) -> Server<'image> {
    let ww = Ww::run_anywhere(image)
        .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"])
        .args(["--publish", "--name", name])
        .open_stdin();
    let mut running = set(ww).start();
    let log = running.wait_for_stderr("the cell serves messages");
    let field = |from: &str, to: char| {
        let (_, rest) = log.split_once(from).expect("the node says who it is");
        rest.split(to).next().expect("a value").to_owned()
    };
    let mut addrs = field("addrs=\"", '"').split(' ').map(str::to_owned).collect::<Vec<_>>();
    addrs.sort();
    assert_eq!(addrs.len(), 2, "{log}");
    Server { peer: field("peer=", ' '), addrs, running, name }
}

impl Server<'_> {
    /// Where the cell is, over each transport.
    pub(crate) fn targets(&self) -> impl Iterator<Item = String> {
        self.addrs.iter().map(|addr| format!("{addr}/p2p/{}/{}", self.peer, self.name))
    }

    /// Where the cell is, over TCP.
    pub(crate) fn target(&self) -> String {
        self.targets().next().expect("an address")
    }

    /// The node, as libp2p knows it, at each of its addresses.
    pub(crate) fn places(&self) -> impl Iterator<Item = (PeerId, Multiaddr)> {
        let peer = self.peer.parse().expect("a peer id");
        self.addrs.iter().map(move |addr| (peer, addr.parse().expect("an address")))
    }

    /// Sends it a message.
    pub(crate) fn send(&self, message: &str) -> Ended {
        Ww::new(["send", &*self.target(), message]).end()
    }

    /// Stops it, and returns what is left of it.
    pub(crate) fn stop(self) -> Ended {
        self.running.signal(Signal::TERM);
        self.running.end()
    }
}
