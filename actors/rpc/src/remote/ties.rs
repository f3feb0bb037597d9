//! Links between a cell of this node and a process of another one.
//!
//! This node holds both ends, with what the protocol has: it watches both, and sends each an exit signal when the other ends.
//! When the connection is lost, each node sends its own cell one: the other node for a lease that this one has let go of.
//! Links belong to whoever linked, and end with it. Bounded by [`MAX_LINKS`].

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
};

use capnp::{Error, ErrorKind};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};
use ww_cell::{Cell, Directory};
use ww_core::{
    CellId,
    exit::Reason,
    links::{Exit, MAX_LINKS},
    task::{self, Task},
};
use ww_schema::{
    cell_capnp::{lease, observer},
    peer_capnp::process,
};

use super::{Proxy, watched};
use crate::exit_reason;

/// The links of one cell or client across nodes.
#[derive(Default)]
pub(crate) struct Ties(RefCell<HashMap<Ends, Tie>>);

/// A link. Dropping it takes it back.
struct Tie {
    _untie: oneshot::Sender<()>,
    /// Lasts until neither end is told any more.
    lasting: Task<()>,
}

/// What a link connects: a cell here, and a cell there, by the connection that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    here: CellId,
    connection: usize,
    there: u64,
}

/// How a link ends.
enum End {
    /// It was taken back.
    Untied,
    /// The cell here has ended.
    Here(Reason),
    /// The one there has, or is out of reach.
    There(Reason),
}

/// Hands on what a monitor tells.
struct Ear(mpsc::Sender<Reason>);

/// The error of a link between what cannot be linked.
pub(crate) fn not_linkable() -> Error {
    Error::failed("the other is no process of this node or of one that it is connected to, or was narrowed so that it cannot be linked".into())
}

async fn id_of(process: &process::Client) -> Result<u64, Error> {
    Ok(process.status_request().send().promise.await?.get()?.get_status()?.get_cell())
}

/// Sends a process of another node an exit signal.
async fn signal(process: &process::Client, reason: &Reason) {
    let mut request = process.exit_request();
    exit_reason::set(request.get().init_reason(), reason);
    // It may have ended as well, or be out of reach.
    if let Err(error) = request.send().promise.await
        && error.kind == ErrorKind::Unimplemented
        && !reason.is_orderly()
    {
        // A node that knows of no signals can end it.
        let _ = process.kill_request().send().promise.await;
    }
}

/// Has a process of another node sent an exit signal if the connection is lost; `None` where that is not left to it.
async fn lease(process: &process::Client) -> Option<lease::Client> {
    let mut request = process.lease_request();
    request.get().set_signal(true);
    let asked = async { request.send().promise.await?.get()?.get_lease() };
    asked.await.inspect_err(|error| tracing::debug!(%error, "the other end of a link is not told of a loss")).ok()
}

impl Ties {
    /// Links a cell of this node with a process of another one. Nothing happens to those that are linked already.
    ///
    /// Cancel safe: they are linked then as well.
    pub(crate) async fn tie(
        self: &Rc<Self>,
        directory: &Directory,
        cell: &Cell,
        other: &Rc<Proxy>,
    ) -> Result<(), Error> {
        let process = other.process();
        let ends = Ends { here: cell.id(), connection: other.node().brand, there: id_of(&process).await? };
        if self.0.borrow().contains_key(&ends) {
            return Ok(());
        }
        if self.0.borrow().len() >= MAX_LINKS {
            return Err(Error::failed(format!(
                "{MAX_LINKS} links to other nodes, as many as there may be: unlink one"
            )));
        }
        let ((untie, mut untied), (ready, linked)) = (oneshot::channel(), oneshot::channel());
        let (directory, cell, other, ties) = (directory.clone(), cell.clone(), Rc::clone(other), Rc::downgrade(self));
        let tied = async move {
            let (tx, told) = mpsc::channel(1);
            // Whoever asked may not wait any more.
            let monitor = match watched::watch(&other, capnp_rpc::new_client(Ear(tx))).await {
                Ok(monitor) => monitor,
                Err(error) => {
                    if untied.try_recv() == Err(TryRecvError::Empty) {
                        Self::forget(&ties, ends);
                    }
                    return drop(ready.send(Err(error)));
                }
            };
            let lease = lease(&process).await;
            let _ = ready.send(Ok(()));
            match Self::end(&ties, ends, &cell, untied, told).await {
                End::Untied => {}
                End::Here(reason) => signal(&process, &reason).await,
                End::There(reason) => {
                    if !directory.exit(CellId::new(ends.there), cell.id(), Exit::With(reason)) {
                        tracing::warn!(cell = %cell.id(), "a cell has no room for the end of a process that it is linked to");
                    }
                }
            }
            if let Some(lease) = lease {
                // Nobody is to be told any more. The connection lasts until that is known, or is lost itself.
                let _ = lease.release_request().send().promise.await;
            }
            drop((monitor, other));
        };
        let lasting = task::spawn_local(task::Kind::detached("link", ends.here), tied);
        self.0.borrow_mut().insert(ends, Tie { _untie: untie, lasting });
        linked.await.unwrap_or_else(|_| Err(Error::failed("the link was given up".into())))
    }

    /// Waits for the end of a link. After that there may be another one between the same two.
    async fn end(
        ties: &Weak<Self>,
        ends: Ends,
        cell: &Cell,
        untied: oneshot::Receiver<()>,
        mut told: mpsc::Receiver<Reason>,
    ) -> End {
        let end = tokio::select! {
            biased;
            _ = untied => return End::Untied,
            reason = cell.exit().wait() => End::Here(reason),
            Some(reason) = told.recv() => End::There(reason),
        };
        Self::forget(ties, ends);
        end
    }

    fn forget(ties: &Weak<Self>, ends: Ends) {
        if let Some(ties) = ties.upgrade() {
            ties.0.borrow_mut().remove(&ends);
        }
    }

    /// Takes a link back, if there is one, and waits until neither end is told any more.
    pub(crate) async fn untie(&self, cell: &Cell, other: &Rc<Proxy>) -> Result<(), Error> {
        let there = id_of(&other.process()).await?;
        let tie = self.0.borrow_mut().remove(&Ends { here: cell.id(), connection: other.node().brand, there });
        if let Some(Tie { _untie: untie, lasting }) = tie {
            drop(untie);
            // Whatever kept it from its end is the end of it.
            let _ = lasting.await;
        }
        Ok(())
    }
}

impl observer::Server for Ear {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        // There is one to be told, and room for it.
        let _ = self.0.try_send(exit_reason::get(params.get()?.get_reason()?)?);
        Ok(())
    }
}
