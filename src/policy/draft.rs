//! The life of a draft: a proposed state of the policy, until it is applied or discarded.
//!
//! Each step takes the state it starts from and gives the one it leads to, or says why not now.

use crate::policy::model::Revision;

/// The number of a draft, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftId(pub i64);

/// Where a draft stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftState {
    /// Its author works on it.
    Open,
    /// It is left for review.
    Submitted,
    /// Somebody said no; its author may change it.
    Rejected,
    /// It became this revision.
    Applied(Revision),
    /// Nothing will come of it.
    Discarded,
}

/// Why a step cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// Only what was submitted is reviewed.
    #[error("it was not submitted for review")]
    NotSubmitted,
    /// It waits already.
    #[error("it was submitted for review already")]
    Submitted,
    /// It has to be changed first.
    #[error("it was rejected; change it first")]
    Rejected,
    /// It is over.
    #[error("it was applied as revision {}", .0.0)]
    Applied(Revision),
    /// It is over.
    #[error("it was discarded")]
    Discarded,
}

impl DraftState {
    /// Its words or message are others: it has to be submitted once more.
    pub fn edited(self) -> Result<Self, NotNow> {
        match self {
            Self::Open | Self::Submitted | Self::Rejected => Ok(Self::Open),
            over => Err(over.why_over()),
        }
    }

    /// It was brought onto another revision.
    pub fn rebased(self) -> Result<Self, NotNow> {
        match self {
            Self::Open | Self::Submitted => Ok(self),
            over => Err(over.why_over()),
        }
    }

    /// Its author leaves it for review.
    pub fn submitted(self) -> Result<Self, NotNow> {
        match self {
            Self::Open => Ok(Self::Submitted),
            over => Err(over.why_over()),
        }
    }

    /// Somebody else approves of it.
    pub fn approved(self) -> Result<Self, NotNow> {
        self.reviewed(Self::Submitted)
    }

    /// Somebody else does not.
    pub fn rejected(self) -> Result<Self, NotNow> {
        self.reviewed(Self::Rejected)
    }

    /// It becomes a revision. Whether it may without being reviewed is not a question of its state.
    pub fn applied(self, revision: Revision) -> Result<Self, NotNow> {
        match self {
            Self::Open | Self::Submitted => Ok(Self::Applied(revision)),
            over => Err(over.why_over()),
        }
    }

    /// It is given up.
    pub fn discarded(self) -> Result<Self, NotNow> {
        match self {
            Self::Open | Self::Submitted | Self::Rejected => Ok(Self::Discarded),
            over => Err(over.why_over()),
        }
    }

    /// Something may still come of it.
    pub const fn is_alive(&self) -> bool {
        matches!(self, Self::Open | Self::Submitted | Self::Rejected)
    }

    /// A stable name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Submitted => "submitted",
            Self::Rejected => "rejected",
            Self::Applied(_) => "applied",
            Self::Discarded => "discarded",
        }
    }

    /// The state of a name, and of the revision that it became.
    pub fn parse(name: &str, revision: Option<Revision>) -> Option<Self> {
        let state = match (name, revision) {
            ("open", None) => Self::Open,
            ("submitted", None) => Self::Submitted,
            ("rejected", None) => Self::Rejected,
            ("applied", Some(revision)) => Self::Applied(revision),
            ("discarded", None) => Self::Discarded,
            _ => return None,
        };
        Some(state)
    }

    /// The revision that it became.
    pub const fn revision(&self) -> Option<Revision> {
        match self {
            Self::Applied(revision) => Some(*revision),
            Self::Open | Self::Submitted | Self::Rejected | Self::Discarded => None,
        }
    }

    fn reviewed(self, verdict: Self) -> Result<Self, NotNow> {
        match self {
            Self::Submitted => Ok(verdict),
            over => Err(over.why_over()),
        }
    }

    fn why_over(self) -> NotNow {
        match self {
            Self::Open => NotNow::NotSubmitted,
            Self::Submitted => NotNow::Submitted,
            Self::Rejected => NotNow::Rejected,
            Self::Applied(revision) => NotNow::Applied(revision),
            Self::Discarded => NotNow::Discarded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Step = fn(DraftState) -> Result<DraftState, NotNow>;

    #[test]
    fn every_step_from_every_state() {
        use DraftState::{Applied, Discarded, Open, Rejected, Submitted};
        let became = Revision(7);
        let states = [Open, Submitted, Rejected, Applied(became), Discarded];
        let apply: Step = |state| state.applied(Revision(7));
        let steps: [(Step, [Option<DraftState>; 3]); 7] = [
            (DraftState::edited, [Some(Open), Some(Open), Some(Open)]),
            (DraftState::rebased, [Some(Open), Some(Submitted), None]),
            (DraftState::submitted, [Some(Submitted), None, None]),
            (DraftState::approved, [None, Some(Submitted), None]),
            (DraftState::rejected, [None, Some(Rejected), None]),
            (apply, [Some(Applied(became)), Some(Applied(became)), None]),
            (
                DraftState::discarded,
                [Some(Discarded), Some(Discarded), Some(Discarded)],
            ),
        ];
        for (step, expected) in steps {
            for (state, expected) in states.iter().zip(expected) {
                assert_eq!(step(state.clone()).ok(), expected, "from {state:?}");
            }
            assert_eq!(step(Applied(became)), Err(NotNow::Applied(became)));
            assert_eq!(step(Discarded), Err(NotNow::Discarded));
        }
        for state in states {
            let read = DraftState::parse(state.as_str(), state.revision());
            assert_eq!(read, Some(state));
        }
        assert_eq!(DraftState::parse("applied", None), None);
        assert_eq!(DraftState::parse("open", Some(became)), None);
    }
}
