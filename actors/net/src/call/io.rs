//! Calls on streams.

use std::{io, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{Instant, timeout, timeout_at},
};

use super::{
    CALL_TIMEOUT, HEADER_TIMEOUT, Header, MAX_TEXT, Malformed, Reason, STALL_TIMEOUT,
    frames::{self, Decoder, Step},
    trailer::{Ending, Status, Trailer},
};

/// Bytes that a reader holds: room for the longest header or trailer. Frames need not fit.
const BUFFER: usize = 2 * MAX_TEXT;

/// Why a call cannot be read. Whatever was read before is torn.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The stream ended too early.
    #[error("the stream ended before the message was whole")]
    Torn,
    /// The stream failed.
    #[error("the stream failed before the message was whole")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("the message was not whole in time")]
    Timeout,
    /// The bytes are no call.
    #[error("the peer does not follow the call protocol")]
    Malformed(#[from] Malformed),
}

/// Why a call cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The stream failed.
    #[error("the stream failed before all was written")]
    Io(#[from] io::Error),
    /// Nothing was taken for [`STALL_TIMEOUT`], or the call took too long.
    #[error("the peer does not take what is written")]
    Timeout,
    /// An earlier write failed or was given up half-way.
    #[error("an earlier write was not finished")]
    Unfinished,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a, T> {
    /// Some bytes of it, at least one.
    Data(&'a [u8]),
    /// Its end.
    End(T),
}

/// Reads a body up to its end.
#[derive(Debug)]
pub struct Reader<R, T> {
    io: R,
    buffer: Box<[u8]>,
    /// What was read and not used yet.
    start: usize,
    end: usize,
    decoder: Decoder<T>,
    ended: Option<T>,
    until: Instant,
}

/// Writes a body and its end. Dropped before, it leaves a torn one.
#[derive(Debug)]
pub struct Writer<W, T> {
    io: W,
    /// What is to be written: empty unless a write is under way, or a header waits for the first.
    buffer: Vec<u8>,
    /// Whether the buffer was handed to the stream in part.
    unfinished: bool,
    until: Instant,
    stall: Duration,
    trailer: std::marker::PhantomData<fn(T)>,
}

/// A call at the caller.
#[derive(Debug)]
pub struct Asked<S> {
    /// What is sent.
    pub body: Writer<WriteHalf<S>, Ending>,
    /// What comes back.
    pub reply: Reader<ReadHalf<S>, Status>,
}

/// A call at the node that was called.
#[derive(Debug)]
pub struct Accepted<S> {
    /// What is known of it.
    pub header: Header,
    /// What was sent.
    pub body: Reader<ReadHalf<S>, Ending>,
    /// What goes back.
    pub reply: Writer<WriteHalf<S>, Status>,
}

/// Begins a call on a stream. The header is sent with the first bytes of the body, or its end.
pub fn ask<S: AsyncRead + AsyncWrite>(stream: S, header: &Header) -> Asked<S> {
    let until = until(header.remaining);
    let (reader, writer) = tokio::io::split(stream);
    let mut body = Writer::new(writer, until);
    header.encode(&mut body.buffer);
    Asked { body, reply: Reader::new(reader, until) }
}

/// Reads the header of a call, for at most [`HEADER_TIMEOUT`]. A malformed one is refused on the stream.
///
/// Not cancel safe: dropping the future drops the stream.
///
/// # Errors
///
/// Where no header comes, or none that this version understands.
pub async fn accept<S: AsyncRead + AsyncWrite>(stream: S) -> Result<Accepted<S>, ReadError> {
    let (reader, writer) = tokio::io::split(stream);
    let mut body = Reader::new(reader, Instant::now() + HEADER_TIMEOUT);
    let reply = Writer::new(writer, until(None));
    match body.header().await {
        Ok(header) => {
            let until = until(header.remaining);
            body.until = until;
            Ok(Accepted { header, body, reply: Writer { until, ..reply } })
        }
        Err(ReadError::Malformed(malformed)) => {
            let refused = Status::Refused { reason: Reason::Malformed, text: malformed.to_string() };
            if let Err(error) = reply.finish(refused).await {
                tracing::debug!(%error, "a caller did not wait for its refusal");
            }
            Err(malformed.into())
        }
        Err(error) => Err(error),
    }
}

fn until(remaining: Option<Duration>) -> Instant {
    Instant::now() + remaining.map_or(CALL_TIMEOUT, |left| left.min(CALL_TIMEOUT))
}

impl<R: AsyncRead + Unpin, T: Trailer> Reader<R, T> {
    fn new(io: R, until: Instant) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { io, buffer, start: 0, end: 0, decoder: Decoder::new(), ended: None, until }
    }

    /// The next part; after the end, the end again. Only then is what was read whole.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the stream ends or fails before the end of the body, its bytes are no body, or the time of the call is
    /// over.
    pub async fn read(&mut self) -> Result<Part<'_, T>, ReadError> {
        if let Some(trailer) = &self.ended {
            return Ok(Part::End(trailer.clone()));
        }
        loop {
            match self.decoder.decode(&self.buffer[self.start..self.end])? {
                Some(Step::Data(at)) => {
                    let data = self.start + at.start..self.start + at.end;
                    self.start = data.end;
                    return Ok(Part::Data(&self.buffer[data]));
                }
                Some(Step::End(trailer, used)) => {
                    self.start += used;
                    self.ended = Some(trailer.clone());
                    return Ok(Part::End(trailer));
                }
                None => self.fill().await?,
            }
        }
    }

    async fn header(&mut self) -> Result<Header, ReadError> {
        loop {
            if let Some((header, used)) = Header::decode(&self.buffer[self.start..self.end])? {
                self.start += used;
                return Ok(header);
            }
            self.fill().await?;
        }
    }

    /// Reads at least one byte more. There is room: what is not used yet is less than a header or a trailer.
    async fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = self.io.read(&mut self.buffer[self.end..]);
        match timeout_at(self.until, read).await.map_err(|_| ReadError::Timeout)?? {
            0 => Err(ReadError::Torn),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

impl<W: AsyncWrite + Unpin, T: Trailer> Writer<W, T> {
    fn new(io: W, until: Instant) -> Self {
        let (buffer, trailer) = (Vec::new(), std::marker::PhantomData);
        Self { io, buffer, unfinished: false, until, stall: STALL_TIMEOUT, trailer }
    }

    /// How long the other side may take nothing, instead of [`STALL_TIMEOUT`].
    pub fn set_stall_timeout(&mut self, stall: Duration) {
        self.stall = stall;
    }

    /// Writes bytes of the body, in as many frames as they need, and flushes them.
    ///
    /// Not cancel safe: a write that is given up leaves a torn body, and all after it fail.
    ///
    /// # Errors
    ///
    /// Where the stream fails, nothing is taken for [`STALL_TIMEOUT`], or the time of the call is over.
    pub async fn write(&mut self, body: &[u8]) -> Result<(), WriteError> {
        for frame in body.chunks(super::MAX_FRAME) {
            self.send(|buffer| frames::encode(frame, buffer)).await?;
        }
        Ok(())
    }

    /// Writes the end, and shuts the direction down.
    ///
    /// Not cancel safe.
    ///
    /// # Errors
    ///
    /// As for [`Writer::write`].
    pub async fn finish(self, trailer: T) -> Result<(), WriteError> {
        self.finish_with(&[], trailer).await
    }

    /// Writes the last bytes of the body and the end as one, and shuts the direction down: for a short message that
    /// is one packet instead of two.
    ///
    /// Not cancel safe.
    ///
    /// # Errors
    ///
    /// As for [`Writer::write`].
    pub async fn finish_with(mut self, last: &[u8], trailer: T) -> Result<(), WriteError> {
        self.send(|buffer| {
            last.chunks(super::MAX_FRAME).for_each(|frame| frames::encode(frame, buffer));
            frames::encode_end(&trailer, buffer);
        })
        .await?;
        Ok(timeout(self.stall, self.io.shutdown()).await.map_err(|_| WriteError::Timeout)??)
    }

    async fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), WriteError> {
        if self.unfinished {
            return Err(WriteError::Unfinished);
        }
        self.unfinished = true;
        encode(&mut self.buffer);
        let mut written = 0;
        while written < self.buffer.len() {
            let until = self.until.min(Instant::now() + self.stall);
            match timeout_at(until, self.io.write(&self.buffer[written..])).await.map_err(|_| WriteError::Timeout)?? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                taken => written += taken,
            }
        }
        timeout(self.stall, self.io.flush()).await.map_err(|_| WriteError::Timeout)??;
        self.buffer.clear();
        self.unfinished = false;
        Ok(())
    }
}
