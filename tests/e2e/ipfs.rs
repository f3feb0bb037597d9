//! Images from IPFS: through a real daemon, a lying one, and none at all.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use rustix::process::Signal;

use crate::{
    harness::{PATIENCE, Ww},
    image::guest,
};

/// A directory that nobody has here.
const CID: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

/// Where nobody listens: the port has been assigned to nothing that runs anywhere for decades.
const NOBODY: &str = "http://127.0.0.1:1";

/// Separates the parts of a form; in none of them.
const BOUNDARY: &str = "ww-e2e-boundary";

/// The URL of a daemon that answers every question with one status and body.
fn daemon(status: &'static str, body: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // Ends with the tests.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // The command may have seen enough.
            reader.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap_or_default();
        }
    });
    url
}

#[test]
fn without_a_daemon_both_ways_that_were_tried_are_named() {
    let image = format!("/ipfs/{CID}");
    let ended = Ww::run(&image).args(["--ipfs-url", NOBODY]).end();
    ended.expect(66, "").expect_stderr(&[
        &format!("cannot load the image {image:?}"),
        &format!("IPFS daemon at {NOBODY}: the daemon cannot be reached"),
        "file system: there is no such directory",
        "Start a daemon with `ipfs daemon`, or name the one that runs with --ipfs-url.",
    ]);
    ended.expect_not_in_stderr(&["panicked", "backtrace"]);
}

#[test]
fn a_daemon_that_lies_is_an_error_and_not_a_program() {
    let url = daemon("200 OK", b"something else");
    let ended = Ww::run(&format!("/ipfs/{CID}")).args(["--ipfs-url", &url]).end();
    let mismatch = format!("the bytes served for the block {CID} are not that block: they hash to ");
    ended.expect(66, "").expect_stderr(&[&url, &mismatch, "Do not run it."]);
    // What lies is not asked again in another way.
    ended.expect_not_in_stderr(&["file system:", "panicked"]);
}

#[test]
fn a_node_that_waits_for_a_daemon_can_be_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let image = format!("/ipfs/{CID}");
    let running = Ww::run(&image).args(["--ipfs-url", &url]).start();
    let (stream, _) = listener.accept().expect("a question");
    running.signal(Signal::TERM);
    running.end().expect(143, "");
    drop(stream);
}

#[test]
fn a_daemon_that_has_not_got_it_is_heard() {
    let url = daemon("500 Internal Server Error", br#"{"Message":"block was not found locally","Code":0}"#);
    let ended = Ww::run(&format!("/ipfs/{CID}")).args(["--ipfs-url", &url]).end();
    ended.expect(66, "").expect_stderr(&["status 500: block was not found locally", "Ask the daemon itself"]);
    let url = daemon("404 Not Found", b"<html>");
    let ended = Ww::run(&format!("/ipfs/{CID}")).args(["--ipfs-url", &url]).end();
    ended.expect(66, "").expect_stderr(&["status 404", "is this the RPC API of an IPFS daemon?"]);
}

#[test]
fn a_path_that_is_not_one_of_ipfs_is_told() {
    for path in ["/ipfs/", "/ipfs/nonsense", "/ipfs/../etc"] {
        let ended = Ww::run(path).args(["--ipfs-url", NOBODY]).end();
        ended.expect(66, "").expect_stderr(&[path, "IPFS daemon at"]).expect_not_in_stderr(&["panicked"]);
    }
}

/// A part of the form that adds an image.
fn part(path: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"image/{path}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

/// Adds an image to a daemon; returns its CID.
fn add(url: &str, files: &[(&str, Vec<u8>)]) -> io::Result<String> {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut body: Vec<u8> = files.iter().flat_map(|(path, bytes)| part(path, bytes)).collect();
    body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    let head = format!(
        "POST /api/v0/add?cid-version=1&raw-leaves=true HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    // One line, and one chunk, for each entry.
    let directory = answer.lines().find(|line| line.contains("\"Name\":\"image\"")).unwrap_or_default();
    let cid = directory.split("\"Hash\":\"").nth(1).and_then(|rest| rest.split('"').next());
    cid.map(str::to_owned).ok_or_else(|| io::Error::other(format!("the daemon did not add it: {answer}")))
}

#[test]
fn an_image_of_a_real_daemon_runs() {
    let Some(url) = env::var("WW_TEST_IPFS_API").ok().filter(|url| !url.is_empty()) else {
        assert_ne!(env::var("WW_TEST_REQUIRE_ALL").as_deref(), Ok("1"), "WW_TEST_IPFS_API is not set");
        // Past the capture of the test harness: whoever runs the tests should see what did not run.
        return writeln!(io::stderr(), "left out: an image from a real daemon (no IPFS daemon)")
            .expect("stderr is open");
    };
    let cid = add(&url, &[("bin/main.wasm", guest("pid0"))]).expect("the daemon adds the image");
    let ended = Ww::run(&format!("/ipfs/{cid}")).args(["--ipfs-url", &url]).end();
    ended.expect(0, "child-echo: hello from pid0\nchild-echo exited with code 0\n");
    let files = [
        ("bin/main.wasm", guest("caller")),
        ("bin/child.wasm", guest("exits")),
        ("etc/ww.toml", b"[cell]\nname = \"far\"\n[grants]\nhost = [\"executor\"]\n".to_vec()),
    ];
    let image = format!("/ipfs/{}", add(&url, &files).expect("the daemon adds the image"));
    let run = |args: &[&str]| Ww::run(&image).args(["--ipfs-url", &url]).guest_args(args).end();
    run(&["run", "bin/child.wasm", "exit", "7"]).expect(7, "");
    run(&["load", "bin/child.wasm"]).expect(0, &format!("{} bytes\n", files[1].1.len()));
    run(&["load", "bin/none.wasm"]).expect(1, "");
    let denied = "error: Failed: remote exception: denied: Host.id is not granted to this cell\n";
    run(&["host", "id"]).expect(0, denied);
}
