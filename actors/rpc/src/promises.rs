//! What is promised over one connection: how deep calls on promises are nested, and what a promise may turn out to be.
//!
//! A call on what another call promises is kept by the library within that call, polled and dropped by recursion. So each
//! question has a depth: 0, or one more than the deepest promise that its target or one of its parameters is. One that is
//! deeper than [`MAX_DEPTH`] is refused when it comes. A promise that leaves over another connection takes along the depth of
//! the connection on whose turn it leaves: handing promises to and fro does not begin anew.
//!
//! Promises turn out to be what is settled, or older than themselves. For questions of this node, and for promises of the
//! other side, this is seen to here: an answer that is a promise of this node is refused, and a promise of the other side
//! that turns out to be a promise is never resolved here: calls on it go to the other side, as before. So no promise
//! leads to itself.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

/// Calls on what other calls promise, each within the one before: more than programs chain, and each takes some KiB of the
/// stack of the thread of all vats.
pub(crate) const MAX_DEPTH: u8 = 64;

/// What is promised over one connection.
#[derive(Default)]
pub(crate) struct Promises(RefCell<State>);

#[derive(Default)]
struct State {
    /// Questions of the other side that are not finished.
    questions: HashMap<u32, Question>,
    /// How many of them have each depth.
    depths: Depths,
    /// Promises of this node that the other side has, by their numbers.
    ours: HashMap<u32, Ours>,
    /// Capabilities of the other side, by their numbers: whether it is a promise.
    theirs: HashMap<u32, bool>,
    /// Questions of this node that were given up: their answers bring nothing.
    given_up: HashSet<u32>,
}

struct Question {
    depth: u8,
    answered: bool,
    /// Promises of this node in its answer, each as often as it is there.
    promises: Vec<u32>,
}

struct Ours {
    depth: u8,
    /// How often the other side was given it.
    references: u32,
}

struct Depths([u32; MAX_DEPTH as usize + 1]);

impl Default for Depths {
    fn default() -> Self {
        Self([0; MAX_DEPTH as usize + 1])
    }
}

/// What a target or a parameter of the other side is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    /// What this node exported under a number.
    Export(u32),
    /// What a question promises.
    Answer(u32),
}

thread_local! {
    /// Those of the connection whose turn it is.
    static CURRENT: RefCell<Option<Rc<Promises>>> = const { RefCell::new(None) };
}

/// The turn of one connection, until this is dropped.
pub(crate) struct Turn(Option<Rc<Promises>>);

