//! The files of one image, read when somebody asks for them.

use std::{fmt, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;
use tokio::{sync::Semaphore, time};

use crate::{
    ipfs,
    local::Root,
    path::{FilePath, InvalidPath},
};

/// Reads of one image that may run at once, so that a guest that asks for everything at once cannot make the node hold
/// more than this many files. Further reads wait for their turn, within their time.
pub const MAX_READS: usize = 4;

/// Reads the files of one image. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    source: Source,
    most: u64,
    time: Duration,
    turns: Semaphore,
}

/// Where the files of an image are.
pub(crate) enum Source {
    /// In a directory.
    Local(Arc<Root>),
    /// In a directory of IPFS.
    Ipfs(Box<ipfs::Directory>),
}

/// Why a file of an image cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path is not one inside an image.
    #[error("{path:?}: {error}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        error: InvalidPath,
    },
    /// There is no such file.
    #[error("{path:?}: there is no such file in the image")]
    NotFound {
        /// The path.
        path: String,
    },
    /// It is something else.
    #[error("{path:?}: expected a regular file, found {found}")]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A symbolic link leads out of the image.
    #[error("{path:?}: a symbolic link leads out of the image: put the file itself into the image")]
    Outside {
        /// The path.
        path: String,
    },
    /// The file is larger than what may be read.
    #[error("{path:?}: the file has {size} bytes, at most {most} are read")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size in bytes, as far as it is known.
        size: u64,
        /// Most bytes that are read.
        most: u64,
    },
    /// The operating system refused.
    #[error("{path:?}: {error}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// It took too long.
    #[error("{path:?}: gave up after {} s", after.as_secs_f32())]
    Timeout {
        /// The path.
        path: String,
        /// How long it was tried.
        after: Duration,
    },
    /// IPFS did not deliver it.
    #[error("{path:?}: {error}")]
    Ipfs {
        /// The path.
        path: String,
        /// What went wrong.
        error: Box<ipfs::Error>,
    },
}

impl Files {
    pub(crate) fn new(source: Source, most: u64, time: Duration) -> Self {
        Self(Arc::new(Inner { source, most, time, turns: Semaphore::new(MAX_READS) }))
    }

    /// Reads one file of the image, whole. `path` is relative to the image, like `usr/share/words.txt`.
    ///
    /// Bytes from IPFS are fetched now and verified. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the path is not one inside an image, names no regular file, or leads out of the image; where the file is
    /// too large, or cannot be read in time.
    pub async fn read(&self, path: &str) -> Result<Bytes, FileError> {
        let checked = FilePath::new(path).map_err(|error| FileError::Path { path: shown(path), error })?;
        within(self.0.time, checked, async {
            // The semaphore is never closed, so that a turn always comes.
            let _turn = self.0.turns.acquire().await;
            self.0.source.read(checked, self.0.most).await
        })
        .await
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.0.source).finish()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(root) => f.debug_tuple("Local").field(&root.path()).finish(),
            Self::Ipfs(directory) => f.debug_tuple("Ipfs").field(&directory.cid().to_string()).finish(),
        }
    }
}

impl Source {
    /// Reads one file of at most `most` bytes, whole.
    pub(crate) async fn read(&self, path: FilePath<'_>, most: u64) -> Result<Bytes, FileError> {
        match self {
            Self::Local(root) => Root::read(root, path, most).await,
            Self::Ipfs(directory) => directory.read(path, most).await.map_err(|error| from_ipfs(path, error)),
        }
    }
}

/// Runs a read within a time.
pub(crate) async fn within<T>(
    time: Duration,
    path: FilePath<'_>,
    read: impl Future<Output = Result<T, FileError>>,
) -> Result<T, FileError> {
    time::timeout(time, read)
        .await
        .unwrap_or_else(|_| Err(FileError::Timeout { path: path.as_str().to_owned(), after: time }))
}

fn from_ipfs(path: FilePath<'_>, error: ipfs::Error) -> FileError {
    let path = path.as_str().to_owned();
    match error {
        ipfs::Error::NotFound { .. } => FileError::NotFound { path },
        ipfs::Error::NotAFile { found } => FileError::NotAFile { path, found },
        ipfs::Error::TooLarge { size, most } => FileError::TooLarge { path, size, most },
        error => FileError::Ipfs { path, error: Box::new(error) },
    }
}

/// A path that somebody else wrote, cut to what an error may show.
fn shown(path: &str) -> String {
    /// Characters shown: a line on a terminal.
    const SHOWN: usize = 100;
    path.chars().take(SHOWN).collect()
}
