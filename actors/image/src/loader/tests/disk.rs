use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use super::*;

/// A file to be written, its bytes, and what the error about its image says.
type Case<'a> = (&'a str, Option<&'a [u8]>, &'a [&'a str]);

/// An address where nobody listens: disk images must never ask there.
const NOBODY: &str = "http://127.0.0.1:1";

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, bytes).expect("a file");
}

async fn load(path: &Path) -> Result<Image, String> {
    loader(NOBODY).load(path).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_image_is_a_directory_with_a_program() {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path(), PROGRAM, COMPONENT);
    let image = load(root.path()).await.expect("an image");
    assert_eq!(image.source, root.path().to_str().expect("UTF-8"));
    assert_eq!(image.wasm, COMPONENT);
    assert_eq!(image.manifest, Manifest::default());

    write(root.path(), PROGRAM, b"\0asm\x01\0\0\0");
    write(root.path(), manifest::PATH, b"[cell]\nasync = true\n");
    let image = load(root.path()).await.expect("an image");
    assert_eq!(image.wasm, b"\0asm\x01\0\0\0".as_slice());
    assert!(image.manifest.cell.async_mode);

    write(root.path(), "share/text", b"later");
    let files = image.files.clone();
    assert_eq!(files.read("share/text").await.expect("a file"), "later");
    assert!(matches!(files.read("share/none").await, Err(FileError::NotFound { .. })));
    for path in ["", "/etc/passwd", "../secret", "share/../../secret", "share//text", "share\\text", "share/\0"] {
        assert!(matches!(files.read(path).await, Err(FileError::Path { .. })), "{path:?}");
    }
}

#[tokio::test]
async fn the_path_of_an_image_need_not_be_text() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join(OsStr::from_bytes(b"\xff"));
    let error = load(&path).await.expect_err("there is nothing");
    assert!(error.contains("there is no such directory"), "{error}");
    write(&path, PROGRAM, COMPONENT);
    assert!(load(&path).await.expect("an image").source.ends_with('\u{fffd}'));
}

#[tokio::test]
async fn an_error_says_what_is_wrong_and_how_an_image_looks() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path();
    let layout = "An image is a directory with the program";

    let table: [Case; 9] = [
        ("none", None, &["\n  file system: there is no such directory", layout]),
        ("file", Some(b"x"), &["file system: expected a directory, found a file", layout]),
        ("programless/README", Some(b"x"), &["the directory has no bin/main.wasm", layout]),
        (
            "empty/bin/main.wasm",
            Some(b""),
            &["bin/main.wasm: expected a WebAssembly component", "an empty file", layout],
        ),
        ("text/bin/main.wasm", Some(b"(module)"), &["found something that starts with \"(module)\"", layout]),
        ("directory/bin/main.wasm/x", Some(b""), &["\"bin/main.wasm\": expected a regular file, found a directory"]),
        ("key/etc/ww.toml", Some(b"[cell]\nnmae = 'x'"), &["key/etc/ww.toml, line 2, column 1: unknown key `nmae`"]),
        ("binary/etc/ww.toml", Some(b"\xff\xfe"), &["binary/etc/ww.toml: expected a text in UTF-8"]),
        ("long/etc/ww.toml", Some(&[b'#'; 65_537]), &["\"etc/ww.toml\": the file has 65537 bytes, at most 65536"]),
    ];
    for (file, bytes, messages) in table {
        if let Some(bytes) = bytes {
            write(path, file, bytes);
        }
        let image = file.split('/').next().expect("a name");
        if file.ends_with(manifest::PATH) {
            write(path, &format!("{image}/{PROGRAM}"), COMPONENT);
        }
        let error = load(&path.join(image)).await.expect_err(image);
        for message in messages {
            assert!(error.contains(message), "{image}: {error}");
        }
        assert!(!error.contains("IPFS"), "{image}: {error}");
    }
}

#[tokio::test]
async fn a_program_has_at_most_256_mebibytes() {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path(), PROGRAM, COMPONENT);
    let program = fs::File::options().write(true).open(root.path().join(PROGRAM)).expect("the program");
    program.set_len(DEFAULT_MAX_PROGRAM + 1).expect("a sparse file");
    let error = load(root.path()).await.expect_err("too large");
    assert!(error.contains("the file has 268435457 bytes, at most 268435456 are read"), "{error}");
    assert!(error.contains("strip debug information"), "{error}");
}

#[tokio::test]
async fn reads_of_one_image_take_turns() {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path(), PROGRAM, COMPONENT);
    let image = load(root.path()).await.expect("an image");
    let reads = (0..32).map(|_| image.files.read(PROGRAM));
    for read in futures::future::join_all(reads).await {
        assert_eq!(read.expect("the program"), COMPONENT);
    }
}
