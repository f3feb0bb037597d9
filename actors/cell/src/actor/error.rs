//! The errors that several interfaces of `wetware:cell` have in common.

use std::fmt;

use wasmtime::component::{ComponentType, Lift, Lower};
use ww_core::text;

/// The one error of interfaces whose functions cannot fail otherwise.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Denied {
    #[component(name = "denied")]
    Denied,
}

/// Denied, or refused for a reason that is a text for a person.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Error {
    #[component(name = "denied")]
    Denied,
    #[component(name = "refused")]
    Refused(String),
}

impl Error {
    pub(super) fn refused(why: impl fmt::Display) -> Self {
        Self::Refused(text::line(why, text::MAX_ERROR))
    }
}
