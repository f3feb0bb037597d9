//! Ending with a code.

use crate::entry;

/// Ends the cell with an exit code, from wherever it is.
///
/// What was printed is flushed first; destructors do not run. In async mode this ends the whole cell,
/// not only the message: return an error to fail a message.
///
/// [`std::process::exit`] cannot do this: WASI 0.2 programs of the standard library end through
/// `wasi:cli/exit.exit`, which knows success and failure only, so that `std::process::exit(7)` arrives
/// as code 1. This function uses `exit-with-code`. (Preview 1 modules are not affected: there,
/// `std::process::exit(7)` delivers 7.)
pub fn exit(code: u8) -> ! {
    // Whoever read the output is gone; the code still says how the cell ended.
    let _ = entry::flush();
    wasip2::cli::exit::exit_with_code(code);
    unreachable!("exit-with-code does not return")
}
