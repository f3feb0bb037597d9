//! The command as a process of its own.
//!
//! It inherits nothing but the cache of compiled programs, which all tests share; without a home, its identity is of
//! one run. Its control socket is in a directory of its own, unless the test names one. It listens on loopback only, unless a test says where. Every wait ends after [`PATIENCE`], and the
//! process ends with its test. Its image outlives it, or this does not compile.

use std::{
    ffi::OsStr,
    fmt, fs,
    fs::File,
    io::{Read, Write},
    marker::PhantomData,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::output::Output;

/// Longest wait for anything: many times what the slowest step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the beginning and of the end of a stream that a failed test shows.
const SHOWN: usize = 4 * 1024;

/// A command that is not running yet.
pub(crate) struct Ww<'image> {
    command: Command,
    input: Input,
    reads_stdout: bool,
    terminal: Option<(File, File)>,
    stdout: Option<File>,
    stderr: Option<File>,
    ignored: Option<Signal>,
    runtime: Option<TempDir>,
    config: Option<TempDir>,
    image: PhantomData<&'image ()>,
}

enum Input {
    Empty,
    Bytes(Vec<u8>),
    Open,
    File(File),
}

/// A running command.
pub(crate) struct Running<'image> {
    child: Child,
    ended: Receiver<()>,
    stdin: Option<ChildStdin>,
    /// Standard output, where nobody reads it but the test.
    unread: Option<ChildStdout>,
    stdout: Output,
    stderr: Output,
    _config: Option<TempDir>,
    _runtime: Option<TempDir>,
    _image: PhantomData<&'image ()>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As a shell sees it.
    pub(crate) code: i32,
    /// By which it ended, if it did.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Where the tests share compiled programs, also with the next run.
pub(crate) fn shared_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

