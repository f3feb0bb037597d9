//! CAR files: blocks one after the other (IPLD, "Specification: Content Addressable aRchives (CARv1)").
//!
//! The reader hands out a block only after its bytes have been checked against its CID.

mod header;

use std::io;

use bytes::Bytes;
use cid::Cid;
use futures::io::{AsyncRead, AsyncReadExt};
use thiserror::Error;
use unsigned_varint::{decode, encode};

use super::verify::{self, Untrusted};

/// Largest block, in bytes: what IPFS nodes exchange with each other at most (IPFS specifications, "Bitswap").
pub(crate) const MAX_BLOCK: usize = 2 << 20;

/// Largest header, in bytes: an export has one root, which takes about 60.
const MAX_HEADER: usize = 1_024;

/// Longest CID, in bytes: three numbers and a digest of 64 bytes.
const MAX_CID: usize = 96;

/// Reads the blocks of a CAR file.
pub(crate) struct Reader<R> {
    input: R,
    roots: Vec<Cid>,
    /// Bytes that may still be read.
    left: u64,
    most: u64,
}

/// A block that is what its CID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) cid: Cid,
    pub(crate) data: Bytes,
}

/// Bytes that are no CAR file, or one that is not accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Reading it failed.
    #[error("the CAR file cannot be read: {0}")]
    Io(io::Error),
    /// It ends in the middle of something.
    #[error("the CAR file is cut off: the daemon did not send all of it, look into its log")]
    Cut,
    /// It starts in another way.
    #[error("this is no CAR file of version 1: {0}")]
    Header(&'static str),
    /// A length is not a number.
    #[error("a length in the CAR file is no number")]
    Length,
    /// A section is too long.
    #[error("a block in the CAR file has {size} bytes: expected at most {MAX_BLOCK}")]
    Block {
        /// Bytes of the block, with its CID where that has not been read.
        size: u64,
    },
    /// A section does not start with a CID.
    #[error("a block in the CAR file has no valid CID: {0}")]
    Cid(cid::Error),
    /// A block is not what its CID says.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It goes on for too long.
    #[error("the CAR file is longer than the {most} bytes that are read")]
    TooLong {
        /// Most bytes that are read.
        most: u64,
    },
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads the header of a file of which at most `most` bytes are read.
    pub(crate) async fn open(input: R, most: u64) -> Result<Self, Invalid> {
        let mut reader = Self { input, roots: Vec::new(), left: most, most };
        let length = reader.length().await?.ok_or(Invalid::Header("it is empty"))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_HEADER);
        let header = reader.take(length.ok_or(Invalid::Header("its header is too long"))?).await?;
        reader.roots = header::roots(&header)?;
        Ok(reader)
    }

    /// The roots that the header names.
    pub(crate) fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// The next block, or `None` at the end. Not cancel safe: a cancelled read loses its place.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>, Invalid> {
        let Some(size) = self.length().await? else { return Ok(None) };
        let length = usize::try_from(size).ok().filter(|length| *length <= MAX_BLOCK + MAX_CID);
        let section = self.take(length.ok_or(Invalid::Block { size })?).await?;
        let mut rest = &section[..];
        let cid = Cid::read_bytes(&mut rest).map_err(Invalid::Cid)?;
        if rest.len() > MAX_BLOCK {
            return Err(Invalid::Block { size: rest.len() as u64 });
        }
        verify::check(&cid, rest)?;
        let data = section.slice(section.len() - rest.len()..);
        Ok(Some(Block { cid, data }))
    }

    /// The length of the next section, or `None` where the file ends before it.
    async fn length(&mut self) -> Result<Option<u64>, Invalid> {
        let mut varint = encode::u64_buffer();
        for read in 0..varint.len() {
            if self.left == 0 {
                return Err(Invalid::TooLong { most: self.most });
            }
            if self.input.read(&mut varint[read..=read]).await.map_err(Invalid::Io)? == 0 {
                return if read == 0 { Ok(None) } else { Err(Invalid::Cut) };
            }
            self.left -= 1;
            if decode::is_last(varint[read]) {
                return decode::u64(&varint[..=read]).map(|(length, _)| Some(length)).map_err(|_| Invalid::Length);
            }
        }
        Err(Invalid::Length)
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, Invalid> {
        self.left = self.left.checked_sub(length as u64).ok_or(Invalid::TooLong { most: self.most })?;
        // Grows with what arrives, not with what was announced.
        let mut bytes = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut bytes).await.map_err(Invalid::Io)?;
        if bytes.len() < length {
            return Err(Invalid::Cut);
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests;
