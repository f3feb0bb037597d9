//! Images from IPFS.
//!
//! Directories are walked block by block, so that nothing else of an image is fetched; a file is fetched as a CAR file
//! in one request. Every byte is checked against the CID that named it, from the image's own down to the last block.

pub mod car;
mod client;
pub mod dagpb;
pub mod file;
pub mod hamt;
pub(crate) mod path;
pub mod protobuf;
pub mod unixfs;
pub mod verify;

use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use thiserror::Error;
use ww_core::text;

pub(crate) use self::{
    client::{Client, Times},
    path::{IpfsPath, Root},
};
use self::{
    dagpb::Link,
    unixfs::{Node, RAW},
    verify::Untrusted,
};
use crate::path::FilePath;

/// Part of a file's size that a CAR file may have on top of it: links and CIDs take a tenth where the chunks are of one
/// kilobyte, which is less than anybody uses.
const CAR_SHARE: u64 = 8;

/// Bytes that a CAR file may have on top of that, so that small files have room for two large blocks.
const CAR_OVERHEAD: u64 = 4 << 20;

/// How a symbolic link is called where something else is expected.
const SYMLINK: &str = "a symbolic link, which images from IPFS may not have";

/// Why something cannot be had from IPFS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is not one of IPFS.
    #[error("{0}")]
    Path(String),
    /// There is no HTTP client.
    #[error("cannot make an HTTP client: {message}")]
    Client {
        /// Why.
        message: String,
    },
    /// Nobody listens at the URL.
    #[error("the daemon cannot be reached: {message}")]
    Unreachable {
        /// Why.
        message: String,
    },
    /// Somebody listens, and says nothing.
    #[error("the daemon did not answer {command} within {} s", after.as_secs_f32())]
    Silent {
        /// The question.
        command: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke during {command}: {message}")]
    Broken {
        /// The question.
        command: &'static str,
        /// Why.
        message: String,
    },
    /// The daemon answered with an error.
    #[error("the daemon refused {command} {argument} with status {status}: {message}")]
    Refused {
        /// The question.
        command: &'static str,
        /// What it was about.
        argument: String,
        /// The HTTP status.
        status: u16,
        /// What the daemon said.
        message: String,
    },
    /// The daemon answered with more than there can be.
    #[error("the daemon's answer to {command} has more than the {most} bytes that are read")]
    TooLong {
        /// The question.
        command: &'static str,
        /// Most bytes that are read.
        most: usize,
    },
    /// A name does not stand for anything in IPFS.
    #[error("the daemon resolved {name} to {}: expected a path like /ipfs/bafy…", text::quoted(answer))]
    Unresolved {
        /// The name.
        name: String,
        /// The answer.
        answer: String,
    },
    /// A block is not what it was asked for.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A block is nothing that an image is made of.
    #[error("the block {cid} is not valid: {error}")]
    Block {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        error: unixfs::Invalid,
    },
    /// A file cannot be put together.
    #[error(transparent)]
    File(file::Invalid),
    /// There is nothing of that name.
    #[error("there is no {} in the directory {directory}", text::quoted(name))]
    NotFound {
        /// The name.
        name: String,
        /// Where it was looked for.
        directory: Box<Cid>,
    },
    /// Something is not a directory.
    #[error("{cid} is {found}: expected a directory")]
    NotADirectory {
        /// What it is about.
        cid: Box<Cid>,
        /// What it is.
        found: &'static str,
    },
    /// Something is not a file.
    #[error("expected a file, found {found}")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// A file is too large.
    #[error("the file has {size} bytes, at most {most} are read")]
    TooLarge {
        /// Its size.
        size: u64,
        /// Most bytes that are read.
        most: u64,
    },
}

impl Error {
    /// Whether the daemon was never reached, so that nothing speaks against another way.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<car::Invalid> for Error {
    fn from(error: car::Invalid) -> Self {
        file::Invalid::Car(error).into()
    }
}

