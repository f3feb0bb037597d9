//! Where the sockets of a user's nodes are: a directory that only this user can enter.
//!
//! A user who can put a socket where another user's verb looks for one could pretend to be the node.
//! So a verb believes only sockets of its own user, in a directory of that user which nobody else can
//! write to, with a process of that user behind them.

use std::{
    env, fs, io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt},
            net::SocketAddr,
        },
    },
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::UnixStream;

/// Sockets that are looked at: many times the nodes that one user runs.
const MAX_SOCKETS: usize = 1_024;

/// How the name of a socket ends.
const EXTENSION: &str = "sock";

/// Modes by which others can enter, read or write the user's own directory.
const NOT_ALONE: u32 = 0o077;

/// Modes by which others can put something into a directory.
const WRITABLE: u32 = 0o022;

/// Something that another user can have made in the place of what a verb looks for.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{path} is not to be believed: expected {expected} of this user (uid {own}), found uid {uid} and mode {mode:03o}; \
     remove it, or name another node with --node"
)]
pub(crate) struct Foreign {
    path: String,
    expected: &'static str,
    own: u32,
    uid: u32,
    mode: u32,
}

impl From<Foreign> for io::Error {
    fn from(foreign: Foreign) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, foreign)
    }
}

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
    check_alone(path)
}

/// Checks that a directory is this user's alone.
fn check_alone(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        let why = format!("{} is no directory: remove it, or set XDG_RUNTIME_DIR", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    check(path, "a directory that nobody else can enter,", found.uid(), found.mode() & 0o7777, NOT_ALONE)
}

/// Checks that something belongs to this user, and has none of these modes.
fn check(path: &Path, expected: &'static str, uid: u32, mode: u32, without: u32) -> io::Result<()> {
    let own = rustix::process::getuid().as_raw();
    if uid == own && mode & without == 0 {
        return Ok(());
    }
    Err(Foreign { path: path.display().to_string(), expected, own, uid, mode }.into())
}

/// Connects to a socket of this user, in a directory of this user, behind which is a process of this user.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    // What the path leads to in the end, with the directory that it is in.
    let real = fs::canonicalize(path)?;
    if let Some(directory) = real.parent() {
        let found = fs::symlink_metadata(directory)?;
        let expected = "a directory that nobody else can write to,";
        check(directory, expected, found.uid(), found.mode() & 0o7777, WRITABLE)?;
    }
    let found = fs::symlink_metadata(&real)?;
    check(&real, "a socket", found.uid(), found.mode() & 0o7777, 0)?;
    // Where the path was short enough for a socket, what it leads to need not be.
    let (alias, _directory) = alias(&real)?;
    let stream = UnixStream::connect(alias.as_deref().unwrap_or(&real)).await?;
    // The system says who listens, whatever lies at the path by now.
    check(&real, "a listener", stream.peer_cred()?.uid(), found.mode() & 0o7777, 0)?;
    Ok(stream)
}

/// Another path to a socket whose own is too long for one, and the directory that is held open for it: the system finds
/// the socket through that.
fn alias(path: &Path) -> io::Result<(Option<PathBuf>, Option<fs::File>)> {
    let fits = SocketAddr::from_pathname(path).is_ok();
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !fits && cfg!(target_os = "linux") => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let directory = fs::File::open(parent)?;
            let alias = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
            Ok((Some(alias), Some(directory)))
        }
        _ => Ok((None, None)),
    }
}

/// Does something with a socket at a path of any length.
pub(super) fn at<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (alias, _directory) = alias(path)?;
    act(alias.as_deref().unwrap_or(path))
}

/// Says so where verbs will not believe a socket that is to be opened here.
pub(crate) fn warn_unless_own(path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(found) = fs::metadata(directory) else { return };
    let expected = "a directory that nobody else can write to,";
    if let Err(foreign) = check(directory, expected, found.uid(), found.mode() & 0o7777, WRITABLE) {
        tracing::warn!("verbs of `ww` will not find this node: {foreign}");
    }
}

/// The sockets in the directory, in alphabetical order; none where there is no directory.
///
/// # Errors
///
/// Where the directory cannot be read, or others can enter it.
pub(crate) fn sockets(path: &Path) -> io::Result<Vec<PathBuf>> {
    match check_alone(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        checked => checked?,
    }
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

/// Knocks at a socket of this user.
pub(crate) async fn find(path: &Path) -> Found {
    found(connect(path).await)
}

fn found(connected: io::Result<UnixStream>) -> Found {
    match connected {
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
    match found(UnixStream::connect(path).await) {
        Found::Nobody => fs::remove_file(path).map(|()| true),
        Found::Node(_) | Found::Unreachable(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::net::UnixListener;

    use super::*;

    fn is_foreign(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Foreign>())
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn what_another_user_could_have_made_is_not_believed() {
        let own = rustix::process::getuid().as_raw();
        for (uid, mode, without, believed) in [
            (own, 0o700, NOT_ALONE, true),
            (own, 0o710, NOT_ALONE, false),
            (own, 0o755, NOT_ALONE, false),
            (own, 0o755, WRITABLE, true),
            (own, 0o775, WRITABLE, false),
            (own, 0o1777, WRITABLE, false),
            (own + 1, 0o700, NOT_ALONE, false),
            (own + 1, 0o600, 0, false),
        ] {
            let checked = check(Path::new("/x"), "a thing", uid, mode, without);
            assert_eq!(checked.is_ok(), believed, "{uid} {mode:o} {without:o}");
            if let Err(error) = checked {
                assert!(is_foreign(&error) && error.kind() == io::ErrorKind::PermissionDenied);
                let (error, part) = (error.to_string(), format!("expected a thing of this user (uid {own})"));
                assert!(error.contains(&part) && error.contains(&format!("mode {mode:03o}")), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_socket_is_believed_where_nobody_else_could_have_put_it() {
        let home = tempfile::tempdir().expect("a directory");
        let (directory, link) = (home.path().join("ww"), home.path().join("link"));
        make(&directory).expect("it is new");
        let path = directory.join("1.sock");
        let _listener = UnixListener::bind(&path).expect("it is free");
        std::os::unix::fs::symlink(&path, &link).expect("it is free");
        assert_eq!(sockets(&directory).expect("it is ours"), std::slice::from_ref(&path));
        for way in [&path, &link] {
            assert!(matches!(find(way).await, Found::Node(_)), "{}", way.display());
        }
        set_mode(&directory, 0o777);
        for refused in [sockets(&directory).map(drop), connect(&path).await.map(drop), connect(&link).await.map(drop)] {
            assert!(is_foreign(&refused.expect_err("others can write there")));
        }
        assert!(matches!(find(&path).await, Found::Unreachable(error) if is_foreign(&error)));
        assert!(matches!(find(&directory.join("2.sock")).await, Found::Nobody));
    }

    #[tokio::test]
    async fn a_short_path_may_lead_to_a_socket_whose_own_is_too_long_for_one() {
        let home = tempfile::tempdir().expect("a directory");
        let (directory, link) = (home.path().join("d".repeat(120)), home.path().join("link"));
        make(&directory).expect("it is new");
        let path = directory.join("1.sock");
        let _listener = at(&path, |path| UnixListener::bind(path)).expect("it is free");
        std::os::unix::fs::symlink(&path, &link).expect("it is free");
        for way in [&path, &link] {
            assert!(matches!(find(way).await, Found::Node(_)), "{}", way.display());
        }
    }
}
