//! `ww kill`: ends cells.

use ww_core::text;

use super::{
    Failure, code,
    node::{Node, call_failure},
    place::Which,
    target::Target,
};

/// End cells with the reason `killed`
///
/// Returns when they have ended, each with all that it started. A supervisor may start one again. What cannot be ended is
/// named, and does not keep the others.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Names, or ids of `ww ps`; name:NAME and id:ID say which
    #[arg(value_name = "CELL", required = true)]
    pub(super) cells: Vec<Target>,
}

pub(super) async fn kill(node: Node, cells: &[Target]) -> Result<u8, Failure> {
    let mut code = code::OK;
    for cell in cells {
        if let Err(failure) = end(&node, cell).await {
            super::say(&format!("cannot kill {}: {}", text::name(cell), failure.message));
            // The first failure decides.
            code = if code == code::OK { failure.code } else { code };
        }
    }
    Ok(code)
}

async fn end(node: &Node, cell: &Target) -> Result<(), Failure> {
    let process = node.process(cell).await?;
    process.kill_request().send().promise.await.map(drop).map_err(|error| call_failure(&error))
}
