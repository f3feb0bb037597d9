//! What the system refuses: few file descriptors, a home that cannot be written, paths as long as a socket takes, an
//! odd environment. The command says so, with the code of the host, and never panics.

use std::{
    fs,
    process::{Command, Output},
};

use rustix::process::Signal;

use crate::{harness::Ww, image::Image, verbs::User};

/// Bytes of the longest path that a socket takes on Linux.
const LONGEST: usize = 107;

/// Returns at once.
const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Runs an image without a home, with a limit of the shell.
fn limited(limit: &str, image: &Image) -> Output {
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_ww"), "run"]).arg(image.as_ref());
    command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--control", "off"]).output().expect("a shell")
}

#[test]
fn few_file_descriptors_are_named_and_are_nobody_elses_fault() {
    let image = Image::of_text(NOTHING);
    let mut refused = 0;
    for most in [12, 18, 20, 24, 28, 40] {
        let Output { status, stderr, .. } = limited(&format!("-n {most}"), &image);
        let stderr = String::from_utf8_lossy(&stderr);
        let code = status.code();
        assert!(matches!(code, Some(0 | 71)) && !stderr.contains("panicked"), "{most}: {code:?} {stderr}");
        if code == Some(71) {
            assert!(stderr.contains("ww: "), "{most}: {stderr}");
            refused += 1;
        }
    }
    assert!(refused > 0, "twelve are too few");
    let stderr = limited("-n 12", &image).stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("refuses file descriptors"), "{stderr:?}");
}

#[test]
fn a_control_socket_has_the_longest_path_that_a_socket_takes() {
    let (user, image) = (User::new(), Image::of("echo"));
    let directory = user.directory();
    let name = "s".repeat(LONGEST - directory.as_os_str().len() - 1);
    let address = format!("unix:{}", directory.join(&name).display());
    let node = user.serve(&image, &["--async", "--name", "echo", "--control", &address]);
    assert!(user.prints(&["ps", "--node", &address]).contains("echo"));
    node.signal(Signal::TERM);
    node.end().expect(143, "");
    let longer = format!("{address}s");
    let refused = user.run(&image, &["--async", "--control", &longer]).end();
    refused.expect(78, "").expect_stderr(&["cannot be opened", "SUN_LEN", "--control"]);
}

#[test]
fn an_odd_environment_is_no_reason_to_panic() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let image = Image::of_text(NOTHING);
    let odd = OsStr::from_bytes(b"\xff\x1b[2J");
    for variable in ["RUST_LOG", "HOME", "TMPDIR", "TERM", "LANG", "TOKIO_WORKER_THREADS", "COLUMNS"] {
        let ended = Ww::run(&image).env(variable, odd).end();
        ended.expect(0, "").expect_not_in_stderr(&["panicked", "\x1b[2J"]);
    }
    Ww::run(&image).env("RUST_LOG", odd).end().expect_stderr(&["RUST_LOG is not valid"]);
    Ww::run(&image).env("TOKIO_WORKER_THREADS", "0").end().expect(0, "");
}

#[test]
fn a_doctor_says_what_the_node_would_say_of_a_home_that_cannot_be_written() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("file");
    fs::write(&file, "").expect("written");
    let image = Image::of_text(NOTHING);
    // A home that is a file: nobody, root included, can make something below it.
    let doctor = Ww::new(["doctor"]).env("HOME", &file).end();
    assert!(doctor.code == 78 && doctor.stdout.contains("identity: "), "{doctor}");
    let told = doctor.stdout.lines().find(|line| line.contains("identity: ")).unwrap_or_default().to_owned();
    assert!(told.starts_with("wrong") && told.contains("--identity"), "{doctor}");
    Ww::run(&image).env("HOME", &file).end().expect(78, "").expect_stderr(&["identity"]);
}
