//! `wetware:streams`: the guest's connection to its node.
//!
//! The connection is two pipes. The guest gets one end of each, as `wasi:io` streams or as numbers; the
//! other ends go to whoever serves the guest's vat, when the guest connects. The host owns both pipes; they
//! close when the guest drops its streams or its instance ends.

mod stepping;

use std::sync::Arc;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use self::stepping::Stepping;
use crate::{
    guest::Guest,
    handling::Handling,
    pipe,
    stdio::{Input, Output},
};

/// Names under which the interface is linked: with its version, and without for bindings that know none.
const NAMES: [&str; 2] = ["wetware:streams/streams@0.1.0", "wetware:streams/streams"];

/// Bytes under way in each direction of a connection.
const CONNECTION_CAPACITY: usize = pipe::CAPACITY;

/// The node's end of a guest's connection.
#[derive(Debug)]
pub struct Duplex {
    /// What the guest sends.
    pub from_guest: pipe::Reader,
    /// What the guest receives.
    pub to_guest: pipe::Writer,
    /// What the guest is handling.
    pub handling: Handling,
}

/// Serves the node's end, called when an instance connects: once at most for each.
pub type Connect = Arc<dyn Fn(Duplex) + Send + Sync>;

/// The guest's side of the resource `connection`: each stream is there until it is taken.
pub(crate) struct Connection {
    input: Option<Input>,
    output: Option<Output>,
}

/// The streams that the guest holds as numbers: its input as 0, its output as 1.
#[derive(Default)]
pub(crate) struct Handles {
    input: Option<Input>,
    output: Option<Output>,
}

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

/// Links `wetware:streams/streams`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    NAMES.into_iter().try_for_each(|name| add_instance(linker, name))
}

fn add_instance(linker: &mut Linker<Guest>, name: &str) -> wasmtime::Result<()> {
    let mut instance = linker.instance(name)?;
    instance.resource("connection", ResourceType::host::<Connection>(), |mut store, rep| {
        store.data_mut().table().delete(Resource::<Connection>::new_own(rep))?;
        Ok(())
    })?;
    instance.func_wrap("create-connection", |mut store, (): ()| {
        let guest = store.data_mut();
        let connection = guest.connect()?;
        Ok((guest.table().push(connection)?,))
    })?;
    instance.func_wrap(
        "[method]connection.get-input-stream",
        |mut store, (connection,): (Resource<Connection>,)| {
            let guest = store.data_mut();
            let input: DynInputStream = Box::new(Stepping::new(guest.take_input(&connection)?));
            Ok((guest.table().push(input)?,))
        },
    )?;
    instance.func_wrap(
        "[method]connection.get-output-stream",
        |mut store, (connection,): (Resource<Connection>,)| {
            let guest = store.data_mut();
            let output: DynOutputStream = Box::new(guest.take_output(&connection)?);
            Ok((guest.table().push(output)?,))
        },
    )?;
    instance.func_wrap(
        "[method]connection.get-input-stream-handle",
        |mut store, (connection,): (Resource<Connection>,)| {
            let guest = store.data_mut();
            guest.handles.input = Some(guest.take_input(&connection)?);
            Ok((INPUT,))
        },
    )?;
    instance.func_wrap(
        "[method]connection.get-output-stream-handle",
        |mut store, (connection,): (Resource<Connection>,)| {
            let guest = store.data_mut();
            guest.handles.output = Some(guest.take_output(&connection)?);
            Ok((OUTPUT,))
        },
    )?;
    instance.func_wrap_async("read", |store, (handle, max): (u32, u32)| {
        let input = store.data().handles.input.clone().filter(|_| handle == INPUT);
        Box::new(async move {
            let Some(input) = input else { return Ok((Err(not_open(handle, "reading")),)) };
            if max == 0 {
                // An empty answer would look like the end of the stream.
                return Ok((Err("max is 0: ask for at least one byte".to_owned()),));
            }
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            Ok((input.wait_read(max).await.map(|bytes| bytes.to_vec()).map_err(|closed| closed.to_string()),))
        })
    })?;
    instance.func_wrap_async("write", |store, (handle, bytes): (u32, Vec<u8>)| {
        let output = store.data().handles.output.clone().filter(|_| handle == OUTPUT);
        Box::new(async move {
            let Some(output) = output else { return Ok((Err(not_open(handle, "writing")),)) };
            Ok((output.wait_write(&bytes).await.map_err(|closed| closed.to_string()),))
        })
    })?;
    instance.func_wrap("close", |mut store, (handle,): (u32,)| {
        let handles = &mut store.data_mut().handles;
        let open = match handle {
            INPUT => handles.input.take().is_some(),
            OUTPUT => handles.output.take().is_some(),
            _ => false,
        };
        Ok((if open { Ok(()) } else { Err(not_open(handle, "closing")) },))
    })
}

fn not_open(handle: u32, what_for: &str) -> String {
    format!("handle {handle} is not open for {what_for}: get it from the connection first, and close it once")
}

impl Guest {
    fn connect(&mut self) -> wasmtime::Result<Connection> {
        let connect = self.connect.take().ok_or_else(|| {
            wasmtime::Error::msg("create-connection: this cell has used its one connection to the node, or has none")
        })?;
        let account = self.own.cell.account();
        let (to_guest, input) = pipe::charged(CONNECTION_CAPACITY, account);
        let (output, from_guest) = pipe::charged(CONNECTION_CAPACITY, account);
        let handling = self.handling.insert(Handling::default()).clone();
        if let Some(current) = &self.current {
            handling.begin(self.own.cell.slot().id(), &current.envelope);
        }
        connect(Duplex { from_guest, to_guest, handling });
        Ok(Connection { input: Some(Input::new(input)), output: Some(Output::new(output)) })
    }

    fn take_input(&mut self, connection: &Resource<Connection>) -> wasmtime::Result<Input> {
        let input = self.table().get_mut(connection)?.input.take();
        input.ok_or_else(|| wasmtime::Error::msg("get-input-stream: the stream was taken before"))
    }

    fn take_output(&mut self, connection: &Resource<Connection>) -> wasmtime::Result<Output> {
        let output = self.table().get_mut(connection)?.output.take();
        output.ok_or_else(|| wasmtime::Error::msg("get-output-stream: the stream was taken before"))
    }
}

#[cfg(test)]
mod tests;
