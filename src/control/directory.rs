//! Where the sockets of a user's nodes are: a directory that only this user can enter.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

/// Sockets that are looked at: many times the nodes that one user runs.
const MAX_SOCKETS: usize = 1_024;

/// How the name of a socket ends.
const EXTENSION: &str = "sock";

/// What is behind a socket.
#[derive(Debug)]
pub(crate) enum Found {
    /// Somebody who listens.
    Node(UnixStream),
    /// Nobody any more.
    Nobody,
    /// It cannot be reached.
    Unreachable(io::Error),
}

/// The user's runtime directory for sockets; it need not exist.
pub(crate) fn path() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match runtime {
        Some(runtime) => runtime.join("ww"),
        None => env::temp_dir().join(format!("ww-{}", rustix::process::getuid().as_raw())),
    }
}

/// Makes the directory, and checks that it is this user's alone.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(path)?;
    let own = found.uid() == rustix::process::getuid().as_raw();
    if !found.is_dir() || !own || found.mode() & 0o077 != 0 {
        let why = "expected a directory of this user that nobody else can enter: remove it, or set XDG_RUNTIME_DIR";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// The sockets in the directory, in alphabetical order; none where there is no directory.
pub(crate) fn sockets(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.take(MAX_SOCKETS).filter_map(|entry| Some(entry.ok()?.path()));
    let mut sockets: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == EXTENSION)).collect();
    sockets.sort();
    Ok(sockets)
}

/// The name of this process's socket, or of its `number`th.
pub(crate) fn own(directory: &Path, number: usize) -> PathBuf {
    let pid = std::process::id();
    let name = if number == 1 { format!("{pid}.{EXTENSION}") } else { format!("{pid}-{number}.{EXTENSION}") };
    directory.join(name)
}

/// Knocks at a socket.
pub(crate) async fn find(path: &Path) -> Found {
    match UnixStream::connect(path).await {
        Ok(stream) => Found::Node(stream),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Found::Nobody
        }
        Err(error) => Found::Unreachable(error),
    }
}

/// Removes a socket that nobody listens on any more. Whether the path is free now.
pub(crate) async fn remove_stale(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(false),
        Ok(_) => {}
    }
    match find(path).await {
        Found::Nobody => fs::remove_file(path).map(|()| true),
        Found::Node(_) | Found::Unreachable(_) => Ok(false),
    }
}
