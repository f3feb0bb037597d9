//! What becomes of messages of both sides, one by one. What this node says is never written: nobody drives that.

use capnp::message::ReaderOptions;
use capnp_rpc::twoparty;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use ww_core::account::{Account, Holder};

use super::*;
use crate::{
    fixture::{local, soon},
    load::Bounds,
    promises::Named,
};

/// A connection that is watched, in the place of the library, and the other side.
struct Ends {
    load: Rc<Load>,
    connection: Box<dyn Connection<Side>>,
    other: DuplexStream,
    _network: Network<twoparty::VatNetwork<Compat<ReadHalf<DuplexStream>>>>,
}

impl Ends {
    fn new(bounds: Bounds, account: &Account) -> Self {
        let load = Rc::new(Load::new(bounds, account.clone()));
        let (ours, other) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(ours);
        let (reader, writer) = (reader.compat(), writer.compat_write());
        let inner = twoparty::VatNetwork::new(reader, writer, Side::Server, ReaderOptions::new());
        let mut network = Network::new(inner, 1, Rc::clone(&load));
        let connection = network.connect(Side::Client).expect("the other side");
        Self { load, connection, other, _network: network }
    }

    fn is_open(&self, number: u32) -> bool {
        self.load.promises.is_open(Named::Export(number))
    }

    /// This node says something.
    fn says(&mut self, fill: impl FnOnce(said::Builder<'_>)) {
        let mut message = self.connection.new_outgoing_message(8);
        fill(message.get_body().expect("a body").init_as());
        drop(message.send());
    }

    /// It answers with these capabilities, each a promise or not, and so many bytes.
    fn answers(&mut self, question: u32, caps: &[(u32, bool)], bytes: usize) {
        self.says(|said| {
            let mut answer = said.init_return();
            answer.set_answer_id(question);
            let mut results = answer.init_results();
            results.reborrow().get_content().set_as("x".repeat(bytes).as_str()).expect("text");
            give(results.init_cap_table(u32::try_from(caps.len()).expect("few")), caps);
        });
    }

    /// The other side says something.
    async fn hears(&mut self, fill: impl FnOnce(said::Builder<'_>)) {
        let mut message = message::Builder::new_default();
        fill(message.init_root());
        self.other.write_all(&serialize::write_message_to_words(&message)).await.expect("open");
    }

    /// What the library reads next.
    async fn reads(&mut self) -> String {
        self.next().await.expect("no failure")
    }

    async fn next(&mut self) -> Result<String, Error> {
        let message = soon(self.connection.receive_incoming_message()).await?.expect("no end");
        Ok(match message.get_body()?.get_as::<said::Reader<'_>>()?.which()? {
            Which::Call(call) => format!("call {}", call?.get_question_id()),
            Which::Return(answer) => format!("return {}", answer?.get_answer_id()),
            Which::Release(release) => format!("release {}", release?.get_id()),
            Which::Finish(finish) => {
                let finish = finish?;
                format!("finish {}, releases: {}", finish.get_question_id(), finish.get_release_result_caps())
            }
            Which::Unimplemented(_) => "unimplemented".to_owned(),
            _ => "something else".to_owned(),
        })
    }

    async fn calls(&mut self, question: u32) {
        self.hears(|said| said.init_call().set_question_id(question)).await;
    }
}

fn give(mut table: capnp::struct_list::Builder<'_, cap_descriptor::Owned>, caps: &[(u32, bool)]) {
    for (at, (number, is_promise)) in (0..).zip(caps) {
        let mut cap = table.reborrow().get(at);
        if *is_promise { cap.set_sender_promise(*number) } else { cap.set_sender_hosted(*number) }
    }
}

#[test]
fn what_a_refused_answer_gave_is_released_once_and_when_the_library_hears_of_it() {
    local(async {
        let mut ends = Ends::new(Bounds::OWN, &Account::root(Holder::Node, 1 << 20));
        for question in 1..=3 {
            ends.calls(question).await;
            assert_eq!(ends.reads().await, format!("call {question}"));
        }
        ends.answers(1, &[(7, true)], 0);
        // More than a quarter of the account.
        ends.answers(2, &[(7, false), (8, true)], 300 << 10);
        // The library has what that gave until it hears that it is released, and may give it again.
        ends.answers(3, &[(8, false)], 0);
        assert!(ends.is_open(7) && ends.is_open(8));
        assert_eq!(ends.reads().await, "release 7");
        assert_eq!(ends.reads().await, "release 8");
        assert!(ends.is_open(7) && ends.is_open(8), "other answers gave them as well");
        for (question, releases, open) in
            [(2, false, (true, true)), (1, true, (false, true)), (3, true, (false, false))]
        {
            ends.hears(|said| said.init_finish().set_question_id(question)).await;
            let finish = format!("finish {question}, releases: {releases}");
            assert_eq!(ends.reads().await, finish, "what was refused is released already");
            assert_eq!((ends.is_open(7), ends.is_open(8)), open, "{question}");
        }
    });
}

#[test]
fn a_call_for_whose_capabilities_there_is_no_room_costs_the_callee_nothing() {
    local(async {
        let account = Account::root(Holder::Node, 1 << 20);
        let mut ends = Ends::new(Bounds { exports: 4, ..Bounds::PEER }, &account);
        ends.says(|said| {
            let mut call = said.init_call();
            call.set_question_id(5);
            give(call.init_params().init_cap_table(1), &[(4, true)]);
        });
        assert_eq!(account.held(), 0);
        assert!(ends.is_open(4));
        assert_eq!(ends.reads().await, "return 5");
        assert_eq!(ends.reads().await, "release 4");
        assert!(!ends.is_open(4) && !ends.load.has_answered(5));
    });
}

#[test]
fn a_connection_ends_that_does_not_read_why_its_calls_are_refused() {
    local(async {
        let account = Account::root(Holder::Node, 1 << 20);
        let mut ends = Ends::new(Bounds { exports: 4, ..Bounds::PEER }, &account);
        ends.load.exported(4);
        assert!(ends.load.is_full());
        let _held = account.charge(account.most() - account.held() - (8 << 10)).expect("room");
        for question in 0..200 {
            ends.calls(question).await;
        }
        let why = ends.next().await.expect_err("nobody pays for all of that");
        let is_meant = why.kind == capnp::ErrorKind::Overloaded && why.extra.contains("cannot be held for the node");
        assert!(is_meant, "{why}");
    });
}

#[test]
fn what_a_promise_became_is_released_by_a_side_that_does_not_follow_it() {
    local(async {
        let mut ends = Ends::new(Bounds::OWN, &Account::unlimited());
        ends.calls(1).await;
        assert_eq!(ends.reads().await, "call 1");
        ends.answers(1, &[(7, true)], 0);
        let became = |mut resolve: resolve::Builder<'_>| {
            resolve.set_promise_id(7);
            resolve.init_cap().set_sender_promise(8);
        };
        ends.says(|said| became(said.init_resolve()));
        assert!(ends.is_open(7) && ends.is_open(8));
        ends.hears(|said| became(said.init_unimplemented().init_resolve())).await;
        assert_eq!(ends.reads().await, "unimplemented");
        assert!(ends.is_open(7) && !ends.is_open(8));
    });
}
