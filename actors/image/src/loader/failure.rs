//! What became of an attempt to load an image, and what a person can do about it.

use std::{fmt::Write, io, time::Duration};

use thiserror::Error;
use ww_core::text;

use crate::{files::FileError, ipfs, manifest, program::NotAProgram};

/// An image that could not be loaded.
#[derive(Debug, Error)]
#[error("{}", self.text())]
#[non_exhaustive]
pub struct LoadError {
    /// The image that was asked for.
    pub image: String,
    /// What was tried, in order. There is at least one.
    pub attempts: Vec<Attempt>,
}

/// One loader, and why it did not load the image.
#[derive(Debug)]
pub struct Attempt {
    /// The loader, for a person.
    pub loader: String,
    /// Why it failed.
    pub failure: Failure,
}

/// Why a loader did not load an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// There is nothing at the path.
    #[error("there is no such directory")]
    NoImage,
    /// There is something else at the path.
    #[error("expected a directory, found {found}")]
    NotADirectory {
        /// What it is.
        found: &'static str,
    },
    /// The directory cannot be opened.
    #[error("the directory cannot be opened: {0}")]
    Open(io::Error),
    /// There is no program in it.
    #[error("the directory has no bin/main.wasm")]
    NoProgram,
    /// The program is not one.
    #[error("bin/main.wasm: {0}")]
    Program(NotAProgram),
    /// The manifest is not valid.
    #[error("{file}, {error}")]
    Manifest {
        /// The file.
        file: String,
        /// What is wrong with it.
        error: manifest::Invalid,
    },
    /// The manifest is not text.
    #[error("{file}: expected a text in UTF-8")]
    NotText {
        /// The file.
        file: String,
    },
    /// A file of the image cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be had from IPFS.
    #[error(transparent)]
    Ipfs(#[from] ipfs::Error),
    /// It took too long.
    #[error("gave up after {} s: whoever has the image is too slow", after.as_secs_f32())]
    Timeout {
        /// How long it was tried.
        after: Duration,
    },
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Advice {
    Layout,
    Daemon,
    Alive,
    Liar,
    Size,
}

impl LoadError {
    pub(super) fn new(image: &str, attempts: Vec<Attempt>) -> Self {
        Self { image: image.to_owned(), attempts }
    }

    fn text(&self) -> String {
        let mut said = format!("cannot load the image {}", text::quoted(&self.image));
        let mut advice = Vec::new();
        for Attempt { loader, failure } in &self.attempts {
            // Writing to a `String` does not fail.
            write!(said, "\n  {loader}: {}", text::line(failure, text::MAX_ERROR)).unwrap_or_default();
            advice.extend(failure.advice().filter(|new| !advice.contains(new)));
        }
        for advice in advice {
            said.push('\n');
            said.push_str(advice.text());
        }
        said
    }
}

impl Failure {
    pub(super) fn from_opening(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoImage,
            io::ErrorKind::NotADirectory => Self::NotADirectory { found: "a file" },
            _ => Self::Open(error),
        }
    }

    /// Whether the daemon was not reached, so that another loader may have the image.
    pub fn is_unreachable(&self) -> bool {
        self.ipfs().is_some_and(ipfs::Error::is_unreachable)
    }

    fn ipfs(&self) -> Option<&ipfs::Error> {
        match self {
            Self::Ipfs(error) => Some(error),
            Self::File(FileError::Ipfs { error, .. }) => Some(error),
            _ => None,
        }
    }

    fn advice(&self) -> Option<Advice> {
        match (self, self.ipfs()) {
            (Self::NoImage | Self::NotADirectory { .. } | Self::NoProgram | Self::Program(_), _) => {
                Some(Advice::Layout)
            }
            (_, Some(ipfs::Error::NotFound { .. } | ipfs::Error::NotADirectory { .. })) => Some(Advice::Layout),
            (_, Some(ipfs::Error::Unreachable { .. })) => Some(Advice::Daemon),
            (_, Some(ipfs::Error::Silent { .. } | ipfs::Error::Refused { .. } | ipfs::Error::Broken { .. })) => {
                Some(Advice::Alive)
            }
            (_, Some(ipfs::Error::Untrusted(_))) => Some(Advice::Liar),
            (Self::File(FileError::TooLarge { .. }), _) => Some(Advice::Size),
            _ => None,
        }
    }
}

impl Advice {
    fn text(self) -> &'static str {
        match self {
            Self::Layout => {
                "An image is a directory with the program, a WebAssembly component or core preview 1 module, in \
                 bin/main.wasm, and optionally etc/ww.toml."
            }
            Self::Daemon => "Start a daemon with `ipfs daemon`, or name the one that runs with --ipfs-url.",
            Self::Alive => {
                "Ask the daemon itself for it, with `ipfs ls` and `ipfs swarm peers`: it may be offline, or nobody \
                 may provide the image now."
            }
            Self::Liar => "Do not run it. Run `ipfs repo verify`, or name another daemon with --ipfs-url.",
            Self::Size => {
                "Make the file smaller: strip debug information from a program, move data into files of its own."
            }
        }
    }
}
