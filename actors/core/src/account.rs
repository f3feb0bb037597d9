//! Accounts of bytes: what the node holds for somebody is charged to an account before it is taken.
//!
//! Every principal has one: a cell, a client, a peer, an address, all strangers together. Accounts form a tree, as cells
//! do: what is charged to one counts for every account above it, and each of them may refuse. A [`Charge`] is the proof
//! that something was paid for. It lives as long as what it stands for, and gives the bytes back when it is dropped.
//!
//! An account settles with the one above it in steps of [`STEP`] bytes: of many small charges one in a thousand climbs
//! up. So an account costs the one above it at least one step, which bounds the number of accounts as well.
//!
//! Charges take no lock and wait for nobody. With the feature `uncharged` they are left out, for measurements of what
//! they cost.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use thiserror::Error;

use crate::{CellId, limits::MIB};

/// Bytes that an account settles with the one above it at once: more than the small messages that wait for a busy cell,
/// little enough for a thousand accounts below one.
pub const STEP: u64 = 32 << 10;

/// Bytes that a node holds for all its principals together, unless its configuration says otherwise: a third of the
/// memory of a small machine.
pub const DEFAULT_NODE: u64 = 1024 * MIB;

/// Bytes that a node holds for one cell and all below it, besides linear memory: the largest program that travels over
/// a connection, twice, because it is copied once on its way, and some data besides.
pub const DEFAULT_CELL: u64 = 128 * MIB;

/// Bytes that a node holds for one client of this user and all that it started.
pub const DEFAULT_CLIENT: u64 = 256 * MIB;

/// Bytes that a node holds for all connections of one peer that its configuration names, and all that the peer started.
pub const DEFAULT_PEER: u64 = 128 * MIB;

/// Bytes that a node holds for the messages of all peers of one address that it does not know.
pub const DEFAULT_ADDRESS: u64 = 16 * MIB;

/// The same for all addresses together.
pub const DEFAULT_STRANGERS: u64 = 128 * MIB;

/// Bytes of all messages that wait in one mailbox: a part of its cell's account.
pub const DEFAULT_MAILBOX: u64 = 32 * MIB;

/// Set in what an account holds until it is [closed](Account::close): it costs the one above it a [`STEP`] at least.
const OPEN: u64 = 1 << 63;

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The node: all that it holds for anybody.
    Node,
    /// A cell, with all that it started.
    Cell(CellId),
    /// A client of this user, or one connection of a peer that the configuration names, with all that it started.
    Client(CellId),
    /// A peer that the configuration names, with all its connections, by its id.
    Peer(Arc<str>),
    /// All peers together that the node does not know, for their messages to published cells.
    Strangers,
    /// What comes from one address, by its text.
    Address(Arc<str>),
    /// A part of the account above it, by what it is for.
    Part(&'static str),
}

/// An account. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    holder: Holder,
    most: u64,
    /// Bytes that are held, and [`OPEN`].
    held: AtomicU64,
    above: Option<Account>,
}

/// Bytes that were charged to an account, until this is dropped.
#[derive(Debug, Default)]
#[must_use = "bytes are given back when their charge is dropped"]
pub struct Charge {
    /// `None` where nobody pays: nothing was charged.
    account: Option<Account>,
    bytes: u64,
}

/// Something together with the charge for it.
#[derive(Debug, Default)]
pub struct Held<T> {
    /// What is held.
    pub value: T,
    _charge: Charge,
}

/// Room for bytes that may come, which an account pays for as a whole, once, when more than a little of it is needed.
/// Nobody has to pay for the default.
#[derive(Debug, Default)]
pub struct Capacity {
    /// `None` if nobody has to pay, or it is paid for.
    payer: Option<Account>,
    charge: Charge,
}

/// An account has no room for what was to be held.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{wanted} more bytes cannot be held for {holder}: {held} of {most} are held already")]
pub struct Overdrawn {
    /// Whose account it is: the one that was charged, or one above it.
    pub holder: Holder,
    /// Bytes that were to be held.
    pub wanted: u64,
    /// Bytes that it held by then.
    pub held: u64,
    /// Bytes that it may hold.
    pub most: u64,
}

impl Account {
    /// An account with nothing above it, for at most `most` bytes.
    pub fn root(holder: Holder, most: u64) -> Self {
        Self::new(holder, most, None)
    }

    /// An account without a bound, for what has no node: tests, and programs that run cells without an executor.
    pub fn unlimited() -> Self {
        Self::root(Holder::Node, u64::MAX)
    }

    /// An account below this one, for at most `most` bytes of what is left here.
    ///
    /// # Errors
    ///
    /// Where there is no room here for one more [`STEP`].
    pub fn below(&self, holder: Holder, most: u64) -> Result<Self, Overdrawn> {
        self.add(STEP)?;
        Ok(Self::new(holder, most, Some(self.clone())))
    }

    fn new(holder: Holder, most: u64, above: Option<Self>) -> Self {
        Self(Arc::new(Inner { holder, most: most.min(OPEN - 1), held: AtomicU64::new(OPEN), above }))
    }

    /// Its principal has gone: it costs the one above it no more than what is still held, however long somebody knows
    /// it. What is held goes on to count until it is given back.
    pub fn close(&self) {
        let before = self.0.held.fetch_and(!OPEN, Ordering::Relaxed);
        if let Some(above) = &self.0.above {
            above.remove(settled(before) - settled(before & !OPEN));
        }
    }

