//! The command `ww`.

#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::process::exit;

/// Polls between two looks at timers and sockets, and between two looks at the queue that all workers share: with
/// these, cells keep their latency beside as many guests that never stop computing as there are cores.
const EVENT_INTERVAL: u32 = 16;
const GLOBAL_QUEUE_INTERVAL: u32 = 4;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("ww-worker")
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build();
    let code = match &runtime {
        Ok(runtime) => ww::cli::main(runtime),
        Err(error) => {
            ww::cli::say(&format!("cannot start the threads of the runtime: {error}"));
            ww::cli::code::HOST
        }
    };
    // Neither a return nor a drop of the runtime: a thread that waits for the terminal would hold the process up.
    exit(code.into())
}
