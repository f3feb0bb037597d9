//! What is told of messages.

use capnp::message;

use super::*;
use rpc_capnp::message as rpc;

/// Makes a message.
type Fill = fn(rpc::Builder<'_>);

/// The description of a message that `fill` makes.
fn told(fill: impl FnOnce(rpc::Builder<'_>)) -> String {
    let mut message = message::Builder::new_default();
    fill(message.init_root());
    let body = message.get_root_as_reader::<any_pointer::Reader<'_>>().expect("a message");
    describe(body).expect("a message of the protocol").to_string()
}

#[test]
fn every_message_is_told_in_a_few_words() {
    let call = told(|message| {
        let mut call = message.init_call();
        call.set_question_id(7);
        call.set_interface_id(0xabc);
        call.set_method_id(4);
    });
    assert_eq!(call, "call 7: 0xabc.4");
    assert_eq!(told(|message| message.init_return().set_answer_id(7)), "return 7");
    let failed = told(|message| {
        let mut answer = message.init_return();
        answer.set_answer_id(7);
        answer.init_exception();
    });
    assert_eq!(failed, "return 7: exception");
    let others: [(Fill, &str); 8] = [
        (|message| _ = message.init_bootstrap(), "bootstrap"),
        (|message| _ = message.init_finish(), "finish"),
        (|message| _ = message.init_resolve(), "resolve"),
        (|message| _ = message.init_release(), "release"),
        (|message| _ = message.init_abort(), "abort"),
        (|message| _ = message.init_disembargo(), "disembargo"),
        (|message| _ = message.init_unimplemented(), "unimplemented"),
        (|message| _ = message.init_provide(), "level 3"),
    ];
    for (fill, name) in others {
        assert_eq!(told(fill), name);
    }
}

#[test]
fn an_unknown_message_is_an_error_and_no_panic() {
    let mut message = message::Builder::new_default();
    // The discriminant of a message that does not exist.
    message
        .init_root::<any_pointer::Builder<'_>>()
        .set_as(capnp::text::Reader::from("\u{7f}\u{7f}\u{7f}"))
        .expect("set");
    let body = message.get_root_as_reader::<any_pointer::Reader<'_>>().expect("a message");
    assert!(describe(body).is_err());
}
