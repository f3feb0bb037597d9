//! Times operations, and keeps what was measured.

pub(crate) mod compare;
pub(crate) mod local;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod sample;
pub(crate) mod versions;

pub(crate) use compare::{Side, compare};
pub(crate) use plan::{Only, Plan};
pub(crate) use record::{Record, Target};

/// The threads of the node's command: see `src/main.rs`. Every side of every row runs on such threads.
pub(crate) fn threads() -> std::io::Result<tokio::runtime::Runtime> {
    workers(2)
}

/// The same with another number of workers.
pub(crate) fn workers(count: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(count).event_interval(16).global_queue_interval(4).enable_all().build()
}