impl Turn {
    /// Begins a turn.
    pub(crate) fn of(promises: &Rc<Promises>) -> Self {
        Self(CURRENT.replace(Some(Rc::clone(promises))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(CURRENT.replace(self.0.take()));
    }
}

impl Promises {
    /// The depth of a call that names these; `None` where that is too deep.
    pub(crate) fn depth(&self, named: impl Iterator<Item = Named>) -> Option<u8> {
        let state = self.0.borrow();
        let depth = named.filter_map(|named| state.depth(named)).map(|depth| depth + 1).max().unwrap_or(0);
        (depth <= MAX_DEPTH).then_some(depth)
    }

    /// Whether something is a promise of this node that is not kept.
    pub(crate) fn is_open(&self, named: Named) -> bool {
        let state = self.0.borrow();
        match named {
            Named::Export(number) => state.ours.contains_key(&number),
            Named::Answer(question) => state.questions.get(&question).is_some_and(|question| {
                !question.answered || question.promises.iter().any(|number| state.ours.contains_key(number))
            }),
        }
    }

    /// A question of this depth was taken.
    pub(crate) fn asked(&self, question: u32, depth: u8) {
        let mut state = self.0.borrow_mut();
        state.forget(question);
        state.depths.0[usize::from(depth)] += 1;
        state.questions.insert(question, Question { depth, answered: false, promises: Vec::new() });
    }

    /// A question was answered, once and for all where nothing is left to be finished.
    pub(crate) fn answered(&self, question: u32, for_good: bool) {
        let mut state = self.0.borrow_mut();
        if for_good {
            state.forget(question);
        } else if let Some(question) = state.questions.get_mut(&question) {
            question.answered = true;
        }
    }

    /// The other side has done with a question, and maybe with the capabilities of its answer.
    pub(crate) fn finished(&self, question: u32, releases: bool) {
        let mut state = self.0.borrow_mut();
        let Some(Question { promises, .. }) = state.forget(question) else { return };
        if releases {
            promises.into_iter().for_each(|number| state.release(number, 1));
        }
    }

    /// The other side is given a capability of this node, as a promise or as what is settled, in the answer to a question
    /// of its or otherwise.
    pub(crate) fn exported(&self, number: u32, is_promise: bool, answer: Option<u32>) {
        let deepest = is_promise.then(|| deepest_of_turn().max(self.deepest()));
        let mut state = self.0.borrow_mut();
        if let Some(depth) = deepest {
            // The library says so once, when the number is new.
            state.ours.insert(number, Ours { depth, references: 1 });
        } else if let Some(promise) = state.ours.get_mut(&number) {
            promise.references += 1;
        } else {
            return;
        }
        if let Some(question) = answer.and_then(|question| state.questions.get_mut(&question)) {
            question.promises.push(number);
        }
    }

    /// The other side was told what a promise of this node has become.
    pub(crate) fn kept(&self, number: u32) {
        self.0.borrow_mut().ours.remove(&number);
    }

    /// The other side has released something of this node so many times.
    pub(crate) fn released(&self, number: u32, times: u32) {
        self.0.borrow_mut().release(number, times);
    }

    /// The other side gave a capability of its own. Whether it is a new one.
    pub(crate) fn imported(&self, number: u32, is_promise: bool) -> bool {
        // One that was a promise stays one until it is released.
        let mut state = self.0.borrow_mut();
        let before = state.theirs.len();
        *state.theirs.entry(number).or_insert(is_promise) |= is_promise;
        state.theirs.len() > before
    }

    /// Whether a capability of the other side is known to be a promise.
    pub(crate) fn is_theirs(&self, number: u32) -> bool {
        self.0.borrow().theirs.get(&number).is_some_and(|is_promise| *is_promise)
    }

    /// This node has released a capability of the other side. Whether it had it.
    pub(crate) fn dropped(&self, number: u32) -> bool {
        self.0.borrow_mut().theirs.remove(&number).is_some()
    }

    /// This node has given up a question before it was answered.
    pub(crate) fn gave_up(&self, question: u32) {
        self.0.borrow_mut().given_up.insert(question);
    }

    /// A question of this node is answered. Whether it was given up.
    pub(crate) fn was_given_up(&self, question: u32) -> bool {
        self.0.borrow_mut().given_up.remove(&question)
    }

    /// The greatest depth of all questions.
    fn deepest(&self) -> u8 {
        let depths = &self.0.borrow().depths.0;
        (0..=MAX_DEPTH).rev().find(|depth| depths[usize::from(*depth)] > 0).unwrap_or(0)
    }
}

/// How deep promises may be that leave now.
fn deepest_of_turn() -> u8 {
    CURRENT.with_borrow(|current| current.as_ref().map_or(0, |promises| promises.deepest()))
}

impl State {
    /// The depth of a promise; `None` of what is none.
    fn depth(&self, named: Named) -> Option<u8> {
        match named {
            Named::Export(number) => self.ours.get(&number).map(|promise| promise.depth),
            Named::Answer(question) => self.questions.get(&question).map(|question| question.depth),
        }
    }

    fn forget(&mut self, question: u32) -> Option<Question> {
        let question = self.questions.remove(&question)?;
        self.depths.0[usize::from(question.depth)] -= 1;
        Some(question)
    }

    fn release(&mut self, number: u32, times: u32) {
        let Some(promise) = self.ours.get_mut(&number) else { return };
        promise.references = promise.references.saturating_sub(times);
        if promise.references == 0 {
            self.ours.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_on_a_promise_is_deeper_than_it_until_it_is_finished() {
        let promises = Promises::default();
        for question in 0..=u32::from(MAX_DEPTH) {
            let on = question.checked_sub(1).map(Named::Answer);
            let depth = promises.depth(on.into_iter()).expect("not too deep");
            assert_eq!(u32::from(depth), question);
            promises.asked(question, depth);
            // An answer alone makes nothing shallower: what it leads to may be nested already.
            promises.answered(question, false);
        }
        let deepest = Named::Answer(MAX_DEPTH.into());
        assert_eq!(promises.depth([deepest].into_iter()), None);
        assert_eq!(promises.depth([Named::Answer(0), Named::Answer(3)].into_iter()), Some(4));
        promises.finished(MAX_DEPTH.into(), true);
        assert_eq!(promises.depth([deepest].into_iter()), Some(0), "nobody knows it any more");
    }

    #[test]
    fn promises_that_are_handed_to_and_fro_take_their_depth_along() {
        let (one, other) = (Rc::new(Promises::default()), Rc::new(Promises::default()));
        let mut last = 0;
        for hop in 0..u32::from(MAX_DEPTH) {
            let (from, to) = if hop % 2 == 0 { (&one, &other) } else { (&other, &one) };
            let turn = Turn::of(from);
            to.exported(hop, true, None);
            drop(turn);
            let depth = to.depth([Named::Export(hop)].into_iter()).expect("not too deep");
            assert!(depth > last || hop == 0, "{hop}: {depth} after {last}");
            to.asked(hop, depth);
            last = depth;
        }
        let turn = Turn::of(&other);
        one.exported(4711, true, None);
        drop(turn);
        assert_eq!(one.depth([Named::Export(4711)].into_iter()), None);
        one.kept(4711);
        assert_eq!(one.depth([Named::Export(4711)].into_iter()), Some(0));
    }

    #[test]
    fn a_promise_is_open_until_it_is_kept_or_released() {
        let promises = Promises::default();
        promises.asked(1, 0);
        assert!(promises.is_open(Named::Answer(1)));
        promises.exported(7, true, Some(1));
        promises.exported(7, false, Some(1));
        promises.exported(8, false, Some(1));
        promises.answered(1, false);
        assert!(promises.is_open(Named::Answer(1)) && promises.is_open(Named::Export(7)));
        assert!(!promises.is_open(Named::Export(8)));
        promises.released(7, 1);
        assert!(promises.is_open(Named::Export(7)), "it was given twice");
        promises.finished(1, true);
        assert!(!promises.is_open(Named::Export(7)) && !promises.is_open(Named::Answer(1)));
    }
}
