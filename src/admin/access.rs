//! Access for a time: asking, deciding, ending and reviewing. The one place that says who may: pages, API and command line call it.
//!
//! Whoever acts is judged by the policy in force at that moment. Nobody decides about themselves, whatever the rules say: a person is an issuer and
//! a subject, however they signed in.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::access::{
    AccessId, Asked, EndOfGrant, GrantRecord, OpenRequest, Place, Request, is_same_person,
};
use crate::clock::{SharedClock, Timestamp};
use crate::identity::principal::{Principal, PrincipalKind};
use crate::identity::unseen::is_unseen;
use crate::policy::model::Approval;
use crate::policy::words;
use crate::secret::random;
use crate::snapshot::Snapshots;
use crate::snapshot::grants::LiveGrants;
use crate::store::access::{Most, Opened, Taken};
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;

pub mod everybody;
pub mod standing;

/// How long a request can be decided.
pub const OPEN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many requests somebody may make.
const MOST: Most = Most {
    open: 10,
    a_day: 50,
};
/// The shortest grant.
pub const SHORTEST: Duration = Duration::from_secs(60);
/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 500;
/// How many of somebody's own requests and grants are told.
const LISTED: i64 = 50;

/// Requests for access, and grants.
#[derive(Clone)]
pub struct Access {
    /// Where they are kept.
    pub store: Store,
    /// The policy in force.
    pub snapshots: Arc<Snapshots>,
    /// What is granted to whom, as this process has heard.
    pub grants: Arc<LiveGrants>,
    /// The time.
    pub clock: SharedClock,
}

/// Whoever acts, and from which session.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What logs call the session, if there is one.
    pub session: Option<&'a str>,
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The rule that they want to use.
    pub rule: Arc<str>,
    /// What for.
    pub place: Place,
    /// Why.
    pub reason: String,
    /// For how long.
    pub lasting: Duration,
}

/// What there is to decide for an approver: nothing of their own, and nothing that others have to decide.
#[derive(Clone, Debug, Default)]
pub struct ToDecide {
    /// Open requests.
    pub open: Vec<Request>,
    /// Grants that hold.
    pub live: Vec<GrantRecord>,
    /// Grants that nobody was asked for.
    pub to_review: Vec<GrantRecord>,
}

/// Somebody's own.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Their requests, the newest first.
    pub requests: Vec<Request>,
    /// Their grants, the newest first.
    pub grants: Vec<GrantRecord>,
}

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such request or grant, or none that concerns whoever asks.
    #[error("there is no such request or grant")]
    Unknown,
    /// The rule takes no requests from them, in the policy in force.
    #[error("the rule {0} is not one that you can ask for")]
    NotToAsk(Arc<str>),
    /// The rule cannot be had without an approval.
    #[error("the rule {0} cannot be had without an approval")]
    NoBreakGlass(Arc<str>),
    /// They do not approve of the rule, in the policy in force.
    #[error("you are not one of those who decide about this")]
    NotApprover,
    /// It is about themselves.
    #[error("nobody decides about their own access")]
    Oneself,
    /// No reason, or too much of it.
    #[error("a reason has 1 to {LONGEST_REASON} characters")]
    Reason,
    /// Too short, or longer than the rule has it.
    #[error("it must be a time from a minute to {}", humantime::format_duration(*.0))]
    Lasting(Duration),
    /// They have asked for it in other words already.
    #[error("you have asked for this already ({}), and nobody has decided yet; take that back to ask in other words", .0.0.get(..8).unwrap_or(&.0.0))]
    Asked(AccessId),
    /// What they had of this rule was taken away from them.
    #[error(
        "an approver took this away from you: until one of them has looked at that, or its time would have been over, ask for an approval"
    )]
    TakenAway,
    /// They have asked too often.
    #[error("you have asked for access {} times within a day, which is as often as anybody may", MOST.a_day)]
    TooOften,
    /// They have too many open requests.
    #[error("you have {} open requests; wait for an answer, or take one back", MOST.open)]
    TooMany,
    /// It was decided, taken back or over before.
    #[error("it is over: somebody was faster, or its time is up")]
    Over,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AccessError {
    /// The HTTP status and the stable word of the answer to it.
    pub const fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unknown => (StatusCode::NOT_FOUND, "not_found"),
            Self::NotToAsk(_) | Self::NoBreakGlass(_) => {
                (StatusCode::FORBIDDEN, "nothing_to_ask_for")
            }
            Self::NotApprover => (StatusCode::FORBIDDEN, "not_an_approver"),
            Self::Oneself => (StatusCode::FORBIDDEN, "own_request"),
            Self::Reason => (StatusCode::BAD_REQUEST, "bad_reason"),
            Self::Lasting(_) => (StatusCode::BAD_REQUEST, "bad_duration"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::TooOften => (StatusCode::TOO_MANY_REQUESTS, "asked_too_often"),
            Self::Asked(_) => (StatusCode::CONFLICT, "asked_already"),
            Self::TakenAway => (StatusCode::FORBIDDEN, "taken_away"),
            Self::Over => (StatusCode::CONFLICT, "over"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "access_unavailable"),
        }
    }
}

