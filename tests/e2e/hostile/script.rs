//! What no library of Cap'n Proto would say, byte by byte: the same words from a client, a peer or a cell.

use capnp::{message, serialize, traits::HasTypeId};
use capnp_rpc::rpc_capnp::{call, message::Builder as Said};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, WriteHalf},
    sync::Notify,
};
use ww_rpc::Wire;
use ww_schema::peer_capnp::{executor, host, process};

use super::{cells::SPIN, enemy::Enemy};

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

/// Some bytes, then others again and again, with a number of their own each time. At its end the speaker listens until the
/// connection ends.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) once: Vec<u8>,
    pub(super) again: Vec<u8>,
    /// Where the number of the turn stands in them.
    pub(super) numbers: Vec<usize>,
    pub(super) times: u32,
    /// Whether answers are read before the end.
    pub(super) reads: bool,
    /// Whether the node says nothing for as long as an attack lasts: then it has arrived when it is written.
    unanswered: bool,
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
        ("half a message", Script::new(half[..half.len() / 2].to_vec()).unanswered()),
        (
            "a message that is half read",
            Script::new(head(most)).then(most / PIECE as u32 - 1, |_| vec![0; PIECE]).unanswered(),
        ),
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

    /// Is followed by the node's silence.
    fn unanswered(mut self) -> Self {
        self.unanswered = true;
        self
    }

    /// Says it over a connection, until that ends.
    pub(super) async fn play(&self, wire: Wire, enemy: &Enemy) {
        let (mut reader, mut writer) = tokio::io::split(wire);
        let said = Notify::new();
        let reading = async {
            let mut buffer = vec![0; PIECE];
            // One that does not read looks whether anything comes.
            match reader.read(&mut buffer[..1]).await {
                Ok(0) => return enemy.failed("the node has ended the connection without a word"),
                Ok(_) => enemy.struck(),
                Err(error) => return enemy.failed(error),
            }
            if !self.reads {
                said.notified().await;
            }
            while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        let writing = async {
            match self.say(&mut writer).await {
                Ok(()) if self.unanswered => enemy.struck(),
                Ok(()) => {}
                Err(error) => enemy.failed(error),
            }
            said.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    }

    async fn say(&self, writer: &mut WriteHalf<Wire>) -> std::io::Result<()> {
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
    }
}
