//! A control socket that is listened on.
//!
//! It owns the listener and a task that accepts; clients' vats live on the arbiter of RPC. Supervised by the node: it
//! stops with its handle, which takes the socket's file away. Bounded by [`ww_rpc::MAX_CLIENTS`].

use std::{
    fs, io, net,
    os::unix::{fs::PermissionsExt, net::SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Handle,
    time::sleep,
};
use ww_core::{
    Limits,
    task::{self, Task},
};
use ww_executor::Executor;
use ww_rpc::{Clients, Entitlement, StopNode, Vats};

use super::{Address, Control, directory};
use crate::doors::Opened;

/// How long accepting pauses after an error: what it lacks, file descriptors as a rule, does not come back at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Nodes of one process that have a socket in the user's directory.
const MAX_OWN: usize = 64;

/// Why a control socket cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has the address.
    #[error(
        "the control socket {0} is taken by another node or program: stop that one, or choose another with --control"
    )]
    Taken(Address),
    /// The system refuses it.
    #[error("the control socket {address} cannot be opened: {source}; choose another with --control, or --control off")]
    Io {
        /// Which one.
        address: Address,
        /// Why.
        source: io::Error,
    },
}

/// What clients of a node get.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) vats: Vats,
    pub(crate) executor: Executor,
    pub(crate) limits: Limits,
    pub(crate) stop: StopNode,
    /// From when on they get it.
    pub(crate) opened: Opened,
}

/// A socket that accepts clients, until this is dropped.
pub(crate) struct Listening {
    address: Address,
    clients: Clients,
    accepting: Task<()>,
}

impl Service {
    fn serve<R, W>(&self, clients: &Clients, open: impl FnOnce() -> io::Result<(R, W)> + Send + 'static)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        let Self { vats, executor, limits, stop, .. } = self;
        vats.serve_client(executor, clients, Entitlement::everything(limits.clone()), stop.clone(), open);
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listening {
    /// Opens the socket of a node, if it is to have one. Those who come before the node is open wait. Must be called within a
    /// runtime.
    ///
    /// Where the user's directory cannot be used, the node goes without, and says so: nobody asked for a socket.
    pub(crate) async fn open(control: &Control, service: Service, runtime: &Handle) -> Result<Option<Self>, OpenError> {
        let (listener, address) = match control {
            Control::Off => return Ok(None),
            Control::User => match user().await {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::warn!("no control socket, so that `ww ps` and the like do not find this node: {error}");
                    return Ok(None);
                }
            },
            Control::At(Address::Unix(path)) => unix(path).await?,
            Control::At(Address::Tcp(addr)) => tcp(*addr).await?,
        };
        let kind = task::Kind::owned("control socket", address.clone());
        let clients = Clients::default();
        let accepting = task::spawn(runtime, kind, accept(listener, clients.clone(), service));
        Ok(Some(Self { address, clients, accepting }))
    }

    /// Accepts nobody any more, and lets those who are there have their last answers.
    pub(crate) async fn close(self) {
        self.accepting.abort();
        self.clients.close().await;
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

/// A socket in the user's directory. What nodes left there that ended without a word is removed.
async fn user() -> Result<(Listener, Address), OpenError> {
    let directory = directory::path();
    let prepared = directory::make(&directory).and_then(|()| directory::sockets(&directory));
    let io = |source| OpenError::Io { address: Address::Unix(directory.clone()), source };
    for socket in prepared.map_err(io)? {
        if let Err(error) = directory::remove_stale(&socket).await {
            tracing::debug!(path = %socket.display(), %error, "a socket that nobody listens on stays");
        }
    }
    let mut taken = None;
    for number in 1..=MAX_OWN {
        match unix(&directory::own(&directory, number)).await {
            Err(error @ OpenError::Taken(_)) => taken = Some(error),
            opened => return opened,
        }
    }
    Err(taken.unwrap_or_else(|| OpenError::Taken(Address::Unix(directory.clone()))))
}

async fn unix(path: &Path) -> Result<(Listener, Address), OpenError> {
    let address = Address::Unix(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let io = |source| OpenError::Io { address: address.clone(), source };
    directory::warn_unless_own(path);
    if !directory::remove_stale(path).await.map_err(io)? {
        return Err(OpenError::Taken(address));
    }
    let listener = bind(path).map_err(io)?;
    Ok((Listener::Unix(listener), address))
}

/// Listens before the socket has its name, so that whoever finds it finds somebody, and no mode but the right one.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // It is the name to come whose length decides.
    SocketAddr::from_pathname(path)?;
    let first: PathBuf = path.with_file_name(format!(".{:x}", rand::random::<u32>()));
    let listener = directory::at(&first, |first| UnixListener::bind(first))?;
    let named = fs::set_permissions(&first, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&first, path));
    if let Err(error) = named {
        // What matters is the first error.
        let _ = fs::remove_file(&first);
        return Err(error);
    }
    Ok(listener)
}

async fn tcp(addr: net::SocketAddr) -> Result<(Listener, Address), OpenError> {
    let listener = TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => OpenError::Taken(Address::Tcp(addr)),
        _ => OpenError::Io { address: Address::Tcp(addr), source },
    })?;
    let bound = listener.local_addr().map_err(|source| OpenError::Io { address: Address::Tcp(addr), source })?;
    Ok((Listener::Tcp(listener), Address::Tcp(bound)))
}

async fn accept(listener: Listener, clients: Clients, mut service: Service) {
    service.opened.wait().await;
    loop {
        let accepted = match &listener {
            Listener::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) if is_own(&stream) => stream.into_std().map(|stream| {
                    service.serve(&clients, || Ok(UnixStream::from_std(stream)?.into_split()));
                }),
                Ok(_) => {
                    tracing::warn!("a client of another user was sent away");
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Listener::Tcp(listener) => {
                let accepted = listener.accept().await.and_then(|(stream, _)| stream.into_std());
                accepted.map(|stream| service.serve(&clients, || Ok(TcpStream::from_std(stream)?.into_split())))
            }
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "a client cannot be accepted");
            sleep(PAUSE).await;
        }
    }
}

/// Whether this user, or the system's own, is at the other end. The mode of the file says the same; a directory that
/// others can write to would not.
fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::getuid().as_raw())
}
