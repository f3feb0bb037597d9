//! How an image's own cell serves messages: what its `etc/ww.toml` says, within the bounds of the node.

use std::num::NonZeroU32;

use ww_cell::Mode;
use ww_core::limits::Exceeds;
use ww_image::Manifest;
use ww_net::{Audience, PeerId};

use crate::Serving;

/// Messages that may wait for a cell, at the most. Each may hold [as much as travels as a whole](ww_cell::message::MAX_WHOLE).
pub const MAX_MAILBOX: u32 = 4_096;

/// What an image wants, in a mode.
///
/// # Errors
///
/// Where it wants more than a node gives.
pub fn of_image(manifest: &Manifest, mode: Mode) -> Result<Serving, Exceeds> {
    let mut serving = Serving::new(mode);
    serving.mailbox = at_most("mailbox", manifest.cell.mailbox, MAX_MAILBOX)?.unwrap_or(serving.mailbox);
    serving.overflow = manifest.cell.overflow.unwrap_or(serving.overflow);
    Ok(serving)
}

fn at_most(limit: &'static str, wanted: Option<NonZeroU32>, most: u32) -> Result<Option<usize>, Exceeds> {
    match wanted.map(NonZeroU32::get) {
        Some(wanted) if wanted > most => Err(Exceeds { limit, wanted: wanted.into(), most: most.into() }),
        wanted => Ok(wanted.and_then(|wanted| usize::try_from(wanted).ok())),
    }
}

/// Who may call an image's own cell. The error says which id is none.
pub(crate) fn audience(manifest: &Manifest) -> Result<Audience, String> {
    let parse = |text: &String| {
        text.parse::<PeerId>().map_err(|error| {
            format!(
                "the image's etc/ww.toml, cell.allow: {text:?} is no peer id ({error}): expected one like 12D3KooW…"
            )
        })
    };
    manifest.cell.allow.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use ww_core::mailbox::Overflow;

    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text).expect("a manifest")
    }

    #[test]
    fn an_image_gets_what_it_wants_up_to_the_bounds() {
        let wanted = manifest("[cell]\nmailbox = 7\noverflow = 'reject'");
        let serving = of_image(&wanted, Mode::Sync).expect("within the bounds");
        assert_eq!((serving.mailbox, serving.overflow), (7, Overflow::Reject));
        let default = of_image(&manifest(""), Mode::Async).expect("nothing is wanted");
        assert_eq!((default.mailbox, default.overflow), (256, Overflow::Wait));
        let refused = of_image(&manifest("[cell]\nmailbox = 4097"), Mode::Sync).expect_err("too many");
        assert_eq!(refused.limit, "mailbox");
    }

    #[test]
    fn an_image_names_its_callers() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let some = audience(&manifest(&format!("[cell]\nallow = ['{one}']"))).expect("an id");
        assert!(some.admits(&one) && !some.admits(&other));
        for text in ["", "[cell]\nallow = []"] {
            assert_eq!(audience(&manifest(text)), Ok(Audience::All));
        }
        let error = audience(&manifest("[cell]\nallow = ['me']")).expect_err("no id");
        assert!(error.contains("\"me\" is no peer id"), "{error}");
    }
}
