//! `ww inspect`: all that is known of a cell.

use serde::Serialize;
use ww_core::text;
use ww_schema::cell_capnp::limits;

use super::{
    Failure,
    node::Node,
    place::Which,
    status::{self, Status},
    target::Target,
};

/// Show all that is known of a cell: its status, its limits, and the reason of its end
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// A name, or an id of `ww ps`; name:NAME and id:ID say which
    pub(super) cell: Target,
}

#[derive(Debug, Serialize)]
struct Inspected {
    status: Status,
    limits: Limits,
    /// One fact per line.
    detail: String,
}

/// What a cell may use; 0 where there is no limit.
#[derive(Debug, Serialize)]
struct Limits {
    memory: u64,
    cpu_ms: u32,
    deadline_ms: u32,
    instances: u32,
    children: u32,
    subtree_cells: u32,
    subtree_memory: u64,
    message_size: u32,
    held: u64,
}

pub(super) async fn inspect(node: Node, cell: &Target, json: bool) -> Result<u8, Failure> {
    let mut request = node.local.admin.inspect_request();
    request.get().set_cell(node.find(cell).await?);
    let inspected = node
        .answer(async {
            let answer = request.send().promise.await?;
            let answer = answer.get()?;
            Ok(Inspected {
                status: Status::read(answer.get_status()?)?,
                limits: Limits::read(answer.get_limits()?),
                detail: text::lines(answer.get_detail()?.to_str()?, text::MAX_ERROR),
            })
        })
        .await?;
    super::show(&inspected, json, Inspected::text)
}

impl Limits {
    fn read(limits: limits::Reader<'_>) -> Self {
        Self {
            memory: limits.get_memory(),
            cpu_ms: limits.get_cpu(),
            deadline_ms: limits.get_deadline(),
            instances: limits.get_instances(),
            children: limits.get_children(),
            subtree_cells: limits.get_subtree_cells(),
            subtree_memory: limits.get_subtree_memory(),
            message_size: limits.get_message_size(),
            held: limits.get_held(),
        }
    }
}

impl Inspected {
    fn text(&self) -> String {
        let Self { status: cell, limits, detail } = self;
        let time = |millis: u32| if millis == 0 { "none".to_owned() } else { format!("{millis}ms") };
        let subtree = if limits.subtree_memory == 0 { "none".to_owned() } else { status::bytes(limits.subtree_memory) };
        let state = match (&cell.ended, cell.code) {
            (Some(reason), Some(code)) => format!("ended with {code}: {}", reason),
            _ => cell.state.word().to_owned(),
        };
        format!(
            "cell: {}\nnames: {}\nstate: {state}\nage: {}\n{detail}cpu: {}\nmemory: {}\nmailbox: {}\nmessages: {}\n\
             dropped: {}\nrestarts: {}\nlimits:\n  memory: {}\n  cpu: {}\n  deadline: {}\n  instances: {}\n  \
             children: {}\n  subtree-cells: {}\n  subtree-memory: {subtree}\n  message-size: {}\n  held: {}\n",
            cell.id,
            cell.name(),
            status::duration(cell.age()),
            status::computing(cell.cpu_us),
            status::bytes(cell.memory),
            cell.mailbox,
            cell.messages,
            cell.dropped,
            cell.restarts,
            status::bytes(limits.memory),
            time(limits.cpu_ms),
            time(limits.deadline_ms),
            limits.instances,
            limits.children,
            limits.subtree_cells,
            status::bytes(limits.message_size.into()),
            status::bytes(limits.held),
        )
    }
}
