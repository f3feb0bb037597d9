//! The terminal as a cell's standard streams.

use std::{
    io::{self, Read},
    thread,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    runtime::Handle,
};
use ww_cell::{Stderr, Stdio, pipe};
use ww_core::task::{self, Task};

/// Bytes read from the terminal at once.
const CHUNK: usize = 16 * 1024;

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
    let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
    let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
    let (guest_stderr, stderr) = pipe::pipe(pipe::CAPACITY);
    let stdio =
        Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr: Stderr::Pipe(guest_stderr.into()) };
    (stdio, Ends { stdin, stdout, stderr })
}

/// The terminal, connected to a cell.
pub struct Terminal {
    stdin: std::sync::Arc<pipe::Writer>,
    output: [Task<()>; 2],
}

impl Terminal {
    /// Connects this process's standard streams with a cell's. Takes standard input for the rest of the process.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread for reading the terminal.
    pub fn connect(ends: Ends, runtime: &Handle) -> io::Result<Self> {
        let stdin = std::sync::Arc::new(ends.stdin);
        let writer = std::sync::Arc::clone(&stdin);
        let handle = runtime.clone();
        // A thread of its own, because reading a terminal cannot be cancelled; it ends with the process.
        thread::Builder::new().name("ww-stdin".into()).spawn(move || read_stdin(&writer, &handle))?;
        let copy = |name, from, to| task::spawn(runtime, task::Kind::owned(name, "terminal"), copy(from, to));
        let output: [Task<()>; 2] = [
            copy("stdout", ends.stdout, Box::new(tokio::io::stdout()) as Box<dyn AsyncWrite + Send + Unpin>),
            copy("stderr", ends.stderr, Box::new(tokio::io::stderr())),
        ];
        Ok(Self { stdin, output })
    }

    /// Tells the cell that there will be no more input.
    pub fn close_input(&self) {
        self.stdin.close();
    }

    /// Waits until everything that the cell wrote is out. Call it when the cell has ended.
    pub async fn finish(self) {
        for task in self.output {
            if let Err(error) = task.await {
                tracing::error!(%error, "output of the cell was lost");
            }
        }
    }
}

fn read_stdin(writer: &pipe::Writer, runtime: &Handle) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return writer.close(),
            Ok(read) => {
                if runtime.block_on(writer.write_all(&buffer[..read])).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return writer.fail(format!("cannot read the terminal: {error}")),
        }
    }
}

/// Copies until the cell's end is closed. Where nobody reads any more, the pipe closes and the cell sees that.
async fn copy(from: pipe::Reader, mut to: impl AsyncWrite + Unpin) {
    while let Ok(bytes) = from.read(usize::MAX).await {
        if bytes.is_empty() {
            break;
        }
        let written = async {
            to.write_all(&bytes).await?;
            to.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the output of the cell is not read any more");
            return;
        }
    }
}
