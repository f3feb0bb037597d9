//! A process that compiles one program and ends.
//!
//! The node starts it with an empty environment, writes a request to its standard input, and reads the answer from
//! its standard output. The input stays open as long as somebody waits: its end, which the end of the node brings as
//! well, ends the process. It bounds its own memory and computing before it reads the program, so that they hold
//! whatever the compiler does. Memory is bounded by the system where it counts the data of a process, as Linux does;
//! other systems bound the time alone.
//!
//! The node runs the code that it is handed. That is as safe as compiling it here: nobody but the worker holds the other
//! end of the pipe, and the worker is the program that the node's operator named, with the node's own compiler in it.
//! One of another version or with other settings says so instead of compiling.

use std::{
    any::Any,
    env,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use ww_core::Text;

use crate::{
    compiler::{self, Bounds, Job},
    engine::{self, Class, Customise, Kind},
    programs::LoadError,
    turns::PLACES,
};

/// The argument by which a program is asked to be a worker.
pub const ARGUMENT: &str = "__compile";

/// First bytes of a request; another format gets another magic.
const MAGIC: &[u8; 8] = b"wwcomp02";

/// Bytes of a description of a compiler: a hash and a version.
const MAX_COMPILER: u64 = 256;

/// Bytes of an answer that says why there is no code.
const MAX_TEXT: usize = 4 << 10;

/// How much the worker gives way to the threads of the node: beside a cell that computes it has a quarter of a core.
const NICE: i32 = 5;

/// Seconds after which the system ends a worker that has ignored its limit of computing.
const GRACE: u64 = 5;

/// Threads of a worker: those of all workers together keep the cores busy.
const MIN_THREADS: usize = 2;

/// What a program that needs too much memory to compile is told.
pub(crate) const OUT_OF_MEMORY: &str = "the memory that it may";

/// How a worker is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// A program that calls [`serve_if_asked`] before all else.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a worker is asked for.
pub(crate) struct Request<'a> {
    pub(crate) class: Class,
    pub(crate) debug: bool,
    pub(crate) component: bool,
    /// The compiler that is expected.
    pub(crate) compiler: &'a [u8],
    pub(crate) wasm: &'a [u8],
}

/// One compilation by a worker, as it is seen from where it can be ended. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errand(Arc<Mutex<State>>);

/// Ends the worker of an errand, or keeps it from starting.
pub(crate) struct EndOnDrop(pub(crate) Errand);

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    Running(Child),
    Ended,
}

/// What the first byte of an answer says of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// It is the code for the engine of the class.
    Compiled = 0,
    /// It is the code for the engine with exceptions.
    WithExceptions = 1,
    /// It says why the program is not valid.
    Invalid = 2,
    /// It says what the program uses that is not run.
    Unsupported = 3,
    /// It says what the program imports that is not offered.
    Import = 4,
    /// It says what of the program is too much.
    TooComplex = 5,
    /// It says of what the compilation takes too much.
    TooExpensive = 6,
    /// It says why the worker failed.
    Failed = 7,
}

