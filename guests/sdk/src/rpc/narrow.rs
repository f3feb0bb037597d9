//! Narrowing capabilities before they are handed on, and taking them back.

use std::time::Duration;

use capnp::{Error, capability::FromClientHook, traits::HasTypeId};
use ww_schema::{
    grant_capnp::{narrowing, revoker},
    peer_capnp::host,
};

use super::spec::milliseconds;

/// What a capability can still do when it is handed on. Everything, until something is said.
///
/// ```no_run
/// # async fn example(host: ww_guest::peer_capnp::host::Client) -> Result<(), ww_guest::capnp::Error> {
/// use std::time::Duration;
/// use ww_guest::{peer_capnp::executor, rpc};
///
/// // `Executor.load` and `Executor.spawn`, for two cells of at most 1 MiB, until the hour is over.
/// let less = rpc::Narrowing::new()
///     .methods::<executor::Client>(&[2, 3])
///     .children(2)
///     .memory(1 << 20)
///     .expires(Duration::from_secs(3600));
/// let executor = rpc::Executor::of(&host).client().clone();
/// let (executor, revoker) = rpc::narrow(&host, executor, &less).await?;
/// // … hand it on, with `rpc::Cell::grant`, and later:
/// revoker.revoke("the hour is over").await?;
/// # drop(executor);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    methods: Vec<(u64, u16)>,
    grants: Vec<String>,
    memory: u64,
    deadline: Duration,
    children: u32,
    expires: Duration,
}

/// Takes a capability back that was narrowed. Dropping it does not.
#[derive(Clone)]
pub struct Revoker {
    client: revoker::Client,
}

/// A capability that can do less than `cap`, and the means to take it back.
///
/// # Errors
///
/// Where the cell may not narrow, or has narrowed as many as it may.
pub async fn narrow<C: FromClientHook>(host: &host::Client, cap: C, to: &Narrowing) -> Result<(C, Revoker), Error> {
    let mut request = host.narrow_request();
    request.get().init_cap().set_as_capability(cap.into_client_hook());
    to.write(request.get().init_to());
    let response = request.send().promise.await?;
    let response = response.get()?;
    Ok((response.get_cap().get_as_capability()?, Revoker { client: response.get_revoker()? }))
}

impl Narrowing {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves these methods of an interface, by their ordinals, and those of other calls to this. What was reached through
    /// the capability is bound by it where it has an interface that is named here.
    #[must_use]
    pub fn methods<I: HasTypeId>(mut self, ordinals: &[u16]) -> Self {
        self.methods.extend(ordinals.iter().map(|ordinal| (I::TYPE_ID, *ordinal)));
        self
    }

    /// Leaves an import that cells which are started through it may be given, by its reserved name.
    #[must_use]
    pub fn may(mut self, import: impl Into<String>) -> Self {
        self.grants.push(import.into());
        self
    }

    /// Bytes of linear memory that each cell gets at most which is started through it.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How long such a cell may take for a message at most.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many such cells there may be at once.
    #[must_use]
    pub fn children(mut self, children: u32) -> Self {
        self.children = children;
        self
    }

    /// How long it lasts.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires = after;
        self
    }

    fn write(&self, mut to: narrowing::Builder<'_>) {
        let mut methods = to.reborrow().init_methods(self.methods.len() as u32);
        for (index, &(interface, ordinal)) in (0..).zip(&self.methods) {
            let mut method = methods.reborrow().get(index);
            method.set_interface(interface);
            method.set_method(ordinal);
        }
        let mut grants = to.reborrow().init_grants(self.grants.len() as u32);
        for (index, name) in (0..).zip(&self.grants) {
            grants.set(index, name);
        }
        to.set_expires(u64::try_from(self.expires.as_millis()).unwrap_or(u64::MAX));
        let mut limits = to.init_limits();
        limits.set_memory(self.memory);
        limits.set_children(self.children);
        limits.set_deadline(milliseconds(self.deadline));
    }
}

impl Revoker {
    /// Breaks the capability, and all that was reached through it. Cells that were started through it end.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn revoke(&self, reason: &str) -> Result<(), Error> {
        let mut request = self.client.revoke_request();
        request.get().set_reason(reason);
        request.send().promise.await.map(drop)
    }

    /// The generated client, to hand it on.
    pub fn client(&self) -> &revoker::Client {
        &self.client
    }
}

impl From<revoker::Client> for Revoker {
    fn from(client: revoker::Client) -> Self {
        Self { client }
    }
}
