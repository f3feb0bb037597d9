//! The command `ww`.

#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::process::exit;

/// Runs before the standard library puts something else in the place of standard streams that are closed. Nothing of that
/// library is there yet, and nothing of it is called.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE: extern "C" fn() = {
    extern "C" fn before() {
        ww::terminal::note_closed();
    }
    before
};

fn main() {
    // A node starts this program again to compile: see `ww::cell::worker`.
    ww::cell::worker::serve_if_asked(None);
    // No return: a thread that waits for the terminal would hold the process up.
    exit(ww::cli::main().into())
}
