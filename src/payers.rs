//! Who pays for what is held of the messages of peers, between the network and the mailbox of a cell.
//!
//! A peer that the configuration names, or that the node dialled, has an account of its own. The peers of an address that
//! the node does not know have one together, below that of all strangers: as many keys as anybody makes hold no more. A
//! stream holds a little without charge; one whose payer has no room is slow, and not refused.
//!
//! Bounded are the accounts that are remembered ([`REMEMBERED`]): of more, those that hold nothing are forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::gate::{Caller, Principal};
use ww_core::{
    Account,
    account::{DEFAULT_ADDRESS, DEFAULT_MAILBOX, DEFAULT_STRANGERS, Holder, Overdrawn},
};

/// Accounts that are remembered before those that hold nothing are forgotten: some 200 bytes each, and a step of the
/// account above.
const REMEMBERED: usize = 256;

/// Bytes that are held for one peer that is known: as many as wait in one mailbox.
const KNOWN_PEER: u64 = DEFAULT_MAILBOX;

/// The accounts of peers. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Payers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Account,
    strangers: Option<Account>,
    accounts: Mutex<HashMap<Principal, Account>>,
}

impl Payers {
    /// The accounts of peers below that of a node.
    pub(crate) fn new(node: Account) -> Self {
        let strangers = node.below(Holder::Strangers, DEFAULT_STRANGERS).ok();
        Self(Arc::new(Inner { node, strangers, accounts: Mutex::default() }))
    }

    /// The account that pays for a caller.
    pub(crate) fn of(&self, caller: Caller) -> Account {
        // An account with no room left for any holds nothing beyond what is free.
        self.find(caller).unwrap_or_else(|_| Account::root(Holder::Strangers, 0))
    }

    fn find(&self, caller: Caller) -> Result<Account, Overdrawn> {
        let Inner { node, strangers, accounts } = &*self.0;
        let payer = caller.principal();
        // Nothing panics while the lock is held.
        let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&payer) {
            return Ok(account.clone());
        }
        if accounts.len() >= REMEMBERED {
            accounts.retain(|_, account| account.held() > 0);
        }
        let account = match payer {
            Principal::Known(_) => node.below(Holder::Part("messages of a peer"), KNOWN_PEER)?,
            Principal::Address(origin) => {
                let above = strangers.as_ref().unwrap_or(node);
                above.below(Holder::Address(origin.to_string().into()), DEFAULT_ADDRESS)?
            }
        };
        accounts.insert(payer, account.clone());
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ww_net::{Origin, PeerId};

    use super::*;

    fn stranger(last: u8) -> Caller {
        Caller::Stranger(PeerId::random(), Origin::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn as_many_keys_as_one_likes_hold_what_their_address_may() {
        let node = Account::root(Holder::Node, 1 << 30);
        let payers = Payers::new(node.clone());
        let quiet = node.held();
        let mut charges: Vec<_> = (0..40).map_while(|_| payers.of(stranger(1)).charge(1 << 20).ok()).collect();
        assert_eq!(charges.len() as u64, DEFAULT_ADDRESS >> 20);
        charges.extend((2..100).flat_map(|last| {
            (0..40).map_while(|_| payers.of(stranger(last)).charge(1 << 20).ok()).collect::<Vec<_>>()
        }));
        assert!(charges.len() as u64 <= DEFAULT_STRANGERS >> 20, "all strangers together: {}", charges.len());
        let known = payers.of(Caller::Peer(PeerId::random())).charge(1 << 20);
        assert!(known.is_ok(), "who is known has room");
        drop((charges, known));
        for _ in 0..2 * REMEMBERED {
            assert!(payers.of(Caller::Peer(PeerId::random())).charge(1).is_ok());
        }
        assert!(payers.0.accounts.lock().unwrap().len() <= REMEMBERED);
        assert!(node.held() <= quiet + (REMEMBERED as u64 + 1) * ww_core::account::STEP, "{}", node.held());
    }
}
