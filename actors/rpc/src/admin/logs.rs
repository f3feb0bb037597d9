//! What a cell has reported, written to a client.

use capnp::Error;
use ww_cell::{Cell, history::Part};
use ww_schema::peer_capnp::byte_stream;

/// Bytes of one write.
const CHUNK: usize = 16 * 1024;

/// Writes what is kept, with `follow` also what comes, and closes the sink at the end.
pub(crate) async fn write(cell: Cell, follow: bool, sink: byte_stream::Client) -> Result<(), Error> {
    let history = cell.history();
    let mut position = history.start();
    let mut ended = !follow;
    loop {
        let part = history.now(&mut position, CHUNK);
        if !part.bytes.is_empty() {
            push(&sink, part).await?;
            continue;
        }
        if ended {
            break;
        }
        tokio::select! {
            part = history.read(&mut position, CHUNK) => {
                ended = part.bytes.is_empty();
                push(&sink, part).await?;
            }
            // Whatever was reported before is there by now.
            _ = cell.exit().wait() => ended = true,
        }
    }
    sink.close_request().send().promise.await.map(drop)
}

async fn push(sink: &byte_stream::Client, Part { bytes, lost }: Part) -> Result<(), Error> {
    if lost > 0 {
        let mut request = sink.push_request();
        request.get().set_data(format!("\n[{lost} bytes are missing here: they were not read in time]\n").as_bytes());
        request.send().await?;
    }
    if bytes.is_empty() {
        return Ok(());
    }
    let mut request = sink.push_request();
    request.get().set_data(&bytes);
    request.send().await
}
