//! What no library of Cap'n Proto would say, byte by byte: the same words from a client, a peer or a cell.

use std::pin::pin;

use capnp::{message, serialize, traits::HasTypeId};
use capnp_rpc::rpc_capnp::{call, message::Builder as Said};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ww_rpc::Wire;
use ww_schema::peer_capnp::{executor, host, process};

use super::cells::SPIN;

/// Methods, by their ordinals.
const ID: u16 = 0;
const EXECUTOR: u16 = 4;
const RUN_BYTES: u16 = 0;
const ECHO: u16 = 1;
const WAIT: u16 = 3;

/// Stands in a message for the number of its turn.
const NUMBER: u32 = 0x5eed_1e55;

/// More turns than an attack lasts.
const ENDLESS: u32 = 100_000_000;

/// Bytes that are written at once, if one message is smaller.
const PIECE: usize = 64 << 10;

/// Some bytes, then others again and again, with a number of their own each time. Whoever is left at the end of a script
/// listens until its connection ends.
#[derive(Clone, Default)]
pub(super) struct Script {
    once: Vec<u8>,
    again: Vec<u8>,
    /// Where the number of the turn stands in them.
    numbers: Vec<usize>,
    times: u32,
    /// Whether answers are read before the end.
    reads: bool,
}

fn say(fill: impl FnOnce(Said<'_>)) -> Vec<u8> {
    let mut message = message::Builder::new_default();
    fill(message.init_root());
    serialize::write_message_to_words(&message)
}

fn bootstrap(question: u32) -> Vec<u8> {
    say(|said| said.init_bootstrap().set_question_id(question))
}

/// A call on what a question promises: the bootstrap of question 0, or the capability that the results begin with.
fn call(question: u32, on: u32, (interface, method): (u64, u16), fill: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    say(|said| {
        let mut call = said.init_call();
        call.set_question_id(question);
        call.set_interface_id(interface);
        call.set_method_id(method);
        let mut target = call.reborrow().init_target().init_promised_answer();
        target.set_question_id(on);
        if on != 0 {
            target.init_transform(1).get(0).set_get_pointer_field(0);
        }
        fill(call);
    })
}

fn id(question: u32, fill: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    call(question, 0, (host::Client::TYPE_ID, ID), fill)
}

fn executor(question: u32) -> Vec<u8> {
    call(question, 0, (host::Client::TYPE_ID, EXECUTOR), |_| {})
}

/// Has a text sent back by the executor of question 1.
fn echo(question: u32, bytes: usize) -> Vec<u8> {
    call(question, 1, (executor::Client::TYPE_ID, ECHO), |call| {
        let content = call.init_params().get_content();
        content.init_as::<executor::echo_params::Builder<'_>>().set_message("x".repeat(bytes).as_str());
    })
}

fn finish(question: u32, release: bool) -> Vec<u8> {
    say(|said| {
        let mut finish = said.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(release);
    })
}

/// A call with capabilities of the caller, by numbers in a row.
fn handing(question: u32, first: u32, count: u32) -> Vec<u8> {
    id(question, |call| {
        let mut caps = call.init_params().init_cap_table(count);
        for index in 0..count {
            caps.reborrow().get(index).set_sender_hosted(first + index);
        }
    })
}

fn provide(question: u32, bytes: usize) -> Vec<u8> {
    say(|said| {
        let mut provide = said.init_provide();
        provide.set_question_id(question);
        provide.init_recipient().set_as("x".repeat(bytes).as_str()).expect("text");
    })
}

fn becomes_itself(promise: u32) -> Vec<u8> {
    say(|said| {
        let mut resolve = said.init_resolve();
        resolve.set_promise_id(promise);
        resolve.init_cap().set_sender_promise(promise);
    })
}

/// The beginning of a message of one segment.
fn head(bytes: u32) -> Vec<u8> {
    [[0; 4], (bytes / 8).to_le_bytes()].concat()
}

/// Bytes without any order, the same on every run.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A call that is not answered, and a thousand on what the one before promises.
fn chain() -> Vec<u8> {
    let mut all = [bootstrap(0), executor(1)].concat();
    all.extend(call(2, 1, (executor::Client::TYPE_ID, RUN_BYTES), |call| {
        let content = call.init_params().get_content();
        let wasm = wat::parse_str(SPIN).expect("a program");
        content.init_as::<executor::run_bytes_params::Builder<'_>>().set_wasm(&wasm);
    }));
    for question in 3..1_000 {
        all.extend(call(question, question - 1, (process::Client::TYPE_ID, WAIT), |_| {}));
    }
    all
}

/// Every script, by what it does.
pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    let hello = || Script::new(bootstrap(0));
    let working = || Script::new([bootstrap(0), executor(1)].concat());
    // Half of the account of a cell or a peer: it is held, and not refused.
    let most = 8 << 20;
    let half = bootstrap(0);
    vec![
        ("random bytes", Script::new(noise(16 << 10))),
        ("half a message", Script::new(half[..half.len() / 2].to_vec())),
        ("a message that is half read", Script::new(head(most)).then(most / PIECE as u32 - 1, |_| vec![0; PIECE])),
        ("a message that is too long", Script::new(head((64 << 20) + 8)).then(ENDLESS, |_| vec![0; PIECE])),
        ("bootstraps without end", Script::default().then(ENDLESS, bootstrap)),
        ("answers that are not finished", hello().then(ENDLESS, |turn| id(turn, |_| {})).reading()),
        ("large answers that are not finished", working().then(ENDLESS, |turn| echo(turn, 64 << 10)).reading()),
        ("answers that are not read", working().then(ENDLESS, |turn| echo(turn, 64 << 10))),
        ("calls that are given up", hello().then(ENDLESS, |turn| [id(turn, |_| {}), finish(turn, true)].concat())),
        (
            "capabilities that are not released",
            hello().then(ENDLESS, |turn| [executor(turn), finish(turn, false)].concat()).reading(),
        ),
        (
            "capabilities that are handed in",
            Script::new([bootstrap(0), handing(1, 0, 4_000)].concat())
                .then(ENDLESS, |turn| handing(turn, turn, 1))
                .reading(),
        ),
        ("too many capabilities at once", Script::new([bootstrap(0), handing(1, 0, 20_000)].concat())),
        ("calls each on the promise of the one before", Script::new(chain())),
        (
            "a promise that becomes itself",
            Script::new(
                [
                    bootstrap(0),
                    id(1, |call| call.init_params().init_cap_table(1).get(0).set_sender_promise(5)),
                    becomes_itself(5),
                ]
                .concat(),
            ),
        ),
        ("levels of the protocol that are not served", Script::default().then(ENDLESS, |turn| provide(turn, 64 << 10))),
    ]
}

