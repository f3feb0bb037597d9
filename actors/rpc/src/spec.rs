//! From what a client asks for to what the executor starts: nothing is handed out that the caller does not have.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use capnp::{Error, capability::Client};
use ww_cell::Mode;
use ww_core::{
    Account, Grants, Limits, Name,
    account::Held,
    grants::{HostMethod, Reach},
    limits::{DEFAULT_CHILDREN, DEFAULT_DEADLINE, DEFAULT_MEMORY, DEFAULT_SUBTREE_CELLS, Narrowing},
    mailbox::{DEFAULT_CAPACITY, MAX_CAPACITY, Overflow},
    supervisor::{AutoShutdown, Backoff, ChildId, Kind, Options, Restart, Shutdown, Strategy},
    text,
};
use ww_executor::{Blueprint, CellBlueprint, ChildSpec, Handed, Publish, Serving, Spec, Supervision};
use ww_schema::{
    cell_capnp::{self, mailbox},
    supervision_capnp::{child_spec, options},
};

use crate::{
    context::Context,
    executor::{MAX_PROGRAM, MAX_STRINGS, environment, texts},
    load::overloaded,
    membrane,
    network::Publication,
    shelf::{self, Key, MAX_GRANTS},
};

/// Peers that one spec may name: each is looked at for every stream.
const MAX_ALLOWED: usize = 1_024;

/// Children of all supervisors in one spec together: more could not run, and a short message can name
/// one list again and again.
const MAX_SPECS: u32 = DEFAULT_SUBTREE_CELLS;

/// Bytes of the name of a grant: more than the longest reserved one with the name of a cell in it. It is kept with the
/// capability as long as somebody can start the cell.
const MAX_GRANT_NAME: usize = 512;

/// Before the name of the one cell that a child may send messages to.
pub(crate) const MAIL_TO: &str = "wetware:cell/mail/";

/// Before the name of the one cell that a child may link with, monitor and signal, besides what is below it.
pub(crate) const PROCESS: &str = "wetware:cell/process/";

fn refused(why: impl std::fmt::Display) -> Error {
    Error::failed(why.to_string())
}

/// The spec of a cell that serves messages.
pub(crate) async fn cell(context: &Context, spec: cell_capnp::spec::Reader<'_>) -> Result<(Spec, Serving), Error> {
    let (wasm, program) = match spec.get_program().which()? {
        cell_capnp::spec::program::Wasm(wasm) => (program_bytes(wasm?)?, None),
        cell_capnp::spec::program::Loaded(client) => {
            let loaded = shelf::program_of(client?).await;
            let loaded =
                loaded.ok_or_else(|| refused("the program is none that `Executor.load` of this node returned"))?;
            (loaded.wasm().clone(), Some(loaded.program().clone()))
        }
    };
    let mut room = MAX_STRINGS;
    let args = texts(spec.get_args()?, &mut room)?;
    let env = environment(spec.get_env()?, &mut room)?;
    // The bytes of a `Program` are paid for already, and shared.
    let own = if program.is_some() { 0 } else { wasm.len() };
    let wasm = paid(wasm, own + MAX_STRINGS - room, &context.guest.account)?;
    if spec.get_publish() && !context.grants_for_children().publish {
        return Err(context.denied("publishing cells"));
    }
    let names: Vec<Name> = name(context, spec.get_name()?)?.into_iter().collect();
    let parent = context.limits()?;
    let (grants, handed) = grants(context, spec.get_grants()?).await?;
    let spec_name = names.first().map_or_else(|| format!("child of {}", context.guest.id), ToString::to_string);
    let serving = serving(spec.get_async(), spec.get_mailbox()?)?;
    let limits = limits(&parent, spec.get_limits()?)?;
    let publish = if spec.get_publish() {
        Some(publish(context, names.first(), spec.get_allow()?, serving.mode, &limits)?)
    } else if spec.get_allow()?.is_empty() {
        None
    } else {
        return Err(refused("allow: names peers that may call the cell, but it is not to be published"));
    };
    let spec = Spec {
        name: spec_name,
        names,
        wasm,
        program,
        args,
        env,
        limits: Some(limits),
        files: context.guest.files.clone().filter(|_| grants.loader),
        grants,
        handed,
        publish,
    };
    Ok((spec, serving))
}

/// A program that is charged, with the texts of its spec, as long as somebody holds it: a supervisor does for ever.
fn paid(wasm: Bytes, bytes: usize, payer: &Account) -> Result<Bytes, Error> {
    let charge = payer.charge(bytes as u64).map_err(overloaded)?;
    Ok(Bytes::from_owner(Held::new(wasm, charge)))
}

