//! `ww wait`: waits for the end of a cell.

use super::{
    Failure,
    node::{Node, call_failure},
    place::Which,
    target::Target,
};

/// Wait for the end of a cell, and exit with its code
///
/// The last cells that ended can still be waited for, by their id.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// A name, or an id of `ww ps`; name:NAME and id:ID say which
    pub(super) cell: Target,
}

pub(super) async fn wait(node: Node, cell: &Target) -> Result<u8, Failure> {
    let process = node.process(cell).await?;
    let ended = process.wait_request().send().promise.await.map_err(|error| call_failure(&error))?;
    let code = ended.get().map_err(|error| call_failure(&error))?.get_exit_code();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}
