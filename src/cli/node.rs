//! A running node, as the verbs that ask one see it: found, connected to, and asked.

use std::{io, rc::Rc, time::Duration};

use capnp::{Error, ErrorKind};
use tokio::{
    net::{TcpStream, UnixStream},
    runtime::Runtime,
    task::LocalSet,
    time::timeout,
};
use ww_core::text;
use ww_rpc::client::{self, Connection, Local};
use ww_schema::{cell_capnp::status, peer_capnp::process};

use super::{
    Failure, code,
    place::{Place, Which},
    remote::{self, Network},
    status::{State, Status},
    target::Target,
};
use crate::control::{
    Address,
    directory::{self, Foreign, Found},
};

/// How long a node may take for an answer that needs nobody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a node. What was started over it ends with it.
pub(super) struct Node {
    pub(super) local: Local,
    pub(super) address: Place,
    _connection: Connection,
    /// Of a node that is not on this machine.
    network: Option<Rc<Network>>,
}

/// Runs a verb that asks a node.
pub(super) fn ask(
    runtime: &Runtime,
    which: Which,
    verb: impl AsyncFnOnce(Node) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    LocalSet::new().block_on(runtime, async {
        let node = Node::connect(which).await?;
        let network = node.network.clone();
        let done = verb(node).await;
        if let Some(network) = network {
            network.stop().await;
        }
        done
    })
}

/// What a failed call means.
pub(super) fn call_failure(error: &Error) -> Failure {
    match error.kind {
        ErrorKind::Disconnected => unavailable("the node has closed the connection: has it ended?".into()),
        _ => {
            let message = error.extra.strip_prefix("remote exception: ").unwrap_or(&error.extra);
            let code = if message.starts_with("denied: ") { code::NO_PERMISSION } else { code::UNAVAILABLE };
            Failure::told(code, "", message)
        }
    }
}

pub(super) fn unavailable(message: String) -> Failure {
    Failure { code: code::UNAVAILABLE, message }
}

/// The sockets of this user's nodes that answer, and those that cannot be reached.
pub(super) async fn nodes() -> io::Result<(Vec<(Address, UnixStream)>, Vec<(Address, io::Error)>)> {
    let (mut answer, mut unreachable) = (Vec::new(), Vec::new());
    for path in directory::sockets(&directory::path())? {
        match directory::find(&path).await {
            Found::Node(stream) => answer.push((Address::Unix(path), stream)),
            Found::Unreachable(error) => unreachable.push((Address::Unix(path), error)),
            Found::Nobody => {}
        }
    }
    Ok((answer, unreachable))
}

fn denied(address: &str) -> Failure {
    let message = format!("no permission for {address}: a node answers the user that runs it alone");
    Failure { code: code::NO_PERMISSION, message }
}

/// What is said of a socket or directory that another user can have made.
fn foreign(error: &io::Error) -> Option<Failure> {
    let foreign = error.get_ref()?.downcast_ref::<Foreign>()?;
    Some(Failure { code: code::NO_PERMISSION, message: foreign.to_string() })
}

fn unreachable(address: &Address, error: &io::Error) -> Failure {
    if let Some(foreign) = foreign(error) {
        return foreign;
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => denied(&address.to_string()),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            unavailable(format!("no node is running at {address}: {error}"))
        }
        _ => unavailable(format!("the node at {address} cannot be reached: {error}")),
    }
}

/// Finds this user's only node.
async fn only() -> Result<(Address, UnixStream), Failure> {
    let directory = directory::path();
    let (mut answer, mut failed) = nodes().await.map_err(|error| {
        foreign(&error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::PermissionDenied => denied(&directory.display().to_string()),
            _ => unavailable(format!("cannot look for nodes in {}: {error}", directory.display())),
        })
    })?;
    match (answer.len(), failed.pop()) {
        (1, _) => Ok(answer.remove(0)),
        (0, Some((address, error))) => Err(unreachable(&address, &error)),
        (0, None) => Err(unavailable(format!(
            "no node of this user is running (looked in {}): start one with `ww run IMAGE`, or name one with --node",
            directory.display()
        ))),
        _ => {
            let list: String = answer.iter().map(|(address, _)| format!("\n  --node {address}")).collect();
            Err(Failure { code: code::USAGE, message: format!("several nodes are running, choose one:{list}") })
        }
    }
}

