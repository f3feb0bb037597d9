//! The rows: what is measured, in the order of the table.

mod ask;
pub(crate) mod boot;
mod cell_to_cell;
pub(crate) mod density;
mod fairness;
mod growth;
mod guest_rpc;
mod poll;
mod restart;
mod ring;
mod rpc;
mod spawn;
mod spawn_cell;
mod stream;

use anyhow::Result;
use bytes::Bytes;
use ww::cell::Cell;

use crate::harness::{Plan, Record, Side};

/// One benchmark.
pub(crate) struct Row {
    /// What it is called, in the table and on the command line.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Plan) -> Result<Vec<Record>>,
}

/// All of them.
pub(crate) const ALL: &[Row] = &[
    spawn::ROW,
    spawn_cell::ROW,
    ask::ROW,
    poll::ROW,
    cell_to_cell::ROW,
    ring::ROW,
    restart::ROW,
    fairness::ROW,
    guest_rpc::ROW,
    rpc::ROW,
    stream::ROW,
    density::ROW,
    boot::ROW,
    growth::ROW,
];

/// Messages of these sizes, with what the table calls them.
pub(crate) const SIZES: [(usize, &str); 3] = [(16, "16B"), (1 << 10, "1KiB"), (64 << 10, "64KiB")];

/// One at a time, and many.
pub(crate) const IN_FLIGHT: [usize; 2] = [1, 64];

/// A message of so many bytes. It is never given back, so that neither side has to copy it to send it.
pub(crate) fn message(bytes: usize) -> &'static [u8] {
    Vec::leak(vec![b'x'; bytes])
}

/// A reply that has to be the message.
pub(crate) fn same(reply: &Bytes, message: &[u8]) -> Result<()> {
    anyhow::ensure!(reply == message, "a reply of {} bytes to a message of {}", reply.len(), message.len());
    Ok(())
}

/// A cell answers this message.
pub(crate) fn asks(cell: &Cell, message: &'static [u8]) -> Side {
    Side::new(cell.clone(), move |cell| async move { same(&cell.ask(cell.envelope(None), message).await?, message) })
}

/// What the guest `relay` is told: a letter and numbers.
pub(crate) fn command(what: u8, numbers: &[u64]) -> Bytes {
    let mut message = vec![what];
    numbers.iter().for_each(|number| message.extend(number.to_le_bytes()));
    message.into()
}