impl Access {
    /// Asks for the use of a rule. Whoever has asked for it already gets that request.
    pub async fn ask(&self, actor: Actor<'_>, wish: Wish) -> Result<AccessId, AccessError> {
        let approval = self.approval(actor.principal, &wish.rule)?;
        let asked = self.asked(actor.principal, wish, approval.at_most)?;
        let open = OpenRequest::new(asked);
        let opened = self
            .store
            .open_access_request(&open, MOST, actor.session)
            .await?;
        match opened {
            Opened::Waits(id) => Ok(id),
            Opened::Otherwise(id) => Err(AccessError::Asked(id)),
            Opened::TooMany => Err(AccessError::TooMany),
            Opened::TooOften => Err(AccessError::TooOften),
        }
    }

    /// Takes the use of a rule at once, where it says that this may be; an approver looks at it afterwards.
    pub async fn break_glass(&self, actor: Actor<'_>, wish: Wish) -> Result<AccessId, AccessError> {
        let approval = self.approval(actor.principal, &wish.rule)?;
        if !approval.break_glass {
            return Err(AccessError::NoBreakGlass(wish.rule));
        }
        let asked = self.asked(actor.principal, wish, approval.at_most)?;
        let rule = Arc::clone(&asked.rule);
        let granted = OpenRequest::new(asked).break_glass();
        let taken = self
            .store
            .take_access(&granted, MOST, actor.session)
            .await?;
        let id = match taken {
            Taken::Granted(id) => id,
            Taken::Revoked => return Err(AccessError::TakenAway),
            Taken::TooOften => return Err(AccessError::TooOften),
        };
        self.hear_of_grants().await;
        let person = actor.principal.label();
        tracing::warn!(person, %rule, request = %id.0, "the glass was broken: access was taken without an approval");
        Ok(id)
    }

    /// Approves of a request, for as long as was asked for or for less.
    pub async fn approve(
        &self,
        actor: Actor<'_>,
        id: &AccessId,
        lasting: Option<Duration>,
    ) -> Result<(), AccessError> {
        let open = self.to_be_decided(actor.principal, id).await?;
        // The rule may have become stricter since.
        let wanted = open.asked().lasting;
        let rule = Arc::clone(&open.asked().rule);
        let at_most = self.at_most(&rule).unwrap_or(wanted).min(wanted);
        let lasting = lasting.unwrap_or(at_most);
        if lasting < SHORTEST || lasting > at_most {
            return Err(AccessError::Lasting(at_most));
        }
        let granted = open.approve(actor.principal, lasting, self.clock.now());
        let is_done = self.store.grant_access(&granted, actor.session).await?;
        self.hear_of_grants().await;
        done(is_done)
    }

    /// Refuses a request.
    pub async fn refuse(
        &self,
        actor: Actor<'_>,
        id: &AccessId,
        why: &str,
    ) -> Result<(), AccessError> {
        let why = reason(why)?;
        let open = self.to_be_decided(actor.principal, id).await?;
        let refused = open.refuse(actor.principal, why, self.clock.now());
        done(self.store.refuse_access(&refused, actor.session).await?)
    }

    /// Takes one's own request back.
    pub async fn withdraw(&self, actor: Actor<'_>, id: &AccessId) -> Result<(), AccessError> {
        match self.own_request(actor.principal, id).await? {
            Request::Open(open) => {
                let withdrawn = open.withdraw(self.clock.now());
                done(
                    self.store
                        .withdraw_access(&withdrawn, actor.session)
                        .await?,
                )
            }
            Request::Granted(_)
            | Request::Refused { .. }
            | Request::Withdrawn(_)
            | Request::Expired(_) => Err(AccessError::Over),
        }
    }

    /// Takes somebody else's grant away.
    pub async fn revoke(&self, actor: Actor<'_>, id: &AccessId) -> Result<(), AccessError> {
        let grant = self.others_grant(actor.principal, id).await?;
        self.end(actor, &grant, EndOfGrant::Revoked).await
    }