impl Script {
    fn new(once: Vec<u8>) -> Self {
        Self { once, ..Self::default() }
    }

    /// Says this so often as well.
    fn then(mut self, times: u32, message: impl FnOnce(u32) -> Vec<u8>) -> Self {
        self.again = message(NUMBER);
        let places = self.again.windows(4).enumerate().filter(|(_, bytes)| **bytes == NUMBER.to_le_bytes());
        self.numbers = places.map(|(at, _)| at).collect();
        self.times = times;
        self
    }

    /// Takes the answers as well.
    fn reading(mut self) -> Self {
        self.reads = true;
        self
    }

    /// Says it over a connection, until that ends.
    pub(super) async fn play(&self, wire: Wire) {
        let (mut reader, mut writer) = tokio::io::split(wire);
        let mut buffer = vec![0; PIECE];
        let mut reading = pin!(async { while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {} });
        let writing = async {
            writer.write_all(&self.once).await?;
            let (mut again, mut piece) = (self.again.clone(), Vec::new());
            // Question 1 is one of those that are asked once.
            for turn in 2..self.times.saturating_add(2) {
                for at in &self.numbers {
                    again[*at..*at + 4].copy_from_slice(&turn.to_le_bytes());
                }
                piece.extend_from_slice(&again);
                if piece.len() >= PIECE {
                    writer.write_all(&piece).await?;
                    piece.clear();
                }
            }
            writer.write_all(&piece).await?;
            writer.flush().await
        };
        if self.reads {
            tokio::select! {
                () = &mut reading => return,
                written = writing => if written.is_err() { return },
            }
        } else if writing.await.is_err() {
            return;
        }
        reading.await;
    }