impl Node {
    async fn connect(Which { node, identity }: Which) -> Result<Self, Failure> {
        let (address, (connection, local), network) = match node {
            None => {
                let (address, stream) = only().await?;
                let (reader, writer) = stream.into_split();
                (Place::Control(address), client::connect(reader, writer), None)
            }
            Some(Place::Control(Address::Unix(path))) => {
                let address = Address::Unix(path.clone());
                let stream = directory::connect(&path).await.map_err(|error| unreachable(&address, &error))?;
                let (reader, writer) = stream.into_split();
                (Place::Control(address), client::connect(reader, writer), None)
            }
            Some(Place::Control(Address::Tcp(addr))) => {
                let address = Address::Tcp(addr);
                let stream = TcpStream::connect(addr).await.map_err(|error| unreachable(&address, &error))?;
                let (reader, writer) = stream.into_split();
                (Place::Control(address), client::connect(reader, writer), None)
            }
            Some(Place::Peer(peer, addr)) => {
                let network = Network::start(remote::identity(identity)?).await?;
                let (reader, writer) = network.open(peer, addr.clone()).await?.into_split();
                (Place::Peer(peer, addr), client::connect(reader, writer), Some(Rc::new(network)))
            }
        };
        Ok(Self { local, address, _connection: connection, network })
    }

    /// Waits for an answer that the node can give at once.
    pub(super) async fn answer<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        match timeout(PATIENCE, call).await {
            Ok(answer) => answer.map_err(|error| call_failure(&error)),
            Err(_) => Err(unavailable(format!("the node at {} does not answer within {PATIENCE:?}", self.address))),
        }
    }

    /// All cells that live.
    pub(super) async fn cells(&self) -> Result<Vec<Status>, Failure> {
        self.answer(async {
            let answer = self.local.admin.list_request().send().promise.await?;
            let cells = answer.get()?.get_cells()?;
            cells.iter().map(Status::read).collect()
        })
        .await
    }

    /// A cell as a process that ends nothing when it is dropped.
    pub(super) async fn process(&self, cell: &Target) -> Result<process::Client, Failure> {
        let mut request = self.local.admin.process_request();
        request.get().set_cell(self.find(cell).await?);
        self.answer(async { request.send().promise.await?.get()?.get_process() }).await
    }
}

impl Status {
    /// Reads what a node says of a cell.
    pub(super) fn read(status: status::Reader<'_>) -> Result<Self, Error> {
        let names =
            status.get_names()?.iter().map(|name| Ok(text::name(name?.to_str()?))).collect::<Result<_, Error>>()?;
        let state = match (status.get_state().which()?, status.get_phase()) {
            (status::state::Ended(_), _) => State::Ended,
            (_, Ok(status::Phase::Compiling)) => State::Compiling,
            (_, Ok(status::Phase::Starting)) => State::Starting,
            // A phase of a version to come is at least not an end.
            (_, Ok(status::Phase::Running) | Err(_)) => State::Running,
        };
        let (code, ended) = match status.get_state().which()? {
            status::state::Running(()) => (None, None),
            status::state::Ended(reason) => {
                let reason = reason?;
                (Some(reason.get_code()), Some(text::line(reason.get_text()?.to_str()?, text::MAX_ERROR)))
            }
        };
        Ok(Self {
            id: status.get_cell(),
            names,
            state,
            live: status.get_async(),
            started_ms: status.get_started_at(),
            memory: status.get_memory(),
            mailbox: status.get_mailbox_depth(),
            messages: status.get_messages(),
            dropped: status.get_dropped(),
            cpu_us: status.get_cpu(),
            restarts: status.get_restarts(),
            code,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_reach_a_node_is_told_why() {
        let address: Address = "unix:/run/ww/1.sock".parse().expect("an address");
        for (kind, code, part) in [
            (io::ErrorKind::PermissionDenied, code::NO_PERMISSION, "no permission for unix:/run/ww/1.sock"),
            (io::ErrorKind::ConnectionRefused, code::UNAVAILABLE, "no node is running at unix:/run/ww/1.sock"),
            (io::ErrorKind::NotFound, code::UNAVAILABLE, "no node is running"),
            (io::ErrorKind::TimedOut, code::UNAVAILABLE, "cannot be reached"),
        ] {
            let failure = unreachable(&address, &kind.into());
            assert!(failure.code == code && failure.message.contains(part), "{failure:?}");
        }
    }
}