impl Worker {
    /// This very program, asked by [`ARGUMENT`] to be a worker.
    ///
    /// # Errors
    ///
    /// Where the system does not say which file that is.
    pub fn this_program() -> io::Result<Self> {
        // What runs now, even where the file has been replaced or removed since.
        let running = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe()? };
        Ok(Self { program: running, args: vec![ARGUMENT.to_owned()] })
    }

    /// The code of a program, and its engine. Blocks, until the worker has answered or is ended through `errand`.
    ///
    /// # Errors
    ///
    /// Where it is not valid or too expensive, or where the worker fails.
    pub(crate) fn compile(&self, request: &Request<'_>, errand: &Errand) -> Result<(Kind, Vec<u8>), LoadError> {
        let bounds = Bounds::of(request.wasm.len());
        let (mut input, mut output) = errand.start(self)?;
        let answer = ask(&mut input, request, &bounds).and_then(|()| read(&mut output, request.class, &bounds));
        let status = errand.finish();
        answer.unwrap_or_else(|error| match status {
            Ok(status) => Err(end(status, &bounds)),
            Err(_) => Err(LoadError::Worker(format!("the process that compiles does not answer: {error}"))),
        })
    }

    fn command(&self) -> Command {
        let threads = thread::available_parallelism().map_or(1, usize::from).div_ceil(PLACES).max(MIN_THREADS);
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().env("RAYON_NUM_THREADS", threads.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

impl Errand {
    fn start(&self, worker: &Worker) -> Result<(ChildStdin, ChildStdout), LoadError> {
        let mut state = self.state();
        if let State::Ended = *state {
            return Err(LoadError::Worker("nobody waits for the program any more".into()));
        }
        let mut child = worker.command().spawn().map_err(|error| {
            let program = worker.program.display();
            LoadError::Worker(format!(
                "{program} cannot be started as the process that compiles: {error}. Is it there, and may processes be \
                 started?"
            ))
        })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        *state = State::Running(child);
        pipes.ok_or_else(|| LoadError::Worker("the process that compiles has no pipes".into()))
    }

    /// Waits for the end of the worker, which has answered or closed its pipe.
    fn finish(&self) -> io::Result<ExitStatus> {
        // The lock is free while this thread waits.
        let state = std::mem::replace(&mut *self.state(), State::Ended);
        let State::Running(mut child) = state else { return Err(io::Error::other("it never ran")) };
        // How a process ends is settled before its pipes are closed: this one makes sure that it does.
        child.kill()?;
        child.wait()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        match &mut *self.0.state() {
            // The thread that talks to it sees the end. Where it cannot be killed, it has ended already.
            State::Running(child) => drop(child.kill()),
            state => *state = State::Ended,
        }
    }
}

fn ask(input: &mut ChildStdin, request: &Request<'_>, bounds: &Bounds) -> io::Result<()> {
    let mut header = MAGIC.to_vec();
    header.extend([request.class as u8, request.debug.into(), request.component.into()]);
    for number in [bounds.cpu, bounds.memory, request.compiler.len() as u64, request.wasm.len() as u64] {
        header.extend(number.to_le_bytes());
    }
    header.extend(request.compiler);
    input.write_all(&header)?;
    input.write_all(request.wasm)?;
    input.flush()
}

fn read(output: &mut ChildStdout, class: Class, bounds: &Bounds) -> io::Result<Result<(Kind, Vec<u8>), LoadError>> {
    let (mut status, mut len) = ([0], [0; 8]);
    output.read_exact(&mut status)?;
    output.read_exact(&mut len)?;
    let (status, len) = (Status::of(status[0]), u64::from_le_bytes(len));
    let most = if status.is_code() { bounds.code } else { MAX_TEXT as u64 };
    let Some(len) = usize::try_from(len).ok().filter(|_| len <= most) else {
        return Ok(Err(LoadError::TooExpensive(format!("{} MiB of code", most >> 20))));
    };
    let mut answer = vec![0; len];
    output.read_exact(&mut answer)?;
    let text = |answer: Vec<u8>| String::from_utf8_lossy(&answer).into_owned();
    Ok(match status {
        Status::Compiled => Ok((Kind::of(class), answer)),
        Status::WithExceptions => Ok((Kind::Exceptions, answer)),
        Status::Invalid => Err(LoadError::Invalid(Text::new(text(answer)))),
        Status::Unsupported => Err(LoadError::Unsupported(text(answer))),
        Status::Import => Err(LoadError::Import(Text::new(text(answer)))),
        Status::TooComplex => Err(LoadError::TooComplex(text(answer))),
        Status::TooExpensive => Err(LoadError::TooExpensive(text(answer))),
        Status::Failed => Err(LoadError::Worker(text(answer))),
    })
}

/// Why a worker ended without an answer.
fn end(status: ExitStatus, bounds: &Bounds) -> LoadError {
    match signal(status) {
        Some(Signal::Computing) => LoadError::TooExpensive(format!("{} s of computing", bounds.cpu)),
        Some(Signal::Aborted) => {
            LoadError::TooExpensive(format!("{} MiB of memory, or all of the compiler's stack", bounds.memory >> 20))
        }
        None => LoadError::Worker(format!(
            "the process that compiles ended without an answer: {status}. Has the system too little memory?"
        )),
    }
}

/// Ends of a worker that the program brought about.
enum Signal {
    Computing,
    Aborted,
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<Signal> {
    use rustix::process::Signal as System;
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal().and_then(System::from_named_raw)? {
        System::XCPU => Some(Signal::Computing),
        // Allocations that fail and stacks that overflow end as these.
        System::ABORT | System::SEGV | System::BUS => Some(Signal::Aborted),
        _ => None,
    }
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<Signal> {
    None
}

/// Makes this process a worker if it was asked to be one by [`ARGUMENT`], and does not return then. To be called before
/// anything else, with what the node changes of its engines.
pub fn serve_if_asked(customise: Option<&Customise>) {
    let mut args = env::args_os().skip(1);
    if args.next().is_some_and(|first| first == ARGUMENT) && args.next().is_none() {
        serve(customise);
    }
}

/// Compiles what the standard input asks for, and ends the process.
pub fn serve(customise: Option<&Customise>) -> ! {
    let (status, answer) = match answer(customise) {
        Ok(Ok((Kind::Exceptions, code))) => (Status::WithExceptions, code),
        Ok(Ok((_, code))) => (Status::Compiled, code),
        Ok(Err(LoadError::Invalid(why))) => (Status::Invalid, why.to_string().into_bytes()),
        Ok(Err(LoadError::Unsupported(what))) => (Status::Unsupported, what.into_bytes()),
        Ok(Err(LoadError::Import(what))) => (Status::Import, what.to_string().into_bytes()),
        Ok(Err(LoadError::TooComplex(why))) => (Status::TooComplex, why.into_bytes()),
        Ok(Err(LoadError::TooExpensive(why))) => (Status::TooExpensive, why.into_bytes()),
        Ok(Err(other)) => (Status::Failed, other.to_string().into_bytes()),
        Err(error) => (Status::Failed, format!("the process that compiles read no request: {error}").into_bytes()),
    };
    let len = if status.is_code() { answer.len() } else { answer.len().min(MAX_TEXT) };
    let mut output = io::stdout().lock();
    let mut header = vec![status as u8];
    header.extend((len as u64).to_le_bytes());
    let written =
        output.write_all(&header).and_then(|()| output.write_all(&answer[..len])).and_then(|()| output.flush());
    std::process::exit(written.is_err().into())
}

fn answer(customise: Option<&Customise>) -> io::Result<Result<(Kind, Vec<u8>), LoadError>> {
    let mut input = io::stdin().lock();
    let mut header = [0; MAGIC.len() + 3];
    input.read_exact(&mut header)?;
    let [magic @ .., class, debug, component] = header;
    if magic != *MAGIC {
        return Err(io::Error::other("another version of the node asks"));
    }
    let [cpu, memory, compiler_len, wasm_len] = [(); 4].map(|()| {
        let mut number = [0; 8];
        input.read_exact(&mut number).map(|()| u64::from_le_bytes(number))
    });
    let (cpu, memory, compiler_len, wasm_len) = (cpu?, memory?, compiler_len?, wasm_len?);
    limit(cpu, memory);
    let mut expected = Vec::new();
    input.by_ref().take(compiler_len.min(MAX_COMPILER)).read_to_end(&mut expected)?;
    let mut wasm = vec![0; usize::try_from(wasm_len).map_err(io::Error::other)?];
    input.read_exact(&mut wasm)?;
    drop(input);
    end_with_input()?;

    let class = if class == Class::Small as u8 { Class::Small } else { Class::Standard };
    let engine = |kind| {
        let made = engine::for_compiling(kind, debug != 0, customise);
        made.map_err(|error| LoadError::Host(Text::new(format_args!("{error:#}"))))
    };
    // That of the class stands for all: they come of the same program, with the same changes.
    match engine(Kind::of(class)) {
        Ok(own) if compiler::identity(&own) == expected => {}
        Ok(_) => {
            let why = "the process that compiles is of another version than the node, or has other settings: expected \
                       the same program, or one that was built with it";
            return Err(io::Error::other(why));
        }
        Err(error) => return Ok(Err(error)),
    }
    let job = Job { class, component: component != 0, wasm: &wasm, customise };
    let compiled = catch_unwind(AssertUnwindSafe(|| compiler::compile(job, engine)));
    Ok(compiled.unwrap_or_else(|panic| Err(LoadError::Host(Text::new(text_of(&*panic))))))
}

/// Ends this process when nobody waits for it any more.
fn end_with_input() -> io::Result<()> {
    let watch = || {
        // Nothing more is sent, so that it is the end, whatever is read.
        let _ = io::stdin().lock().read(&mut [0]);
        std::process::exit(1);
    };
    thread::Builder::new().name("ww-input".to_owned()).spawn(watch).map(drop)
}

/// Bounds what this process may take. A system that has no such limit bounds nothing.
#[cfg(unix)]
fn limit(cpu: u64, memory: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
    for (resource, soft, hard) in
        [(Resource::Core, 0, 0), (Resource::Cpu, cpu, cpu + GRACE), (Resource::Data, memory, memory)]
    {
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        // Where it is lower already it stays so.
        let _ = setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) });
    }
    let _ = nice(NICE);
}

#[cfg(not(unix))]
fn limit(_: u64, _: u64) {}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "the compiler panicked".to_owned())
}

