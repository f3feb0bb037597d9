//! Clients that are not ours.

use std::{
    env,
    io::{self, Write},
    process::Command,
};

use crate::{image::Image, server::serve};

/// js-libp2p sends 1,000 messages with 32 in flight to a cell in async mode, and compares every reply.
///
/// `WW_TEST_JS_LIBP2P` is the directory in which `tests/set-up/js-libp2p.sh` has installed it.
#[test]
fn a_client_in_javascript_gets_every_reply() {
    let Some(client) = env::var_os("WW_TEST_JS_LIBP2P").filter(|path| !path.is_empty()) else {
        assert_ne!(env::var("WW_TEST_REQUIRE_ALL").as_deref(), Ok("1"), "WW_TEST_JS_LIBP2P is not set");
        // Past the capture of the test harness: whoever runs the tests should see what did not run.
        return writeln!(io::stderr(), "left out: a client in JavaScript (no js-libp2p)").expect("stderr is open");
    };
    let image = Image::of("echo");
    let server = serve(&image, "echo", &["--async"]);
    let sent = Command::new("node")
        .args(["--import", "./polyfill.js", "send.js", &*server.target(), "1000", "32"])
        .current_dir(client)
        .output()
        .expect("node runs");
    let (out, err) = (String::from_utf8_lossy(&sent.stdout), String::from_utf8_lossy(&sent.stderr));
    assert!(sent.status.success(), "{}\n{out}\n{err}", sent.status);
    assert!(out.contains("1000 messages with 32 in flight: 1000 right, 0 wrong"), "{out}");
    server.stop().expect(143, "");
}
