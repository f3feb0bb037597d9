//! The input of a connection as a stream of `wasi:io`, which a guest with a loop of its own can wait on.
//!
//! Such a guest steps its RPC system and its own future once each, with a waker that does nothing, and then waits in
//! `wasi:io/poll` for its input. What its own future asks for in the step that handled an answer is written by the next
//! step only, and if the guest waited until then, nobody would ever answer. So a wait on the input completes at once, one
//! time, after each read that returned bytes, and at the very first: the guest gets the step that it needs. A read that
//! finds nothing then returns no bytes, which is not the end; the functions that wait for bytes go on waiting for them.

use std::mem;

use bytes::Bytes;
use wasmtime_wasi::p2::{InputStream, Pollable, StreamResult};

use crate::stdio::Input;

/// An input whose next wait may be over at once.
pub(super) struct Stepping {
    input: Input,
    /// One more step is due.
    due: bool,
}

impl Stepping {
    pub(super) fn new(input: Input) -> Self {
        Self { input, due: true }
    }
}

#[async_trait::async_trait]
impl Pollable for Stepping {
    async fn ready(&mut self) {
        if !mem::take(&mut self.due) {
            self.input.ready().await;
        }
    }
}

#[async_trait::async_trait]
impl InputStream for Stepping {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.input.read(size)?;
        self.due |= !bytes.is_empty();
        Ok(bytes)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.input.ready().await;
        self.read(size)
    }
}
