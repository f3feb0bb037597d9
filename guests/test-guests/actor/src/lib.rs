//! Answers and fails in every way a cell in async mode can. It has no `main`.
//!
//! The first line of a message says what to do, the rest is its text. `poll` and `handle` understand the
//! same lines, those that need streams excepted.
//!
//! | first line | what it does |
//! |---|---|
//! | `echo` | replies with the text |
//! | `count` | replies with the number of this message in the life of the instance, from 1 |
//! | `error` | returns the text as an error |
//! | `exit N` | ends the cell with code N |
//! | `panic`, `trap` | ends the cell with a trap |
//! | `spin` | computes for ever |
//! | `sleep MS` | replies `slept` after a while |
//! | `grow` | allocates for ever |
//! | `flood N` | replies with N bytes |
//! | `torn` | replies with half a line, then traps (`poll` only) |
//! | `half` | leaves what follows the first line unread, replies `half` without a newline (`poll` only) |
//! | `early` | replies `early` and returns at once (`poll` only) |

use std::{
    hint,
    io::{self, BufRead, Read, Write},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

ww_guest::cell! { poll: serve, handle: answer }

static MESSAGES: AtomicU64 = AtomicU64::new(0);

fn serve() -> Result<(), String> {
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed) + 1;
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(|error| format!("reading: {error}"))?;
    match line.trim_end() {
        "torn" => {
            print!("half a li");
            io::stdout().flush().map_err(|error| format!("writing: {error}"))?;
            panic!("torn on purpose");
        }
        "half" => {
            print!("half");
            Ok(())
        }
        "early" => {
            print!("early");
            Ok(())
        }
        command => {
            let mut text = Vec::new();
            stdin.read_to_end(&mut text).map_err(|error| format!("reading: {error}"))?;
            let reply = obey(number, command, text)?;
            io::stdout().write_all(&reply).map_err(|error| format!("writing: {error}"))
        }
    }
}

fn answer(body: Vec<u8>) -> Result<Vec<u8>, String> {
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed) + 1;
    let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
    let command = String::from_utf8_lossy(&body[..end]).into_owned();
    let text = body.get(end + 1..).unwrap_or_default().to_vec();
    obey(number, &command, text)
}

fn obey(number: u64, command: &str, text: Vec<u8>) -> Result<Vec<u8>, String> {
    let wrong = || format!("no such command: {command:?}");
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["echo"] => Ok(text),
        ["count"] => Ok(number.to_string().into_bytes()),
        ["error"] => Err(String::from_utf8_lossy(&text).into_owned()),
        ["exit", code] => ww_guest::exit(code.parse().map_err(|_| wrong())?),
        ["panic"] => panic!("a panic on purpose"),
        ["trap"] => trap(),
        ["spin"] => loop {
            hint::black_box(number);
        },
        ["sleep", milliseconds] => {
            thread::sleep(Duration::from_millis(milliseconds.parse().map_err(|_| wrong())?));
            Ok(b"slept".to_vec())
        }
        ["grow"] => {
            let mut held = Vec::new();
            loop {
                held.push(hint::black_box(vec![1_u8; 64 * 1024]));
            }
        }
        ["flood", bytes] => Ok(vec![b'x'; bytes.parse().map_err(|_| wrong())?]),
        _ => Err(wrong()),
    }
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    std::process::abort()
}
