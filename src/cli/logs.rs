//! `ww logs`: what a cell has reported.

use ww_core::text::Pieces;
use ww_rpc::client;

use super::{Failure, code, node::Node, place::Which, target::Target};
use crate::terminal::Output;

/// Print what is kept of a cell's standard error
///
/// The last 64 KiB are kept, also of the last cells that ended. On a terminal, control characters are escaped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Go on with what comes, until the cell ends
    #[arg(short, long)]
    pub(super) follow: bool,

    /// A name, or an id of `ww ps`; name:NAME and id:ID say which
    pub(super) cell: Target,
}

pub(super) async fn logs(node: Node, cell: &Target, follow: bool) -> Result<u8, Failure> {
    let (sink, mut incoming) = client::sink();
    let mut request = node.local.admin.logs_request();
    request.get().set_cell(node.find(cell).await?);
    request.get().set_follow(follow);
    request.get().set_sink(sink);
    // Held until the end: without it nothing more comes.
    let _subscription = node.answer(async { request.send().promise.await?.get()?.get_subscription() }).await?;
    let mut pieces = Output::Stdout.is_terminal().then(Pieces::default);
    while let Some(bytes) = incoming.next().await {
        let shown = match &mut pieces {
            Some(pieces) => pieces.next(&bytes).into_bytes(),
            None => bytes,
        };
        let written = Output::Stdout.write(shown.into()).await;
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            // The reader has seen enough.
            return Ok(code::OK);
        }
        super::shown(written)?;
    }
    super::shown(Output::Stdout.write_all(pieces.unwrap_or_default().end().as_bytes()))?;
    Ok(code::OK)
}
