//! The ends of a membrane at other nodes, which own what is behind it.
//!
//! What starts cells of another node goes to that node within an end of the membrane there, which is opened when it is met.
//! That end has the same narrowing; it holds cells to their limits and grants, and ends them, when this node drops it, when
//! it expires, or when the connection is lost. A node that knows nothing of this starts nothing through the membrane.
//!
//! Bounded: [`MAX_NODES`] ends.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};

use capnp::{Error, ErrorKind, capability::Client};
use tokio::sync::OnceCell;
use ww_core::grants::Narrowing;
use ww_schema::grant_capnp::membrane;

use super::wire;
use crate::remote::Node;

/// Connections to other nodes through which one membrane starts cells at once: twice those of one cell.
const MAX_NODES: usize = 64;

/// The ends of one membrane.
#[derive(Default)]
pub(super) struct Afar(RefCell<Vec<End>>);

struct End {
    /// Does not keep the connection: when that ends, so does what was started over it.
    node: Weak<Node>,
    membrane: Rc<OnceCell<membrane::Client>>,
}

impl Afar {
    /// Drops all ends, and so ends what was started through them.
    pub(super) fn end(&self) {
        let ends = self.0.take();
        drop(ends);
    }

    /// A capability of another node, within the end of the membrane there. `left` is how long the membrane lasts.
    pub(super) async fn within(
        &self,
        node: &Rc<Node>,
        client: Client,
        narrowing: &Narrowing,
        left: Option<Duration>,
    ) -> Result<Client, Error> {
        let end = self.end_at(node)?;
        let membrane = end.get_or_try_init(|| open(node, narrowing, left)).await?;
        let mut request = membrane.within_request();
        request.get().init_cap().set_as_capability(client.hook);
        request.send().promise.await?.get()?.get_cap().get_as_capability()
    }

    fn end_at(&self, node: &Rc<Node>) -> Result<Rc<OnceCell<membrane::Client>>, Error> {
        let mut ends = self.0.borrow_mut();
        ends.retain(|end| end.node.strong_count() > 0);
        if let Some(end) = ends.iter().find(|end| Weak::as_ptr(&end.node) == Rc::as_ptr(node)) {
            return Ok(Rc::clone(&end.membrane));
        }
        if ends.len() >= MAX_NODES {
            return Err(Error::overloaded(format!(
                "cells of {MAX_NODES} other nodes were started through one narrowed capability, no more can"
            )));
        }
        let membrane = Rc::default();
        ends.push(End { node: Rc::downgrade(node), membrane: Rc::clone(&membrane) });
        Ok(membrane)
    }
}

async fn open(node: &Node, narrowing: &Narrowing, left: Option<Duration>) -> Result<membrane::Client, Error> {
    let mut request = node.neighbour().membrane_request();
    wire::write(request.get().init_to(), narrowing, left);
    match request.send().promise.await {
        Ok(answer) => answer.get()?.get_membrane(),
        Err(error) if error.kind == ErrorKind::Unimplemented => Err(Error::failed(
            "denied: the other node does not hold its cells to what was narrowed here: use `Host.narrow` of that node"
                .into(),
        )),
        Err(error) => Err(error),
    }
}