impl Status {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Compiled,
            1 => Self::WithExceptions,
            2 => Self::Invalid,
            3 => Self::Unsupported,
            4 => Self::Import,
            5 => Self::TooComplex,
            6 => Self::TooExpensive,
            _ => Self::Failed,
        }
    }

    fn is_code(self) -> bool {
        matches!(self, Self::Compiled | Self::WithExceptions)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::{Compiler, Config, LoadError, Runtime, fixture};

    async fn load_by(program: &str, args: &[&str]) -> LoadError {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let compiler = Compiler::Worker(Worker { program: program.into(), args });
        let config = Config { compiler, ..Config::default() };
        let runtime = Runtime::start(config, tokio::runtime::Handle::current()).expect("a runtime starts");
        let loaded = runtime.load(fixture::wasm("(module)"), Class::Small).await;
        loaded.expect_err("it is no worker")
    }

    #[tokio::test]
    async fn a_worker_that_cannot_be_started_or_is_none_is_named() {
        for (program, args, named) in [
            ("/nowhere/at/all", &[][..], "/nowhere/at/all cannot be started"),
            ("/bin/sh", &["-c", "exit 3"], "exit status: 3"),
            ("/bin/sh", &["-c", "kill -KILL $$"], "SIGKILL"),
        ] {
            match load_by(program, args).await {
                LoadError::Worker(why) => assert!(why.contains(named), "{why}"),
                other => panic!("expected a failed worker, found {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_limits_of_a_worker_are_the_limits_of_its_program() {
        for (signal, named) in [("XCPU", "10 s of computing"), ("ABRT", "256 MiB of memory")] {
            match load_by("/bin/sh", &["-c", &format!("kill -{signal} $$")]).await {
                LoadError::TooExpensive(why) => assert!(why.contains(named), "{why}"),
                other => panic!("expected a program that is too expensive, found {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_errand_that_nobody_waits_for_ends_its_worker() {
        let compiler = Compiler::Worker(Worker {
            program: "/bin/sh".into(),
            // It answers when its input ends, so never as long as somebody waits.
            args: ["-c", "cat > /dev/null"].map(str::to_owned).into(),
        });
        let config = Config { compiler, ..Config::default() };
        let runtime = Runtime::start(config, tokio::runtime::Handle::current()).expect("a runtime starts");
        let wasm: Bytes = fixture::wasm("(module)");
        for _ in 0..2 * PLACES {
            let owner = crate::Lineage::new(&[ww_core::CellId::new(1)]);
            let load = runtime.load_for(&owner, wasm.clone(), Class::Small);
            // One place for each owner: the next one has to wait until the last worker has ended.
            let waited = timeout(std::time::Duration::from_millis(20), load).await;
            assert!(waited.is_err(), "nobody answers");
        }
    }

    #[test]
    fn a_worker_makes_the_code_of_the_pool() {
        let engines = crate::engine::Engines::new(
            false,
            None,
            crate::Cells { standard: 1, small: 1 },
            crate::preemption::Ticker::start().expect("a thread starts"),
        );
        for (class, kind, text) in [
            (Class::Small, Kind::Small, "(module (memory 1))"),
            (Class::Standard, Kind::Standard, "(module (memory 1))"),
            (Class::Small, Kind::Exceptions, "(module (tag $t) (func (throw $t)))"),
            (Class::Standard, Kind::Exceptions, "(module (tag $t) (func (throw $t)))"),
        ] {
            let pooled = engines.sandbox(kind).expect("an engine").engine;
            let apart = |kind| Ok(engine::for_compiling(kind, false, None).expect("an engine"));
            let engine: Result<_, LoadError> = apart(kind);
            assert_eq!(compiler::identity(&pooled), compiler::identity(&engine.expect("an engine")), "{kind:?}");
            let job = Job { class, component: false, wasm: &fixture::wasm(text), customise: None };
            let (found, code) = compiler::compile(job, apart).expect("valid");
            assert_eq!(found, kind);
            // SAFETY: the line above made it.
            unsafe { wasmtime::Module::deserialize(&pooled, code) }.expect("of the same compiler");
        }
    }
}
