//! Compiled programs on disk, so that the next start does not compile them again.
//!
//! Machine code from a file is as dangerous as any other: whoever can write it runs as this user. So an
//! entry counts only if it carries a message authentication code, made with a key that lies beside the
//! entries and that only this user can read, over the code, the program's hash and everything that the
//! code depends on. Whatever does not verify is removed and compiled again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rand::TryRng;
use thiserror::Error;
use ww_core::file;

/// Bytes that all entries together may take; the ones that were used longest ago go first.
const MAX_BYTES: u64 = 2 << 30;

/// First bytes of an entry; another format gets another magic.
const MAGIC: &[u8; 8] = b"wwcode01";

/// Name of the key file, and of what ends in entries.
const KEY_FILE: &str = "key";
const EXTENSION: &str = "cwasm";

/// Permission bits that nobody else may have: for the directory, where others must not write, and for the key.
const WRITABLE: u32 = 0o022;
const ACCESSIBLE: u32 = 0o077;

const MAC_LEN: usize = blake3::OUT_LEN;

/// Compiled programs of one user.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    key: [u8; blake3::KEY_LEN],
}

/// Why there is no cache on disk.
#[derive(Debug, Error)]
pub(crate) enum Unusable {
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "others have access to {0}: expected a directory that only this user can write, and a key that only this user can read"
    )]
    Shared(PathBuf),
    #[error("{0} is not a key: expected {len} bytes", len = blake3::KEY_LEN)]
    BadKey(PathBuf),
    #[error("the system gave no random bytes for a key")]
    Random,
}

impl Disk {
    /// Opens the cache in `directory`, and makes both it and its key if they are not there.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be used, or not by this user alone.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, Unusable> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Unusable::Io { path, source }
        };
        create_private_directory(&directory).map_err(io_error(&directory))?;
        require_private(&directory, WRITABLE)?;
        let key_path = directory.join(KEY_FILE);
        if !key_path.exists() {
            let mut key = [0; blake3::KEY_LEN];
            rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(|_| Unusable::Random)?;
            // Two nodes that start at once agree on the key that was there first.
            write_new(&directory, &key_path, &key).map_err(io_error(&key_path))?;
        }
        require_private(&key_path, ACCESSIBLE)?;
        let key = match file::read(&key_path, blake3::KEY_LEN as u64) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(Unusable::BadKey(key_path)),
            read => read.map_err(io_error(&key_path))?,
        };
        let key = key.try_into().map_err(|_| Unusable::BadKey(key_path))?;
        Ok(Self { directory, key })
    }

    /// Whether something is stored under `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The code that was stored under `name` for `context`.
    pub(crate) fn get(&self, name: &str, context: &[u8]) -> Option<Vec<u8>> {
        let path = self.path(name);
        let mut entry = file::read(&path, MAX_BYTES).ok()?;
        let start = MAGIC.len() + MAC_LEN;
        let valid = entry.len() >= start
            && entry.starts_with(MAGIC)
            && self.mac(name, context, &entry[start..])
                == blake3::Hash::from_slice(&entry[MAGIC.len()..start])
                    .unwrap_or(blake3::Hash::from_bytes([0; MAC_LEN]));
        if !valid {
            tracing::warn!(path = %path.display(), "an entry of the program cache does not verify: it is removed");
            remove(&path);
            return None;
        }
        if let Ok(file) = fs::File::options().append(true).open(&path)
            && let Err(error) = file.set_modified(SystemTime::now())
        {
            tracing::debug!(%error, "the time of use was not recorded");
        }
        entry.drain(..start);
        Some(entry)
    }

    /// Stores code, then makes room if all entries together are too large. A failure costs only time later.
    pub(crate) fn put(&self, name: &str, context: &[u8], code: &[u8]) {
        let mut entry = Vec::with_capacity(MAGIC.len() + MAC_LEN + code.len());
        entry.extend_from_slice(MAGIC);
        entry.extend_from_slice(self.mac(name, context, code).as_bytes());
        entry.extend_from_slice(code);
        let path = self.path(name);
        remove(&path);
        if let Err(error) = write_new(&self.directory, &path, &entry) {
            tracing::warn!(path = %path.display(), %error, "a compiled program was not stored");
        }
        self.make_room(MAX_BYTES);
    }

    /// Removes what [`Disk::get`] gave, where the engine would not have it.
    pub(crate) fn remove(&self, name: &str) {
        remove(&self.path(name));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name).with_extension(EXTENSION)
    }

    fn mac(&self, name: &str, context: &[u8], code: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        for part in [name.as_bytes(), context, code] {
            mac.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        mac.finalize()
    }

    fn make_room(&self, most: u64) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut entries: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        let mut total: u64 = entries.iter().map(|(_, len, _)| len).sum();
        entries.sort();
        for (_, len, path) in entries {
            if total <= most {
                return;
            }
            remove(&path);
            total -= len;
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file of the program cache");
        }
        _ => {}
    }
}

