//! Exit reasons as Cap'n Proto.

use ww_core::exit::Reason;
use ww_schema::cell_capnp::exit_reason::Builder;

/// Writes a reason, with those that it was caused by.
pub(crate) fn write(mut to: Builder<'_>, reason: &Reason) {
    to.set_code(reason.code());
    to.set_text(reason.to_string());
    match reason {
        Reason::Normal => to.set_normal(()),
        Reason::Exit(code) => to.set_exit(*code),
        Reason::Trap(trap) => {
            let mut to = to.init_trap();
            to.set_kind(&trap.kind);
            to.set_message(&trap.message);
            to.set_backtrace(&trap.backtrace);
        }
        Reason::Limit(limit) => to.set_limit(limit.to_string()),
        Reason::Killed => to.set_killed(()),
        Reason::Shutdown => to.set_shutdown(()),
        Reason::StartFailed(why) => to.set_start_failed(&**why),
        Reason::Link { cell, reason } => {
            let mut to = to.init_link();
            to.set_cell(cell.get());
            write(to.init_reason(), reason);
        }
        Reason::NoProcess => to.set_no_process(()),
        Reason::NoConnection => to.set_no_connection(()),
        Reason::HostFault(what) => to.set_host_fault(&**what),
        // What is new to this interface is the node's business.
        other => to.set_host_fault(other.to_string()),
    }
}
