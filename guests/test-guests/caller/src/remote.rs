//! What the program does on another node.

use ww_guest::{
    capnp::Error,
    futures::join,
    loader,
    peer_capnp::host,
    rpc::{Cell, Executor, Nodes, Peer},
};

use crate::say;

/// Longer than any test takes, in milliseconds.
const FOR_EVER: &str = "sleep 600000\n";

/// Starts a cell there and one here, links the two, and says how it learns of the end of the first.
pub(crate) async fn remote(host: host::Client, peer: &str, path: &str) -> Result<(), Error> {
    let peer: Peer = peer.parse().map_err(Error::failed)?;
    let wasm = loader::load(path).map_err(Error::failed)?;
    let far = Nodes::of(&host).connect(&peer).await?;
    let there = Executor::of(&far);
    let program = there.load(&wasm).await?;
    let process = there.spawn(&Cell::live(&program)).await?;
    let here = Executor::of(&host);
    let own = here.spawn(&Cell::live(&here.load(&wasm).await?)).await?;
    own.link(&process).await?;
    let monitor = process.monitor().await?;
    let answer = process.send("count\n", None).await?;
    say(&format!("answered {}", String::from_utf8_lossy(&answer)))?;
    let (down, code, linked, call) = join!(monitor.down(), process.wait(), own.wait(), process.send(FOR_EVER, None));
    let down = down?;
    say(&format!("down {}: {}", down.code, down.reason))?;
    say(&format!("code {}, linked {}", code?, linked?))?;
    match call {
        Ok(_) => say("the call was answered"),
        Err(error) => say(&format!("call: {:?}", error.kind)),
    }
}