    /// A program that says it over its connection to the node, until that ends.
    pub(super) fn component(&self) -> Vec<u8> {
        const ONCE: usize = 128 << 10;
        let again = ONCE + self.once.len();
        let pages = (again + self.again.len()) / (64 << 10) + 2;
        let data = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let numbers: String =
            self.numbers.iter().map(|at| format!("(i32.store (i32.const {}) (local.get $turn))", again + at)).collect();
        let read = "(call $read (local.get $in) (i32.const 65536) (i32.const 32))
            (if (i32.load8_u (i32.const 32)) (then (return (i32.const 0))))
            (if (i32.eqz (i32.load (i32.const 40))) (then (return (i32.const 0))))";
        let (times, meanwhile) = (self.times.saturating_add(2), if self.reads { read } else { "" });
        let write = |at: usize, len: usize| {
            format!(
                "(call $write (local.get $out) (i32.const {at}) (i32.const {len}) (i32.const 16))
                (if (i32.load8_u (i32.const 16)) (then (return (i32.const 0))))"
            )
        };
        let (first, next) = (write(ONCE, self.once.len()), write(again, self.again.len()));
        let text = format!(
            r#"(component
            (import "wetware:streams/streams@0.1.0" (instance $streams
                (export "connection" (type $connection (sub resource)))
                (export "create-connection" (func (result (own $connection))))
                (export "[method]connection.get-input-stream-handle" (func (param "self" (borrow $connection)) (result u32)))
                (export "[method]connection.get-output-stream-handle" (func (param "self" (borrow $connection)) (result u32)))
                (export "read" (func (param "handle" u32) (param "max" u32) (result (result (list u8) (error string)))))
                (export "write" (func (param "handle" u32) (param "bytes" (list u8)) (result (result (error string)))))))
            (core module $libc (memory (export "memory") {pages})
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $libc (instantiate $libc))
            (core func $create (canon lower (func $streams "create-connection")))
            (core func $get-in (canon lower (func $streams "[method]connection.get-input-stream-handle")))
            (core func $get-out (canon lower (func $streams "[method]connection.get-output-stream-handle")))
            (core func $read (canon lower (func $streams "read")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core func $write (canon lower (func $streams "write")
                (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core module $main
                (import "libc" "memory" (memory 1))
                (import "host" "create" (func $create (result i32)))
                (import "host" "get-in" (func $get-in (param i32) (result i32)))
                (import "host" "get-out" (func $get-out (param i32) (result i32)))
                (import "host" "read" (func $read (param i32 i32 i32)))
                (import "host" "write" (func $write (param i32 i32 i32 i32)))
                (data (i32.const {ONCE}) "{}") (data (i32.const {again}) "{}")
                (func (export "run") (result i32)
                    (local $connection i32) (local $in i32) (local $out i32) (local $turn i32)
                    (local.set $connection (call $create))
                    (local.set $in (call $get-in (local.get $connection)))
                    (local.set $out (call $get-out (local.get $connection)))
                    {first}
                    (local.set $turn (i32.const 2))
                    (block $said (loop $more
                        (br_if $said (i32.ge_u (local.get $turn) (i32.const {times})))
                        {numbers} {next} {meanwhile}
                        (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
                        (br $more)))
                    (loop $listen {read} (br $listen))
                    (i32.const 0)))
            (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance
                (export "create" (func $create)) (export "get-in" (func $get-in)) (export "get-out" (func $get-out))
                (export "read" (func $read)) (export "write" (func $write))))))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#,
            data(&self.once),
            data(&self.again),
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }
}
