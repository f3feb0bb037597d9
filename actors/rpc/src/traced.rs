//! One line in the log per message, at level trace.

use std::fmt;

use capnp::any_pointer;
use capnp_rpc::rpc_capnp;

/// Logs a message of a cell's vat.
pub(crate) fn tell<'a>(
    cell: u64,
    direction: &'static str,
    body: impl FnOnce() -> capnp::Result<any_pointer::Reader<'a>>,
) {
    if !tracing::enabled!(target: "ww::rpc", tracing::Level::TRACE) {
        return;
    }
    match body().and_then(describe) {
        Ok(message) => tracing::trace!(target: "ww::rpc", cell, direction, %message),
        Err(error) => tracing::trace!(target: "ww::rpc", cell, direction, %error, "an unreadable message"),
    }
}

/// What a message is about, in a few words.
enum Description {
    Call { question: u32, interface: u64, method: u16 },
    Answer { question: u32, failed: bool },
    Other(&'static str),
}

fn describe(body: any_pointer::Reader<'_>) -> capnp::Result<Description> {
    use rpc_capnp::{message, return_};
    Ok(match body.get_as::<message::Reader<'_>>()?.which()? {
        message::Call(call) => {
            let call = call?;
            Description::Call {
                question: call.get_question_id(),
                interface: call.get_interface_id(),
                method: call.get_method_id(),
            }
        }
        message::Return(answer) => {
            let answer = answer?;
            let failed = matches!(answer.which(), Ok(return_::Exception(_)));
            Description::Answer { question: answer.get_answer_id(), failed }
        }
        message::Bootstrap(_) => Description::Other("bootstrap"),
        message::Finish(_) => Description::Other("finish"),
        message::Resolve(_) => Description::Other("resolve"),
        message::Release(_) => Description::Other("release"),
        message::Abort(_) => Description::Other("abort"),
        message::Disembargo(_) => Description::Other("disembargo"),
        message::Unimplemented(_) => Description::Other("unimplemented"),
        _ => Description::Other("level 3"),
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { question, interface, method } => write!(f, "call {question}: {interface:#x}.{method}"),
            Self::Answer { question, failed: false } => write!(f, "return {question}"),
            Self::Answer { question, failed: true } => write!(f, "return {question}: exception"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
