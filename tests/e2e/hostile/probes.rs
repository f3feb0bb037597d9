//! Those who mean well: how long each answer takes that they get.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{net::UnixStream, runtime::Handle, task::LocalSet, time::timeout};
use ww_net::call::Status;
use ww_rpc::client::{self, Connection, Local};
use ww_schema::peer_capnp::process;

use super::enemy::send;
use crate::{client::Client, harness::PATIENCE};

/// Pause between two questions: those who mean well are no flood.
const PAUSE: Duration = Duration::from_millis(3);

/// How long answers took, the shortest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

/// Somebody who asks until told to stop.
pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Latencies>,
}

/// Who asks, and whom.
#[derive(Clone)]
pub(super) enum Asking {
    /// A client of the control socket, the cell with this name.
    Client(PathBuf, &'static str),
    /// A peer, the cell with this name, by calls and by raw messages in turns.
    Peer(Client, &'static str),
}

impl Latencies {
    /// What so many of a hundred took at most.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let Self(all) = self;
        all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let (middle, most, worst) = (self.percentile(50), self.percentile(99), self.percentile(100));
        write!(f, "{:.1}/{:.1}/{:.1} ms of {}", millis(middle), millis(most), millis(worst), self.len())
    }
}

impl Probe {
    /// Begins to ask, on a thread of its own. Returns when the first answer has come.
    pub(super) fn start(runtime: &Handle, asking: Asking) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, first) = mpsc::channel();
        let thread = {
            let (runtime, stop) = (runtime.clone(), Arc::clone(&stop));
            thread::spawn(move || local(&runtime, ask(asking, &stop, &ready)))
        };
        // A thread that panics is heard of when it is joined.
        let _ = first.recv_timeout(PATIENCE);
        Self { stop, thread }
    }

    /// How long all answers took, the last of which is waited for; `None` if one did not come, about which the thread has
    /// complained, or if none came at all.
    pub(super) fn stop(self) -> Option<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().filter(|latencies| latencies.len() > 0)
    }
}

/// Runs what belongs to one thread, with the timers and sockets of a runtime.
pub(super) fn local<T>(runtime: &Handle, future: impl Future<Output = T>) -> T {
    // What is left of it ends where it ran.
    runtime.block_on(async { LocalSet::new().run_until(future).await })
}

/// Becomes a client of the node.
pub(super) async fn connect(socket: &PathBuf) -> (Connection, Local) {
    let stream = UnixStream::connect(socket).await.expect("the node listens");
    let (reader, writer) = tokio::io::split(stream);
    client::connect(reader, writer)
}

/// The cell with a name.
async fn named(node: &Local, name: &str) -> process::Client {
    let list = node.admin.list_request().send().promise.await.expect("a list");
    let cells = list.get().and_then(|list| list.get_cells()).expect("a list");
    let has = |names: capnp::text_list::Reader<'_>| names.iter().any(|found| found.is_ok_and(|found| found == name));
    let found = cells.iter().find(|cell| cell.get_names().is_ok_and(has)).expect("it lives");
    let mut request = node.admin.process_request();
    request.get().set_cell(found.get_cell());
    let process = request.send().promise.await.expect("a process");
    process.get().and_then(|process| process.get_process()).expect("a process")
}

async fn ask(asking: Asking, stop: &AtomicBool, ready: &mpsc::Sender<()>) -> Latencies {
    let mut all = Vec::new();
    let mut node = None;
    let cell = match &asking {
        Asking::Client(socket, name) => {
            let (connection, local) = connect(socket).await;
            let cell = soon(named(&local, name)).await;
            node = Some((connection, local));
            Some(cell)
        }
        Asking::Peer(..) => None,
    };
    while !stop.load(Ordering::Relaxed) {
        let message = format!("question {}", all.len());
        let began = Instant::now();
        match &asking {
            Asking::Client(..) => {
                let cell = cell.as_ref().expect("found above");
                let reply = soon(send(cell, message.as_bytes())).await.expect("an answer");
                assert_eq!(reply, message.as_bytes());
            }
            Asking::Peer(client, name) if all.len() % 2 == 0 => {
                assert_eq!(client.send_raw(name, message.as_bytes()).await, message.as_bytes());
            }
            Asking::Peer(client, name) => {
                let (reply, status) = client.call(name, message.as_bytes()).await;
                assert!(reply == message.as_bytes() && matches!(status, Ok(Status::Ok)), "{status:?}");
            }
        }
        all.push(began.elapsed());
        if all.len() == 1 {
            ready.send(()).unwrap_or_default();
        }
        tokio::time::sleep(PAUSE).await;
    }
    drop(node);
    all.sort_unstable();
    Latencies(all)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("an answer takes far too long")
}