    /// Gives one's own grant back.
    pub async fn give_back(&self, actor: Actor<'_>, id: &AccessId) -> Result<(), AccessError> {
        let grant = self.own_grant(actor.principal, id).await?;
        let grant = grant.ok_or(AccessError::Unknown)?;
        self.end(actor, &grant, EndOfGrant::GivenBack).await
    }

    async fn end(
        &self,
        actor: Actor<'_>,
        grant: &GrantRecord,
        how: EndOfGrant,
    ) -> Result<(), AccessError> {
        let (by, session) = (actor.principal, actor.session);
        let is_done = self.store.end_grant(grant, by, how, session).await?;
        self.hear_of_grants().await;
        done(is_done)
    }

    /// The edge that was told of a change decides by it from its answer on; the others follow the change feed, and so does this one where the store
    /// does not answer now.
    async fn hear_of_grants(&self) {
        if let Err(error) = self.grants.reload(&self.store).await {
            tracing::warn!(
                error = %Causes(&error),
                "grants have changed and cannot be read at present"
            );
        }
    }

    /// Says that one has looked at what somebody else took without asking.
    pub async fn review(
        &self,
        actor: Actor<'_>,
        id: &AccessId,
        note: &str,
    ) -> Result<(), AccessError> {
        let note = reason(note)?;
        let grant = self.others_grant(actor.principal, id).await?;
        let by = actor.principal;
        done(
            self.store
                .review_grant(&grant, by, &note, actor.session)
                .await?,
        )
    }

    /// What there is to decide for somebody.
    pub async fn to_decide(&self, principal: &Principal) -> Result<ToDecide, AccessError> {
        if !self.looks_after_anything(principal) {
            return Ok(ToDecide::default());
        }
        let mut live = self.store.live_grants().await?;
        live.retain(|grant| self.is_looked_after_by(principal, grant));
        Ok(ToDecide {
            open: self.open_for(principal).await?,
            live,
            to_review: self.to_review_for(principal).await?,
        })
    }

    async fn open_for(&self, principal: &Principal) -> Result<Vec<Request>, AccessError> {
        let mut open = self.store.open_access_requests().await?;
        open.retain(|request| {
            let asked = request.asked();
            let may = self.may_decide(principal, &asked.principal, &asked.rule);
            may.is_ok()
        });
        Ok(open)
    }

    async fn to_review_for(&self, principal: &Principal) -> Result<Vec<GrantRecord>, AccessError> {
        let mut to_review = self.store.grants_to_review().await?;
        to_review.retain(|grant| self.is_looked_after_by(principal, grant));
        Ok(to_review)
    }

    /// Whether there can be anything to decide for them.
    fn looks_after_anything(&self, principal: &Principal) -> bool {
        let policy = self.snapshots.current();
        policy.approves_anything(principal) || policy.reviews(principal)
    }

    fn is_looked_after_by(&self, principal: &Principal, grant: &GrantRecord) -> bool {
        let may = self.may_look_after(principal, &grant.principal, &grant.rule);
        may.is_ok()
    }

    /// Somebody's own requests and grants.
    pub async fn own(&self, principal: &Principal) -> Result<Own, AccessError> {
        Ok(Own {
            requests: self.store.access_requests_of(principal, LISTED).await?,
            grants: self.store.grants_of(principal, LISTED).await?,
        })
    }

    /// A request of one's own.
    pub async fn own_request(
        &self,
        principal: &Principal,
        id: &AccessId,
    ) -> Result<Request, AccessError> {
        let request = self.store.access_request(id).await?;
        let is_own = |request: &Request| is_same_person(&request.asked().principal, principal);
        request.filter(is_own).ok_or(AccessError::Unknown)
    }

    /// A grant of one's own, if there is one; it may be over.
    pub async fn own_grant(
        &self,
        principal: &Principal,
        id: &AccessId,
    ) -> Result<Option<GrantRecord>, AccessError> {
        let grant = self.store.grant(id).await?;
        let is_own = |grant: &GrantRecord| is_same_person(&grant.principal, principal);
        Ok(grant.filter(is_own))
    }

    fn approval(&self, principal: &Principal, rule: &Arc<str>) -> Result<Approval, AccessError> {
        let policy = self.snapshots.current();
        let approval = policy.may_ask(principal, rule).cloned();
        approval.ok_or_else(|| AccessError::NotToAsk(Arc::clone(rule)))
    }