/// Writes a file that appears at once and whole; leaves the one that is there already.
fn write_new(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, bytes)?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn create_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn require_private(path: &Path, forbidden: u32) -> Result<(), Unusable> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|source| Unusable::Io { path: path.to_owned(), source })?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && metadata.mode() & forbidden == 0 { Ok(()) } else { Err(Unusable::Shared(path.to_owned())) }
}

#[cfg(not(unix))]
fn require_private(_: &Path, _: u32) -> Result<(), Unusable> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Disk) {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(directory.path().join("cache")).expect("a cache");
        (directory, disk)
    }

    #[test]
    fn what_was_stored_comes_back_for_the_same_context_only() {
        let (_directory, disk) = cache();
        disk.put("a", b"engine 1", b"code");
        assert_eq!(disk.get("a", b"engine 1").as_deref(), Some(&b"code"[..]));
        assert_eq!(disk.get("b", b"engine 1"), None);
        assert_eq!(disk.get("a", b"engine 2"), None);
    }

    #[test]
    fn every_changed_or_cut_entry_is_removed() {
        let (_directory, disk) = cache();
        for damage in 0..MAGIC.len() + MAC_LEN + 4 {
            disk.put("a", b"", b"code");
            let mut entry = fs::read(disk.path("a")).expect("stored");
            entry[damage] ^= 1;
            fs::write(disk.path("a"), &entry).expect("written");
            assert_eq!(disk.get("a", b""), None, "byte {damage}");
            assert!(!disk.path("a").exists());
        }
        for len in [0, 7, MAGIC.len() + MAC_LEN - 1, MAGIC.len() + MAC_LEN] {
            disk.put("a", b"", b"code");
            let entry = fs::read(disk.path("a")).expect("stored");
            fs::write(disk.path("a"), &entry[..len]).expect("written");
            assert_eq!(disk.get("a", b""), None, "cut to {len}");
        }
    }

    #[test]
    fn an_entry_of_another_user_or_under_another_name_is_removed() {
        let (_mine, mine) = cache();
        let (_theirs, theirs) = cache();
        theirs.put("a", b"", b"code");
        fs::copy(theirs.path("a"), mine.path("a")).expect("copied");
        assert_eq!(mine.get("a", b""), None);
        mine.put("a", b"", b"code");
        fs::copy(mine.path("a"), mine.path("b")).expect("copied");
        assert_eq!(mine.get("b", b""), None);
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let (_directory, disk) = cache();
        for (name, age) in [("old", 2), ("new", 1)] {
            disk.put(name, b"", &[0; 100]);
            let then = SystemTime::now() - std::time::Duration::from_secs(age * 1_000);
            fs::File::options().append(true).open(disk.path(name)).expect("there").set_modified(then).expect("set");
        }
        disk.make_room(200);
        assert_eq!((disk.get("old", b""), disk.get("new", b"").is_some()), (None, true));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, disk) = cache();
        let key = disk.directory.join(KEY_FILE);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(Disk::open(directory.path().join("cache")), Err(Unusable::Shared(path)) if path == key));
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("set");
        assert!(matches!(Disk::open(directory.path().to_owned()), Err(Unusable::Shared(_))));
    }
}
