//! Clients that are not ours.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
    process::Command,
};

use crate::{
    image::{Image, example, in_repository},
    server::serve,
    verbs::User,
};

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

/// The directory in which `tests/set-up/pycapnp.sh` has installed pycapnp, from `WW_TEST_PYCAPNP`; `None` where that is to
/// be left out, which is said.
fn pycapnp() -> Option<OsString> {
    let library = env::var_os("WW_TEST_PYCAPNP").filter(|path| !path.is_empty());
    if library.is_none() {
        assert_ne!(env::var("WW_TEST_REQUIRE_ALL").as_deref(), Ok("1"), "WW_TEST_PYCAPNP is not set");
        // Past the capture of the test harness: whoever runs the tests should see what did not run.
        writeln!(io::stderr(), "left out: a client in Python (no pycapnp)").expect("stderr is open");
    }
    library
}

/// Runs a client in Python to its end: code, standard output, standard error.
fn python(library: &OsStr, script: &str, args: [&OsStr; 2]) -> (Option<i32>, String, String) {
    let script = in_repository("examples/clients/python").join(script);
    let ended = Command::new("python3")
        .arg(script)
        .args(args)
        .env("PYTHONPATH", library)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

/// pycapnp starts a program over the control socket, follows its output, and learns its exit code.
#[test]
fn a_client_in_python_starts_a_program_and_follows_it() {
    let Some(library) = pycapnp() else { return };
    let (user, image) = (User::new(), Image::of("echo"));
    let socket = user.directory().join("control.sock");
    let address = format!("unix:{}", socket.display());
    let _node = user.serve(&image, &["--async", "--control", &address]);
    let run = |program: &Path| python(&library, "run.py", [OsStr::new(&address), program.as_os_str()]);
    let (code, out, err) = run(&example("child-echo").join("bin/main.wasm"));
    assert_eq!((code, &*out), (Some(0), "child-echo: hello from python\nexit code 0\n"), "{err}");
    assert!(err.contains("cells before: 1") && err.contains("the node echoed"), "{err}");

    let program = user.directory().join("exit.wasm");
    std::fs::write(&program, wat::parse_str(crate::verbs::EXIT).expect("a program")).expect("written");
    let (code, out, err) = run(&program);
    assert_eq!((code, &*out), (Some(3), "outexit code 3\n"), "{err}");
}

/// pycapnp starts a cell, sends it ten messages, follows its log, kills it, and prints its status.
#[test]
fn a_client_in_python_sends_messages_to_a_cell_and_kills_it() {
    let Some(library) = pycapnp() else { return };
    let (user, image) = (User::new(), Image::of("echo"));
    let socket = user.directory().join("control.sock");
    let address = format!("unix:{}", socket.display());
    let _node = user.serve(&image, &["--async", "--control", &address]);
    let program = example("child-echo").join("bin/main.wasm");
    let (code, out, err) = python(&library, "actor.py", [OsStr::new(&address), program.as_os_str()]);
    let replies: String = (1..=10).map(|number| format!("child-echo: message {number}\n")).collect();
    let expected = format!("{replies}cell ended with 137: killed; 10 messages answered\n");
    assert_eq!((code, &*out), (Some(0), &*expected), "{err}");
    assert_eq!(err.matches("the node echoed").count(), 10, "{err}");
}
