//! The first child: answers each line of its input with `child-echo: <line>`, and proves that the
//! capabilities of its parent reach it.

use std::io::{self, BufRead, Write};

use ww_guest::{capnp, log::info, rpc};

ww_guest::cell! { main: run }

/// What the node is asked to echo.
const PROBE: &str = "hello from child-echo";

fn run() -> Result<(), String> {
    answer().map_err(|error| format!("copying standard input: {error}"))?;
    let response = call_home().map_err(|error| format!("calling the node: {error}"))?;
    if response != PROBE {
        return Err(format!("the node was asked to echo {PROBE:?} and answered {response:?}"));
    }
    info!("the node echoed: {response}");
    Ok(())
}

fn answer() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(stdout, "child-echo: {}", line?)?;
    }
    stdout.flush()
}

fn call_home() -> Result<String, capnp::Error> {
    rpc::run(|host| async move { rpc::Executor::of(&host).echo(PROBE).await })
}
