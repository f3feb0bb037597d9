//! Images on disk.
//!
//! The directory is opened once and files are opened below it, so that neither a symbolic link nor a directory that is
//! moved meanwhile leads out of the image. Where the operating system cannot do that in one step, paths are resolved
//! first and checked, which a race can defeat; see [`canonical`].

#[cfg(target_os = "linux")]
mod beneath;
mod canonical;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tokio::task;

use crate::{files::FileError, path::FilePath};

/// The directory of one image.
pub(crate) struct Root {
    path: PathBuf,
    #[cfg(target_os = "linux")]
    directory: beneath::Directory,
}

/// Why a file below the root is not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It lies elsewhere.
    Outside,
    /// It is not a file.
    NotAFile(&'static str),
    /// The operating system said no.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Root {
    /// Opens the directory of an image.
    pub(crate) async fn open(path: PathBuf) -> io::Result<Self> {
        off_the_runtime(move || {
            if !fs::metadata(&path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Ok(Self {
                #[cfg(target_os = "linux")]
                directory: beneath::Directory::open(&path)?,
                path,
            })
        })
        .await
    }

    /// Its path, as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one file of at most `most` bytes, whole.
    pub(crate) async fn read(root: &Arc<Self>, path: FilePath<'_>, most: u64) -> Result<Bytes, FileError> {
        let name = path.as_str().to_owned();
        let (root, relative) = (root.clone(), name.clone());
        let read = off_the_runtime(move || Ok(root.read_blocking(&relative, most))).await;
        match read {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(size))) => Err(FileError::TooLarge { path: name, size, most }),
            Ok(Err(Refused::Outside)) => Err(FileError::Outside { path: name }),
            Ok(Err(Refused::NotAFile(found))) => Err(FileError::NotAFile { path: name, found }),
            Ok(Err(Refused::Io(error))) if is_absence(&error) => Err(FileError::NotFound { path: name }),
            Ok(Err(Refused::Io(error))) | Err(error) => Err(FileError::Io { path: name, error }),
        }
    }

    /// The file, or its size where that is above `most`.
    fn read_blocking(&self, relative: &str, most: u64) -> Result<Result<Bytes, u64>, Refused> {
        let file = self.open_file(relative)?;
        let metadata = file.metadata()?;
        regular(&metadata)?;
        if metadata.len() > most {
            return Ok(Err(metadata.len()));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(metadata.len()).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
        // The file may have grown since it was measured: one byte above the bound is proof enough.
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        let size = bytes.len() as u64;
        Ok(if size > most { Err(size) } else { Ok(bytes.into()) })
    }

    #[cfg(target_os = "linux")]
    fn open_file(&self, relative: &str) -> Result<File, Refused> {
        match self.directory.open_file(relative) {
            Some(opened) => opened,
            None => canonical::open_file(&self.path, relative),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_file(&self, relative: &str) -> Result<File, Refused> {
        canonical::open_file(&self.path, relative)
    }
}

/// Refuses what is not a regular file: reading a pipe or a device might never end.
fn regular(metadata: &fs::Metadata) -> Result<(), Refused> {
    if metadata.is_file() {
        Ok(())
    } else if metadata.is_dir() {
        Err(Refused::NotAFile("a directory"))
    } else {
        Err(Refused::NotAFile("a pipe, a socket or a device"))
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Runs what blocks on a thread where it may.
///
/// A file system that hangs keeps that thread; whoever waits is released by its own timeout.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(all(test, unix))]
mod tests;