impl<'image> Ww<'image> {
    /// With these arguments.
    pub(crate) fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ww"));
        let runtime = tempfile::tempdir().expect("a directory");
        command.env_clear().env("XDG_CACHE_HOME", shared_cache()).env("XDG_RUNTIME_DIR", runtime.path()).args(args);
        Self {
            command,
            input: Input::Empty,
            reads_stdout: true,
            terminal: None,
            stdout: None,
            stderr: None,
            ignored: None,
            runtime: Some(runtime),
            config: None,
            image: PhantomData,
        }
    }

    /// `run` of an image, on a free port of loopback.
    pub(crate) fn run(image: &'image (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self::run_anywhere(image).args(["--listen", "/ip4/127.0.0.1/tcp/0"])
    }

    /// `run` of an image, where the test says where to listen.
    pub(crate) fn run_anywhere(image: &'image (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self::new([OsStr::new("run"), image.as_ref()])
    }

    /// With more options.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// With an option whose value is a path.
    pub(crate) fn arg_path(self, option: &str, path: &Path) -> Self {
        self.args([option]).args([path])
    }

    /// With arguments of the guest. Nothing can come after them.
    pub(crate) fn guest_args(self, args: &[&str]) -> Self {
        self.args(["--"]).args(args)
    }

    /// With this text as its configuration, in a file `node.toml`.
    pub(crate) fn config(mut self, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        fs::write(&path, text).expect("a configuration");
        self.command.arg("--config").arg(path);
        self.config = Some(directory);
        self
    }

    /// With a variable in the environment of the command itself.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// With these bytes, and the end, as standard input. It is empty otherwise.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// With a standard input that stays open.
    pub(crate) fn open_stdin(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// With a file as standard input.
    pub(crate) fn stdin_from(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// With a file as standard output.
    pub(crate) fn stdout_to(mut self, file: File) -> Self {
        self.stdout = Some(file);
        self
    }

    /// With a file as standard error.
    pub(crate) fn stderr_to(mut self, file: File) -> Self {
        self.stderr = Some(file);
        self
    }

    /// With a signal that it is to ignore, as `nohup` does. It knows of no other one, also where the tests ignore some.
    pub(crate) fn ignoring(mut self, signal: Signal) -> Self {
        self.ignored = Some(signal);
        self
    }

    /// In a process group of its own, as a job of a shell.
    pub(crate) fn job(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    /// With a terminal as its standard input and output: its inner end, and the outer one, which is read as standard
    /// output.
    pub(crate) fn terminal(mut self, inner: File, outer: File) -> Self {
        self.terminal = Some((inner, outer));
        self
    }

    /// With a standard output that nobody reads but the test itself.
    pub(crate) fn unread_stdout(mut self) -> Self {
        self.reads_stdout = false;
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running<'image> {
        let ignored = self.ignored;
        let signals = move || {
            for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
                let how = if ignored == Some(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
                // SAFETY: it sets no handler.
                unsafe { libc::signal(signal.as_raw(), how) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec it allocates nothing and takes no lock.
        unsafe { self.command.pre_exec(signals) };
        let stdin = match &self.input {
            Input::Empty => Stdio::null(),
            Input::File(file) => file.try_clone().expect("another handle").into(),
            Input::Bytes(_) | Input::Open => Stdio::piped(),
        };
        let terminal = self.terminal.take();
        let (stdin, stdout) = match &terminal {
            Some((inner, _)) => {
                let end = || Stdio::from(inner.try_clone().expect("another handle of the terminal"));
                (end(), end())
            }
            None => (stdin, self.stdout.take().map_or_else(Stdio::piped, Stdio::from)),
        };
        let stderr = self.stderr.take().map_or_else(Stdio::piped, Stdio::from);
        let mut child = self.command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().expect("the command starts");
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = self.input {
            let mut stdin = stdin.take().expect("a pipe");
            // A guest need not take all of it.
            thread::spawn(move || stdin.write_all(&bytes).unwrap_or_default());
        }
        let mut unread = child.stdout.take();
        // What the command still holds of the terminal would keep its outer end open.
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let stdout = match (terminal, unread.take_if(|_| self.reads_stdout)) {
            (Some((_, outer)), _) => Output::of(outer),
            (None, Some(stdout)) => Output::of(stdout),
            (None, None) => Output::ended(),
        };
        let stderr = child.stderr.take().map_or_else(Output::ended, Output::of);
        let ended = watch(Pid::from_child(&child), WaitIdOptions::EXITED);
        let (_config, _runtime) = (self.config, self.runtime);
        Running { child, ended, stdin, unread, stdout, stderr, _config, _runtime, _image: PhantomData }
    }

    /// Runs it to its end.
    pub(crate) fn end(self) -> Ended {
        self.start().end()
    }
}

/// Learns of the end or a stop of a process without collecting it, so that its number stays its own.
fn watch(pid: Pid, what: WaitIdOptions) -> Receiver<()> {
    let (tx, rx) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let options = what | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        // The test may have given up.
        tx.send(()).unwrap_or_default();
    });
    rx
}

impl Running<'_> {
    /// Writes to its standard input.
    #[track_caller]
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        if let Err(error) = stdin.write_all(text.as_bytes()) {
            self.give_up(&format!("standard input is not read: {error}"));
        }
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has written `text` to standard output; returns what came since the last such wait.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&mut self, text: &str) -> String {
        let stdout = self.stdout.wait_for(text);
        stdout.unwrap_or_else(|| self.give_up(&format!("standard output has no {text:?}")))
    }

    /// Waits until it has written `text` to standard error; returns what came since the last such wait.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&mut self, text: &str) -> String {
        let stderr = self.stderr.wait_for(text);
        stderr.unwrap_or_else(|| self.give_up(&format!("standard error has no {text:?}")))
    }

    /// Reads up to `most` bytes of a standard output that nobody else reads; fewer only at its end.
    #[track_caller]
    pub(crate) fn read(&mut self, most: usize) -> Vec<u8> {
        let mut stdout = self.unread.take().expect("the test reads standard output");
        let (tx, rx) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.by_ref().take(most as u64).read_to_end(&mut bytes);
            // The test may have given up.
            tx.send((stdout, read.map(|_| bytes))).unwrap_or_default();
        });
        let Ok((stdout, bytes)) = rx.recv_timeout(PATIENCE) else { self.give_up("standard output does not go on") };
        self.unread = Some(stdout);
        bytes.expect("standard output can be read")
    }

    /// Closes a standard output that nobody else reads.
    pub(crate) fn close_stdout(&mut self) {
        self.unread = None;
    }

    /// Memory that it has resident and that is no file, in bytes: what it holds itself. Tests of it need Linux's /proc.
    pub(crate) fn anonymous(&mut self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // A process that has ended has none.
        let Some(line) = status.lines().find_map(|line| line.strip_prefix("RssAnon:")) else {
            self.give_up("the command has ended")
        };
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Processes that it has started and that run, by their ids. Tests of them need Linux's /proc.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            (parent(id)? == self.child.id()).then_some(id)
        });
        processes.collect()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is not collected yet");
    }

    /// Waits until a signal has stopped it, so that it would go on after another one.
    #[track_caller]
    pub(crate) fn wait_until_stopped(&mut self) {
        let stopped = watch(Pid::from_child(&self.child), WaitIdOptions::STOPPED | WaitIdOptions::EXITED);
        if stopped.recv_timeout(PATIENCE).is_err() || self.ended.try_recv().is_ok() {
            self.give_up("the command is not stopped");
        }
    }

    /// Waits for its end. Standard input stays as it is.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        if self.ended.recv_timeout(PATIENCE).is_err() {
            self.give_up("the command does not end");
        }
        let status = self.child.wait().expect("it has ended");
        let (Some(stdout), Some(stderr)) = (self.stdout.all(), self.stderr.all()) else {
            self.give_up("the streams of the command do not end")
        };
        let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|error| format!("{error}"));
        let (stdout, stderr) = (text(stdout), text(stderr));
        // As a shell has it.
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        let code = code.unwrap_or_else(|| panic!("the command has not ended: {status}\n{stderr}"));
        Ended { code, signal: status.signal(), stdout, stderr }
    }

    /// Fails the test, and shows what the command has said.
    #[track_caller]
    pub(crate) fn give_up(&mut self, why: &str) -> ! {
        let ended = self.child.try_wait();
        self.kill();
        panic!(
            "{why} ({ended:?})\n--- stdout\n{}\n--- stderr\n{}",
            shown(&self.stdout.text()),
            shown(&self.stderr.text())
        )
    }

    fn kill(&mut self) {
        // It may have ended, and been collected.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ended {
    /// It ended with this code, and wrote exactly this to standard output.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, stdout: &str) -> &Self {
        assert!(self.code == code && self.stdout == stdout, "expected code {code} and {stdout:?}, found {self}");
        self
    }

    /// It wrote all of these to standard error.
    #[track_caller]
    pub(crate) fn expect_stderr(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error has no {part:?}: {self}");
        }
        self
    }

    /// It wrote none of these to standard error.
    #[track_caller]
    pub(crate) fn expect_not_in_stderr(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(!self.stderr.contains(part), "standard error has {part:?}: {self}");
        }
        self
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, shown(&self.stdout), shown(&self.stderr))
    }
}

/// A text with its middle left out, if it is long.
fn shown(text: &str) -> String {
    let (head, tail) = (text.floor_char_boundary(SHOWN), text.ceil_char_boundary(text.len().saturating_sub(SHOWN)));
    if head >= tail { text.to_owned() } else { format!("{} [...] {}", &text[..head], &text[tail..]) }
}

/// Who started a process, as long as it runs.
pub(crate) fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may contain anything: state and parent.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.next()?.parse().ok()).flatten()
}
