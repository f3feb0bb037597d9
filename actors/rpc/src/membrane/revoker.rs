//! How a narrowed capability is asked for, and taken back.

use std::rc::Rc;

use capnp::{Error, capability::Client};
use ww_schema::grant_capnp::{narrowing, revoker};

use super::Membrane;
use crate::context::Context;

/// Bytes of a reason that are kept: what a person reads.
const MAX_REASON: usize = 1_024;

struct Server(Rc<Membrane>);

/// Narrows a capability, on behalf of whom the context belongs to.
///
/// # Errors
///
/// Where the narrowing cannot be read, the capability was narrowed too often, or too many are.
pub(crate) fn narrow(
    context: &Context,
    client: Client,
    to: narrowing::Reader<'_>,
) -> Result<(Client, revoker::Client), Error> {
    let membrane = Membrane::open(context, to)?;
    let narrowed = membrane.narrowed(client)?;
    Ok((narrowed, capnp_rpc::new_client(Server(membrane))))
}

impl revoker::Server for Server {
    async fn revoke(self: Rc<Self>, params: revoker::RevokeParams, _: revoker::RevokeResults) -> Result<(), Error> {
        let params = params.get()?;
        // A reason that is no text revokes as well.
        let reason = String::from_utf8_lossy(params.get_reason()?.as_bytes());
        self.0.revoke(&reason[..reason.floor_char_boundary(MAX_REASON.min(reason.len()))]);
        Ok(())
    }
}
