//! What the other side of a connection says, before the library hears it: numbers are compared with their limits, nothing
//! is nested deeper than it may be, and what this node does not serve is refused here.
//!
//! | message | refused |
//! |---|---|
//! | call | with too many capabilities, too deep, for somebody else than the caller |
//! | return | with too many capabilities, of a promise of this node, twice, of a kind that nobody asked for; texts are cut |
//! | resolve | of a promise to itself; one to another promise is not followed |
//! | abort | its text is cut |
//! | those of level 3 and 4 | longer than [`MAX_ECHO`]: they are sent back whole |

use capnp::{Error, ErrorKind, message, struct_list};
use capnp_rpc::{
    IncomingMessage,
    rpc_capnp::{
        call, cap_descriptor, disembargo, exception,
        message::{self as said, Which},
        message_target, promised_answer, resolve, return_,
    },
};
use ww_core::{account::Charge, text};

use crate::{
    load::{Load, overloaded},
    promises::{MAX_DEPTH, Named},
};

/// Capabilities in one message: as many as a supervisor's children are handed, with room.
const MAX_CAPS: u32 = 4_096;

/// Bytes that are charged for each capability in a message, as long as that is there.
const CAP_BYTES: u64 = 256;

/// Steps from an answer to a capability in it: one for each level of the deepest schema, with room.
const MAX_TRANSFORM: u32 = 64;

/// Bytes of an error's text that is handed on.
const MAX_REASON: usize = text::MAX_ERROR;

/// Bytes of a message that is sent back, because this node does not serve its kind.
const MAX_ECHO: usize = 1 << 10;

/// What becomes of a message.
pub(crate) enum Verdict {
    /// The library gets it.
    Pass,
    /// The library gets it: a call.
    Serve(u32),
    /// The library gets another one.
    Instead(Own),
    /// The other side is told why this call of its own is not served.
    Refuse(u32, Error),
    /// The other side is told that this promise of its own is not followed to what it has become.
    Unfollowed { promise: u32, became: Option<(u32, bool)> },
}

/// A message that this node says to itself.
pub(crate) struct Own(message::Builder<message::HeapAllocator>);

impl IncomingMessage for Own {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.0.get_root_as_reader()
    }
}

impl Own {
    /// The answer of the other side to a question, that it failed.
    pub(crate) fn failure(question: u32, why: &Error) -> Self {
        let mut message = message::Builder::new_default();
        let mut answer = message.init_root::<said::Builder<'_>>().init_return();
        answer.set_answer_id(question);
        write_error(answer.init_exception(), why);
        Self(message)
    }

    /// The other side releases something of this node, once.
    pub(crate) fn release(number: u32) -> Self {
        let mut message = message::Builder::new_default();
        let mut release = message.init_root::<said::Builder<'_>>().init_release();
        release.set_id(number);
        release.set_reference_count(1);
        Self(message)
    }

    /// What of this node the other side releases with it, and how often.
    pub(crate) fn released(&self) -> capnp::Result<Option<(u32, u32)>> {
        Ok(match self.0.get_root_as_reader::<said::Reader<'_>>()?.which() {
            Ok(Which::Release(release)) => Some(release?).map(|it| (it.get_id(), it.get_reference_count())),
            _ => None,
        })
    }

    /// The other side has done with a question, and keeps the capabilities of its answer.
    pub(crate) fn finish(question: u32) -> Self {
        let mut message = message::Builder::new_default();
        let mut finish = message.init_root::<said::Builder<'_>>().init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(false);
        Self(message)
    }

    /// A promise of the other side has failed.
    fn broken(promise: u32, why: &Error) -> Self {
        let mut message = message::Builder::new_default();
        let mut resolve = message.init_root::<said::Builder<'_>>().init_resolve();
        resolve.set_promise_id(promise);
        write_error(resolve.init_exception(), why);
        Self(message)
    }
}

/// Writes an error, of which no more is read than fits.
pub(crate) fn write_error(mut to: exception::Builder<'_>, error: &Error) {
    to.set_reason(cut(&error.extra));
    to.set_type(match error.kind {
        ErrorKind::Overloaded => exception::Type::Overloaded,
        ErrorKind::Disconnected => exception::Type::Disconnected,
        ErrorKind::Unimplemented => exception::Type::Unimplemented,
        _ => exception::Type::Failed,
    });
}

/// The first [`MAX_REASON`] bytes of a text, or a few less.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON)]
}

