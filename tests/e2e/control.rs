//! The control socket: where it is, who may use it, and what hostile clients can do to others: nothing.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    time::Instant,
};

use rustix::process::Signal;

use crate::{
    harness::{PATIENCE, Running},
    image::Image,
    verbs::User,
};

/// What a Cap'n Proto client sends first: one message that asks for the bootstrap, as question 0.
const HELLO: [u8; 48] = {
    let mut bytes = [0; 48];
    // One segment of five words.
    bytes[4] = 5;
    // The root: a struct of one data word and one pointer. Its word is the tag of `bootstrap`.
    bytes[12] = 1;
    bytes[14] = 1;
    bytes[16] = 8;
    // Its pointer: a struct of one data word and one pointer, both 0.
    bytes[28] = 1;
    bytes[30] = 1;
    bytes
};

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// The only socket of a user.
fn socket(user: &User) -> PathBuf {
    let directory = user.directory().join("ww");
    assert_eq!(mode(&directory), 0o700);
    let mut sockets: Vec<_> =
        fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    sockets.remove(0)
}

fn serve<'image>(user: &User, image: &'image Image, args: &[&str]) -> Running<'image> {
    user.serve(image, &[&["--async", "--name", "echo"], args].concat())
}

#[test]
fn the_socket_is_for_its_user_and_lives_as_long_as_its_node() {
    let (user, image) = (User::new(), Image::of("echo"));
    let node = serve(&user, &image, &[]);
    let path = socket(&user);
    assert_eq!(mode(&path), 0o600);
    node.signal(Signal::TERM);
    node.end().expect(143, "");
    assert!(!path.exists(), "it is gone with its node");

    // One that was left behind is replaced, whoever's number it had.
    let node = serve(&user, &image, &[]);
    node.signal(Signal::KILL);
    let left = socket(&user);
    drop(node);
    let node = serve(&user, &image, &[]);
    assert_ne!(socket(&user), left);
    drop(node);

    let off = serve(&User::new(), &image, &["--control", "off"]);
    drop(off);
}

#[test]
fn a_socket_can_be_named_and_is_not_taken_from_others() {
    let (user, image) = (User::new(), Image::of("echo"));
    let path = user.directory().join("my.sock");
    let address = format!("unix:{}", path.display());
    let node = serve(&user, &image, &["--control", &address]);
    assert!(fs::symlink_metadata(&path).expect("there").file_type().is_socket() && mode(&path) == 0o600);
    assert!(user.prints(&["ps", "--node", &address]).contains("echo"));
    let second = user.run(&image, &["--async", "--control", &address]).end();
    second.expect(69, "").expect_stderr(&[&address, "is taken by another node or program"]);
    assert!(user.prints(&["ps", "--node", &address]).contains("echo"), "the first goes on");
    drop(node);
    assert!(path.exists(), "a node that is killed leaves it");
    drop(serve(&user, &image, &["--control", &address]));

    fs::remove_file(&path).expect("it was left");
    fs::write(&path, "precious").expect("written");
    user.run(&image, &["--control", &address]).end().expect(69, "");
    assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
    fs::remove_file(&path).expect("there");
    let other = UnixListener::bind(&path).expect("free");
    user.run(&image, &["--control", &address]).end().expect(69, "");
    drop(other);

    for (wrong, code) in [("tcp:0.0.0.0:0", 64), ("here", 64), ("unix:/nowhere/at/all.sock", 78)] {
        let ended = user.run(&image, &["--control", wrong]).end();
        assert_eq!(ended.code, code, "{ended}");
    }
}

#[test]
fn a_socket_on_loopback_is_one_as_well() {
    let (user, image) = (User::new(), Image::of("echo"));
    let mut node = user.run(&image, &["--async", "--name", "echo", "--control", "tcp:127.0.0.1:0"]).start();
    let log = node.wait_for_stderr("the cell serves messages");
    let (_, address) = log.split_once("control=\"").expect("the node says where");
    let address = address.split('"').next().expect("an address");
    assert!(user.prints(&["ps", "--node", address]).contains("echo"));
    user.ask(&["send", "--node", address, "echo", "hello"]).expect(0, "hello");
    let taken = user.run(&image, &["--control", address]).end();
    taken.expect(69, "").expect_stderr(&["is taken"]);
    let mut garbage = TcpStream::connect(address.strip_prefix("tcp:").expect("tcp")).expect("it listens");
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    user.ask(&["send", "--node", address, "echo", "hello"]).expect(0, "hello");
}

/// Writes what it can: the node may have closed the connection.
fn attack(socket: &std::path::Path, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(bytes).unwrap_or_default();
    stream
}

/// Waits for the end of a connection.
fn ended(mut stream: UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection goes on"),
        _ => {}
    }
}

/// Reads one message.
fn answer(stream: &mut UnixStream) {
    let mut number = || {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).expect("an answer");
        u32::from_le_bytes(bytes) as usize
    };
    let segments = number() + 1;
    let words: usize = (0..segments).map(|_| number()).sum();
    // The table is a whole number of words.
    let padding = if segments.is_multiple_of(2) { 4 } else { 0 };
    let mut message = vec![0; words * 8 + padding];
    stream.read_exact(&mut message).expect("the whole answer");
}

#[test]
fn a_hostile_client_loses_its_own_connection_and_nobody_elses() {
    let (user, image) = (User::new(), Image::of("echo"));
    let node = serve(&user, &image, &[]);
    let socket = socket(&user);
    let mut good = attack(&socket, &HELLO);
    answer(&mut good);

    let random: Vec<u8> =
        (0_u64..4_096).map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let words = ((64_u32 << 20) / 8 + 1).to_le_bytes();
    let too_long = [[0; 4], words].concat();
    for bytes in [&random[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64], &too_long] {
        ended(attack(&socket, bytes));
    }
    // Half a message, and then the end.
    let half = attack(&socket, &HELLO[..20]);
    half.shutdown(std::net::Shutdown::Write).expect("open");
    ended(half);
    // More questions than are served, none of them ever finished; nothing is read.
    let mut flood = attack(&socket, &[]);
    let calls: Vec<u8> = (0_u32..100_000)
        .flat_map(|question| {
            let mut hello = HELLO;
            hello[32..36].copy_from_slice(&question.to_le_bytes());
            hello
        })
        .collect();
    flood.set_nonblocking(true).expect("set");
    let mut sent = 0;
    while let Ok(written @ 1..) = flood.write(&calls[sent..]) {
        sent += written;
        if sent == calls.len() {
            break;
        }
    }
    // Clients that say nothing, and some that stall in the middle of a long message.
    let idle: Vec<_> = (0..500).map(|_| UnixStream::connect(&socket).expect("it listens")).collect();
    let stalled: Vec<_> = (0..20).map(|_| attack(&socket, &[0, 0, 0, 0, 0, 0, 0x7f, 0])).collect();

    let started = Instant::now();
    user.ask(&["send", "echo", "hello"]).expect(0, "hello");
    assert!(user.prints(&["ps"]).contains("echo"));
    println!("two verbs beside hostile clients: {:?}", started.elapsed());
    let mut again = HELLO;
    again[32] = 1;
    good.write_all(&again).expect("the good one goes on");
    answer(&mut good);
    drop((flood, idle, stalled));
    assert!(user.prints(&["ps"]).contains("echo"));
    node.signal(Signal::TERM);
    node.end().expect(143, "");
}
