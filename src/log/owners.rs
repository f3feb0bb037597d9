//! How much each owner may write to the log.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use tracing::{
    Event,
    field::{Field, Visit},
};
use ww_core::text;

/// Bytes a second that the log takes of one owner: more than a person reads, 5 GiB a day of one that never stops.
pub const RATE: u64 = 64 * 1024;

/// Bytes that an owner may write at once after a pause: a few hundred lines, as a start or an end makes them.
pub const BURST: u64 = 4 * RATE;

/// Bytes a second that the log takes of all owners together: a cell may start others, each an owner.
pub const ALL_RATE: u64 = 8 * RATE;

/// Bytes that all owners together may write at once after a pause.
pub const ALL_BURST: u64 = 4 * ALL_RATE;

/// Bytes a second that the log takes of all peers together, as a key costs nothing: half, so that cells are heard.
pub const PEERS_RATE: u64 = ALL_RATE / 2;

/// Bytes that all peers together may write at once after a pause.
pub const PEERS_BURST: u64 = ALL_BURST / 2;

/// Owners that have an account each, at a time; others share one until some have been silent for a while.
pub const MAX_OWNERS: usize = 1_024;

/// Between two reports of what was left out.
const REPORT: Duration = Duration::from_secs(1);

/// Fields that say whose line it is, the first before the others: who causes something before what it is caused to.
const FIELDS: [&str; 5] = ["peer", "client", "owner", "slot", "cell"];

/// The principal to which a line is charged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Nobody else.
    Node,
    /// One, by the field that names it, and its name.
    One(&'static str, String),
    /// Addresses of which no peer is known.
    Strangers,
    /// Those beyond the accounts that there are.
    Others,
}

/// What was left out of the log since the last report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) owner: Owner,
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// The accounts of all owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    accounts: HashMap<Owner, Account>,
    all: Option<Bucket>,
    peers: Option<Bucket>,
    /// Accounts from which something was left out that was not reported.
    owing: usize,
    next_report: Option<Instant>,
}

#[derive(Debug)]
struct Account {
    bucket: Bucket,
    lines: u64,
    bytes: u64,
}

/// Bytes that are left, which come back with time.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    burst: u64,
    left: u64,
    at: Instant,
}

impl Bucket {
    fn full(rate: u64, burst: u64, now: Instant) -> Self {
        Self { rate, burst, left: burst, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(passed.saturating_mul(self.rate) / 1_000).min(self.burst);
        // Only whole milliseconds are taken: the rest of this one counts later.
        self.at += Duration::from_millis(passed);
    }

    fn is_full(&self) -> bool {
        self.left == self.burst
    }
}

impl Owners {
    /// Charges a line: whether it is written, and what is to be said of lines that were not.
    pub(super) fn admit(&mut self, owner: Owner, bytes: usize, now: Instant) -> (bool, Vec<LeftOut>) {
        let bytes = bytes as u64;
        let owner = self.with_account(owner, now);
        let all = self.all.get_or_insert_with(|| Bucket::full(ALL_RATE, ALL_BURST, now));
        all.refill(now);
        let peers = self.peers.get_or_insert_with(|| Bucket::full(PEERS_RATE, PEERS_BURST, now));
        peers.refill(now);
        let of_peer = matches!(owner, Owner::One("peer", _) | Owner::Strangers);
        let of_node = owner == Owner::Node;
        let account = self.accounts.entry(owner).or_insert_with(|| {
            // What the node says of itself is bounded as well: others may make it talk.
            let (rate, burst) = if of_node { (ALL_RATE, ALL_BURST) } else { (RATE, BURST) };
            Account { bucket: Bucket::full(rate, burst, now), lines: 0, bytes: 0 }
        });
        account.bucket.refill(now);
        let admitted =
            account.bucket.left >= bytes && (of_node || all.left >= bytes) && (!of_peer || peers.left >= bytes);
        if admitted {
            account.bucket.left -= bytes;
            if !of_node {
                all.left -= bytes;
            }
            if of_peer {
                peers.left -= bytes;
            }
        } else {
            self.owing += usize::from(account.lines == 0);
            account.lines += 1;
            account.bytes += bytes;
        }
        (admitted, self.report(now))
    }

    /// The owner itself, or those who share an account where there is none left.
    fn with_account(&mut self, owner: Owner, now: Instant) -> Owner {
        if self.accounts.len() < MAX_OWNERS || self.accounts.contains_key(&owner) || owner == Owner::Node {
            return owner;
        }
        // One that has been silent for so long that nothing is remembered against it.
        self.accounts.retain(|_, account| {
            account.bucket.refill(now);
            account.lines > 0 || !account.bucket.is_full()
        });
        if self.accounts.len() < MAX_OWNERS { owner } else { Owner::Others }
    }