/// What lets peers send messages to a new cell.
fn publish(
    context: &Context,
    name: Option<&Name>,
    allow: capnp::data_list::Reader<'_>,
    mode: Mode,
    limits: &Limits,
) -> Result<Publish, Error> {
    let name = name.cloned().ok_or_else(|| refused("publish: the spec has no name that peers could use"))?;
    if allow.len() as usize > MAX_ALLOWED {
        return Err(refused(format_args!("{} peers: at most {MAX_ALLOWED} can be named", allow.len())));
    }
    let allow = allow.iter().map(|peer| peer.map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
    let publication = Publication { name, allow, at_once: mode.at_once(limits), deadline: limits.deadline };
    let network = Arc::clone(&context.network);
    Ok(Arc::new(move |slot| network.publish(publication.clone(), slot)))
}

/// A program's bytes, if they are not too many.
pub(crate) fn program_bytes(wasm: &[u8]) -> Result<Bytes, Error> {
    if wasm.len() > MAX_PROGRAM {
        return Err(refused(format_args!("a program of {} bytes: at most {MAX_PROGRAM} are taken", wasm.len())));
    }
    Ok(Bytes::copy_from_slice(wasm))
}

/// The name of a spec, if it has one: the cell will be found by it, so it takes the grant for names.
fn name(context: &Context, text: capnp::text::Reader<'_>) -> Result<Option<Name>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = Name::new(text.to_str()?).map_err(refused)?;
    if context.grants_for_children().registry {
        Ok(Some(name))
    } else {
        Err(context.denied("a name for a cell, by wetware:cell/registry,"))
    }
}

fn serving(live: bool, mailbox: mailbox::Reader<'_>) -> Result<Serving, Error> {
    let mailbox_size = match usize::try_from(mailbox.get_capacity()).unwrap_or(usize::MAX) {
        0 => DEFAULT_CAPACITY,
        size if size > MAX_CAPACITY => {
            return Err(refused(format_args!("a mailbox for {size} messages: at most {MAX_CAPACITY} may wait")));
        }
        size => size,
    };
    let overflow = match mailbox.get_overflow()? {
        mailbox::Overflow::Wait => Overflow::Wait,
        mailbox::Overflow::Reject => Overflow::Reject,
        mailbox::Overflow::DropOldest => Overflow::DropOldest,
    };
    let mode = if live { Mode::Async } else { Mode::Sync };
    Ok(Serving { mode, mailbox: mailbox_size, overflow })
}

/// Limits as they are asked for.
pub(crate) fn wishes(wanted: cell_capnp::limits::Reader<'_>) -> Narrowing {
    fn some<T: Default + PartialEq>(wanted: T) -> Option<T> {
        Some(wanted).filter(|wanted| *wanted != T::default())
    }
    Narrowing {
        memory: some(wanted.get_memory()),
        deadline: some(wanted.get_deadline().into()),
        cpu: some(wanted.get_cpu().into()),
        children: some(wanted.get_children()),
        subtree_cells: some(wanted.get_subtree_cells()),
        subtree_memory: some(wanted.get_subtree_memory()),
        message_size: some(wanted.get_message_size()),
        instances: some(wanted.get_instances()),
        held: some(wanted.get_held()),
    }
}

/// What a child may use: what it asks for, the defaults of cells that serve messages, or else what its parent has.
fn limits(parent: &Limits, wanted: cell_capnp::limits::Reader<'_>) -> Result<Limits, Error> {
    let mut narrowing = wishes(wanted);
    narrowing.memory.get_or_insert(DEFAULT_MEMORY.min(parent.memory));
    let mut limits = parent.narrowed(&narrowing).map_err(refused)?;
    limits.deadline = limits.deadline.or(Some(DEFAULT_DEADLINE));
    Ok(limits)
}

/// What a child may do: the capabilities that it is handed, and what reserved names stand for.
async fn grants(
    context: &Context,
    list: capnp::struct_list::Reader<'_, cell_capnp::grant::Owned>,
) -> Result<(Grants, Option<Handed>), Error> {
    if list.len() as usize > MAX_GRANTS {
        return Err(refused(format_args!("{} grants: at most {MAX_GRANTS} can be handed over", list.len())));
    }
    let own = context.grants_for_children();
    let mut grants = Grants { host: [HostMethod::Grant].into(), ..Grants::none() };
    let mut named = HashMap::new();
    for grant in list {
        let name = grant.get_name()?;
        if name.len() > MAX_GRANT_NAME {
            return Err(refused(format_args!(
                "a grant with a name of {} bytes: at most {MAX_GRANT_NAME} are taken",
                name.len()
            )));
        }
        let name = name.to_str()?;
        if grant.has_cap() {
            if name.starts_with("wetware:") {
                return Err(refused(format_args!(
                    "the grant {name} is a reserved name: it comes without a capability"
                )));
            }
            // A promise of this node is waited for: what a cell is handed is nested in nothing.
            let client: Client = membrane::settled(grant.get_cap().get_as_capability()?).await;
            if named.insert(name.to_owned(), client).is_some() {
                return Err(refused(format_args!("two grants have the name {}", text::quoted(name))));
            }
        } else {
            reserved(&mut grants, context, &own, name)?;
        }
    }
    let handed = (!named.is_empty()).then(|| Arc::new(Key::new(named, context.vats.clone())) as Handed);
    Ok((grants, handed))
}

/// Adds what a reserved name stands for, if the parent has it.
fn reserved(child: &mut Grants, context: &Context, parent: &Grants, name: &str) -> Result<(), Error> {
    let has = match name {
        "wetware:cell/self" => {
            child.identity = true;
            parent.identity
        }
        "wetware:cell/mail" => {
            child.mail = parent.mail.clone();
            parent.mail != Reach::Nobody
        }
        "wetware:cell/registry" => {
            child.registry = parent.registry;
            let method = HostMethod::Registry;
            child.host.extend(parent.host.contains(&method).then_some(method));
            parent.registry
        }
        "wetware:cell/process" => {
            child.process.get_or_insert(Reach::Nobody);
            parent.process.is_some()
        }
        "wetware:cell/log" => {
            child.log = true;
            parent.log
        }
        "wetware:peer/publish" => {
            child.publish = true;
            parent.publish
        }
        "wetware:loader/loader" => {
            child.loader = true;
            parent.loader
        }
        "wetware:peer/host" => {
            child.host.extend(&parent.host);
            child.executor.extend(&parent.executor);
            !parent.host.is_empty()
        }
        _ => {
            if let Some(to) = name.strip_prefix(MAIL_TO) {
                add(&mut child.mail, &parent.mail, to)?
            } else if let Some(to) = name.strip_prefix(PROCESS) {
                let parent = parent.process.as_ref().unwrap_or(&Reach::Nobody);
                add(child.process.get_or_insert(Reach::Nobody), parent, to)?
            } else {
                return Err(refused(format_args!(
                    "the grant {} has no capability, and its name is none of those that need none",
                    text::quoted(name)
                )));
            }
        }
    };
    if has { Ok(()) } else { Err(context.denied(format_args!("{name} cannot be handed on, it"))) }
}

/// Adds one cell to those that a child reaches. Whether the parent reaches it.
fn add(child: &mut Reach, parent: &Reach, name: &str) -> Result<bool, Error> {
    let name = Name::new(name).map_err(refused)?;
    let has = parent.has(&name);
    match child {
        Reach::Everybody => {}
        Reach::Names(names) => drop(names.insert(name)),
        Reach::Nobody => *child = Reach::Names([name].into()),
    }
    Ok(has)
}

/// A supervisor and its first children.
pub(crate) async fn supervision(context: &Context, options: options::Reader<'_>) -> Result<Supervision, Error> {
    nested(context, options, &mut { MAX_SPECS }).await
}

/// The spec of a child.
pub(crate) async fn child(context: &Context, spec: child_spec::Reader<'_>) -> Result<ChildSpec, Error> {
    one_child(context, spec, &mut { MAX_SPECS }).await
}

/// A supervisor for whose children, and theirs, there is as much room.
async fn nested(context: &Context, options: options::Reader<'_>, room: &mut u32) -> Result<Supervision, Error> {
    let strategy = match options.get_strategy()? {
        options::Strategy::OneForOne => Strategy::OneForOne,
        options::Strategy::OneForAll => Strategy::OneForAll,
        options::Strategy::RestForOne => Strategy::RestForOne,
        options::Strategy::SimpleOneForOne => Strategy::SimpleOneForOne,
    };
    let auto_shutdown = match options.get_auto_shutdown()? {
        options::AutoShutdown::Never => AutoShutdown::Never,
        options::AutoShutdown::AnySignificant => AutoShutdown::AnySignificant,
        options::AutoShutdown::AllSignificant => AutoShutdown::AllSignificant,
    };
    let period = Duration::from_millis(options.get_period().into());
    let mut supervision = Supervision::new(Options {
        auto_shutdown,
        ..Options::new(strategy).intensity(options.get_intensity(), period)
    });
    supervision.name = name(context, options.get_name()?)?;
    if strategy == Strategy::SimpleOneForOne {
        if !options.has_template() {
            return Err(refused("a simple-one-for-one supervisor needs a template"));
        }
        supervision = supervision.child(one_child(context, options.get_template()?, room).await?);
    }
    let children = options.get_children()?;
    if children.len() > DEFAULT_CHILDREN {
        return Err(refused(format_args!("{} children: a supervisor may have {DEFAULT_CHILDREN}", children.len())));
    }
    for spec in children {
        supervision = supervision.child(one_child(context, spec, room).await?);
    }
    Ok(supervision)
}

async fn one_child(context: &Context, spec: child_spec::Reader<'_>, room: &mut u32) -> Result<ChildSpec, Error> {
    let too_many =
        || refused(format_args!("the spec names more than {MAX_SPECS} children, those of supervisors in it included"));
    *room = room.checked_sub(1).ok_or_else(too_many)?;
    let mut id = spec.get_id()?.to_str()?;
    let (from, kind) = match spec.get_child().which()? {
        child_spec::child::Cell(wanted) => {
            let wanted = wanted?;
            if id.is_empty() {
                id = wanted.get_id()?.to_str()?;
            }
            let (spec, serving) = Box::pin(cell(context, wanted)).await?;
            (Blueprint::Cell(Arc::new(CellBlueprint::new(spec, serving))), Kind::Worker)
        }
        child_spec::child::Supervisor(options) => {
            let supervision = Box::pin(nested(context, options?, room)).await?;
            (Blueprint::Supervisor(Arc::new(supervision)), Kind::Supervisor)
        }
    };
    let id = match id {
        "" => ChildId::new(format!("child-{}", context.executor.directory().next_id())),
        id => ChildId::new(id),
    };
    let new = match kind {
        Kind::Worker => ChildSpec::worker,
        Kind::Supervisor => ChildSpec::supervisor,
    };
    let mut child = new(id.map_err(refused)?, from);
    child.restart = match spec.get_restart()? {
        cell_capnp::Restart::Temporary => Restart::Temporary,
        cell_capnp::Restart::Transient => Restart::Transient,
        cell_capnp::Restart::Permanent => Restart::Permanent,
    };
    child.shutdown = match spec.get_shutdown().which()? {
        child_spec::shutdown::Timeout(milliseconds) => Shutdown::Timeout(Duration::from_millis(milliseconds.into())),
        child_spec::shutdown::BrutalKill(()) => Shutdown::BrutalKill,
        child_spec::shutdown::Infinity(()) => Shutdown::Infinity,
    };
    child.significant = spec.get_significant();
    if spec.has_backoff() {
        let backoff = spec.get_backoff()?;
        let base = Duration::from_millis(backoff.get_base().into());
        let cap = Duration::from_millis(backoff.get_cap().into()).max(base);
        child.backoff =
            Some(Backoff { base, factor: backoff.get_factor().into(), cap, jitter: backoff.get_jitter().into() });
    }
    Ok(child)
}

/// Whether the spec of an instance says what it is started from, in the place of its template.
pub(crate) fn names_program(spec: child_spec::Reader<'_>) -> Result<bool, Error> {
    Ok(match spec.get_child().which()? {
        child_spec::child::Cell(cell) => match cell?.get_program().which()? {
            cell_capnp::spec::program::Wasm(wasm) => !wasm?.is_empty(),
            cell_capnp::spec::program::Loaded(_) => true,
        },
        child_spec::child::Supervisor(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use ww_core::account::Holder;

    use super::*;

    #[test]
    fn what_a_spec_holds_is_charged_until_its_last_copy_is_gone() {
        let account = Account::root(Holder::Node, 10_000);
        let wasm = paid(Bytes::from(vec![7; 1_000]), 6_000, &account).expect("room");
        let error = paid(Bytes::new(), 6_000, &account).expect_err("no room");
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        let copy = wasm.clone();
        drop(wasm);
        assert_eq!((account.held(), &copy[..]), (6_000, &[7; 1_000][..]));
        drop(copy);
        assert_eq!(account.held(), 0);
    }
}
