//! What the command takes of the system before anything else: threads and file descriptors.
//!
//! Libraries below the runtime panic where the system has none left. So it is asked first, and what it refuses is an error
//! with a name. From then on the runtime always has threads for what blocks.

use std::{
    error::Error,
    fs::File,
    io, iter,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::{Failure, code};

/// Polls between two looks at timers and sockets, and between two looks at the queue that all workers share: with
/// these, cells keep their latency beside as many guests that never stop computing as there are cores.
const EVENT_INTERVAL: u32 = 16;
const GLOBAL_QUEUE_INTERVAL: u32 = 4;

/// Threads for what blocks that are there from the beginning: one may wait for a terminal while another writes to it.
const BLOCKING: usize = 2;

/// Threads for what blocks never end, as the system may refuse the next one.
const KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long the first of them may take to begin, on a busy machine.
const BEGINNING: Duration = Duration::from_secs(10);

/// File descriptors that the runtime, signals and one connection need.
const DESCRIPTORS: usize = 16;

/// File descriptors that a network needs besides: its threads have event loops, and it listens.
const NODE_DESCRIPTORS: usize = 48;

/// Threads that a node needs besides those of the runtime: see "Threads" in `docs/architecture.md`, and some for what blocks.
const NODE_THREADS: usize = 10;

/// How long threads that have ended may count as running: the system needs microseconds.
const COUNTED: Duration = Duration::from_millis(100);

/// What the system refuses.
#[derive(Debug, Error)]
pub(super) enum Refused {
    #[error(
        "the system refuses threads: {wanted} are needed, {found} could be started ({source}): raise `ulimit -u`, or the limit of processes of the container"
    )]
    Threads { wanted: usize, found: usize, source: io::Error },
    #[error(
        "the system refuses file descriptors: {wanted} more are needed, {found} could be opened ({source}): raise `ulimit -n`"
    )]
    Descriptors { wanted: usize, found: usize, source: io::Error },
    #[error("the system refuses what the runtime needs: {0}")]
    Runtime(#[from] io::Error),
}

/// The threads of the command, for as long as the process lasts.
pub(super) fn runtime() -> Result<&'static Runtime, Failure> {
    started().map_err(|refused| Failure::new(code::HOST, &refused))
}

fn started() -> Result<&'static Runtime, Refused> {
    let workers = workers();
    grant_descriptors(DESCRIPTORS)?;
    grant_threads(workers + BLOCKING)?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        // The runtime would read the number from the environment, and panic where that is none.
        .worker_threads(workers)
        .thread_name("ww-worker")
        .thread_keep_alive(KEPT)
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build()?;
    // Never dropped: that would wait for a thread that reads the terminal.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    hold_blocking(runtime)?;
    Ok(runtime)
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Whether a node, or a peer that lasts as long as one command, finds what it needs.
pub(super) fn check_for_node() -> Result<(), Failure> {
    descriptors().and_then(|_| threads()).map(drop).map_err(|refused| Failure::new(code::HOST, &refused))
}

/// The threads that a node needs, if it finds them.
pub(super) fn threads() -> Result<usize, Refused> {
    grant_threads(NODE_THREADS).map(|()| NODE_THREADS)
}

/// The file descriptors that a node needs, if it finds them.
pub(super) fn descriptors() -> Result<usize, Refused> {
    grant_descriptors(NODE_DESCRIPTORS).map(|()| NODE_DESCRIPTORS)
}

/// Checks that so many threads can be started at the same time.
fn grant_threads(wanted: usize) -> Result<(), Refused> {
    let before = running();
    let (mut held, mut joined) = (Vec::new(), Vec::new());
    let mut refused = None;
    for _ in 0..wanted {
        let (release, released) = mpsc::channel::<()>();
        // It ends with the sender.
        match thread::Builder::new().name("ww-probe".into()).spawn(move || released.recv().unwrap_or_default()) {
            Ok(thread) => {
                held.push(release);
                joined.push(thread);
            }
            Err(source) => {
                refused = Some(source);
                break;
            }
        }
    }
    let found = joined.len();
    drop(held);
    for thread in joined {
        // It cannot panic.
        let _ = thread.join();
    }
    // The system counts a thread for a moment after it has ended.
    let since = Instant::now();
    while running() > before && since.elapsed() < COUNTED {
        thread::yield_now();
    }
    refused.map_or(Ok(()), |source| Err(Refused::Threads { wanted, found, source }))
}

/// Threads of this process, where the system says so.
fn running() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Checks that so many more file descriptors can be opened.
fn grant_descriptors(wanted: usize) -> Result<(), Refused> {
    let mut held = Vec::new();
    for opened in iter::repeat_with(|| File::open(Path::new("/dev/null"))).take(wanted) {
        match opened {
            Ok(file) => held.push(file),
            Err(source) if is_shortage(&source) => {
                return Err(Refused::Descriptors { wanted, found: held.len(), source });
            }
            // A system without that file refuses no descriptor.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Starts the first threads for what blocks.
fn hold_blocking(runtime: &Runtime) -> io::Result<()> {
    let (begun, beginning) = mpsc::channel();
    let mut held = Vec::new();
    for _ in 0..BLOCKING {
        let (begun, (release, released)) = (begun.clone(), mpsc::channel::<()>());
        held.push(release);
        drop(runtime.spawn_blocking(move || {
            // The command waits for this, or has given up.
            let _ = begun.send(());
            // It ends with the sender.
            released.recv().unwrap_or_default();
        }));
    }
    for _ in 0..BLOCKING {
        beginning.recv_timeout(BEGINNING).map_err(|_| io::Error::from(Errno::AGAIN))?;
    }
    Ok(())
}

/// Whether an error, or one of its causes, says that the system has no more of something.
pub(super) fn is_shortage(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source()).any(|error| {
        let errno = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_grants_is_no_shortage_and_what_it_refuses_is() {
        grant_descriptors(DESCRIPTORS).expect("a few are free");
        grant_threads(BLOCKING).expect("a few can be started");
        for (errno, short) in [(Errno::MFILE, true), (Errno::AGAIN, true), (Errno::NOENT, false)] {
            let error = Refused::Threads { wanted: 2, found: 1, source: errno.into() };
            assert_eq!(is_shortage(&error), short, "{errno}");
        }
    }

    #[test]
    fn what_is_short_on_the_host_has_the_code_of_the_host() {
        let of = |errno: Errno| {
            let source = io::Error::from(errno);
            Failure::new(code::CONFIG, &crate::config::Invalid::Read { path: "f".into(), source }).code
        };
        assert_eq!([of(Errno::MFILE), of(Errno::NOENT)], [code::HOST, code::CONFIG]);
    }
}
