use std::{sync::Barrier, thread};

use tempfile::TempDir;

use super::*;

const KEY: &str = "nested/dir/key";

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file that only its owner can read, as far as the system knows such files.
fn private_file(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    #[cfg(unix)]
    set_mode(path, 0o600);
}

#[test]
fn an_identity_is_created_once_and_kept() {
    let dir = directory();
    let path = dir.path().join(KEY);
    let created = Identity::load_or_create(&path).unwrap();
    let peer_id = created.peer_id();
    assert_eq!(created.path(), Some(path.as_path()));
    #[cfg(unix)]
    {
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&dir.path().join("nested/dir")), 0o700);
        assert_eq!(mode(&dir.path().join("nested")), 0o700);
    }
    let bytes = fs::read(&path).unwrap();
    drop(created);

    assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), peer_id);
    assert_eq!(fs::read(&path).unwrap(), bytes, "a key is never written again");
    assert_eq!(Keypair::from_protobuf_encoding(&bytes).unwrap().public().to_peer_id(), peer_id);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the key is left: {left:?}");
}

#[test]
fn a_second_node_finds_the_identity_locked_until_the_first_one_ends() {
    let dir = directory();
    let path = dir.path().join(KEY);
    for first in [Identity::load_or_create, Identity::load_or_create] {
        let first = first(&path).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(Error::Locked { .. })));
        drop(first);
    }
    let generated = Identity::generate_to(dir.path().join("other")).unwrap();
    assert!(matches!(Identity::load_or_create(dir.path().join("other")), Err(Error::Locked { .. })));
    drop(generated);
}

#[cfg(unix)]
#[test]
fn a_key_that_cannot_be_written_can_still_be_locked() {
    let dir = directory();
    let path = dir.path().join("key");
    let peer_id = Identity::generate_to(&path).unwrap().peer_id();
    set_mode(&path, 0o400);
    let first = Identity::load_or_create(&path).unwrap();
    assert_eq!(first.peer_id(), peer_id);
    assert!(matches!(Identity::load_or_create(&path), Err(Error::Locked { .. })));
}

#[test]
fn of_many_nodes_that_create_the_same_file_exactly_one_gets_it() {
    const NODES: usize = 8;
    let dir = directory();
    let path = dir.path().join(KEY);
    let together = Barrier::new(NODES);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let nodes: Vec<_> = (0..NODES)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    Identity::load_or_create(&path)
                })
            })
            .collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let (got, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(got.len(), 1);
    assert!(refused.iter().all(|refused| matches!(refused, Err(Error::Locked { .. }))), "{refused:?}");
    let peer_id = got.into_iter().next().unwrap().unwrap().peer_id();
    assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), peer_id);
}

#[test]
fn a_generated_key_overwrites_nothing() {
    let dir = directory();
    let path = dir.path().join("key");
    let peer_id = Identity::generate_to(&path).unwrap().peer_id();
    let bytes = fs::read(&path).unwrap();
    let error = Identity::generate_to(&path).unwrap_err();
    assert!(matches!(&error, Error::Exists { .. }), "{error:?}");
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(Identity::load_or_create(&path).unwrap().peer_id(), peer_id);
}

#[test]
fn what_is_not_a_private_key_file_is_refused_with_advice() {
    let dir = directory();
    let at = |name: &str| dir.path().join(name);
    let encoded = Keypair::generate_ed25519().to_protobuf_encoding().unwrap();
    // Key type 2 of the specification is Secp256k1.
    let foreign_type = [&[8, 2, 18, 32], &encoded[4..36]].concat();

    fs::create_dir(at("directory")).unwrap();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("text", b"-----BEGIN PRIVATE KEY-----\n".to_vec()),
        ("truncated", encoded[..40].to_vec()),
        ("foreign-type", foreign_type),
        ("huge", vec![0xff; 1 << 20]),
        ("file", encoded.clone()),
    ] {
        private_file(&at(name), &bytes);
    }
    assert!(Identity::load_or_create(at("file")).is_ok(), "the same file, untouched, is fine");

    let mut cases = vec![
        ("directory", "NotAFile", "a directory"),
        ("empty", "Invalid", "an empty file"),
        ("text", "Invalid", "delete it for a new identity"),
        ("truncated", "Invalid", "40 bytes that do not decode"),
        ("foreign-type", "Invalid", "libp2p's protobuf encoding"),
        ("huge", "Invalid", "4096 bytes that do not decode"),
        ("file/key", "Read", "check that this user may read it"),
    ];
    #[cfg(unix)]
    {
        for (name, mode) in [("group", 0o640), ("others", 0o604), ("writable", 0o620), ("all", 0o777)] {
            private_file(&at(name), &encoded);
            set_mode(&at(name), mode);
        }
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        cases.extend([
            ("group", "Exposed", "mode 0640"),
            ("others", "Exposed", "run `chmod 600 "),
            ("writable", "Exposed", "expected mode 0600"),
            ("all", "Exposed", "mode 0777"),
            ("loop", "Read", "name another file"),
            ("dangling", "Read", "cannot read the key file"),
            ("socket", "NotAFile", "neither a file nor a directory"),
        ]);
    }
    for (name, variant, text) in cases {
        let error = Identity::load_or_create(at(name)).unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{name}: {error:?}");
        let message = error.to_string();
        assert!(message.contains(text), "{name}: {message}");
        assert!(message.contains(at(name).to_str().unwrap()), "{name}: {message}");
    }

    let error = Identity::generate_to(at("file/key")).unwrap_err();
    assert!(matches!(&error, Error::Create { .. }), "{error:?}");
}

#[test]
fn ephemeral_identities_differ_and_no_identity_prints_its_key() {
    let (one, other) = (Identity::ephemeral(), Identity::ephemeral());
    assert_ne!(one.peer_id(), other.peer_id());
    assert_eq!(one.path(), None);
    assert_eq!(format!("{one:?}"), format!("Identity {{ peer_id: {:?}, path: None, .. }}", one.peer_id()));
}

#[test]
fn commands_share_a_key_that_no_node_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/key");
    let one = Identity::load_or_create_shared(&path).unwrap();
    let other = Identity::load_or_create_shared(&path).unwrap();
    assert_eq!(one.peer_id(), other.peer_id());
    assert!(matches!(Identity::load_or_create(&path), Err(Error::Locked { .. })));
    drop((one, other));
    let node = Identity::load_or_create(&path).unwrap();
    assert!(matches!(Identity::load_or_create_shared(&path), Err(Error::Locked { .. })));
    drop(node);
    Identity::load_or_create_shared(&path).unwrap();
}
