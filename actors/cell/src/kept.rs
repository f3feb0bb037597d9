//! What is known of programs: the compiled ones, those under way, and those that were too expensive.
//!
//! Programs are kept by number and by the bytes of their code: the oldest go first. Those that cells run stay alive
//! besides. A program that took too much is remembered for a while, so that asking again does not cost again.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, Shared, WeakShared};

use crate::{
    program::Program,
    programs::{Key, LoadError},
};

/// Programs kept in memory.
const MAX_PROGRAMS: usize = 256;

/// Bytes of the code of programs kept in memory: the node pays for them, beyond what is held for anybody.
const MAX_BYTES: usize = 48 << 20;

/// Refused programs that are remembered.
const MAX_REFUSED: usize = 256;

/// How long a refused program is remembered: a supervisor that goes on trying costs a compilation in this time at most.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A compilation that is under way. It ends when the last one is dropped.
pub(crate) type Loading = Shared<BoxFuture<'static, Result<Program, LoadError>>>;

/// All that is known.
#[derive(Default)]
pub(crate) struct Known {
    programs: Oldest<Program>,
    refused: Oldest<(LoadError, Instant)>,
    under_way: HashMap<Key, WeakShared<BoxFuture<'static, Result<Program, LoadError>>>>,
}

/// Values in the order of their arrival.
struct Oldest<V> {
    values: HashMap<Key, V>,
    order: VecDeque<Key>,
}

impl Known {
    /// What became of a program, as far as that is known.
    pub(crate) fn outcome(&mut self, key: Key) -> Option<Result<Program, LoadError>> {
        if let Some(program) = self.programs.values.get(&key) {
            return Some(Ok(program.clone()));
        }
        let (error, since) = self.refused.values.get(&key)?;
        if since.elapsed() < REMEMBERED {
            return Some(Err(error.clone()));
        }
        self.refused.remove(key);
        None
    }

    /// The compilation of a program, if somebody waits for it.
    pub(crate) fn under_way(&self, key: Key) -> Option<Loading> {
        self.under_way.get(&key)?.upgrade()
    }

    /// A compilation is under way.
    pub(crate) fn started(&mut self, key: Key, loading: &Loading) {
        // Those that nobody waited for to the end.
        self.under_way.retain(|_, loading| loading.upgrade().is_some());
        self.under_way.extend(loading.downgrade().map(|loading| (key, loading)));
    }

    /// A compilation has ended.
    pub(crate) fn ended(&mut self, key: Key, outcome: &Result<Program, LoadError>) {
        self.under_way.remove(&key);
        match outcome {
            Ok(program) => {
                self.programs.insert(key, program.clone());
                self.trim(MAX_BYTES);
            }
            Err(error @ (LoadError::TooExpensive(_) | LoadError::TooComplex(_))) => {
                self.refused.insert(key, (error.clone(), Instant::now()));
                while self.refused.values.len() > MAX_REFUSED {
                    self.refused.remove_oldest();
                }
            }
            Err(_) => {}
        }
    }

    /// Keeps no more programs than may be kept: none, if the newest alone is larger.
    fn trim(&mut self, most_bytes: usize) {
        while self.programs.values.len() > MAX_PROGRAMS || self.bytes() > most_bytes {
            self.programs.remove_oldest();
        }
    }

    fn bytes(&self) -> usize {
        self.programs.values.values().map(Program::bytes).sum()
    }
}

impl<V> Oldest<V> {
    fn insert(&mut self, key: Key, value: V) {
        self.remove(key);
        self.values.insert(key, value);
        self.order.push_back(key);
    }

    fn remove(&mut self, key: Key) {
        if self.values.remove(&key).is_some() {
            self.order.retain(|other| *other != key);
        }
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.values.remove(&oldest);
        }
    }
}

impl<V> Default for Oldest<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Hash, LoadError, fixture};

    #[test]
    fn those_that_were_refused_are_remembered_for_a_while_and_in_bounded_number() {
        let mut known = Known::default();
        let key = |number: usize| (Hash::of(&number.to_le_bytes()), Class::Small);
        for number in 0..=MAX_REFUSED {
            known.ended(key(number), &Err(LoadError::TooExpensive("10 s".into())));
        }
        assert!(known.outcome(key(0)).is_none(), "the oldest has made room");
        assert!(matches!(known.outcome(key(1)), Some(Err(LoadError::TooExpensive(_)))));
        known.ended(key(0), &Err(LoadError::Worker("out of order".into())));
        assert!(known.outcome(key(0)).is_none(), "that may go well the next time");
        let Some(long_ago) = Instant::now().checked_sub(REMEMBERED) else { panic!("the machine has just started") };
        known.refused.insert(key(1), (LoadError::TooExpensive("10 s".into()), long_ago));
        assert!(known.outcome(key(1)).is_none(), "it is tried again");
        assert!(known.refused.values.len() == known.refused.order.len());
    }

    #[tokio::test]
    async fn programs_are_kept_within_their_bytes() {
        // Each has some MiB of initial memory without gaps.
        let mut known = Known::default();
        let runtime = fixture::runtime();
        let image = "a".repeat(4 << 20);
        let wat = format!(r#"(module (memory 100) (data (i32.const 0) "{image}"))"#);
        let program = runtime.load(fixture::wasm(&wat), Class::Standard).await.expect("valid");
        assert!(program.bytes() >= image.len(), "{}", program.bytes());
        for number in 0..100_u8 {
            known.ended((Hash::of(&[number]), Class::Standard), &Ok(program.clone()));
        }
        assert!(known.bytes() <= MAX_BYTES, "{}", known.bytes());
        assert!(known.outcome((Hash::of(&[99]), Class::Standard)).is_some(), "the newest is there");
        assert!(known.outcome((Hash::of(&[0]), Class::Standard)).is_none());
        known.trim(program.bytes());
        assert_eq!(known.bytes(), program.bytes());
        known.trim(program.bytes() - 1);
        assert_eq!(known.bytes(), 0, "one alone may be too large");
    }
}
