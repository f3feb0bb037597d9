//! The first cell of a graph: starts `child-echo`, says hello to it, and hands its output on.
//!
//! It ends with the code of its child.

use std::io;

use ww_guest::{capnp, futures::join, log::warn, rpc};

ww_guest::cell! { main: run }

static CHILD: &[u8] = include_bytes!(env!("CHILD_ECHO"));

fn run() -> Result<(), capnp::Error> {
    let code = rpc::run(|host| async move {
        let none: [&str; 0] = [];
        let child = rpc::Executor::of(&host).run_bytes(CHILD, &none, &none).await?;
        let (stdin, stdout) = (child.stdin(), child.stdout());
        let hello = async {
            stdin.write_all("hello from pid0\n").await?;
            stdin.close().await
        };
        // What the child reports on stderr is in the node's log.
        let (said, out) = join!(hello, stdout.copy_to(io::stdout()));
        if let Err(error) = said {
            // A child that ends early says why with its code.
            warn!("child-echo did not take its input: {error}");
        }
        out?;
        let code = child.wait().await?;
        println!("child-echo exited with code {code}");
        Ok::<_, capnp::Error>(code)
    })?;
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => ww_guest::exit(code),
        Err(_) => ww_guest::exit(u8::MAX),
    }
}