impl From<file::Invalid> for Error {
    fn from(error: file::Invalid) -> Self {
        match error {
            file::Invalid::NotAFile(found) => Self::NotAFile { found },
            file::Invalid::TooLarge { size, most } => Self::TooLarge { size, most },
            file::Invalid::Untrusted(error) | file::Invalid::Car(car::Invalid::Untrusted(error)) => error.into(),
            error => Self::File(error),
        }
    }
}

/// What is in the block of a directory.
enum Entries {
    Flat(Vec<Link>),
    Sharded(hamt::Shard),
}

/// A directory in IPFS.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    client: Client,
    cid: Cid,
}

impl Directory {
    /// Finds the directory that a path names, resolving a name first.
    pub(crate) async fn open(client: Client, path: &IpfsPath) -> Result<Self, Error> {
        let (mut cid, mut names) = (None, path.names.clone());
        match &path.root {
            Root::Cid(root) => cid = Some(*root),
            Root::Name(name) => {
                let resolved = client.resolve(name).await?;
                tracing::info!(name = %path, resolved = %resolved, "resolved a name of IPNS");
                if let Root::Cid(root) = resolved.root {
                    cid = Some(root);
                }
                names = [resolved.names, names].concat();
            }
        }
        let cid = cid.ok_or_else(|| Error::Path(format!("{path} has no CID")))?;
        let mut directory = Self { client, cid };
        for name in &names {
            directory.cid = directory.find(name).await?;
        }
        // Whatever it is, it is fetched once, so that a file is not taken for an image.
        directory.entries().await?;
        Ok(directory)
    }

    /// Its CID.
    pub(crate) fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Reads a file of at most `most` bytes below the directory, whole.
    pub(crate) async fn read(&self, path: FilePath<'_>, most: u64) -> Result<Bytes, Error> {
        let mut below = self.clone();
        for name in path.names() {
            below.cid = below.find(name).await?;
        }
        let cid = below.cid;
        if cid.codec() == RAW {
            let block = self.client.block(&cid).await?;
            let size = block.len() as u64;
            return if size > most { Err(Error::TooLarge { size, most }) } else { Ok(block) };
        }
        let mut car = self.client.export(&cid, most.saturating_add(most / CAR_SHARE + CAR_OVERHEAD)).await?;
        Ok(file::read(&cid, &mut car, most).await?)
    }

    /// Looks one name up.
    async fn find(&self, name: &str) -> Result<Cid, Error> {
        let missing = || Error::NotFound { name: name.to_owned(), directory: self.cid.into() };
        let mut shard = match self.entries().await? {
            Entries::Flat(links) => {
                return links.iter().find(|link| link.name == name).map(|link| link.cid).ok_or_else(missing);
            }
            Entries::Sharded(shard) => shard,
        };
        let mut at = self.clone();
        // Ends, because a hash has only so many bits.
        for level in 0.. {
            let invalid = |error: hamt::Invalid| Error::Block { cid: at.cid.into(), error: error.into() };
            match shard.find(name, level).map_err(invalid)? {
                hamt::Slot::Entry(cid) => return Ok(cid),
                hamt::Slot::Other => break,
                hamt::Slot::Shard(cid) => at.cid = cid,
            }
            shard = match at.entries().await? {
                Entries::Sharded(shard) => shard,
                Entries::Flat(_) => {
                    return Err(Error::NotADirectory { cid: at.cid.into(), found: "a part that is whole" });
                }
            };
        }
        Err(missing())
    }

    /// What is in the block of the directory; an error where it is something else.
    async fn entries(&self) -> Result<Entries, Error> {
        let block = self.client.block(&self.cid).await?;
        let node = unixfs::decode(self.cid.codec(), &block);
        let found = match node.map_err(|error| Error::Block { cid: self.cid.into(), error })? {
            Node::Directory(links) => return Ok(Entries::Flat(links)),
            Node::Shard(shard) => return Ok(Entries::Sharded(shard)),
            Node::File(_) => "a file",
            Node::Symlink => SYMLINK,
        };
        Err(Error::NotADirectory { cid: self.cid.into(), found })
    }
}
