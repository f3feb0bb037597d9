//! The identity of a node: an Ed25519 key pair, and the file that keeps it.
//!
//! The file holds the key pair in libp2p's protobuf encoding (`PrivateKey` in the libp2p specification of
//! [peer ids]), the form that other libp2p tools read and write. It is made once, complete from the moment it has
//! its name, and never written again. Only its owner may read it, and only one node may use it: while an
//! [`Identity`] lives it holds an advisory, exclusive lock on its file.
//!
//! [peer ids]: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md

use std::{
    fmt,
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use libp2p::{
    PeerId,
    identity::{KeyType, Keypair},
};
use tempfile::NamedTempFile;
use thiserror::Error;

/// Bytes of a key file that are read. An encoded Ed25519 key pair has 68; the rest is room to say that a file is
/// something else, without reading all of it.
const MAX_FILE: u64 = 4_096;

/// The key pair of a node. Holds the lock on its file while it lives.
pub struct Identity {
    keypair: Keypair,
    file: Option<KeyFile>,
}

/// Why a key file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Another node uses it. The caller may go on with [`Identity::ephemeral`], and should say so.
    #[error("the identity in {path} is in use by another node: stop that node, or use another key file")]
    Locked {
        /// The key file.
        path: PathBuf,
    },
    /// A key file is to be made where there is something already.
    #[error(
        "{path} exists, and a key is never overwritten: choose another file, or move this one away if nobody needs \
         its identity any more"
    )]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// Others than the owner have access to it.
    #[error(
        "the key file {path} has mode {mode:04o}, so that others than its owner can get at the key: expected mode \
         0600; run `chmod 600 {path}`, or delete the file for a new identity if somebody may have read it"
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a file.
    #[error("{path} should be a key file, but is {found}: name a file, or a path where one can be created")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// It does not hold a key.
    #[error(
        "expected an Ed25519 key pair in libp2p's protobuf encoding in {path}, found {found}: restore the file from a \
         backup, or delete it for a new identity"
    )]
    Invalid {
        /// The key file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// It cannot be read.
    #[error("cannot read the key file {path}: check that this user may read it, or name another file")]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It cannot be locked.
    #[error("cannot lock the key file {path}: name a file on a file system that has locks")]
    Lock {
        /// The key file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It cannot be created.
    #[error("cannot create the key file {path}: check that this user may write there, or name another file")]
    Create {
        /// The key file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

struct KeyFile {
    path: PathBuf,
    /// Open for its lock, which ends when the file is closed.
    _locked: File,
}

impl Identity {
    /// Takes the identity that a file keeps, and makes both if there is no such file.
    ///
    /// The file is made with mode 0600, and directories that are missing with mode 0700. Of two nodes that make the
    /// same file at once one gets it, and the other one [`Error::Locked`]. Blocks for a few accesses of the disk.
    ///
    /// # Errors
    ///
    /// Where the file is in use, can be read by others than its owner, cannot be read, or does not hold a key.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::taken(path.as_ref(), lock)
    }

    /// The same for a peer that listens nowhere and lasts as long as one command: any number of them use one file, but
    /// none beside a node.
    ///
    /// # Errors
    ///
    /// As [`Identity::load_or_create`].
    pub fn load_or_create_shared(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // Whoever makes it at the same time makes the same file.
            match create(path) {
                Ok(_) | Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Self::taken(path, lock_shared)
    }

    fn taken(path: &Path, lock: Lock) -> Result<Self, Error> {
        match fs::metadata(path) {
            Ok(metadata) => load(path, &metadata, lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path) {
                Err(Error::Exists { .. }) => {
                    let metadata = fs::metadata(path).map_err(|source| read_error(path, source))?;
                    load(path, &metadata, lock)
                }
                created => created,
            },
            Err(source) => Err(read_error(path, source)),
        }
    }

    /// Makes a new identity and the file that keeps it, with the permissions of [`Identity::load_or_create`].
    ///
    /// # Errors
    ///
    /// Where something has this path already, or the file cannot be written.
    pub fn generate_to(path: impl AsRef<Path>) -> Result<Self, Error> {
        create(path.as_ref())
    }

    /// A new identity that ends with the process.
    pub fn ephemeral() -> Self {
        Self { keypair: Keypair::generate_ed25519(), file: None }
    }

    /// The name of this identity on the network.
    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// The file that keeps the key; `None` for an ephemeral identity.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.keypair
    }
}

/// Tells the peer id and the file, never the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer_id", &self.peer_id()).field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Takes the lock of a file.
type Lock = fn(&Path, &File) -> Result<(), Error>;

fn load(path: &Path, metadata: &Metadata, lock: Lock) -> Result<Identity, Error> {
    // Before it is opened: opening a pipe would wait for its writer.
    check_kind(path, metadata)?;
    let mut file = open(path).map_err(|source| read_error(path, source))?;
    let metadata = file.metadata().map_err(|source| read_error(path, source))?;
    check_kind(path, &metadata)?;
    check_permissions(path, &metadata)?;
    lock(path, &file)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_FILE).read_to_end(&mut bytes).map_err(|source| read_error(path, source))?;
    let keypair = decode(&bytes).map_err(|found| Error::Invalid { path: path.to_owned(), found })?;
    Ok(Identity { keypair, file: Some(KeyFile { path: path.to_owned(), _locked: file }) })
}

fn create(path: &Path) -> Result<Identity, Error> {
    let create_error = |source| Error::Create { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(directory).map_err(create_error)?;
    let keypair = Keypair::generate_ed25519();
    let bytes = keypair.to_protobuf_encoding().expect("an Ed25519 key pair has an encoding");
    // Temporary files have mode 0600. The lock is taken before the file has its name, so that nobody else can.
    let mut file = NamedTempFile::new_in(directory).map_err(create_error)?;
    lock(path, file.as_file())?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(create_error)?;
    let file = file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => create_error(error.error),
    })?;
    Ok(Identity { keypair, file: Some(KeyFile { path: path.to_owned(), _locked: file }) })
}

fn decode(bytes: &[u8]) -> Result<Keypair, String> {
    if bytes.is_empty() {
        return Err("an empty file".to_owned());
    }
    let keypair = Keypair::from_protobuf_encoding(bytes)
        .map_err(|error| format!("{} bytes that do not decode ({error})", bytes.len()))?;
    match keypair.key_type() {
        KeyType::Ed25519 => Ok(keypair),
        other => Err(format!("a key of type {other}")),
    }
}

fn lock(path: &Path, file: &File) -> Result<(), Error> {
    file.try_lock().map_err(|error| lock_error(path, error))
}

fn lock_shared(path: &Path, file: &File) -> Result<(), Error> {
    file.try_lock_shared().map_err(|error| lock_error(path, error))
}

fn lock_error(path: &Path, error: TryLockError) -> Error {
    match error {
        TryLockError::WouldBlock => Error::Locked { path: path.to_owned() },
        TryLockError::Error(source) => Error::Lock { path: path.to_owned(), source },
    }
}

/// For writing too if that is allowed: network file systems give exclusive locks only to writers.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path).or_else(|_| File::open(path))
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let found = match metadata {
        metadata if metadata.is_file() => return Ok(()),
        metadata if metadata.is_dir() => "a directory",
        _ => "neither a file nor a directory",
    };
    Err(Error::NotAFile { path: path.to_owned(), found })
}

fn read_error(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Error::Exposed { path: path.to_owned(), mode }) }
}

/// Elsewhere the file has the access list of its directory, which belongs to the user.
#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata) -> Result<(), Error> {
    Ok(())
}

#[cfg(unix)]
fn create_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

#[cfg(test)]
mod tests;
