//! What a `Host` needs to know of the network.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Cause, Cell, Envelope, Slot, pipe};
use ww_core::{Account, CellId, Name, exit::Reason, task::Task};

/// A peer that the node is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id, as libp2p serialises it.
    pub peer_id: Vec<u8>,
    /// The binary multiaddrs of its open connections.
    pub addrs: Vec<Vec<u8>>,
}

/// What a cell asks for that dials another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Who asks.
    pub from: CellId,
    /// The peer, as libp2p serialises its id; empty for the node itself.
    pub peer_id: Vec<u8>,
    /// Binary multiaddrs to try where the peer is not connected.
    pub addrs: Vec<Vec<u8>>,
    /// The name of the cell there.
    pub name: Name,
    /// How long the whole exchange may take from now on; `None` for as long as it takes.
    pub deadline: Option<Duration>,
    /// The message on whose behalf: its trace and the rest of its deadline travel with this one.
    pub cause: Option<Cause>,
}

/// How peers reach a cell that another cell spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Under which name.
    pub name: Name,
    /// The peers that may, as libp2p serialises their ids; empty for all.
    pub allow: Vec<Vec<u8>>,
    /// Messages that it serves at once.
    pub at_once: usize,
    /// How long it has for one.
    pub deadline: Option<Duration>,
}

/// A message to a cell of this node, of a cell or client that holds its process.
#[derive(Debug)]
pub struct Opened {
    /// Who sends it, by its place in the tree.
    pub from: CellId,
    /// The cell that gets it.
    pub cell: Cell,
    /// What is known of it.
    pub envelope: Envelope,
    /// Its body.
    pub request: pipe::Reader,
    /// Where the reply is written, which ends with an error unless it is whole.
    pub reply: pipe::Writer,
    /// Pays for it on its way.
    pub payer: Account,
}

/// A message on its way.
#[derive(Debug)]
pub struct Dialled {
    /// Where its body is written: closed where it is whole, failed where it is given up.
    pub request: pipe::Writer,
    /// Where the reply is read. Its end is an error unless the reply is whole.
    pub reply: pipe::Reader,
    /// Carries the message, and says what became of it. Dropping it gives the message up.
    pub outcome: Task<Outcome>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered: the reply is whole.
    Ok,
    /// The guest that it was for returned this error.
    Failed(String),
    /// The cell, or the connection to it, ended before it was answered.
    Ended(Reason),
    /// Nobody began it, or nobody waits for the answer: a word, and why.
    Refused(String),
}

/// A stream of bytes to another node.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection to another node, for capabilities.
pub type Wire = Box<dyn Duplex>;

/// The node's place in the network. Ids and addresses are bytes, as they are on the wire.
pub trait Network: Send + Sync + 'static {
    /// The node's own peer id.
    fn peer_id(&self) -> Vec<u8>;

    /// The multiaddrs on which the node listens.
    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>>;

    /// The peers that are connected now.
    fn peers(&self) -> BoxFuture<'_, Vec<Peer>>;

    /// Connects to a peer. Ids and addresses come from a guest. The error is a text for it.
    fn connect(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>>;

    /// Opens a connection for capabilities to another node. Ids and addresses come from a guest. The error is a text for it.
    fn open_rpc(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Wire, String>>;

    /// Opens one message to a cell, whose bytes on their way are charged to `payer`. Everything comes from a guest. The error is a text for it.
    fn dial(&self, dial: Dial, payer: Account) -> BoxFuture<'_, Result<Dialled, String>>;

    /// Brings a message to a cell of this node, by the rules for all who send it messages. Dropping the task gives it up.
    fn open(&self, opened: Opened) -> Task<Outcome>;

    /// Lets peers send messages to a slot until it ends. Everything comes from a guest. The error is a text for it.
    fn publish(&self, publication: Publication, slot: &Slot) -> Result<(), String>;
}
