//! Standard input, which is read when its reader reads, and no further: what a program does not ask for is left for the
//! next one, and a job in the background is not stopped for input that it does not want.
//!
//! It is read without a buffer, which would take more than was asked for.

use std::io;

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    stdio::stdin,
};
use tokio::runtime::Handle;
use ww_cell::pipe;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Reads for the reader of a pipe until either side has ended. Blocks the calling thread.
pub(super) fn feed(writer: &pipe::Writer, runtime: &Handle) {
    let demand = writer.demand();
    while let Ok(wanted) = runtime.block_on(demand.wanted()) {
        match read(wanted) {
            Ok(bytes) if bytes.is_empty() => return writer.close(),
            Ok(bytes) => {
                if runtime.block_on(writer.write_all(&bytes)).is_err() {
                    return;
                }
            }
            Err(error) => return writer.fail(format!("cannot read standard input: {error}")),
        }
    }
}

/// Reads at least one byte, and at most `most`; none at the end. Blocks the calling thread.
///
/// # Errors
///
/// Where the system has one.
pub(crate) fn read(most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most.clamp(1, CHUNK)];
    loop {
        match rustix::io::read(stdin(), &mut bytes) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes);
            }
            Err(Errno::INTR) => {}
            // Somebody who shares it does not want to wait.
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}
