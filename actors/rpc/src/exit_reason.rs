//! Exit reasons on the wire.

use capnp::Error;
use ww_core::exit::Reason;
use ww_schema::cell_capnp::exit_reason;

/// Reads a reason that another node reports.
pub(crate) fn get(reader: exit_reason::Reader<'_>) -> Result<Reason, Error> {
    Ok(Reason::reported(reader.get_code(), reader.get_text()?.to_str()?))
}

/// Writes a reason.
pub(crate) fn set(mut builder: exit_reason::Builder<'_>, reason: &Reason) {
    builder.set_code(reason.code());
    builder.set_text(reason.to_string());
    match reason {
        Reason::Normal => builder.set_normal(()),
        Reason::Exit(code) => builder.set_exit(*code),
        Reason::Trap(trap) => {
            let mut builder = builder.init_trap();
            builder.set_kind(&trap.kind);
            builder.set_message(&trap.message);
            builder.set_backtrace(&trap.backtrace);
        }
        Reason::Limit(limit) => builder.set_limit(limit.to_string()),
        Reason::Killed => builder.set_killed(()),
        Reason::Shutdown => builder.set_shutdown(()),
        Reason::StartFailed(why) => builder.set_start_failed(why),
        Reason::Link { cell, reason } => {
            let mut builder = builder.init_link();
            builder.set_cell(cell.get());
            set(builder.init_reason(), reason);
        }
        Reason::HostFault(what) => builder.set_host_fault(what),
        Reason::NoProcess => builder.set_no_process(()),
        Reason::NoConnection => builder.set_no_connection(()),
        // A reason of a version to come: its code and text say what it is.
        other => builder.set_host_fault(other.to_string()),
    }
}