    fn at_most(&self, rule: &str) -> Option<Duration> {
        let policy = self.snapshots.current();
        let mut rules = policy.policy().rules.iter();
        let rule = rules.find(|other| *other.name == *rule)?;
        rule.approval.as_ref().map(|approval| approval.at_most)
    }

    fn asked(
        &self,
        principal: &Principal,
        wish: Wish,
        at_most: Duration,
    ) -> Result<Asked, AccessError> {
        if wish.lasting < SHORTEST || wish.lasting > at_most {
            return Err(AccessError::Lasting(at_most));
        }
        let now = self.clock.now();
        Ok(Asked {
            id: AccessId(hex::encode(random::<16>()).into()),
            principal: principal.clone(),
            rule: wish.rule,
            place: wish.place,
            reason: reason(&wish.reason)?,
            // Of whole seconds, as the store keeps it.
            lasting: Duration::from_secs(wish.lasting.as_secs()),
            at: now,
            expires_at: now.plus(OPEN_FOR),
        })
    }

    /// A request that this person may decide.
    async fn to_be_decided(
        &self,
        principal: &Principal,
        id: &AccessId,
    ) -> Result<OpenRequest, AccessError> {
        let request = self.store.access_request(id).await?;
        let request = request.ok_or(AccessError::Unknown)?;
        let asked = request.asked();
        let may = Self::may_decide;
        self.decides(principal, may, &asked.principal, &asked.rule)
            .await?;
        match request {
            Request::Open(open) => Ok(open),
            Request::Granted(_)
            | Request::Refused { .. }
            | Request::Withdrawn(_)
            | Request::Expired(_) => Err(AccessError::Over),
        }
    }

    async fn others_grant(
        &self,
        principal: &Principal,
        id: &AccessId,
    ) -> Result<GrantRecord, AccessError> {
        let grant = self.store.grant(id).await?.ok_or(AccessError::Unknown)?;
        let (whose, rule) = (&grant.principal, &grant.rule);
        let may = Self::may_look_after;
        self.decides(principal, may, whose, rule).await?;
        Ok(grant)
    }

    /// Whether somebody decides: also by what their provider last said of them, which may be in a newer session than this one.
    async fn decides(
        &self,
        principal: &Principal,
        may: May,
        whose: &Principal,
        rule: &str,
    ) -> Result<(), AccessError> {
        may(self, principal, whose, rule)?;
        let newest = self.store.newest_principal(&principal.person_id()).await?;
        newest.map_or(Ok(()), |newest| may(self, &newest, whose, rule))
    }

    /// The rule of all deciding.
    fn may_decide(
        &self,
        principal: &Principal,
        whose: &Principal,
        rule: &str,
    ) -> Result<(), AccessError> {
        let may = self.snapshots.current().may_approve(principal, rule);
        judged(principal, whose, may)
    }

    /// The same of what was granted already, which somebody has to look after also when its rule is gone.
    fn may_look_after(
        &self,
        principal: &Principal,
        whose: &Principal,
        rule: &str,
    ) -> Result<(), AccessError> {
        let may = self.snapshots.current().may_look_after(principal, rule);
        judged(principal, whose, may)
    }

    /// All that a rule opens, in words: more, perhaps, than whoever asks speaks of.
    pub fn opens(&self, rule: &str) -> String {
        let current = self.snapshots.current();
        let mut rules = current.policy().rules.iter();
        let found = rules.find(|known| *known.name == *rule);
        found.map_or_else(
            || "nothing any more".to_owned(),
            |found| words::rule(found).what.join("; "),
        )
    }

    /// The present moment, by which requests and grants are judged.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Who may do something to what another has or wants.
type May = fn(&Access, &Principal, &Principal, &str) -> Result<(), AccessError>;

fn judged(principal: &Principal, whose: &Principal, may: bool) -> Result<(), AccessError> {
    if is_same_person(principal, whose) {
        return Err(AccessError::Oneself);
    }
    // Whoever runs a program could otherwise decide about themselves.
    let is_person = principal.kind == PrincipalKind::User;
    if !is_person || !may {
        return Err(AccessError::NotApprover);
    }
    Ok(())
}

fn done(is_done: bool) -> Result<(), AccessError> {
    if is_done {
        Ok(())
    } else {
        Err(AccessError::Over)
    }
}

/// Without what is no text around it and in it, so that it takes one line wherever it is shown.
fn reason(text: &str) -> Result<String, AccessError> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || is_unseen(c))
        .filter(|word| !word.is_empty())
        .collect();
    let text = words.join(" ");
    if text.is_empty() || text.chars().count() > LONGEST_REASON {
        return Err(AccessError::Reason);
    }
    Ok(text)
}
