//! Ends in every way a program can. It imports nothing but WASI.
//!
//! | arguments | what it does | how it ends |
//! |---|---|---|
//! | none, `return` | nothing | `normal` |
//! | `exit N` | `ww_guest::exit(N)` | `exit(N)` |
//! | `std-exit N` | `std::process::exit(N)` | `normal` for 0, otherwise `exit(1)` |
//! | `error` | `main` returns an error | `exit(1)`, with the message on standard error |
//! | `panic` | panics | trap, with the message on standard error |
//! | `unreachable` | executes `unreachable` | trap |
//! | `overflow` | recurses for ever | trap: the stack of calls is used up |
//! | `overflow-frames` | the same with large frames | trap: memory out of bounds, below its stack |
//! | `grow` | allocates and touches memory for ever | `limit: memory`, or an abort |
//! | `try-grow` | allocates until it is refused, prints how many MiB it got | `normal`, where a refusal is no trap |
//! | `spin` | computes for ever | when it is ended |
//! | `sleep MS` | prints `sleeping`, sleeps, prints `slept` | `normal` |
//! | `cat` | copies standard input to standard output | `normal` |
//! | `upper` | the same in capitals, line by line as they come | `normal` |
//! | `ignore-stdin` | closes nothing, reads nothing, prints `done` | `normal` |
//! | `first-line` | prints the first line of its input, leaves the rest | `normal` |
//! | `count-stdin` | prints how many bytes its input has | `normal` |
//! | `args …` | prints the arguments that follow, one per line | `normal` |
//! | `env` | prints its environment, sorted, as `KEY=VALUE` lines | `normal` |
//! | `flood N` | writes N bytes of `x` to standard output | `normal` |
//! | `flood-stderr N` | the same to standard error, in lines | `normal` |
//! | `unflushed` | prints `unflushed` without a newline | `normal`; the text arrives |
//! | `unflushed-exit N` | the same, then `ww_guest::exit(N)` | `exit(N)`; the text arrives |
//! | `log` | logs one line of each level | `normal` |

use std::{
    env, hint,
    io::{self, BufRead, Read, Write},
    thread,
    time::Duration,
};

use ww_guest::log;

ww_guest::cell! { main: run }

/// Bytes of one allocation or write.
const STEP: usize = 64 * 1024;

fn run() -> Result<(), String> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["return"] => Ok(()),
        ["exit", code] => ww_guest::exit(number(code)?),
        ["std-exit", code] => std::process::exit(number(code)?),
        ["error"] => Err("an error on purpose".to_owned()),
        ["panic"] => panic!("a panic on purpose"),
        ["unreachable"] => unreachable_instruction(),
        ["overflow"] => Err(format!("a stack without end: {}", recurse(hint::black_box(1)))),
        ["overflow-frames"] => Err(format!("a stack without end: {}", recurse_with_frames(hint::black_box(1)))),
        ["grow"] => grow(),
        ["try-grow"] => try_grow(),
        ["spin"] => spin(),
        ["sleep", milliseconds] => sleep(number(milliseconds)?).map_err(text),
        ["cat"] => io::copy(&mut io::stdin().lock(), &mut io::stdout().lock()).map(drop).map_err(text),
        ["upper"] => upper().map_err(text),
        ["ignore-stdin"] => writeln!(io::stdout(), "done").map_err(text),
        ["first-line"] => first_line().map_err(text),
        ["count-stdin"] => count_stdin().map_err(text),
        ["args", ref rest @ ..] => rest.iter().try_for_each(|arg| writeln!(io::stdout(), "{arg}")).map_err(text),
        ["env"] => print_env().map_err(text),
        ["flood", bytes] => flood(&mut io::stdout().lock(), number(bytes)?).map_err(text),
        ["flood-stderr", bytes] => flood(&mut io::stderr().lock(), number(bytes)?).map_err(text),
        ["unflushed"] => write!(io::stdout(), "unflushed").map_err(text),
        ["unflushed-exit", code] => {
            print!("unflushed");
            ww_guest::exit(number(code)?)
        }
        ["log"] => {
            log::error!("1");
            log::warn!("2");
            log::info!("3");
            log::debug!("4");
            log::trace!("5");
            Ok(())
        }
        _ => Err(format!("no such test: {args:?}")),
    }
}

fn number<N: std::str::FromStr>(argument: &str) -> Result<N, String> {
    argument.parse().map_err(|_| format!("expected a number that fits, found {argument:?}"))
}

fn text(error: io::Error) -> String {
    error.to_string()
}

#[cfg(target_arch = "wasm32")]
fn unreachable_instruction() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable_instruction() -> ! {
    std::process::abort()
}

/// Recurses without frames in linear memory, so that the stack of calls is used up first. What is done with
/// the result keeps the compiler from making a loop of it.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { recurse(depth + 1).rotate_left(7) ^ depth }
}

/// Recurses with large frames in linear memory, so that the stack there is used up first.
fn recurse_with_frames(depth: u64) -> u64 {
    let frame = hint::black_box([depth; 128]);
    if depth == u64::MAX { 0 } else { recurse_with_frames(depth + 1).rotate_left(7) ^ hint::black_box(frame)[0] }
}

fn grow() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(hint::black_box(vec![1_u8; STEP]));
    }
}

fn try_grow() -> Result<(), String> {
    let mut held = Vec::new();
    loop {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(STEP).is_err() || held.try_reserve(1).is_err() {
            let mebibytes = held.len() * STEP / (1024 * 1024);
            drop(held);
            return writeln!(io::stdout(), "{mebibytes}").map_err(text);
        }
        block.resize(STEP, 1);
        held.push(hint::black_box(block));
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = hint::black_box(turns.wrapping_add(1));
    }
}

fn sleep(milliseconds: u64) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "sleeping")?;
    thread::sleep(Duration::from_millis(milliseconds));
    writeln!(stdout, "slept")
}

fn upper() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        writeln!(io::stdout(), "{}", line?.to_uppercase())?;
    }
    Ok(())
}

fn first_line() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    writeln!(io::stdout(), "{}", line.trim_end())
}

fn count_stdin() -> io::Result<()> {
    let (mut stdin, mut buffer, mut count) = (io::stdin().lock(), vec![0; STEP], 0_u64);
    loop {
        match stdin.read(&mut buffer)? {
            0 => return writeln!(io::stdout(), "{count}"),
            read => count += read as u64,
        }
    }
}

fn print_env() -> io::Result<()> {
    let mut variables: Vec<_> = env::vars().collect();
    variables.sort();
    variables.iter().try_for_each(|(key, value)| writeln!(io::stdout(), "{key}={value}"))
}

/// Lines of 1,023 `x` and a newline, and a rest.
fn flood(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![b'x'; STEP];
    chunk.iter_mut().skip(1023).step_by(1024).for_each(|byte| *byte = b'\n');
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).map_or(STEP, |left| left.min(STEP));
        to.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    to.flush()
}
