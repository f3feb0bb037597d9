//! Who owns whom, on the wire.

use std::collections::HashMap;

use ww_cell::Directory;
use ww_core::text;
use ww_executor::{Kind, Owned, Owner};
use ww_schema::admin_capnp::tree_node;

use super::status;

/// Levels below the root that are shown: readers bound how deep a message may be, most of them at 64 pointers, and a
/// level takes two.
const MAX_DEPTH: usize = 24;

/// Writes the whole tree. The root is the node itself, with the id 0.
pub(crate) fn set(mut root: tree_node::Builder<'_>, directory: &Directory, owners: &[Owned]) {
    let mut below: HashMap<Owner, Vec<&Owned>> = HashMap::new();
    for owned in owners {
        below.entry(owned.owner).or_default().push(owned);
    }
    root.set_label("node");
    set_children(root, directory, &below, (Owner::Node, None), MAX_DEPTH);
}

fn set_children(
    mut parent: tree_node::Builder<'_>,
    directory: &Directory,
    below: &HashMap<Owner, Vec<&Owned>>,
    (owner, kind): (Owner, Option<Kind>),
    depth: usize,
) {
    let Some(children) = below.get(&owner) else { return };
    if depth == 0 {
        let label = parent.reborrow_as_reader().get_label().ok().and_then(|label| label.to_string().ok());
        parent.set_label(format!("{} (and {} more below it)", label.unwrap_or_default(), children.len()));
        return;
    }
    let mut list = parent.init_children(u32::try_from(children.len()).unwrap_or(u32::MAX));
    for (index, child) in (0..list.len()).zip(children) {
        let mut node = list.reborrow().get(index);
        node.set_cell(child.id.get());
        node.set_supervisor(child.kind == Kind::Supervisor);
        set_cell(node.reborrow(), directory, child, kind);
        set_children(node, directory, below, (Owner::Cell(child.id), Some(child.kind)), depth - 1);
    }
}

fn set_cell(mut node: tree_node::Builder<'_>, directory: &Directory, owned: &Owned, above: Option<Kind>) {
    match directory.cell_or_ended(owned.id) {
        Some(cell) => {
            node.set_label(text::name(cell.name()));
            status::set(node.init_status(), directory, &cell);
        }
        None => node.set_label(match owned.kind {
            Kind::Peer => "peer",
            Kind::Session if matches!(above, None | Some(Kind::Peer)) => "client",
            Kind::Session => "narrowed",
            Kind::Supervisor => "supervisor",
            Kind::Cell => "starting",
        }),
    }
}
