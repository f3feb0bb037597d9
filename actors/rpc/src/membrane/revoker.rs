//! How a narrowed capability is asked for, and taken back.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::{Error, capability::Client};
use ww_core::grants::{Method, Narrowing};
use ww_schema::grant_capnp::{narrowing, revoker};

use super::{MAX_NARROWED, Membrane};
use crate::{context::Context, shelf::MAX_GRANTS, spec};

/// Methods that one narrowing may name: more than all interfaces have together.
const MAX_METHODS: u32 = 1_024;

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
    let narrowing = read(to)?;
    let Ok(place) = Arc::clone(&context.narrowed).try_acquire_owned() else {
        let why = format!("{MAX_NARROWED} narrowed capabilities, as many as one connection may have: drop some");
        return Err(Error::overloaded(why));
    };
    let membrane = Membrane::new(narrowing, place);
    let narrowed = membrane.narrowed(client)?;
    Ok((narrowed, capnp_rpc::new_client(Server(membrane))))
}

fn read(to: narrowing::Reader<'_>) -> Result<Narrowing, Error> {
    let (methods, reserved) = (to.get_methods()?, to.get_grants()?);
    if methods.len() > MAX_METHODS {
        return Err(Error::failed(format!("{} methods: at most {MAX_METHODS} can be named", methods.len())));
    }
    if reserved.len() as usize > MAX_GRANTS {
        return Err(Error::failed(format!("{} grants: at most {MAX_GRANTS} can be named", reserved.len())));
    }
    let reserved = reserved.iter().map(|name| {
        let name = name?.to_string()?;
        if name.starts_with("wetware:") {
            return Ok(name);
        }
        Err(Error::failed(format!("{name:?} is no reserved name: expected one like \"wetware:cell/log\"")))
    });
    let expires = Some(to.get_expires()).filter(|millis| *millis > 0);
    Ok(Narrowing {
        methods: methods
            .iter()
            .map(|method| Method { interface: method.get_interface(), ordinal: method.get_method() })
            .collect(),
        reserved: reserved.collect::<Result<_, Error>>()?,
        limits: spec::wishes(to.get_limits()?),
        expires: expires.map(Duration::from_millis),
    })
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
