//! `ww ps`: the cells of a node.

use super::{
    Failure,
    node::Node,
    place::Which,
    status::{self, Status, table},
};

/// List the cells of a running node
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Print JSON: an array with an object for each cell
    #[arg(long)]
    pub(super) json: bool,
}

const HEAD: [&str; 9] = ["CELL", "NAME", "STATE", "ASYNC", "AGE", "CPU", "MEMORY", "MAILBOX", "MESSAGES"];

pub(super) async fn ps(node: Node, json: bool) -> Result<u8, Failure> {
    super::show(&node.cells().await?, json, |cells| {
        let rows: Vec<_> = cells.iter().map(row).collect();
        table(HEAD, &["NAME", "STATE", "ASYNC"], &rows)
    })
}

fn row(cell: &Status) -> [String; 9] {
    [
        cell.id.to_string(),
        cell.name(),
        cell.state.word().to_owned(),
        if cell.live { "yes" } else { "no" }.to_owned(),
        status::duration(cell.age()),
        status::computing(cell.cpu_us),
        status::bytes(cell.memory),
        cell.mailbox.to_string(),
        cell.messages.to_string(),
    ]
}
