//! Finding an image and reading what starts its cell.

mod failure;

use std::{ffi::OsStr, future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::Url;
use thiserror::Error;
use tokio::time;
use ww_core::text;

pub use self::failure::{Attempt, Failure, LoadError};
use crate::{
    files::{FileError, Files, Source},
    ipfs::{self, Client, IpfsPath, Times},
    local::Root,
    manifest::{self, Manifest},
    path::FilePath,
    program,
};

/// Where the program lies in an image.
pub const PROGRAM: &str = "bin/main.wasm";

/// URL of the RPC API of a Kubo daemon that nobody configured.
pub const DEFAULT_IPFS_URL: &str = "http://localhost:5001";

/// Largest program of an image, in bytes: several times what a language runtime compiled to WebAssembly takes.
pub const DEFAULT_MAX_PROGRAM: u64 = 256 << 20;

/// Largest other file that is read from an image, in bytes: what a program may have that is sent to an executor.
pub const DEFAULT_MAX_FILE: u64 = 48 << 20;

/// Time until a connection to the daemon stands: it is on this machine, or near.
pub const DEFAULT_CONNECT_TIME: Duration = Duration::from_secs(5);

/// Time for the daemon to find a block or a name: looking into the whole network takes seconds, and more than this
/// means that nobody has it.
pub const DEFAULT_ANSWER_TIME: Duration = Duration::from_secs(30);

/// Time for an image, or for one more file of it: the largest program over a slow connection.
pub const DEFAULT_TOTAL_TIME: Duration = Duration::from_secs(300);

/// Where an IPFS that is mounted shows its namespaces: `/ipfs` and `/ipns`.
const MOUNT: &str = "/";

/// How images are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// URL of the RPC API of a Kubo daemon.
    pub ipfs_url: String,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds on size and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the program.
    pub program: u64,
    /// Bytes of any other file that [`Files`] reads.
    pub file: u64,
    /// Time until a connection to the daemon stands.
    pub connect: Duration,
    /// Time for the daemon to find something, and between two pieces of what it sends.
    pub answer: Duration,
    /// Time for loading an image, and for reading a file of it later.
    pub total: Duration,
}

/// A configuration that no loader can be made from.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL of the daemon is not one.
    #[error("{} is not the URL of an IPFS daemon: {why}; expected one like {DEFAULT_IPFS_URL}", text::quoted(url))]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Loads images. Cheap to clone, and free of side effects until it is asked for something.
#[derive(Clone, Debug)]
pub struct Loader {
    ipfs_url: Url,
    limits: Limits,
    mount: PathBuf,
}

/// An image whose program and manifest have been read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image {
    /// Where it came from, for a person: its path, or `/ipfs/<cid>` of its directory.
    pub source: String,
    /// The program: starts like a component or a core module, and is not checked further.
    pub wasm: Bytes,
    /// What it says about its cell.
    pub manifest: Manifest,
    /// Its other files.
    pub files: Files,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { ipfs_url: DEFAULT_IPFS_URL.to_owned(), limits: Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            program: DEFAULT_MAX_PROGRAM,
            file: DEFAULT_MAX_FILE,
            connect: DEFAULT_CONNECT_TIME,
            answer: DEFAULT_ANSWER_TIME,
            total: DEFAULT_TOTAL_TIME,
        }
    }
}

impl Loader {
    /// Makes a loader. Nothing is contacted.
    ///
    /// # Errors
    ///
    /// Where the URL of the daemon is not one of `http` or `https`.
    pub fn new(config: LoaderConfig) -> Result<Self, ConfigError> {
        let LoaderConfig { ipfs_url: text, limits } = config;
        let invalid = |why: String| ConfigError::Url { url: text.clone(), why };
        let ipfs_url = Url::parse(&text).map_err(|error| invalid(error.to_string()))?;
        if !matches!(ipfs_url.scheme(), "http" | "https") || ipfs_url.host().is_none() {
            return Err(invalid("it is not of HTTP".to_owned()));
        }
        if ipfs_url.query().is_some() || ipfs_url.fragment().is_some() {
            return Err(invalid("it has something behind its path".to_owned()));
        }
        Ok(Self { ipfs_url, limits, mount: MOUNT.into() })
    }

