//! What all fuzz targets share, and the border for text of others. No part of the interface.

use std::time::Duration;

use tokio::{task::yield_now, time::timeout};

use crate::{Account, text};

/// How long anything may take that a fuzz target waits for, on a machine that does much else.
pub const SOON: Duration = Duration::from_secs(20);

/// Bounds that a caller may have, the lowest one first.
const BOUNDS: [usize; 4] = [40, 64, text::MAX_NAME, text::MAX_ERROR];

/// Takes bytes as a text of others: what comes out controls nothing, is no longer than it may be, and stays as it is at
/// the next border.
pub fn text(bytes: &[u8]) {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for most in BOUNDS {
        let line = text::bytes(bytes, most);
        assert!(line.len() <= most, "{} bytes of {most}", line.len());
        assert!(!line.contains(|c: char| c.is_control() || turns(c)), "{line:?}");
        assert_eq!(text::line(&line, most), line, "twice is once");
        let lines = text::bytes_in_lines(bytes, most);
        assert!(lines.len() <= most, "{} bytes of {most}", lines.len());
        assert!(!lines.contains(|c: char| (c.is_control() && !"\n\t".contains(c)) || turns(c)), "{lines:?}");
    }
}

/// Waits until nothing is held any more for a principal that is gone.
///
/// # Panics
///
/// Where something still is after [`SOON`].
pub async fn given_back(account: &Account) {
    let empty = async {
        while account.held() > 0 {
            yield_now().await;
        }
    };
    let is_empty = timeout(SOON, empty).await.is_ok();
    assert!(is_empty, "{} bytes are held for {}, which is gone", account.held(), account.holder());
}
