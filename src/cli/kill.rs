//! `ww kill`: ends cells.

use super::{
    Failure, code,
    node::{Node, call_failure},
    place::Which,
};

/// End cells with the reason `killed`
///
/// Returns when they have ended, each with all that it started. A supervisor may start one again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Names, or ids of `ww ps`
    #[arg(value_name = "CELL", required = true)]
    pub(super) cells: Vec<String>,
}

pub(super) async fn kill(node: Node, cells: &[String]) -> Result<u8, Failure> {
    for cell in cells {
        let process = node.process(cell).await?;
        process.kill_request().send().promise.await.map_err(|error| call_failure(&error))?;
    }
    Ok(code::OK)
}