/// Reads an error of the other side, of which no more is taken than fits.
fn read_error(error: exception::Reader<'_>) -> capnp::Result<Error> {
    let reason = error.get_reason()?;
    let bytes = reason.as_bytes();
    // As if it were one byte longer than it may be, so that it says that it was cut.
    let most = bytes.len().min(MAX_REASON + 1);
    let reason = text::lines(String::from_utf8_lossy(&bytes[..most]), MAX_REASON);
    let new = match error.get_type()? {
        exception::Type::Overloaded => Error::overloaded,
        exception::Type::Disconnected => Error::disconnected,
        exception::Type::Unimplemented => Error::unimplemented,
        exception::Type::Failed => Error::failed,
    };
    Ok(new(reason))
}

/// Judges a message of this many bytes, and accounts for it. The charge is for the message, as long as that is there.
///
/// # Errors
///
/// Where the connection cannot go on.
pub(crate) fn judge(said: said::Reader<'_>, bytes: usize, charge: &mut Charge, load: &Load) -> Result<Verdict, Error> {
    match said.which() {
        Ok(Which::Call(call)) => judge_call(call?, bytes, charge, load),
        Ok(Which::Return(answer)) => judge_return(answer?, charge, load),
        Ok(Which::Resolve(resolve)) => judge_resolve(resolve?, load),
        Ok(Which::Bootstrap(bootstrap)) => {
            load.begin(bootstrap?.get_question_id(), bytes)?;
            Ok(Verdict::Pass)
        }
        Ok(Which::Finish(finish)) => {
            let finish = finish?;
            let (question, releases) = (finish.get_question_id(), finish.get_release_result_caps());
            load.promises.finished(question, releases);
            if load.finished(question) && releases {
                load.released();
            }
            Ok(Verdict::Pass)
        }
        Ok(Which::Release(release)) => {
            let release = release?;
            load.promises.released(release.get_id(), release.get_reference_count());
            load.released();
            Ok(Verdict::Pass)
        }
        Ok(Which::Disembargo(back)) => {
            let back = back?;
            target(back.get_target()?)?;
            if let disembargo::context::ReceiverLoopback(_) = back.get_context().which()? {
                load.embargo(true);
            }
            Ok(Verdict::Pass)
        }
        Ok(Which::Abort(why)) => {
            let why = read_error(why?)?;
            Err(Error { extra: format!("remote exception: {}", why.extra), ..why })
        }
        Ok(Which::Unimplemented(back)) => {
            // What a promise has become is not followed: the library takes it as released.
            if let Ok(Which::Resolve(resolve)) = back?.which()
                && let resolve::Cap(cap) = resolve?.which()?
                && let cap_descriptor::SenderHosted(number) | cap_descriptor::SenderPromise(number) = cap?.which()?
            {
                load.promises.released(number, 1);
                load.released();
            }
            Ok(Verdict::Pass)
        }
        _ if bytes > MAX_ECHO => Err(Error::unimplemented(format!(
            "a message of a level of the protocol that is not served here, of {bytes} bytes: at most {MAX_ECHO} are sent back"
        ))),
        _ => Ok(Verdict::Pass),
    }
}

fn judge_call(call: call::Reader<'_>, bytes: usize, charge: &mut Charge, load: &Load) -> Result<Verdict, Error> {
    let question = call.get_question_id();
    let call::send_results_to::Caller(()) = call.get_send_results_to().which()? else {
        return Err(Error::unimplemented("sendResultsTo: answers go to the caller, and to nobody else".to_owned()));
    };
    if load.is_used(question) {
        return Err(Error::failed(format!("question {question} was asked before, and is not finished")));
    }
    let (target, table) = (target(call.get_target()?)?, call.get_params()?.get_cap_table()?);
    check_caps(table, charge)?;
    if load.is_full() {
        return Ok(Verdict::Refuse(question, load.too_many_held()));
    }
    let named = || target.into_iter().chain(table.iter().filter_map(named));
    let Some(depth) = load.promises.depth(named()) else {
        let why = format!(
            "more than {MAX_DEPTH} calls, each on what the one before promises: wait for the answer to one of them"
        );
        return Ok(Verdict::Refuse(question, Error::overloaded(why)));
    };
    load.begin(question, bytes)?;
    for named in named() {
        if let Named::Answer(promised) = named {
            load.pipelined(promised)?;
        }
    }
    import(table, load)?;
    load.promises.asked(question, depth);
    Ok(Verdict::Serve(question))
}

