//! Conversations in Cap'n Proto's RPC that no library would have, out of any bytes.

use std::future::pending;

use capnp::{
    any_pointer,
    capability::FromClientHook,
    message, serialize,
    traits::{HasTypeId, ImbueMut},
};
use capnp_rpc::rpc_capnp::{cap_descriptor, disembargo, message as said, message_target, payload, promised_answer};
use ww_schema::{
    admin_capnp::{admin, subscription},
    cell_capnp::{exchange, lease, monitor, program, registry, spec},
    grant_capnp::{membrane, neighbour, revoker},
    peer_capnp::{byte_stream, executor, host, nodes, process},
    supervision_capnp::supervisor,
};

/// Messages of one conversation.
const MAX_MESSAGES: usize = 200;

/// Numbers of a protocol that a choice is made from: small ones, of which the two sides have some in common.
const NUMBERS: u32 = 10;

/// Capabilities in one message, and steps into an answer.
const MAX_CAPS: u8 = 4;
const MAX_STEPS: u8 = 3;

/// Methods of an interface, with one more than any has.
const METHODS: u16 = 14;

/// The interfaces of a node.
const INTERFACES: [u64; 16] = [
    host::Client::TYPE_ID,
    executor::Client::TYPE_ID,
    process::Client::TYPE_ID,
    byte_stream::Client::TYPE_ID,
    nodes::Client::TYPE_ID,
    admin::Client::TYPE_ID,
    subscription::Client::TYPE_ID,
    exchange::Client::TYPE_ID,
    lease::Client::TYPE_ID,
    monitor::Client::TYPE_ID,
    program::Client::TYPE_ID,
    registry::Client::TYPE_ID,
    neighbour::Client::TYPE_ID,
    membrane::Client::TYPE_ID,
    revoker::Client::TYPE_ID,
    supervisor::Client::TYPE_ID,
];

/// A preview 1 module that returns at once.
const PROGRAM: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

/// The choices that are left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn below(&mut self, most: u8) -> u8 {
        self.byte() % most
    }

    /// A number of the protocol, seldom one that is far away.
    fn number(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => 1 << 30,
            byte => u32::from(byte) % NUMBERS,
        }
    }

    fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn text(&mut self) -> String {
        let letter = char::from(b'a' + self.below(26));
        letter.to_string().repeat(usize::from(self.below(5)))
    }
}

/// What these bytes say: first that the side asks for what the other one has.
pub(crate) fn conversation(bytes: &[u8]) -> Vec<u8> {
    let mut choices = Choices(bytes);
    let mut all = say(|said| said.init_bootstrap().set_question_id(0));
    for _ in 0..MAX_MESSAGES {
        if choices.0.is_empty() {
            break;
        }
        all.extend(say(|said| one(said, &mut choices)));
    }
    all
}

