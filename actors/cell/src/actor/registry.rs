//! `wetware:cell/registry`: names of cells.

use wasmtime::component::Linker;
use ww_core::{CellId, Name};

use super::error::Error;
use crate::guest::Guest;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/registry@0.1.0")?;
    instance.func_wrap("register", |store, (name,): (String,)| Ok((register(store.data(), name),)))?;
    instance.func_wrap("unregister", |store, (name,): (String,)| Ok((unregister(store.data(), name),)))?;
    instance.func_wrap("whereis", |store, (name,): (String,)| Ok((whereis(store.data(), name),)))
}

fn register(guest: &Guest, name: String) -> Result<(), Error> {
    let name = granted(guest, name)?;
    guest.own.directory.register(name, guest.own.id()).map_err(Error::refused)
}

fn unregister(guest: &Guest, name: String) -> Result<(), Error> {
    let name = granted(guest, name)?;
    guest.own.directory.unregister(&name, guest.own.id()).map_err(Error::refused)
}

fn whereis(guest: &Guest, name: String) -> Result<Option<u64>, Error> {
    let name = granted(guest, name)?;
    Ok(guest.own.whereis(guest.current.as_ref(), &name).map(CellId::get))
}

fn granted(guest: &Guest, name: String) -> Result<Name, Error> {
    if !guest.own.spec.grants.registry {
        return Err(Error::Denied);
    }
    Name::new(name).map_err(Error::refused)
}
