//! What happens to cells, told to a client.

use std::time::SystemTime;

use capnp::Error;
use ww_cell::Directory;
use ww_core::{
    SlotId,
    events::{Event, Listener},
};
use ww_schema::admin_capnp::{event, listener};

use super::status::millis;
use crate::exit_reason;

/// Tells a listener of every event, and of those that it was too slow for, until it fails.
pub(crate) async fn tell(mut events: Listener, directory: Directory, listener: listener::Client) -> Result<(), Error> {
    let mut told = 0;
    while let Some(event) = events.next().await {
        let lost = events.lost();
        if lost > told {
            let mut request = listener.event_request();
            let mut builder = stamped(request.get().init_event());
            builder.set_lost(lost - told);
            request.send().await?;
            told = lost;
        }
        let mut request = listener.event_request();
        set(request.get().init_event(), &directory, &event);
        request.send().await?;
    }
    Ok(())
}

fn stamped(mut builder: event::Builder<'_>) -> event::Builder<'_> {
    builder.set_at(millis(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()));
    builder
}

/// Writes an event. What happened to a slot is told of the cell that lives there; 0 where nobody does.
fn set(builder: event::Builder<'_>, directory: &Directory, event: &Event) {
    let mut builder = stamped(builder);
    match event {
        Event::Started { cell, .. } => {
            builder.set_cell(cell.get());
            builder.set_started(());
        }
        Event::StartFailed { slot, reason } => {
            builder.set_cell(inhabitant(directory, *slot));
            exit_reason::set(builder.init_exited(), reason);
        }
        Event::Exited { cell, reason, .. } => {
            builder.set_cell(cell.get());
            exit_reason::set(builder.init_exited(), reason);
        }
        Event::Restarting { slot, count, .. } => {
            builder.set_cell(inhabitant(directory, *slot));
            builder.set_restarted(u32::try_from(*count).unwrap_or(u32::MAX));
        }
        Event::Escalated { slot, why } => {
            builder.set_cell(inhabitant(directory, *slot));
            builder.set_escalated(format!("{why:?}"));
        }
        Event::Registered { name, cell } => {
            builder.set_cell(cell.map_or(0, |cell| cell.get()));
            builder.set_registered(name.as_str());
        }
        Event::Unregistered { name } => builder.set_unregistered(name.as_str()),
        // Of a version to come: it is at least known that there was one.
        _ => builder.set_lost(1),
    }
}

fn inhabitant(directory: &Directory, slot: SlotId) -> u64 {
    let cells = directory.cells();
    cells.iter().find(|cell| cell.slot().id() == slot).map_or(0, |cell| cell.id().get())
}
