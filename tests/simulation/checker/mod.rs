//! The judge: reads the log of a lifetime, and knows nothing of how the daemon works.
//!
//! Each file holds the rules of one subject. What a rule says is the interface's promise; where a crash, or a disk that
//! failed, leaves two things possible, both are right.

mod deliveries;
mod history;
mod polls;
mod transitions;

use std::fmt;

use crate::log::{Log, Stamp};
use history::History;

/// What was promised, by the name of what it looks like when it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    // Events.
    /// One id, two events.
    DuplicateId,
    /// The events of a watch are not numbered 1, 2, 3…
    SeqGap,
    SecondEnding,
    /// Something follows an ending event.
    AfterEnding,
    /// An answer changed something, and no event says so, or another one.
    WrongTransition,
    /// An ending event that nothing the API served leads to.
    UnfoundedEnding,
    /// A watch that never ended.
    LostEnding,
    /// Told, and not on record.
    ToldUncommitted,
    /// On record, and not told by a process that lived on.
    NeverTold,
    // Watches.
    /// A watch began that nobody asked for.
    WatchedUnasked,
    /// A job that the file had newly listed is watched no more, though nobody has let it go since.
    ListedUnwatched,
    /// A client was told that it is done, and it is not on record.
    PromiseBroken,
    // Deliveries.
    /// A hook that wanted an event has no delivery of it, or one that did not has one.
    WrongDeliveries,
    /// A delivery that neither arrived nor was given up.
    LostDelivery,
    /// A hook ran for what is not on record.
    RanUncommitted,
    /// A delivery is done that no hook took.
    DoneWithoutSuccess,
    /// A delivery was given up before its time, or nobody was told of it.
    WronglyGivenUp,
    /// A hook heard of a later event first.
    OutOfOrder,
    /// Two attempts at once where there may be one, or more than `max_running`.
    RanTogether,
    /// The numbers of attempts do not rise.
    AttemptNumber,
    /// Not as late as the receiver wished.
    RetriedTooSoon,
    // Polls.
    /// A job was asked that is not watched.
    AskedUnwatched,
    /// Two requests for one watch at once, or more than `max_in_flight`.
    AskedTogether,
    AskedTooSoon,
    AskedTooLate,
    /// More requests than the rate allows.
    AskedTooOften,
    // The whole.
    /// The daemon wanted the store to take what contradicts itself.
    StoreRefused,
    /// Something began after the orderly stop did.
    AfterStop,
    /// Nothing goes wrong any more, and still not everything came to its end.
    Endless,
}

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    what: String,
    at: Stamp,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms: {}", self.rule, self.at.ms, self.what)
    }
}

/// What the rules write their findings to.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: Rule, at: Stamp, what: impl Into<String>) {
        self.0.push(Violation {
            rule,
            what: what.into(),
            at,
        });
    }
}

/// Judges a lifetime.
pub(crate) fn check(log: &Log) -> Vec<Violation> {
    let mut findings = Findings::default();
    let history = History::read(log, &mut findings);
    history.check_ends(&mut findings);
    history.check_told(&mut findings);
    history.check_promises(&mut findings);
    history.check_listed(&mut findings);
    transitions::check(&history, &mut findings);
    deliveries::check(&history, &mut findings);
    polls::check(&history, &mut findings);
    findings.0.sort_by_key(|violation| violation.at);
    findings.0
}
