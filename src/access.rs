//! Access for a time: what people ask for, what becomes of it, and what is granted. Pure: no runtime, no store, no clock.
//!
//! A request is open until somebody decides it, its sender takes it back, or its time is up. Each of these takes the open request, so that
//! none can happen to one that is over; and a grant only comes of an open request, or of breaking the glass.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::identity::principal::Principal;

/// Identifies a request, and the grant that comes of it: there is at most one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessId(pub Arc<str>);

/// What somebody wanted to open when they were told to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The route's name.
    pub route: Arc<str>,
    /// The method.
    pub method: String,
    /// The route's host.
    pub host: String,
    /// Path and query.
    pub target: String,
}

/// What somebody asks for, as they were when they did.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its own, and its grant's.
    pub id: AccessId,
    /// Who asks.
    pub principal: Principal,
    /// The rule that they want to use.
    pub rule: Arc<str>,
    /// What for.
    pub place: Place,
    /// Why.
    pub reason: String,
    /// For how long.
    pub lasting: Duration,
    /// When they asked.
    pub at: Timestamp,
    /// When it is too late to decide.
    pub expires_at: Timestamp,
}

/// A request that nobody has decided yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRequest(Asked);

/// A request that somebody approved of, and the grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    /// What was asked for.
    pub asked: Asked,
    /// Who approved; whoever asked, if they broke the glass.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Whether nobody was asked, so that somebody has to look at it afterwards.
    pub break_glass: bool,
}

/// A request that somebody refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// What was asked for.
    pub asked: Asked,
    /// Who refused.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// A request that its sender took back.
#[derive(Clone, Debug, PartialEq)]
pub struct Withdrawn {
    /// What was asked for.
    pub asked: Asked,
    /// When it was taken back.
    pub at: Timestamp,
}

impl OpenRequest {
    /// Nobody has decided it.
    pub fn new(asked: Asked) -> Self {
        Self(asked)
    }

    /// What is asked for.
    pub fn asked(&self) -> &Asked {
        &self.0
    }

    /// Somebody approves, for no longer than was asked for.
    pub fn approve(self, by: &Principal, lasting: Duration, at: Timestamp) -> Granted {
        Granted {
            until: at.plus(lasting.min(self.0.lasting)),
            asked: self.0,
            by: by.clone(),
            at,
            break_glass: false,
        }
    }

    /// Nobody is asked: whoever wants it takes it.
    pub fn break_glass(self) -> Granted {
        Granted {
            by: self.0.principal.clone(),
            at: self.0.at,
            until: self.0.at.plus(self.0.lasting),
            asked: self.0,
            break_glass: true,
        }
    }

    /// Somebody refuses.
    pub fn refuse(self, by: &Principal, why: String, at: Timestamp) -> Refused {
        Refused {
            asked: self.0,
            by: by.clone(),
            at,
            why,
        }
    }

    /// Its sender takes it back.
    pub fn withdraw(self, at: Timestamp) -> Withdrawn {
        Withdrawn { asked: self.0, at }
    }
}

/// A request, whatever became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Nobody has decided it.
    Open(OpenRequest),
    /// Somebody has approved, or the glass was broken; the grant says more.
    Granted(Asked),
    /// Somebody has refused.
    Refused {
        /// What was asked for.
        asked: Asked,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// Its sender took it back.
    Withdrawn(Asked),
    /// Nobody decided it in time.
    Expired(Asked),
}

impl Request {
    /// What was asked for.
    pub fn asked(&self) -> &Asked {
        match self {
            Self::Open(open) => open.asked(),
            Self::Granted(asked)
            | Self::Refused { asked, .. }
            | Self::Withdrawn(asked)
            | Self::Expired(asked) => asked,
        }
    }
}

/// A request that is not open any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// What became of it.
    pub request: Request,
    /// Who approved or refused; nobody, if the glass was broken, it was taken back, or its time was up.
    pub by: Option<String>,
    /// When that was.
    pub at: Timestamp,
}

/// Why a grant was over before its time, or at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfGrant {
    /// An approver took it away.
    Revoked,
    /// Its holder gave it back.
    GivenBack,
    /// Its time was up.
    Over,
    /// The rule that it opened was removed, or has another name.
    RuleGone,
}

impl EndOfGrant {
    /// A stable word, for the store and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::GivenBack => "given_back",
            Self::Over => "over",
            Self::RuleGone => "rule_gone",
        }
    }
}

/// A grant, live or over.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantRecord {
    /// The request's that it came of.
    pub id: AccessId,
    /// Whose it is, as they were when they asked.
    pub principal: Principal,
    /// The rule that they may use.
    pub rule: Arc<str>,
    /// Why they asked.
    pub reason: String,
    /// Who approved.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// When it ends, if nobody ends it sooner.
    pub until: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// Whether nobody was asked.
    pub break_glass: bool,
    /// Who looked at it afterwards, if somebody has.
    pub reviewed_by: Option<String>,
}

impl GrantRecord {
    /// Whether it holds at this moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.until
    }
}

/// Whether two principals are one person: the same subject of the same issuer.
pub fn is_same_person(one: &Principal, other: &Principal) -> bool {
    (&one.issuer, &one.subject) == (&other.issuer, &other.subject)
}