    fn report(&mut self, now: Instant) -> Vec<LeftOut> {
        if self.owing == 0 || self.next_report.is_some_and(|next| now < next) {
            return Vec::new();
        }
        self.next_report = Some(now + REPORT);
        self.owing = 0;
        let owing = self.accounts.iter_mut().filter(|(_, account)| account.lines > 0);
        let told = owing.map(|(owner, account)| {
            let (lines, bytes) = (std::mem::take(&mut account.lines), std::mem::take(&mut account.bytes));
            LeftOut { owner: owner.clone(), lines, bytes }
        });
        told.collect()
    }
}

impl Owner {
    /// Whose line an event is.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut found = Found { owner: Self::Node, rank: FIELDS.len() + 1 };
        event.record(&mut found);
        found.owner
    }
}

struct Found {
    owner: Owner,
    /// How far behind in [`FIELDS`] what was found is.
    rank: usize,
}

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match FIELDS.iter().position(|name| *name == field.name()) {
            Some(rank) if rank < self.rank => {
                // The owner of a cell is a cell.
                let kind = if FIELDS[rank] == "owner" { "cell" } else { FIELDS[rank] };
                self.owner = Owner::One(kind, text::name(format_args!("{value:?}")));
                self.rank = rank;
            }
            None if field.name() == "addr" && self.rank > FIELDS.len() => {
                self.owner = Owner::Strangers;
                self.rank = FIELDS.len();
            }
            _ => {}
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("the node"),
            Self::One(kind, name) => write!(f, "{kind} {name}"),
            Self::Strangers => f.write_str("strangers"),
            Self::Others => f.write_str("others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 1_000;

    fn cell(id: usize) -> Owner {
        Owner::One("cell", id.to_string())
    }

    /// Writes as many lines as fit, and says how many those were.
    fn fill(owners: &mut Owners, owner: &Owner, now: Instant) -> u64 {
        (0..).take_while(|_| owners.admit(owner.clone(), LINE, now).0).count() as u64
    }

    #[test]
    fn an_owner_has_a_burst_and_then_its_rate_and_takes_nothing_from_another() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        assert_eq!(fill(&mut owners, &cell(1), now), BURST / LINE as u64);
        assert_eq!(fill(&mut owners, &cell(2), now), BURST / LINE as u64);
        assert_eq!(fill(&mut owners, &cell(1), now), 0);
        let later = now + Duration::from_secs(1);
        assert!((64..=66).contains(&fill(&mut owners, &cell(1), later)));
        let mut moment = later + Duration::from_secs(60);
        assert_eq!(fill(&mut owners, &cell(1), moment), BURST / LINE as u64);
        // As much where it is asked for often, and not at whole milliseconds.
        let mut lines = 0;
        for _ in 0..1_000 {
            moment += Duration::from_micros(1_900);
            lines += fill(&mut owners, &cell(1), moment);
        }
        assert!((120..=125).contains(&lines), "{lines}");
    }

    #[test]
    fn many_owners_together_have_a_bound_as_well_and_leave_the_node_its_own() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        let written: u64 = (0..5_000).map(|id| fill(&mut owners, &cell(id), now)).sum();
        assert_eq!(written, ALL_BURST / LINE as u64);
        assert!(owners.accounts.len() <= MAX_OWNERS + 2, "{}", owners.accounts.len());
        assert_eq!(fill(&mut owners, &Owner::Node, now), ALL_BURST / LINE as u64);
        // Those who were silent make room.
        assert!(owners.admit(cell(9_999), LINE, now + Duration::from_secs(60)).0);
        assert!(owners.admit(cell(9_998), LINE, now + Duration::from_secs(62)).0);
        assert!(owners.accounts.contains_key(&cell(9_998)));
    }

    #[test]
    fn as_many_keys_as_one_likes_leave_cells_their_lines() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        let peer = |id: usize| Owner::One("peer", id.to_string());
        let written: u64 = (0..100).map(|id| fill(&mut owners, &peer(id), now)).sum();
        assert_eq!(written, PEERS_BURST / LINE as u64);
        assert_eq!(fill(&mut owners, &cell(1), now), BURST / LINE as u64);
    }

    #[test]
    fn what_is_left_out_is_told_at_once_and_then_once_a_second_by_any_line() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        while owners.admit(cell(1), LINE, now).0 {}
        let second = now + Duration::from_millis(1_500);
        // The first one was told by the loop.
        for _ in 0..3 {
            assert_eq!(owners.admit(cell(1), 10 * BURST as usize, now), (false, Vec::new()));
        }
        let left_out = LeftOut { owner: cell(1), lines: 3, bytes: 30 * BURST };
        assert_eq!(owners.admit(Owner::Node, LINE, second), (true, vec![left_out]));
        assert_eq!(owners.admit(Owner::Node, LINE, second), (true, Vec::new()));
    }
}
