//! What a guest can say that no library would, byte by byte.

use capnp::{
    message, serialize,
    traits::{HasTypeId, ImbueMut},
};
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor,
    message::{self as said, Which},
    resolve, return_,
};
use ww_core::account::{Account, Holder};
use ww_schema::peer_capnp::{executor, host, process};

use super::*;

/// The number of the question that asks for the bootstrap.
const BOOTSTRAP: u32 = 0;

/// Methods, by their ordinals.
const ID: u16 = 0;
const EXECUTOR: u16 = 4;
const NARROW: u16 = 9;
const RUN_BYTES: u16 = 0;
const ECHO: u16 = 1;
const WAIT: u16 = 3;

fn say(fill: impl FnOnce(said::Builder<'_>)) -> Vec<u8> {
    let mut message = message::Builder::new_default();
    fill(message.init_root());
    serialize::write_message_to_words(&message)
}

fn bootstrap() -> Vec<u8> {
    say(|said| said.init_bootstrap().set_question_id(BOOTSTRAP))
}

/// A call on what a question promises: the capability that its results begin with, or that it is.
fn call(question: u32, on: u32, (interface, method): (u64, u16), fill: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    say(|said| {
        let mut call = said.init_call();
        call.set_question_id(question);
        call.set_interface_id(interface);
        call.set_method_id(method);
        let mut target = call.reborrow().init_target().init_promised_answer();
        target.set_question_id(on);
        if on != BOOTSTRAP {
            target.init_transform(1).get(0).set_get_pointer_field(0);
        }
        fill(call);
    })
}

/// The call of a method without parameters that matter.
fn id(question: u32, fill: impl FnOnce(call::Builder<'_>)) -> Vec<u8> {
    call(question, BOOTSTRAP, (host::Client::TYPE_ID, ID), fill)
}

fn caps(call: call::Builder<'_>, count: u32) -> capnp::struct_list::Builder<'_, cap_descriptor::Owned> {
    call.init_params().init_cap_table(count)
}

/// The messages of a vat.
struct Heard {
    from_vat: pipe::Reader,
    bytes: Vec<u8>,
}

impl Heard {
    /// The next message that a test waits for.
    async fn until<T>(&mut self, mut find: impl FnMut(said::Reader<'_>) -> Option<T>) -> T {
        loop {
            let mut rest = &self.bytes[..];
            match serialize::read_message(&mut rest, Default::default()) {
                Ok(message) => {
                    self.bytes = rest.to_vec();
                    let said = message.get_root::<said::Reader<'_>>().expect("a message");
                    if let Ok(Which::Abort(why)) = said.which() {
                        panic!("{:?}", why.and_then(|why| why.get_reason()));
                    }
                    if let Some(found) = find(said) {
                        return found;
                    }
                }
                Err(_) => {
                    let more = soon(self.from_vat.read(usize::MAX)).await.expect("no failure");
                    assert!(!more.is_empty(), "the vat has ended");
                    self.bytes.extend_from_slice(&more);
                }
            }
        }
    }

    /// Why a question failed; `None` where it did not.
    async fn answer(&mut self, question: u32) -> Option<String> {
        self.until(|said| match said.which() {
            Ok(Which::Return(Ok(answer))) if answer.get_answer_id() == question => Some(match answer.which() {
                Ok(return_::Exception(Ok(why))) => Some(why.get_reason().expect("text").to_string().expect("UTF-8")),
                _ => None,
            }),
            _ => None,
        })
        .await
    }
}

async fn vat() -> (pipe::Writer, Heard, Connected) {
    let mut connected = connected(Grants::all(), Limits::default()).await;
    // The test has both ends.
    let (nobody, nothing) = pipe::pipe(1);
    let to_vat = std::mem::replace(&mut connected.to_vat, nobody);
    let from_vat = std::mem::replace(&mut connected.from_vat, nothing);
    (to_vat, Heard { from_vat, bytes: Vec::new() }, connected)
}

/// What a vat that is told this says at its end.
async fn last_words(bytes: &[u8]) -> String {
    let (to_vat, heard, connected) = vat().await;
    // It may be gone before it has all.
    let _ = soon(to_vat.write_all(&[bootstrap(), bytes.to_vec()].concat())).await;
    let words = drained(&heard.from_vat).await;
    soon(connected.gone).await.expect("told");
    String::from_utf8_lossy(&words).into_owned()
}

#[test]
fn calls_that_are_each_on_the_promise_of_the_one_before_are_refused_and_end_nothing() {
    local(async {
        let (to_vat, mut heard, _connected) = vat().await;
        let run = (executor::Client::TYPE_ID, RUN_BYTES);
        let mut all = bootstrap();
        all.extend(call(1, BOOTSTRAP, (host::Client::TYPE_ID, EXECUTOR), |_| {}));
        all.extend(call(2, 1, run, |call| {
            let content = call.init_params().get_content();
            content.init_as::<executor::run_bytes_params::Builder<'_>>().set_wasm(&wasm(SPIN));
        }));
        for question in 3..2_000 {
            all.extend(call(question, question - 1, (process::Client::TYPE_ID, WAIT), |_| {}));
        }
        all.extend(id(2_000, |_| {}));
        to_vat.write_all(&all).await.expect("open");
        let why = heard.answer(66).await.expect("too deep");
        assert!(why.contains("more than 64 calls"), "{why}");
        assert_eq!(heard.answer(2_000).await, None);
    });
}

#[test]
fn calls_with_parameters_that_are_promises_are_as_deep() {
    local(async {
        let (to_vat, mut heard, _connected) = vat().await;
        to_vat.write_all(&bootstrap()).await.expect("open");
        for question in 1..70 {
            let named = id(question, |call| {
                let mut cap = caps(call, 1).get(0);
                match question {
                    1 => cap.set_sender_hosted(1),
                    _ => cap.init_receiver_answer().set_question_id(question - 1),
                }
            });
            to_vat.write_all(&named).await.expect("open");
        }
        // Which of them were answered and forgotten meanwhile does not matter: none is nested too deep.
        assert_eq!(heard.answer(1).await, None);
        to_vat.write_all(&id(1_000, |_| {})).await.expect("open");
        assert_eq!(heard.answer(1_000).await, None);
    });
}

#[test]
fn answers_go_to_nobody_but_the_caller() {
    local(async {
        let yourself = id(1, |call| call.get_send_results_to().set_yourself(()));
        let third = id(1, |call| {
            call.get_send_results_to().init_third_party();
        });
        for bytes in [yourself, third] {
            let said = last_words(&bytes).await;
            assert!(said.contains("answers go to the caller"), "{said:?}");
        }
        others_live().await;
    });
}

fn resolves(promise: u32, fill: impl FnOnce(resolve::Builder<'_>)) -> Vec<u8> {
    say(|said| {
        let mut resolve = said.init_resolve();
        resolve.set_promise_id(promise);
        fill(resolve);
    })
}

#[test]
fn a_promise_that_becomes_itself_ends_its_connection() {
    local(async {
        let given = id(1, |call| caps(call, 1).get(0).set_sender_promise(5));
        for itself in [
            resolves(5, |resolve| resolve.init_cap().set_sender_promise(5)),
            resolves(5, |resolve| resolve.init_cap().set_sender_hosted(5)),
        ] {
            let said = last_words(&[given.clone(), itself].concat()).await;
            assert!(said.contains("promise 5 has become itself"), "{said:?}");
        }
        others_live().await;
    });
}

#[test]
fn a_promise_that_becomes_a_promise_stays_one() {
    local(async {
        let (to_vat, mut heard, _connected) = vat().await;
        let given = id(1, |call| {
            let mut caps = caps(call, 2);
            caps.reborrow().get(0).set_sender_promise(5);
            caps.get(1).set_sender_promise(6);
        });
        let around = [(5, 6), (6, 5)]
            .map(|(promise, other)| resolves(promise, |resolve| resolve.init_cap().set_sender_promise(other)));
        to_vat.write_all(&[bootstrap(), given, around.concat()].concat()).await.expect("open");
        for promise in [5, 6] {
            let unfollowed = heard.until(|said| match said.which() {
                Ok(Which::Unimplemented(Ok(what))) => match what.which() {
                    Ok(Which::Resolve(Ok(resolve))) => Some(resolve.get_promise_id()),
                    _ => None,
                },
                _ => None,
            });
            assert_eq!(unfollowed.await, promise);
        }
        to_vat.write_all(&id(2, |_| {})).await.expect("open");
        assert_eq!(heard.answer(2).await, None);
    });
}

#[test]
fn an_answer_that_is_the_promise_of_its_own_question_fails() {
    local(async {
        let (to_vat, mut heard, _connected) = vat().await;
        let narrow = call(1, BOOTSTRAP, (host::Client::TYPE_ID, NARROW), |call| {
            let mut params = call.init_params();
            let mut content = params.reborrow().get_content();
            // What stands at its place in the message is in the table below.
            let mut table = Vec::new();
            content.imbue_mut(&mut table);
            let placeholder: executor::Client = capnp_rpc::new_future_client(std::future::pending());
            let params_of_narrow = content.init_as::<host::narrow_params::Builder<'_>>();
            params_of_narrow.init_cap().set_as_capability(placeholder.client.hook);
            params.init_cap_table(1).get(0).set_sender_hosted(1);
        });
        let on_it = call(2, 1, (host::Client::TYPE_ID, ID), |_| {});
        to_vat.write_all(&[bootstrap(), narrow, on_it].concat()).await.expect("open");
        let asked = heard.until(|said| match said.which() {
            Ok(Which::Call(Ok(call))) => Some(call.get_question_id()),
            _ => None,
        });
        let asked = asked.await;
        let answer = say(|said| {
            let mut answer = said.init_return();
            answer.set_answer_id(asked);
            answer.init_results().init_cap_table(1).get(0).init_receiver_answer().set_question_id(2);
        });
        to_vat.write_all(&answer).await.expect("open");
        let why = heard.answer(2).await.expect("a failure");
        assert!(why.contains("the answer is a promise of the node that asked"), "{why}");
        to_vat.write_all(&id(3, |_| {})).await.expect("open");
        assert_eq!(heard.answer(3).await, None);
    });
}

#[test]
fn what_is_too_much_ends_the_connection_with_the_reason() {
    local(async {
        let provide = say(|said| {
            said.init_provide().init_recipient().set_as("x".repeat(4 << 10).as_str()).expect("text");
        });
        let many = id(1, |call| {
            caps(call, 5_000);
        });
        let steps = id(1, |call| {
            call.get_target().expect("set").init_promised_answer().init_transform(65);
        });
        let cap_steps = id(1, |call| {
            let mut answer = caps(call, 1).get(0).init_receiver_answer();
            answer.reborrow().init_transform(65);
        });
        let unasked = say(|said| said.init_return().set_answer_id(7));
        let abort = say(|said| said.init_abort().set_reason("x".repeat(1 << 20).as_str()));
        for (bytes, why) in [
            (provide, "level of the protocol"),
            (many, "5000 capabilities in one message"),
            (steps, "65 steps into an answer"),
            (cap_steps, "65 steps into an answer"),
            (unasked, "question 7 was answered that was not asked"),
            (abort, "remote exception"),
        ] {
            let said = last_words(&bytes).await;
            assert!(said.contains(why) && said.len() < 64 << 10, "{why}: {} bytes: {said:.400?}", said.len());
        }
        others_live().await;
    });
}

#[test]
fn messages_that_never_end_are_paid_for_by_their_owner() {
    local(async {
        // Room for two of them, and a little for each account.
        let owner = Account::root(Holder::Node, 129 << 20);
        let words = u32::try_from(Bounds::OWN.message_words - 1).expect("small").to_le_bytes();
        let half = [[0; 4], words].concat();
        let mut ends = Vec::new();
        for cell in 1..=3 {
            let account = owner.below(Holder::Part("a cell"), 80 << 20).expect("room");
            let (duplex, bootstrap, ends_of_cell) = parts(None).await;
            let load = Rc::new(Load::new(Bounds::OWN, account));
            let vat = task::spawn_local(task::Kind::owned("vat", "a test"), serve(duplex, bootstrap, cell, load));
            ends_of_cell.to_vat.write_all(&half).await.expect("open");
            ends.push((vat, ends_of_cell));
        }
        let (_, Connected { from_vat, .. }) = ends.last().expect("three");
        let said = drained(from_vat).await;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("more bytes cannot be held for the node"), "{said:?}");
        assert!(owner.held() <= owner.most());
        ends.truncate(0);
        others_live().await;
    });
}

#[test]
fn an_answer_that_its_caller_cannot_hold_fails_and_ends_nothing() {
    local(async {
        let account = Account::root(Holder::Node, 1 << 20);
        let (duplex, bootstrap_of_cell, ends) = parts(None).await;
        let load = Rc::new(Load::new(Bounds::OWN, account.clone()));
        let _vat = task::spawn_local(task::Kind::owned("vat", "a test"), serve(duplex, bootstrap_of_cell, 1, load));
        let Connected { to_vat, from_vat, cell: _cell, .. } = ends;
        let mut heard = Heard { from_vat, bytes: Vec::new() };
        let get_executor = call(1, BOOTSTRAP, (host::Client::TYPE_ID, EXECUTOR), |_| {});
        let echo = |question, bytes| {
            call(question, 1, (executor::Client::TYPE_ID, ECHO), |call| {
                let params = call.init_params().get_content().init_as::<executor::echo_params::Builder<'_>>();
                params.init_message(bytes).push_str(&"x".repeat(bytes as usize));
            })
        };
        let finish = |question| say(|said| said.init_finish().set_question_id(question));
        to_vat.write_all(&[bootstrap(), get_executor].concat()).await.expect("open");
        for round in 0..20 {
            let (large, small) = (2 * round + 2, 2 * round + 3);
            to_vat
                .write_all(&[echo(large, 300 << 10), finish(large), echo(small, 1 << 10)].concat())
                .await
                .expect("open");
            let why = heard.answer(large).await.expect("it fails");
            assert!(why.contains("an answer of ") || why.contains("canceled"), "{why}");
            assert_eq!(heard.answer(small).await, None, "the connection goes on");
            to_vat.write_all(&finish(small)).await.expect("open");
        }
        assert!(account.held() < 512 << 10, "{account:?}");
    });
}
