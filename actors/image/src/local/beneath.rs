//! Opening files below a directory in one step, by Linux's `openat2` (openat2(2), since 5.6).

use std::{fs::File, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::Refused;

/// How often an open is tried again while somebody moves directories: the kernel cannot prove then that the path stays
/// below the root, and says so.
const MAX_TRIES: usize = 16;

/// An open directory.
pub(super) struct Directory(OwnedFd);

impl Directory {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self(fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens what lies below the directory; `None` where this kernel, or the sandbox around the process, has no
    /// `openat2`.
    pub(super) fn open_file(&self, relative: &str) -> Option<Result<File, Refused>> {
        // Without `NONBLOCK`, opening a pipe waits for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            tries += 1;
            return match fs::openat2(&self.0, relative, flags, Mode::empty(), resolve) {
                Ok(file) => Some(Ok(file.into())),
                Err(Errno::NOSYS | Errno::PERM) => None,
                Err(Errno::AGAIN | Errno::INTR) if tries < MAX_TRIES => continue,
                Err(Errno::XDEV) => Some(Err(Refused::Outside)),
                Err(Errno::NXIO | Errno::NODEV) => Some(Err(Refused::NotAFile("a pipe, a socket or a device"))),
                Err(errno) => Some(Err(Refused::Io(errno.into()))),
            };
        }
    }
}
