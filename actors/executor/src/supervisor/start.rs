//! How a supervisor comes to be: itself, then its place in the tree, then its first children.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::oneshot;
use ww_cell::{Notices, Slot};
use ww_core::{
    Account, Limits, Name,
    exit::{self, Reason},
    lend,
    supervisor::Strategy,
    task,
};

use super::{
    Driver, Inbox, SupervisorHandle,
    inbox::{Arriving, Waiting},
    retries::Retries,
};
use crate::{Owner, SpawnError, Supervision, executor::Shared};

/// A supervisor that has no place in the tree yet.
pub(super) struct Unborn {
    driver: Driver,
    arriving: Arriving,
    notices: Notices,
}

/// Starts a supervisor and waits until its first children have started.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    owner: Owner,
    supervision: &Supervision,
) -> Result<SupervisorHandle, SpawnError> {
    let slot = new_slot(shared, supervision.name.as_ref(), &shared.ownership.account(owner)?)?;
    let begun = create(shared, supervision, slot.clone(), None).and_then(|(handle, unborn)| {
        let ready = join(shared, owner, supervision.limits.clone(), &handle, unborn)?;
        Ok((handle, ready))
    });
    match begun {
        Ok((handle, ready)) => {
            started(&handle, ready).await.map_err(SpawnError::NotStarted)?;
            Ok(handle)
        }
        Err(error) => {
            shared.runtime.directory().remove_slot(&slot, &error.reason());
            Err(error)
        }
    }
}

/// Where a supervisor lives: what has its name, and stands for it in events. Nobody serves it.
pub(super) fn new_slot(shared: &Shared, name: Option<&Name>, account: &Account) -> Result<Slot, SpawnError> {
    let directory = shared.runtime.directory();
    let slot = directory.new_slot_not_served(account);
    if let Some(name) = name
        && let Err(error) = directory.name_slot(&slot, name.clone())
    {
        directory.remove_slot(&slot, &Reason::start_failed(&error));
        return Err(SpawnError::Refused(error.into()));
    }
    Ok(slot)
}

/// Makes a supervisor, which has no place in the tree yet. With a supervisor above it, its slot is that
/// one's.
pub(super) fn create(
    shared: &Arc<Shared>,
    supervision: &Supervision,
    own: Slot,
    supervisor: Option<Inbox>,
) -> Result<(SupervisorHandle, Unborn), SpawnError> {
    let (native, notices) = shared.runtime.directory().enter_slot(&own);
    let (id, slot) = (native.id(), own.id());
    let machine = match supervision.machine(id.get()) {
        Ok(machine) => machine,
        Err(invalid) => {
            native.end(&Reason::start_failed(&invalid));
            return Err(invalid.into());
        }
    };
    // What links it to others is never its own end: it decides itself.
    native.trap_exits(true);
    let (waiters, exit) = exit::channel();
    let (executor, clock) = (Arc::downgrade(shared), Arc::clone(&shared.clock));
    let (inbox, arriving) = Inbox::new();
    let driver = Driver {
        id,
        own,
        native: Some(native),
        inbox: inbox.clone(),
        waiting_for: Waiting::new(),
        machine,
        limits: Limits::default(),
        account: shared.runtime.account().clone(),
        executor,
        clock,
        places: HashMap::new(),
        lives: HashMap::new(),
        ids: HashMap::new(),
        waiting: VecDeque::new(),
        starting: 0,
        more: false,
        retries: Retries::default(),
        timers: HashMap::new(),
        calls: HashMap::new(),
        next_call: 0,
        ready: None,
        started: false,
        supervisor,
        waiters: Some(waiters),
        done: false,
    };
    let simple = supervision.options.strategy == Strategy::SimpleOneForOne;
    Ok((SupervisorHandle::new(id, slot, simple, exit, inbox), Unborn { driver, arriving, notices }))
}

/// Takes a place in the tree, and begins. What is returned resolves when the first children have started.
pub(super) fn join(
    shared: &Shared,
    owner: Owner,
    limits: Option<Limits>,
    handle: &SupervisorHandle,
    unborn: Unborn,
) -> Result<oneshot::Receiver<()>, SpawnError> {
    let Unborn { mut driver, arriving, notices } = unborn;
    let (ready, started) = oneshot::channel();
    (driver.limits, driver.account) = match shared.ownership.adopt(owner, handle.id(), limits, handle.inbox()) {
        Ok(given) => given,
        Err(error) => {
            if let Some(native) = driver.native.take() {
                native.end(&Reason::start_failed(&error));
            }
            return Err(error);
        }
    };
    driver.ready = Some(ready);
    let kind = task::Kind::detached("supervisor", handle.id());
    lend::spawn(shared.runtime.handle(), kind, &shared.supervisors, driver.run(arriving, notices));
    Ok(started)
}

/// Waits until the first children of a supervisor have started. The error is why it has ended instead.
pub(super) async fn started(handle: &SupervisorHandle, ready: oneshot::Receiver<()>) -> Result<(), Reason> {
    match ready.await {
        Ok(()) => Ok(()),
        Err(_) => Err(handle.exit().wait().await),
    }
}
