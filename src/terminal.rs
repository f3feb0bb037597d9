//! The standard streams of this process as those of a cell.
//!
//! | file | concept |
//! |---|---|
//! | `input` | standard input, which is read when the cell reads |
//! | `output` | standard output and error: every byte arrives, or there is an error |
//! | `notices` | what the command itself says on standard error, which holds nobody up |

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    thread,
    time::Duration,
};

use thiserror::Error;
use tokio::{runtime::Handle, time::timeout};
use ww_cell::{Stderr, Stdio, pipe};
use ww_core::task::{self, Task};

mod input;
mod notices;
mod output;

pub(crate) use input::read;
pub(crate) use notices::Notices;
pub(crate) use output::lead_to_the_same;
pub use output::{Output, note_closed};

/// The other ends of a cell's standard streams.
pub struct Ends {
    /// What the cell reads.
    pub stdin: pipe::Writer,
    /// What it writes.
    pub stdout: pipe::Reader,
    /// What it reports.
    pub stderr: pipe::Reader,
}

/// Pipes for a cell's standard streams, and their other ends.
pub fn pipes() -> (Stdio, Ends) {
    pipes_of([false; 3])
}

fn pipes_of([stdin, stdout, stderr]: [bool; 3]) -> (Stdio, Ends) {
    let (stdin, guest_stdin) = pipe::pipe_of_terminal(pipe::CAPACITY, stdin);
    let (guest_stdout, stdout) = pipe::pipe_of_terminal(pipe::CAPACITY, stdout);
    let (guest_stderr, stderr) = pipe::pipe_of_terminal(pipe::CAPACITY, stderr);
    let stdio =
        Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr: Stderr::Pipe(guest_stderr.into()) };
    (stdio, Ends { stdin, stdout, stderr })
}

/// The standard streams of this process, connected to a cell's.
pub struct Terminal {
    stdin: Arc<pipe::Writer>,
    output: [Task<Result<(), Lost>>; 2],
}

/// Output of a cell that did not arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Lost {
    /// It could not be written.
    #[error("cannot write to {0}: {1}: what the program wrote there from then on is lost")]
    NotWritten(Output, io::Error),
    /// Nobody took it in time.
    #[error("nobody has read the rest of the program's output within {0:?}: it is lost")]
    NotRead(Duration),
    /// The task that writes it did not end in order.
    #[error("the program's output is lost: {0}")]
    Task(#[from] task::Failed),
}

impl Terminal {
    /// Pipes for a cell whose standard streams are those of this process. The cell is told which of them are a terminal.
    /// Where both outputs lead to the same file or terminal they are one pipe, so that what the cell writes to them by
    /// turns keeps its order.
    pub fn pipes() -> (Stdio, Ends) {
        let (mut stdio, mut ends) = pipes_of(are_terminals());
        if lead_to_the_same() {
            stdio.stderr = Stderr::Pipe(Arc::clone(&stdio.stdout));
            ends.stderr = pipe::Reader::empty();
        }
        (stdio, ends)
    }

    /// Connects this process's standard streams with a cell's. Takes standard input for the rest of the process.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread for reading the terminal.
    pub fn connect(ends: Ends, runtime: &Handle) -> io::Result<Self> {
        let stdin = Arc::new(ends.stdin);
        let (writer, handle) = (Arc::clone(&stdin), runtime.clone());
        // A thread of its own, because reading a terminal cannot be cancelled; it ends with the process.
        thread::Builder::new().name("ww-stdin".into()).spawn(move || input::feed(&writer, &handle))?;
        let copy = |name, from, to| task::spawn(runtime, task::Kind::owned(name, "terminal"), copy(from, to));
        let output = [copy("stdout", ends.stdout, Output::Stdout), copy("stderr", ends.stderr, Output::Stderr)];
        Ok(Self { stdin, output })
    }

    /// Tells the cell that there will be no more input.
    pub fn close_input(&self) {
        self.stdin.close();
    }

    /// Waits until everything that the cell wrote is out, at most so long. Call it when the cell has ended.
    ///
    /// # Errors
    ///
    /// Where something is lost.
    pub async fn finish(self, within: Duration) -> Result<(), Lost> {
        let [stdout, stderr] = self.output;
        let written = timeout(within, async { tokio::join!(stdout, stderr) }).await;
        let (stdout, stderr) = written.map_err(|_| Lost::NotRead(within))?;
        stdout??;
        stderr?
    }
}

/// Which of standard input, output and error are a terminal.
pub(crate) fn are_terminals() -> [bool; 3] {
    [io::stdin().is_terminal(), Output::Stdout.is_terminal(), Output::Stderr.is_terminal()]
}

/// Copies until the cell's end is closed. Where it cannot be written any more, the pipe closes and the cell sees that.
async fn copy(from: pipe::Reader, to: Output) -> Result<(), Lost> {
    while let Ok(bytes) = from.read(usize::MAX).await {
        if bytes.is_empty() {
            break;
        }
        to.write(bytes).await.map_err(|error| Lost::NotWritten(to, error))?;
    }
    Ok(())
}
