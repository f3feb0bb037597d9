//! `wetware:cell`: what a guest asks of its node as an actor.
//!
//! Every function looks at the grants of the cell first. What a right program may meet is an error in the function's
//! result, `denied` among them; nothing here traps.

mod error;
mod identity;
mod log;
mod mail;
mod process;
mod registry;

use wasmtime::component::Linker;

use crate::guest::Guest;

/// Links all of `wetware:cell`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    identity::add_to_linker(linker)?;
    mail::add_to_linker(linker)?;
    registry::add_to_linker(linker)?;
    process::add_to_linker(linker)?;
    log::add_to_linker(linker)
}