    /// Charges this many bytes, which are given back when what is returned is dropped.
    ///
    /// # Errors
    ///
    /// Where this account or one above it has no room for them. Then nothing has changed.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Overdrawn> {
        self.add(bytes)?;
        Ok(Charge { account: Some(self.clone()), bytes })
    }

    /// Whether this many bytes can be charged so that of this account, and of each one above that they are taken of, one
    /// part in `parts` is left for what its holder does itself.
    ///
    /// # Errors
    ///
    /// Where less would be left.
    pub fn leaves_one_in(&self, parts: u64, mut bytes: u64) -> Result<(), Overdrawn> {
        let mut account = self;
        while bytes > 0 && !cfg!(feature = "uncharged") {
            let Inner { holder, most, held, above } = &*account.0;
            let before = held.load(Ordering::Relaxed);
            let (open, now) = (before & OPEN, before & !OPEN);
            let after = now.saturating_add(bytes);
            if after > most - most / parts {
                return Err(Overdrawn { holder: holder.clone(), wanted: bytes, held: now, most: *most });
            }
            let Some(above) = above else { break };
            bytes = settled(after | open) - settled(before);
            account = above;
        }
        Ok(())
    }

    /// Whose account it is.
    pub fn holder(&self) -> &Holder {
        &self.0.holder
    }

    /// Bytes that are held now.
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed) & !OPEN
    }

    /// Bytes that it may hold.
    pub fn most(&self) -> u64 {
        self.0.most
    }

    /// Identifies the largest part of the node that it is in, as long as that has an account: a client with all that it
    /// started, or an image's own cell.
    pub fn part(&self) -> usize {
        let mut part = self;
        while let Some(above) = part.0.above.as_ref().filter(|above| above.0.above.is_some()) {
            part = above;
        }
        Arc::as_ptr(&part.0).addr()
    }

    fn add(&self, bytes: u64) -> Result<(), Overdrawn> {
        if bytes == 0 || cfg!(feature = "uncharged") {
            return Ok(());
        }
        let Inner { holder, most, held, above } = &*self.0;
        let mut before = held.load(Ordering::Relaxed);
        loop {
            let (open, now) = (before & OPEN, before & !OPEN);
            let after = now.saturating_add(bytes);
            if after > *most {
                return Err(Overdrawn { holder: holder.clone(), wanted: bytes, held: now, most: *most });
            }
            let after = after | open;
            // Taken above first, so that nothing has to be undone here if there is no room.
            let steps = settled(after) - settled(before);
            if let Some(above) = above {
                above.add(steps)?;
            }
            match held.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => {
                    if let Some(above) = above {
                        above.remove(steps);
                    }
                    before = now;
                }
            }
        }
    }

    fn remove(&self, bytes: u64) {
        if bytes == 0 || cfg!(feature = "uncharged") {
            return;
        }
        let before = self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(above) = &self.0.above {
            above.remove(settled(before) - settled(before - bytes));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Every charge holds the account, so that nothing is held any more: the first step is left, unless it was closed.
        if let Some(above) = &self.above {
            above.remove(settled(*self.held.get_mut()));
        }
    }
}

/// What an account that holds so many bytes has taken of the one above it, a step at least while it is open.
fn settled(held: u64) -> u64 {
    (held & !OPEN).div_ceil(STEP).max(held / OPEN) * STEP
}

impl Charge {
    /// For what nobody pays.
    pub fn none() -> Self {
        Self::default()
    }

    /// Bytes that were charged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges for this many bytes instead: more of them, or fewer.
    ///
    /// # Errors
    ///
    /// Where there is no room for more. Then nothing has changed.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Overdrawn> {
        let Some(account) = &self.account else { return Ok(()) };
        match bytes.checked_sub(self.bytes) {
            Some(more) => account.add(more)?,
            None => account.remove(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Charges for this many more.
    ///
    /// # Errors
    ///
    /// As [`Charge::resize`].
    pub fn grow(&mut self, by: u64) -> Result<(), Overdrawn> {
        self.resize(self.bytes.saturating_add(by))
    }

    /// Gives up to this many bytes back.
    pub fn shrink(&mut self, by: u64) {
        let by = by.min(self.bytes);
        if let Some(account) = &self.account {
            account.remove(by);
            self.bytes -= by;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.remove(self.bytes);
        }
    }
}

impl<T> Held<T> {
    /// Something, and the charge for it.
    pub fn new(value: T, charge: Charge) -> Self {
        Self { value, _charge: charge }
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.value.as_ref()
    }
}

impl Capacity {
    /// One that an account has to pay for.
    pub fn of(payer: &Account) -> Self {
        Self { payer: Some(payer.clone()), charge: Charge::none() }
    }

    /// Makes an account the payer, unless another one has paid.
    pub fn charge_to(&mut self, payer: &Account) {
        if self.charge.bytes() == 0 {
            self.payer = Some(payer.clone());
        }
    }

    /// Whether the capacity of this many bytes may be used: it is paid for, or nobody has to pay, or it `is_needed` and the
    /// payer has room for it.
    pub fn covers(&mut self, is_needed: bool, bytes: usize) -> bool {
        let Some(payer) = &self.payer else { return true };
        if is_needed && let Ok(charge) = payer.charge(bytes as u64) {
            *self = Self { payer: None, charge };
            return true;
        }
        false
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("the node"),
            Self::Cell(id) => write!(f, "cell {id}"),
            Self::Client(id) => write!(f, "client {id}"),
            Self::Peer(id) => write!(f, "the peer {id}"),
            Self::Strangers => f.write_str("peers that the node does not know"),
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Part(what) => f.write_str(what),
        }
    }
}

#[cfg(all(test, not(feature = "uncharged")))]
mod tests;
