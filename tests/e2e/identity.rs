//! Keys: made once, kept from others, never overwritten, used by one node at a time.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    harness::{Ended, Ww},
    image::example,
};

/// What a file has that only its owner can read and write.
const OWNERS: u32 = 0o600;

/// A directory, and the path of a key file in it that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key");
    (directory, path)
}

fn keygen(file: &Path) -> Ended {
    Ww::new(["keygen".as_ref(), file.as_os_str()]).end()
}

/// The peer id that a node with these settings tells its shell.
#[track_caller]
fn id(ww: Ww<'_>) -> String {
    let ended = ww.stdin("id\n").end();
    assert_eq!(ended.code, 0, "{ended}");
    let id = ended.stdout.lines().find_map(|line| line.strip_prefix("ww> 12D3KooW"));
    format!("12D3KooW{}", id.unwrap_or_else(|| panic!("no peer id: {ended}")))
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("a file").mode() & 0o7777
}

#[test]
fn keygen_makes_a_key_that_a_node_uses() {
    let (_directory, file) = place();
    let made = keygen(&file);
    let peer = made.stdout.trim();
    made.expect(0, &format!("{peer}\n"));
    assert!(peer.starts_with("12D3KooW"), "{made}");
    assert_eq!(mode(&file), OWNERS);
    let shell = example("shell");
    for _ in 0..2 {
        assert_eq!(id(Ww::run(&shell).arg_path("--identity", &file)), peer);
    }
}

#[test]
fn keygen_never_overwrites() {
    let (_directory, file) = place();
    fs::write(&file, "dear").expect("a file");
    let ended = keygen(&file);
    ended.expect(78, "").expect_stderr(&[file.to_str().expect("UTF-8"), "never overwritten", "choose another file"]);
    assert_eq!(fs::read(&file).expect("the file"), b"dear");
}

#[test]
fn keygen_says_where_it_cannot_write() {
    let (_directory, file) = place();
    fs::write(&file, "a file").expect("a file");
    let ended = keygen(&file.join("key"));
    ended.expect(78, "").expect_stderr(&["cannot create the key file", "name another file"]);
}

#[test]
fn a_node_makes_its_key_once_and_keeps_it() {
    let (directory, _) = place();
    let shell = example("shell");
    let file = directory.path().join(".local/share/ww/identity");
    let first = id(Ww::run(&shell).env("HOME", directory.path()));
    assert_eq!(mode(&file), OWNERS);
    assert_eq!(id(Ww::run(&shell).env("HOME", directory.path())), first);
    // Where there is no home, the key is of one run.
    assert_ne!(id(Ww::run(&shell)), id(Ww::run(&shell)));
}

#[test]
fn a_key_file_that_is_none_is_told() {
    let shell = example("shell");
    for (bytes, found) in [
        (&b""[..], "found an empty file"),
        (b"not a key", "found 9 bytes that do not decode"),
        (&[0; 68], "found 68 bytes that do not decode"),
    ] {
        let (_directory, file) = place();
        fs::write(&file, bytes).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(OWNERS)).expect("its owner's");
        let ended = Ww::run(&shell).arg_path("--identity", &file).end();
        let path = file.to_str().expect("UTF-8");
        ended.expect(78, "").expect_stderr(&[
            path,
            "expected an Ed25519 key pair",
            found,
            "from a backup, or delete it",
        ]);
    }
    let (directory, _) = place();
    let ended = Ww::run(&shell).arg_path("--identity", directory.path()).end();
    ended.expect(78, "").expect_stderr(&["should be a key file, but is a directory"]);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let (_directory, file) = place();
    keygen(&file);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("everybody's");
    let ended = Ww::run(&example("shell")).arg_path("--identity", &file).end();
    let advice = format!("chmod 600 {}", file.display());
    ended.expect(78, "").expect_stderr(&["mode 0644", "expected mode 0600", &advice]);
}

#[test]
fn a_key_is_used_by_one_node_at_a_time() {
    let (_directory, file) = place();
    let made = keygen(&file);
    let shell = example("shell");
    let mut first = Ww::run(&shell).arg_path("--identity", &file).open_stdin().start();
    first.wait_for_stdout("ww> ");
    let second = Ww::run(&shell).arg_path("--identity", &file).stdin("id\n").end();
    assert!(second.code == 0 && !second.stdout.contains(made.stdout.trim()), "{second}");
    second.expect_stderr(&["in use by another node", file.to_str().expect("UTF-8")]);
    first.close_stdin();
    assert_eq!(first.end().code, 0);
    assert_eq!(id(Ww::run(&shell).arg_path("--identity", &file)), made.stdout.trim());
}