    /// Loads an image: from IPFS where the path starts with `/ipfs/`, `/ipns/` or `/ipld/`, else from disk.
    ///
    /// A path of IPFS is tried on disk, where IPFS may be mounted, only if the daemon cannot be reached. Ends within
    /// [`Limits::total`] for each loader. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where no loader has the image, or it is not valid; the error says what each one found and what to do.
    pub async fn load(&self, image: impl AsRef<OsStr>) -> Result<Image, LoadError> {
        let mut attempts = Vec::new();
        let mut path = PathBuf::from(image.as_ref());
        let shown = path.display().to_string();
        // Paths in IPFS are text.
        if let Some(image) = image.as_ref().to_str().filter(|image| IpfsPath::is_meant(image)) {
            let failure = match self.within(self.load_ipfs(image)).await {
                Ok(image) => return Ok(image),
                Err(failure) => failure,
            };
            let is_unreachable = failure.is_unreachable();
            attempts.push(Attempt { loader: format!("IPFS daemon at {}", self.shown_url()), failure });
            if !is_unreachable {
                return Err(LoadError::new(image, attempts));
            }
            tracing::warn!(
                image,
                daemon = self.shown_url(),
                "the IPFS daemon cannot be reached: trying a mounted IPFS"
            );
            path = self.mount.join(image.trim_start_matches('/'));
        }
        match self.within(self.load_disk(path, &shown)).await {
            Ok(image) => Ok(image),
            Err(failure) => {
                attempts.push(Attempt { loader: "file system".to_owned(), failure });
                Err(LoadError::new(&shown, attempts))
            }
        }
    }

    async fn load_ipfs(&self, image: &str) -> Result<Image, Failure> {
        let path = IpfsPath::parse(image)?;
        let Limits { connect, answer, total, .. } = self.limits;
        let client = Client::new(self.ipfs_url.clone(), Times { connect, answer, total })?;
        let directory = ipfs::Directory::open(client, &path).await.map_err(|error| match error {
            ipfs::Error::NotADirectory { found, .. } => Failure::NotADirectory { found },
            error => error.into(),
        })?;
        let source = format!("/ipfs/{}", directory.cid());
        tracing::info!(image, source, "found the image in IPFS");
        self.read(source, Source::Ipfs(directory.into())).await
    }

    async fn load_disk(&self, path: PathBuf, shown: &str) -> Result<Image, Failure> {
        let root = Root::open(path).await.map_err(Failure::from_opening)?;
        self.read(shown.to_owned(), Source::Local(Arc::new(root))).await
    }

    async fn read(&self, source: String, files: Source) -> Result<Image, Failure> {
        let wasm = match files.read(fixed(PROGRAM), self.limits.program).await {
            Err(FileError::NotFound { .. }) => return Err(Failure::NoProgram),
            read => read?,
        };
        program::check(&wasm).map_err(Failure::Program)?;
        let file = format!("{source}/{}", manifest::PATH);
        let manifest = match files.read(fixed(manifest::PATH), manifest::MAX_SIZE).await {
            Err(FileError::NotFound { .. }) => Manifest::default(),
            read => {
                let bytes = read?;
                let text = str::from_utf8(&bytes).map_err(|_| Failure::NotText { file: file.clone() })?;
                Manifest::parse(text).map_err(|error| Failure::Manifest { file, error })?
            }
        };
        Ok(Image { source, wasm, manifest, files: Files::new(files, self.limits.file, self.limits.total) })
    }

    async fn within(&self, load: impl Future<Output = Result<Image, Failure>>) -> Result<Image, Failure> {
        let after = self.limits.total;
        time::timeout(after, load).await.unwrap_or(Err(Failure::Timeout { after }))
    }

    /// The URL without what may be secret in it.
    fn shown_url(&self) -> String {
        let mut url = self.ipfs_url.clone();
        // Fails only for URLs that cannot have either.
        if !url.username().is_empty() || url.password().is_some() {
            url.set_username("").and_then(|()| url.set_password(None)).unwrap_or_default();
        }
        url.as_str().trim_end_matches('/').to_owned()
    }
}

/// A path that is right by construction.
fn fixed(path: &'static str) -> FilePath<'static> {
    FilePath::new(path).expect("the paths that every image has are valid")
}

#[cfg(test)]
mod tests;