fn say(fill: impl FnOnce(said::Builder<'_>)) -> Vec<u8> {
    let mut message = message::Builder::new_default();
    fill(message.init_root());
    serialize::write_message_to_words(&message)
}

fn one(mut said: said::Builder<'_>, choices: &mut Choices<'_>) {
    match choices.below(24) {
        0..12 => call(said, choices),
        12..15 => return_(said, choices),
        15 | 16 => {
            let mut finish = said.init_finish();
            finish.set_question_id(choices.number());
            finish.set_release_result_caps(choices.is());
        }
        17 => {
            let mut resolve = said.init_resolve();
            resolve.set_promise_id(choices.number());
            if choices.is() {
                cap(resolve.init_cap(), choices);
            } else {
                resolve.init_exception().set_reason(choices.text());
            }
        }
        18 => {
            let mut release = said.init_release();
            release.set_id(choices.number());
            release.set_reference_count(choices.number());
        }
        19 => {
            let mut disembargo = said.init_disembargo();
            target(disembargo.reborrow().init_target(), choices);
            let mut context: disembargo::context::Builder<'_> = disembargo.init_context();
            match choices.below(4) {
                0 => context.set_sender_loopback(choices.number()),
                1 => context.set_receiver_loopback(choices.number()),
                2 => context.set_accept(()),
                _ => context.set_provide(choices.number()),
            }
        }
        20 => said.init_bootstrap().set_question_id(choices.number()),
        21 => target(said.init_provide().init_target(), choices),
        22 => call(said.init_unimplemented(), choices),
        _ if choices.below(16) == 0 => said.reborrow().init_abort().set_reason(choices.text()),
        _ => said.init_accept().set_question_id(choices.number()),
    }
}

fn call(said: said::Builder<'_>, choices: &mut Choices<'_>) {
    let mut call = said.init_call();
    call.set_question_id(choices.number());
    call.set_interface_id(INTERFACES[usize::from(choices.byte()) % INTERFACES.len()]);
    call.set_method_id(u16::from(choices.byte()) % METHODS);
    target(call.reborrow().init_target(), choices);
    if choices.below(16) == 0 {
        call.reborrow().init_send_results_to().set_yourself(());
    }
    let mut params = call.init_params();
    content(params.reborrow().get_content(), choices);
    caps(params, choices);
}

fn return_(said: said::Builder<'_>, choices: &mut Choices<'_>) {
    let mut answer = said.init_return();
    answer.set_answer_id(choices.number());
    answer.set_release_param_caps(choices.is());
    match choices.below(8) {
        0..5 => {
            let mut results = answer.init_results();
            content(results.reborrow().get_content(), choices);
            caps(results, choices);
        }
        5 => answer.init_exception().set_reason(choices.text()),
        6 => answer.set_canceled(()),
        _ if choices.is() => answer.set_take_from_other_question(choices.number()),
        _ => answer.set_results_sent_elsewhere(()),
    }
}

fn target(mut target: message_target::Builder<'_>, choices: &mut Choices<'_>) {
    if choices.below(4) == 0 {
        target.set_imported_cap(choices.number());
    } else {
        promised(target.init_promised_answer(), choices);
    }
}

fn promised(mut answer: promised_answer::Builder<'_>, choices: &mut Choices<'_>) {
    answer.set_question_id(choices.number());
    let steps = choices.below(MAX_STEPS);
    let mut transform = answer.init_transform(steps.into());
    for step in 0..steps {
        transform.reborrow().get(step.into()).set_get_pointer_field(u16::from(choices.below(2)));
    }
}

fn caps(payload: payload::Builder<'_>, choices: &mut Choices<'_>) {
    let count = choices.below(MAX_CAPS);
    let mut table = payload.init_cap_table(count.into());
    for place in 0..count {
        cap(table.reborrow().get(place.into()), choices);
    }
}

fn cap(mut cap: cap_descriptor::Builder<'_>, choices: &mut Choices<'_>) {
    match choices.below(8) {
        0 => cap.set_none(()),
        1 | 2 => cap.set_sender_hosted(choices.number()),
        3 => cap.set_sender_promise(choices.number()),
        4 => cap.set_receiver_hosted(choices.number()),
        5 | 6 => promised(cap.init_receiver_answer(), choices),
        _ => cap.init_third_party_hosted().set_vine_id(choices.number()),
    }
}

/// Parameters or results of some method, which need not be the one that is meant. A capability in it stands for the one
/// at its place in the table of the message.
fn content(mut to: any_pointer::Builder<'_>, choices: &mut Choices<'_>) {
    let mut table = Vec::new();
    let mut content = to.reborrow();
    content.imbue_mut(&mut table);
    match choices.below(16) {
        0 => {
            let mut params = content.init_as::<executor::run_bytes_params::Builder<'_>>();
            params.set_wasm(PROGRAM);
            params.reborrow().init_args(1).set(0, choices.text());
            params.init_env(1).set(0, choices.text());
        }
        1 => content.init_as::<executor::echo_params::Builder<'_>>().set_message(choices.text()),
        2 => fill_spec(content.init_as::<executor::spawn_params::Builder<'_>>().init_spec(), choices),
        3 => {
            let mut child = content.init_as::<supervisor::start_child_params::Builder<'_>>().init_spec();
            child.set_id(choices.text());
            fill_spec(child.init_child().init_cell(), choices);
        }
        4 => content.init_as::<supervisor::restart_child_params::Builder<'_>>().set_id(choices.text()),
        5 => {
            let mut params = content.init_as::<process::send_params::Builder<'_>>();
            params.set_message(choices.text().as_bytes());
            params.set_deadline(u32::from(choices.below(50)) + 1);
        }
        6 => {
            let mut params = content.init_as::<registry::register_params::Builder<'_>>();
            params.set_name(choices.text());
            params.set_process(placeholder());
        }
        7 => content.init_as::<process::link_params::Builder<'_>>().set_other(placeholder()),
        8 => content.init_as::<process::monitor_params::Builder<'_>>().set_observer(placeholder()),
        9 => {
            let mut params = content.init_as::<admin::logs_params::Builder<'_>>();
            params.set_cell(choices.number().into());
            params.set_follow(choices.is());
            params.set_sink(placeholder());
        }
        10 => content.init_as::<admin::watch_params::Builder<'_>>().set_listener(placeholder()),
        11 | 12 => {
            let mut params = content.init_as::<host::narrow_params::Builder<'_>>();
            let mut method = params.reborrow().init_to().init_methods(1).get(0);
            method.set_interface(INTERFACES[usize::from(choices.byte()) % INTERFACES.len()]);
            method.set_method(u16::from(choices.byte()) % METHODS);
            params.init_cap().set_as_capability(placeholder::<process::Client>().client.hook);
        }
        13 => {
            let mut params = content.init_as::<nodes::connect_params::Builder<'_>>();
            params.set_peer_id(choices.text().as_bytes());
            params.init_addrs(1).set(0, choices.text().as_bytes());
        }
        14 => content.init_as::<byte_stream::write_params::Builder<'_>>().set_data(choices.text().as_bytes()),
        _ => {}
    }
}

fn fill_spec(mut spec: spec::Builder<'_>, choices: &mut Choices<'_>) {
    spec.set_name(choices.text());
    spec.set_id(choices.text());
    spec.set_async(choices.is());
    spec.set_detached(choices.is());
    spec.set_publish(choices.is());
    let mut grant = spec.reborrow().init_grants(1).get(0);
    grant.set_name(choices.text());
    grant.init_cap().set_as_capability(placeholder::<process::Client>().client.hook);
    let mut program = spec.init_program();
    if choices.is() {
        program.set_wasm(PROGRAM);
    } else {
        program.set_loaded(placeholder());
    }
}

/// Stands in a message for the capability at its place in the table.
fn placeholder<C: FromClientHook + 'static>() -> C {
    capnp_rpc::new_future_client(pending())
}