fn judge_return(answer: return_::Reader<'_>, charge: &mut Charge, load: &Load) -> Result<Verdict, Error> {
    let question = answer.get_answer_id();
    if !load.has_answered(question) {
        return Err(Error::failed(format!(
            "question {question} was answered that was not asked, or is answered already"
        )));
    }
    let was_given_up = load.promises.was_given_up(question);
    match answer.which()? {
        return_::Results(results) => {
            let table = results?.get_cap_table()?;
            check_caps(table, charge)?;
            if was_given_up {
                return Ok(Verdict::Pass);
            }
            if table.iter().filter_map(named).any(|named| load.promises.is_open(named)) {
                let why =
                    "the answer is a promise of the node that asked, and is not kept yet: wait for it, then answer";
                return Ok(Verdict::Instead(Own::failure(question, &Error::failed(why.to_owned()))));
            }
            import(table, load)?;
            Ok(Verdict::Pass)
        }
        return_::Exception(why) => {
            let why = why?;
            if why.get_reason()?.len() <= MAX_REASON {
                return Ok(Verdict::Pass);
            }
            Ok(Verdict::Instead(Own::failure(question, &read_error(why)?)))
        }
        return_::Canceled(()) if was_given_up => Ok(Verdict::Pass),
        _ => Err(Error::unimplemented(format!(
            "question {question} was answered in a way that nobody asked for: results or an exception are taken"
        ))),
    }
}

fn judge_resolve(resolve: resolve::Reader<'_>, load: &Load) -> Result<Verdict, Error> {
    let promise = resolve.get_promise_id();
    let cap = match resolve.which()? {
        resolve::Exception(why) => {
            let why = why?;
            if why.get_reason()?.len() <= MAX_REASON {
                return Ok(Verdict::Pass);
            }
            return Ok(Verdict::Instead(Own::broken(promise, &read_error(why)?)));
        }
        resolve::Cap(cap) => cap?,
    };
    check_transform(cap)?;
    let became = match cap.which()? {
        cap_descriptor::SenderHosted(number) => Some((number, false)),
        cap_descriptor::SenderPromise(number) => Some((number, true)),
        _ => None,
    };
    match became {
        Some((number, _)) if number == promise => {
            Err(Error::failed(format!("promise {promise} has become itself: nobody can call that")))
        }
        Some((number, is_promise)) if is_promise || load.promises.is_theirs(number) => {
            Ok(Verdict::Unfollowed { promise, became })
        }
        None if named(cap).is_some_and(|named| load.promises.is_open(named)) => {
            Ok(Verdict::Unfollowed { promise, became })
        }
        Some((number, _)) => {
            load.imported(number, false)?;
            Ok(Verdict::Pass)
        }
        None => Ok(Verdict::Pass),
    }
}

/// What of this node a call goes to.
fn target(target: message_target::Reader<'_>) -> Result<Option<Named>, Error> {
    Ok(match target.which()? {
        message_target::ImportedCap(number) => Some(Named::Export(number)),
        message_target::PromisedAnswer(answer) => {
            let answer = answer?;
            check_steps(answer)?;
            Some(Named::Answer(answer.get_question_id()))
        }
    })
}

/// What of this node a capability is.
fn named(cap: cap_descriptor::Reader<'_>) -> Option<Named> {
    match cap.which() {
        Ok(cap_descriptor::ReceiverHosted(number)) => Some(Named::Export(number)),
        Ok(cap_descriptor::ReceiverAnswer(Ok(answer))) => Some(Named::Answer(answer.get_question_id())),
        _ => None,
    }
}

/// Compares how many capabilities there are with how many there may be, before anybody looks at them.
fn check_caps(table: struct_list::Reader<'_, cap_descriptor::Owned>, charge: &mut Charge) -> Result<(), Error> {
    let count = table.len();
    if count > MAX_CAPS {
        return Err(Error::failed(format!("{count} capabilities in one message: at most {MAX_CAPS} are taken")));
    }
    charge.grow(u64::from(count) * CAP_BYTES).map_err(overloaded)?;
    table.iter().try_for_each(check_transform)
}

fn check_transform(cap: cap_descriptor::Reader<'_>) -> Result<(), Error> {
    match cap.which() {
        Ok(cap_descriptor::ReceiverAnswer(answer)) => check_steps(answer?),
        _ => Ok(()),
    }
}

fn check_steps(answer: promised_answer::Reader<'_>) -> Result<(), Error> {
    let count = answer.get_transform()?.len();
    if count > MAX_TRANSFORM {
        return Err(Error::failed(format!("{count} steps into an answer: at most {MAX_TRANSFORM} are taken")));
    }
    Ok(())
}

/// Accounts for what the other side gives of its own.
fn import(table: struct_list::Reader<'_, cap_descriptor::Owned>, load: &Load) -> Result<(), Error> {
    table.iter().try_for_each(|cap| match cap.which() {
        Ok(cap_descriptor::SenderHosted(number)) => load.imported(number, false),
        Ok(cap_descriptor::SenderPromise(number)) => load.imported(number, true),
        _ => Ok(()),
    })
}
