//! Links between a cell of this node and a process of another one.
//!
//! This node holds both ends, with what the protocol has: it watches both, and sends each an exit signal when the other ends,
//! its own cell also when the connection is lost. They belong to whoever linked, and end with it. Bounded by [`MAX_LINKS`].

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
};

use capnp::{Error, ErrorKind};
use tokio::sync::mpsc;
use ww_cell::{Cell, Directory};
use ww_core::{
    CellId,
    exit::Reason,
    links::{Exit, MAX_LINKS},
    task::{self, Task},
};
use ww_schema::{cell_capnp::observer, peer_capnp::process};

use super::{Proxy, watched};
use crate::exit_reason;

/// The links of one cell or client across nodes.
#[derive(Default)]
pub(crate) struct Ties(RefCell<HashMap<Ends, Task<()>>>);

/// What a link connects: a cell here, and a cell there, by the connection that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    here: CellId,
    connection: usize,
    there: u64,
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

impl Ties {
    /// Links a cell of this node with a process of another one. Nothing happens to those that are linked already.
    pub(crate) async fn tie(
        self: &Rc<Self>,
        directory: &Directory,
        cell: &Cell,
        other: &Rc<Proxy>,
    ) -> Result<(), Error> {
        let process = other.process();
        let ends = Ends { here: cell.id(), connection: other.node().brand, there: id_of(&process).await? };
        let full = || {
            let ties = self.0.borrow();
            ties.len() >= MAX_LINKS && !ties.contains_key(&ends)
        };
        if full() {
            return Err(Error::failed(format!(
                "{MAX_LINKS} links to other nodes, as many as there may be: unlink one"
            )));
        }
        let (tx, mut told) = mpsc::channel(1);
        let monitor = watched::watch(other, capnp_rpc::new_client(Ear(tx))).await?;
        let (directory, cell, other, ties) = (directory.clone(), cell.clone(), Rc::clone(other), Rc::downgrade(self));
        let tied = async move {
            tokio::select! {
                reason = cell.exit().wait() => signal(&process, &reason).await,
                Some(reason) = told.recv() => {
                    let from = CellId::new(ends.there);
                    if !directory.exit(from, cell.id(), Exit::With(reason)) {
                        tracing::warn!(cell = %cell.id(), "a cell has no room for the end of a process that it is linked to");
                    }
                }
            }
            drop((monitor, other));
            Self::forget(&ties, ends);
        };
        let task = task::spawn_local(task::Kind::owned("link", ends.here), tied);
        self.0.borrow_mut().insert(ends, task);
        Ok(())
    }

    /// Takes a link back, if there is one.
    pub(crate) async fn untie(&self, cell: &Cell, other: &Rc<Proxy>) -> Result<(), Error> {
        let there = id_of(&other.process()).await?;
        let ends = Ends { here: cell.id(), connection: other.node().brand, there };
        // Dropped after the borrow.
        let task = self.0.borrow_mut().remove(&ends);
        drop(task);
        Ok(())
    }

    fn forget(ties: &Weak<Self>, ends: Ends) {
        if let Some(ties) = ties.upgrade() {
            let task = ties.0.borrow_mut().remove(&ends);
            drop(task);
        }
    }
}

impl observer::Server for Ear {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        // There is one to be told, and room for it.
        let _ = self.0.try_send(exit_reason::get(params.get()?.get_reason()?)?);
        Ok(())
    }
}
