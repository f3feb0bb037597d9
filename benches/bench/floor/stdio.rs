//! Standard streams of a bare guest: bytes in memory, and nothing to wait for.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::{
    cli::{IsTerminal, StdinStream, StdoutStream},
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};

/// Bytes that may be written at once.
const PERMIT: usize = 64 * 1024;

/// What a guest reads. Clones are the same stream.
#[derive(Clone, Default)]
pub(crate) struct Input(Arc<Mutex<Bytes>>);

/// What a guest writes. Clones are the same stream.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<BytesMut>>);

impl Input {
    pub(crate) fn arm(&self, message: Bytes) {
        *self.0.lock().expect("no panic while locked") = message;
    }
}

impl Output {
    pub(crate) fn take(&self) -> Bytes {
        self.0.lock().expect("no panic while locked").split().freeze()
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut rest = self.0.lock().expect("no panic while locked");
        if rest.is_empty() {
            return Err(StreamError::Closed);
        }
        let read = rest.len().min(size);
        Ok(rest.split_to(read))
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().expect("no panic while locked").extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        unreachable!("guests of WASI 0.2 only")
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        unreachable!("guests of WASI 0.2 only")
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
