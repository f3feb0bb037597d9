//! One end of a stream of bytes.

use std::io::Write;

use capnp::Error;
use ww_schema::peer_capnp::byte_stream;

/// Most that one call carries, in bytes: large enough that the call's own cost vanishes, small enough
/// that neither side holds much.
const CHUNK: usize = 64 * 1024;

/// One end of a stream of bytes: one can be read from, or written to and closed.
#[derive(Clone)]
pub struct ByteStream {
    client: byte_stream::Client,
}

impl ByteStream {
    /// At least one byte and at most `max_bytes`, never more than 1 MiB; empty at the end of the stream.
    ///
    /// # Errors
    ///
    /// Where the stream broke off, or is a writing end.
    pub async fn read(&self, max_bytes: u32) -> Result<Vec<u8>, Error> {
        let mut request = self.client.read_request();
        request.get().set_max_bytes(max_bytes);
        let response = request.send().promise.await?;
        Ok(response.get()?.get_data()?.to_vec())
    }

    /// All that is left, up to the end of the stream.
    ///
    /// # Errors
    ///
    /// Where the stream broke off, or is a writing end.
    pub async fn read_to_end(&self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        self.copy_to(&mut all).await?;
        Ok(all)
    }

    /// Hands on all that is left, up to the end of the stream, as it comes; returns how many bytes.
    ///
    /// # Errors
    ///
    /// Where the stream broke off or is a writing end, or `to` fails.
    pub async fn copy_to(&self, mut to: impl Write) -> Result<u64, Error> {
        let mut copied = 0;
        loop {
            let data = self.read(CHUNK as u32).await?;
            if data.is_empty() {
                return Ok(copied);
            }
            to.write_all(&data)?;
            to.flush()?;
            copied += data.len() as u64;
        }
    }

    /// Writes all of `data`. Returns when it is in the stream's buffer, which is when the reader has made
    /// room for it.
    ///
    /// # Errors
    ///
    /// Where the reader is gone, or this is a reading end.
    pub async fn write_all(&self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        for chunk in data.as_ref().chunks(CHUNK) {
            let mut request = self.client.write_request();
            request.get().set_data(chunk);
            request.send().promise.await?;
        }
        Ok(())
    }

    /// Ends the stream: the reader sees its end once it has read what was written.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn close(&self) -> Result<(), Error> {
        self.client.close_request().send().promise.await?;
        Ok(())
    }

    /// The generated client, for the other calls.
    pub fn client(&self) -> &byte_stream::Client {
        &self.client
    }
}

impl From<byte_stream::Client> for ByteStream {
    fn from(client: byte_stream::Client) -> Self {
        Self { client }
    }
}
