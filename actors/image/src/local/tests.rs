use std::{
    os::unix::{self, fs::FileTypeExt},
    process::Command,
};

use super::*;

/// Most bytes that these tests read.
const MOST: u64 = 64;

struct Image {
    _parent: tempfile::TempDir,
    root: Arc<Root>,
}

/// An image beside a secret, with links of all kinds.
async fn image() -> Image {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("image");
    fs::create_dir_all(path.join("etc/sub")).expect("directories");
    fs::write(parent.path().join("secret"), "secret").expect("a file");
    fs::write(path.join("etc/plain"), "plain").expect("a file");
    fs::write(path.join("etc/exact"), [b'x'; MOST as usize]).expect("a file");
    fs::write(path.join("etc/large"), [b'x'; MOST as usize + 1]).expect("a file");
    fs::write(path.join("etc/empty"), "").expect("a file");
    for (target, link) in [
        ("plain", "etc/inside"),
        ("../etc/plain", "etc/roundabout"),
        ("sub", "etc/directory"),
        ("../../secret", "etc/relative"),
        ("/etc/passwd", "etc/absolute"),
        ("../..", "etc/up"),
        ("/proc/self/root/etc/passwd", "etc/magic"),
        ("/proc/self/cwd", "etc/cwd"),
        ("loop", "etc/loop"),
        ("nothing", "etc/dangling"),
    ] {
        unix::fs::symlink(target, path.join(link)).expect("a link");
    }
    let pipe = path.join("etc/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    assert!(fs::metadata(pipe).expect("the pipe").file_type().is_fifo());
    Image { _parent: parent, root: Arc::new(Root::open(path).await.expect("the image")) }
}

#[tokio::test]
async fn only_regular_files_of_the_image_are_read() {
    let image = image().await;
    let read = async |path: &str| {
        let checked = FilePath::new(path).expect("a path");
        Root::read(&image.root, checked, MOST).await
    };
    for (path, text) in
        [("etc/plain", "plain"), ("etc/inside", "plain"), ("etc/roundabout", "plain"), ("etc/empty", "")]
    {
        assert_eq!(read(path).await.expect(path), text.as_bytes(), "{path}");
    }
    assert_eq!(read("etc/exact").await.expect("it fits").len() as u64, MOST);
    assert!(matches!(read("etc/large").await, Err(FileError::TooLarge { size: 65, most: MOST, .. })));
    for path in ["etc/relative", "etc/absolute", "etc/up/secret", "etc/magic", "etc/cwd/Cargo.toml"] {
        assert!(matches!(read(path).await, Err(FileError::Outside { .. })), "{path}: {:?}", read(path).await);
    }
    for path in ["etc/none", "none/at/all", "etc/plain/below", "etc/dangling"] {
        assert!(matches!(read(path).await, Err(FileError::NotFound { .. })), "{path}");
    }
    for path in ["etc", "etc/directory", "etc/pipe"] {
        assert!(matches!(read(path).await, Err(FileError::NotAFile { .. })), "{path}");
    }
    assert!(matches!(read("etc/loop").await, Err(FileError::Io { .. })));
}

#[tokio::test]
async fn the_portable_way_decides_alike() {
    let image = image().await;
    let open = |path: &str| canonical::open_file(image.root.path(), path);
    for path in ["etc/plain", "etc/inside", "etc/roundabout", "etc/empty"] {
        assert!(open(path).is_ok(), "{path}");
    }
    for path in ["etc/relative", "etc/absolute", "etc/up/secret", "etc/magic", "etc/cwd/Cargo.toml"] {
        assert!(matches!(open(path), Err(Refused::Outside)), "{path}");
    }
    for path in ["etc/none", "etc/plain/below", "etc/dangling"] {
        assert!(matches!(open(path), Err(Refused::Io(error)) if is_absence(&error)), "{path}");
    }
    for path in ["etc", "etc/directory", "etc/pipe"] {
        assert!(matches!(open(path), Err(Refused::NotAFile(_))), "{path}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_image_that_is_moved_is_still_the_one_that_was_opened() {
    let image = image().await;
    let path = image.root.path().to_owned();
    fs::rename(&path, path.with_file_name("moved")).expect("it moves");
    fs::create_dir_all(path.join("etc")).expect("another image");
    fs::write(path.join("etc/plain"), "other").expect("another file");
    let read = Root::read(&image.root, FilePath::new("etc/plain").expect("a path"), MOST).await;
    assert_eq!(read.expect("the file"), "plain");
}
