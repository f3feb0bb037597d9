//! `ww tree`: who owns whom on a node.

use serde::Serialize;
use ww_core::text;
use ww_schema::admin_capnp::tree_node;

use super::{
    Failure,
    node::Node,
    place::Which,
    status::{State, Status},
};

/// Show who owns whom on a running node
///
/// What an owner started ends with it. Clients of the control socket are owners as well.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Print JSON: the root, with its children inside it
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct Branch {
    cell: u64,
    label: String,
    /// Missing where it is no cell: the node itself, a client.
    status: Option<Status>,
    children: Vec<Branch>,
}

pub(super) async fn tree(node: Node, json: bool) -> Result<u8, Failure> {
    let root = node
        .answer(async {
            let answer = node.local.admin.tree_request().send().promise.await?;
            Branch::read(answer.get()?.get_root()?)
        })
        .await?;
    super::show(&root, json, |root| {
        let mut text = format!("{} {}\n", root.label, node.address);
        root.draw("", &mut text);
        text
    })
}

impl Branch {
    fn read(node: tree_node::Reader<'_>) -> Result<Self, capnp::Error> {
        let status = if node.has_status() { Some(Status::read(node.get_status()?)?) } else { None };
        let children = node.get_children()?.iter().map(Self::read).collect::<Result<_, _>>()?;
        Ok(Self { cell: node.get_cell(), label: text::name(node.get_label()?.to_str()?), status, children })
    }

    /// Draws what is below, each line after `margin`.
    fn draw(&self, margin: &str, text: &mut String) {
        for (index, child) in self.children.iter().enumerate() {
            let last = index + 1 == self.children.len();
            let (line, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            *text += &format!("{margin}{line}{}\n", child.line());
            child.draw(&format!("{margin}{below}"), text);
        }
    }

    fn line(&self) -> String {
        let Self { cell, label, status, .. } = self;
        match status {
            None => format!("{cell} {label}"),
            Some(status) => {
                let names: String =
                    status.names.iter().filter(|name| *name != label).map(|name| format!(" {name}")).collect();
                let state = match (&status.ended, status.state) {
                    (Some(reason), _) => format!(" (ended: {reason})"),
                    (None, State::Running) => String::new(),
                    (None, state) => format!(" ({})", state.word()),
                };
                format!("{cell} {label}{names}{state}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(cell: u64, label: &str, children: Vec<Branch>) -> Branch {
        Branch { cell, label: label.to_owned(), status: Some(Status::default()), children }
    }

    #[test]
    fn lines_lead_to_every_cell() {
        let inner = branch(2, "b", vec![branch(3, "c", Vec::new())]);
        let root = branch(0, "node", vec![branch(1, "a", vec![inner]), branch(4, "d", Vec::new())]);
        let mut text = String::new();
        root.draw("", &mut text);
        assert_eq!(text, "├── 1 a\n│   └── 2 b\n│       └── 3 c\n└── 4 d\n");
    }
}
