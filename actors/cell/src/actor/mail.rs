//! `wetware:cell/mail`: messages to other cells of the node.

use std::{future::ready, time::Duration};

use wasmtime::component::{ComponentType, Lift, Linker, Lower};
use ww_core::{CellId, mailbox::Refused};

use crate::{
    guest::Guest,
    message::Failure,
    own::{To, Undelivered},
};

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum Address {
    #[component(name = "name")]
    Name(String),
    #[component(name = "id")]
    Id(u64),
}

#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "denied")]
    Denied,
    #[component(name = "no-such-cell")]
    NoSuchCell,
    #[component(name = "full")]
    Full,
    #[component(name = "dropped")]
    Dropped,
    #[component(name = "too-large")]
    TooLarge(u64),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "deadlock")]
    Deadlock,
    #[component(name = "failed")]
    Failed(String),
    #[component(name = "ended")]
    Ended(String),
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/mail@0.1.0")?;
    // Whatever can be done at once is, so that the future is as small as what is left to wait for.
    instance.func_wrap_async("send", |store, (to, body): (Address, Vec<u8>)| {
        let guest = store.data();
        match guest.own.send(guest.current.as_ref(), &to.into(), body.into()) {
            Ok(Some(full)) => Box::new(async move { Ok((full.room().await.map_err(Error::from),)) }),
            sent => Box::new(ready(Ok((sent.map(drop).map_err(Error::from),)))),
        }
    })?;
    instance.func_wrap_async("request", |store, (to, body, timeout): (Address, Vec<u8>, Option<u64>)| {
        let guest = store.data();
        let timeout = timeout.map(Duration::from_millis);
        let requested = guest.own.request(guest.current.as_ref(), &to.into(), body.into(), timeout);
        Box::new(async move {
            let reply = match requested {
                Ok(requested) => requested.reply().await,
                Err(undelivered) => Err(undelivered),
            };
            Ok((reply.map(Vec::from).map_err(Error::from),))
        })
    })
}

impl From<Address> for To {
    fn from(address: Address) -> Self {
        match address {
            Address::Name(name) => Self::Name(name),
            Address::Id(id) => Self::Cell(CellId::new(id)),
        }
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::Denied => Self::Denied,
            Undelivered::NoSuchCell => Self::NoSuchCell,
            Undelivered::Failed(failure) => match failure {
                Failure::Guest(error) => Self::Failed(error.to_string()),
                Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason)) => Self::Ended(reason.to_string()),
                Failure::Refused(Refused::Dropped) => Self::Dropped,
                Failure::Refused(Refused::NotServed) => Self::NoSuchCell,
                Failure::Refused(_) => Self::Full,
                Failure::Timeout | Failure::TooSlow => Self::Timeout,
                Failure::TooLarge { most, .. } => Self::TooLarge(most as u64),
                Failure::Deadlock => Self::Deadlock,
            },
        }
    }
}
