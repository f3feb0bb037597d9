//! What a cell is doing, on the wire.

use std::time::{Duration, UNIX_EPOCH};

use ww_cell::{Cell, Directory, Mode, Phase};
use ww_core::{Limits, registry::Owner, text};
use ww_schema::cell_capnp::{limits, status};

use crate::exit_reason;

/// Microseconds of one millisecond.
const MICROS: u64 = 1_000;

/// Writes the status of a cell.
pub(crate) fn set(mut builder: status::Builder<'_>, directory: &Directory, cell: &Cell) {
    builder.set_cell(cell.id().get());
    let names = directory.names();
    let mut all = names.names_of(Owner::Slot(cell.slot().id()));
    all.extend(names.names_of(Owner::Cell(cell.id())));
    let mut list = builder.reborrow().init_names(u32::try_from(all.len()).unwrap_or(u32::MAX));
    for (index, name) in (0..list.len()).zip(&all) {
        list.set(index, name.as_str());
    }
    builder.set_async(cell.mode() == Some(Mode::Async));
    let started = cell.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    builder.set_started_at(millis(started));
    let (meters, (depth, dropped)) = (cell.meters(), cell.mailbox());
    builder.set_memory(meters.memory());
    builder.set_mailbox_depth(u32::try_from(depth).unwrap_or(u32::MAX));
    builder.set_messages(meters.answered());
    builder.set_dropped(dropped);
    builder.set_cpu(meters.cpu().saturating_mul(MICROS));
    builder.set_restarts(cell.restarts());
    builder.set_phase(match cell.phase() {
        Phase::Compiling => status::Phase::Compiling,
        Phase::Starting => status::Phase::Starting,
        Phase::Running => status::Phase::Running,
    });
    let mut state = builder.init_state();
    match cell.exit().reason() {
        None => state.set_running(()),
        Some(reason) => exit_reason::set(state.init_ended(), &reason),
    }
}

/// Writes limits. What is not limited is 0.
pub(crate) fn set_limits(mut builder: limits::Builder<'_>, limits: &Limits) {
    let time = |limit: Option<Duration>| limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
    builder.set_memory(limits.memory);
    builder.set_cpu(time(limits.cpu));
    builder.set_deadline(time(limits.deadline));
    builder.set_instances(limits.instances);
    builder.set_children(limits.children);
    builder.set_subtree_cells(limits.subtree_cells);
    builder.set_subtree_memory(limits.subtree_memory.unwrap_or(0));
    builder.set_message_size(limits.message_size);
    builder.set_held(limits.held);
}

/// The rest that is known, one thing in each line.
pub(crate) fn detail(cell: &Cell) -> String {
    let mode = match cell.mode() {
        None => "main, once",
        Some(Mode::Async) => "async: one live instance",
        Some(Mode::Sync) => "sync: an instance for each message",
    };
    let meters = cell.meters();
    format!(
        "label: {}\nslot: {}\nmode: {mode}\nfailed messages: {}\n",
        text::name(cell.name()),
        cell.slot().id(),
        meters.failed()
    )
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
