//! Images made for one test.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A directory with a program, gone when the test ends.
pub(crate) struct Image(TempDir);

impl Image {
    /// Without any file.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// With these bytes as its program.
    pub(crate) fn new(program: impl AsRef<[u8]>) -> Self {
        Self::empty().file("bin/main.wasm", program)
    }

    /// With a guest as its program.
    pub(crate) fn of(name: &str) -> Self {
        Self::new(guest(name))
    }

    /// With a program in the text format.
    pub(crate) fn of_text(text: &str) -> Self {
        Self::new(wat::parse_str(text).expect("a program in the text format"))
    }

    /// With one more file.
    pub(crate) fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a path within the image")).expect("a directory of the image");
        fs::write(path, bytes).expect("a file of the image");
        self
    }

    /// With this `etc/ww.toml`.
    pub(crate) fn manifest(self, text: &str) -> Self {
        self.file("etc/ww.toml", text)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl AsRef<OsStr> for Image {
    fn as_ref(&self) -> &OsStr {
        self.path().as_os_str()
    }
}

/// A file of the repository.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The finished program of a guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let target = if name == "preview1" { "wasm32-wasip1" } else { "wasm32-wasip2" };
    let path = in_repository(&format!("guests/target/{target}/release/{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `make guests test-guests`", path.display()))
}

/// An image of the repository, as `make images` builds it.
pub(crate) fn example(name: &str) -> PathBuf {
    let path = in_repository("examples/images").join(name);
    assert!(path.join("bin/main.wasm").is_file(), "{} has no bin/main.wasm: run `make images`", path.display());
    path
}
