//! Membranes of other nodes, as far as this one keeps them: what they started here is held to their narrowing, and ends when
//! they do.

use std::rc::Rc;

use capnp::Error;
use ww_schema::grant_capnp::{membrane, neighbour};

use super::{Membrane, Way};
use crate::context::Context;

/// The server of `Neighbour`, which a peer can ask without any grant.
pub(crate) struct Neighbour(Context);

/// One end, until the other node drops it or the connection is lost.
struct End(Rc<Membrane>);

impl Neighbour {
    pub(crate) fn new(context: Context) -> Self {
        Self(context)
    }
}

impl neighbour::Server for Neighbour {
    async fn membrane(
        self: Rc<Self>,
        params: neighbour::MembraneParams,
        mut results: neighbour::MembraneResults,
    ) -> Result<(), Error> {
        let membrane = Membrane::open(&self.0, params.get()?.get_to()?)?;
        results.get().set_membrane(capnp_rpc::new_client(End(membrane)));
        Ok(())
    }
}

impl membrane::Server for End {
    async fn within(
        self: Rc<Self>,
        params: membrane::WithinParams,
        mut results: membrane::WithinResults,
    ) -> Result<(), Error> {
        let client = params.get()?.get_cap().get_as_capability()?;
        results.get().init_cap().set_as_capability(self.0.across(client, Way::Out)?.hook);
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.revoke("the node that narrowed it has taken it back");
    }
}
