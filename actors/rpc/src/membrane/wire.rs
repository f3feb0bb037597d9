//! A narrowing as it is read from a message, and written for another node.

use std::time::Duration;

use capnp::Error;
use ww_core::{
    grants::{Method, Narrowing},
    limits, text,
};
use ww_schema::{cell_capnp, grant_capnp::narrowing};

use crate::{shelf::MAX_GRANTS, spec};

/// Methods that one narrowing may name: more than all interfaces have together.
const MAX_METHODS: u32 = 1_024;

/// Reads a narrowing.
///
/// # Errors
///
/// Where it names too much, or what is no reserved name.
pub(super) fn read(to: narrowing::Reader<'_>) -> Result<Narrowing, Error> {
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
        Err(Error::failed(format!(
            "{} is no reserved name: expected one like \"wetware:cell/log\"",
            text::quoted(name)
        )))
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

/// Writes a narrowing of which this much time is left.
pub(super) fn write(mut to: narrowing::Builder<'_>, narrowing: &Narrowing, left: Option<Duration>) {
    let Narrowing { methods, reserved, limits, expires: _ } = narrowing;
    let mut list = to.reborrow().init_methods(count(methods.len()));
    for (index, method) in (0..).zip(methods) {
        let mut entry = list.reborrow().get(index);
        entry.set_interface(method.interface);
        entry.set_method(method.ordinal);
    }
    let mut list = to.reborrow().init_grants(count(reserved.len()));
    for (index, name) in (0..).zip(reserved) {
        list.set(index, name);
    }
    if let Some(left) = left {
        // 0 would be for ever.
        to.set_expires(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    write_limits(to.init_limits(), limits);
}

fn write_limits(mut to: cell_capnp::limits::Builder<'_>, limits: &limits::Narrowing) {
    let limits::Narrowing {
        memory,
        deadline,
        cpu,
        children,
        subtree_cells,
        subtree_memory,
        message_size,
        instances,
        held,
    } = limits;
    // As they were read: what was left out is 0, and times fit.
    let millis = |millis: &Option<u64>| u32::try_from(millis.unwrap_or(0)).unwrap_or(u32::MAX);
    to.set_memory(memory.unwrap_or(0));
    to.set_deadline(millis(deadline));
    to.set_cpu(millis(cpu));
    to.set_children(children.unwrap_or(0));
    to.set_subtree_cells(subtree_cells.unwrap_or(0));
    to.set_subtree_memory(subtree_memory.unwrap_or(0));
    to.set_message_size(message_size.unwrap_or(0));
    to.set_instances(instances.unwrap_or(0));
    to.set_held(held.unwrap_or(0));
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
