//! Replay: what people really did, decided once more by another policy. Who would lose or gain what? What was granted to them then counts for both.
//!
//! Both policies are asked with the same facts of each recorded decision, so that only what differs between them shows. Header values are not
//! recorded: to both they are unknown, which counts against the caller.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::address::host::Host;
use crate::admin::actor::Actor;
use crate::admin::granted::History;
use crate::admin::revisions::{Revisions, RevisionsError};
use crate::audit::decision::Recorded;
use crate::audit::event::actor;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::identity::spiffe_id::MeshIdentity;
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{Facts, Grant, Verdict};
use crate::policy::model::{Policy, Revision};
use crate::policy::roles::Permission;
use crate::snapshot::{NOTHING, SnapshotError, load_revision};
use crate::store::decisions::{DecisionCursor, DecisionRead, KnownPrincipals};

/// Effects of one change that are told one by one; more are only counted.
const LISTED: usize = 200;

/// A time: from a moment until before another.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From here.
    pub since: Timestamp,
    /// Until before here.
    pub until: Timestamp,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It goes on, under this mesh identity.
    Allowed(MeshIdentity),
    /// Its caller has to sign in.
    SignIn,
    /// Its caller has to sign in again, and that is all.
    StepUp,
    /// Somebody else has to approve.
    Asks,
    /// It does not.
    Refused,
}

/// What a policy would change for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// What was allowed is refused.
    Loses,
    /// What was allowed is after signing in again.
    SignsIn,
    /// What was allowed is once somebody else approved.
    Asks,
    /// What was refused is allowed.
    Gains,
    /// What was refused, or needed an approval, is allowed after signing in again.
    MaySignIn,
    /// What was refused is allowed once somebody else approved.
    MayAsk,
    /// What was allowed still is, as somebody else.
    Renamed,
}

/// One change for one person and kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What.
    pub change: Change,
    /// Whose; `None` for whoever is not signed in.
    pub person: Option<String>,
    /// The host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path, with `{*}` for identifiers.
    pub path: String,
    /// How many requests.
    pub count: i64,
    /// When there was the last one.
    pub last_at: Timestamp,
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The revision that it was compared with.
    pub parent: Option<Revision>,
    /// When the oldest decision was last made that is recorded still; `None` when there is none.
    pub recorded_since: Option<Timestamp>,
    /// Requests that were decided once more.
    pub requests: i64,
    /// Each change that there is, over all that it happens to.
    pub sums: Vec<Sum>,
    /// By change, and of each the most frequent first.
    pub effects: Vec<Effect>,
    /// Effects beyond those listed.
    pub more: usize,
}

/// A change, for everybody and everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// What.
    pub change: Change,
    /// How many people it concerns who were signed in.
    pub people: usize,
    /// Whether it concerns whoever is not signed in.
    pub strangers: bool,
    /// How many requests.
    pub requests: i64,
    /// When there was the last one.
    pub last_at: Timestamp,
}

type Key = (Change, Option<String>, String, String, String);

/// How often, and when last.
type Tally = BTreeMap<Key, (i64, i64)>;

impl Revisions {
    /// Decides a window's requests by the current revision and by a document. It tells what people did.
    pub async fn replay(
        &self,
        actor: &Actor,
        text: &str,
        window: Window,
    ) -> Result<Replayed, RevisionsError> {
        actor.check(Permission::ReadAudit)?;
        let policy = self.rules.check(text).map_err(RevisionsError::Faults)?;
        self.replay_policy(policy, window).await
    }

    pub(super) async fn replay_policy(
        &self,
        policy: Policy,
        window: Window,
    ) -> Result<Replayed, RevisionsError> {
        let trust_domain = &self.rules.trust_domain;
        let draft =
            CompiledPolicy::new(policy, NOTHING, trust_domain).map_err(SnapshotError::Faults)?;
        let parent = self.store.current_revision().await?;
        let live = load_revision(&self.store, parent, trust_domain).await?;
        let recorded_since = self.store.recorded_since().await?;
        let (requests, effects) = self.compare(&live, &draft, window).await?;
        let effects = sorted(effects);
        let listed = first_of_each(&effects, LISTED);
        Ok(Replayed {
            parent,
            recorded_since,
            requests,
            sums: by_change(&effects).filter_map(sum).collect(),
            more: effects.len() - listed.len(),
            effects: listed.into_iter().cloned().collect(),
        })
    }

    /// Decides a window's requests by the current revision and by an earlier one.
    pub async fn replay_revision(
        &self,
        actor: &Actor,
        revision: Revision,
        window: Window,
    ) -> Result<Replayed, RevisionsError> {
        let (_, text) = self.export(Some(revision)).await?;
        self.replay(actor, &text, window).await
    }

    async fn compare(
        &self,
        live: &CompiledPolicy,
        draft: &CompiledPolicy,
        window: Window,
    ) -> Result<(i64, Tally), RevisionsError> {
        let mut known = KnownPrincipals::default();
        let mut cursor = DecisionCursor::since(window.since);
        let granted = History::between(&self.store, window.since, window.until).await?;
        let (mut before, mut after) = (Side::of(live), Side::of(draft));
        let (mut hosts, mut effects) = (Hosts::default(), Tally::new());
        let mut requests = 0;
        loop {
            let page = self.store.decisions(cursor, window.until, &mut known);
            let (page, next) = page.await?;
            for read in page.rows(&known) {
                let read = read?;
                requests += read.count;
                let at = Timestamp::from_micros(read.last_at);
                let grants = granted.at(read.principal.map(AsRef::as_ref), at);
                let asked = Asked {
                    principal: read.principal,
                    recorded: &read.recorded,
                    host: hosts.read(&read.recorded.host),
                    at,
                    grants: &grants,
                };
                let (before, after) = (before.outcome(&asked), after.outcome(&asked));
                let Some(change) = change(&before, &after) else {
                    continue;
                };
                let (count, last_at) = effects.entry(key(change, &read)).or_default();
                *count += read.count;
                *last_at = read.last_at.max(*last_at);
            }
            match next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        Ok((requests, effects))
    }
}

fn key(change: Change, read: &DecisionRead<'_>) -> Key {
    let recorded = &read.recorded;
    let person = read.principal.map(|principal| actor(principal));
    let text = |text: &str| text.to_owned();
    let (method, path) = (text(&recorded.method), text(&recorded.template));
    (change, person, text(&recorded.host), method, path)
}

/// Hosts that were read already: there are few, and many decisions of each.
#[derive(Default)]
struct Hosts(HashMap<String, Option<Host>>);

impl Hosts {
    fn read(&mut self, text: &str) -> Option<&Host> {
        if !self.0.contains_key(text) {
            self.0.insert(text.to_owned(), Host::parse(text).ok());
        }
        self.0.get(text)?.as_ref()
    }
}

/// By change, and of each the most frequent first.
fn sorted(effects: Tally) -> Vec<Effect> {
    let effects = effects.into_iter();
    let mut effects: Vec<Effect> = effects
        .map(
            |((change, person, host, method, path), (count, last_at))| Effect {
                change,
                person,
                host,
                method,
                path,
                count,
                last_at: Timestamp::from_micros(last_at),
            },
        )
        .collect();
    effects.sort_by(|a, b| (a.change, b.count).cmp(&(b.change, a.count)));
    effects
}

/// So many of each change, so that many of one hide none of another.
pub fn first_of_each(effects: &[Effect], most: usize) -> Vec<&Effect> {
    by_change(effects)
        .flat_map(|of_one| of_one.iter().take(most))
        .collect()
}

/// Sorted effects, those of each change together.
fn by_change(effects: &[Effect]) -> impl Iterator<Item = &[Effect]> {
    effects.chunk_by(|a, b| a.change == b.change)
}

/// All effects of one change.
fn sum(of_one: &[Effect]) -> Option<Sum> {
    let people: BTreeSet<Option<&str>> = of_one
        .iter()
        .map(|effect| effect.person.as_deref())
        .collect();
    Some(Sum {
        change: of_one.first()?.change,
        people: people.iter().flatten().count(),
        strangers: people.contains(&None),
        requests: of_one.iter().map(|effect| effect.count).sum(),
        last_at: of_one.iter().map(|effect| effect.last_at).max()?,
    })
}

fn change(before: &Outcome, after: &Outcome) -> Option<Change> {
    match (before, after) {
        (Outcome::Allowed(before), Outcome::Allowed(after)) => {
            (before != after).then_some(Change::Renamed)
        }
        (Outcome::Allowed(_), Outcome::SignIn | Outcome::StepUp) => Some(Change::SignsIn),
        (Outcome::Allowed(_), Outcome::Asks) => Some(Change::Asks),
        (Outcome::Allowed(_), Outcome::Refused) => Some(Change::Loses),
        (_, Outcome::Allowed(_)) => Some(Change::Gains),
        (Outcome::Refused | Outcome::Asks, Outcome::StepUp) => Some(Change::MaySignIn),
        (Outcome::Refused, Outcome::Asks) => Some(Change::MayAsk),
        // Nobody was let in, and nobody is nearer to it.
        (
            Outcome::SignIn | Outcome::StepUp | Outcome::Asks | Outcome::Refused,
            Outcome::SignIn | Outcome::StepUp | Outcome::Asks | Outcome::Refused,
        ) => None,
    }
}

/// One of the two policies, and who people are in the mesh by it.
struct Side<'a> {
    policy: &'a CompiledPolicy,
    /// By the principal's place in memory: [`KnownPrincipals`] holds each for as long as this lives.
    identities: HashMap<Option<usize>, Option<MeshIdentity>>,
}

impl<'a> Side<'a> {
    fn of(policy: &'a CompiledPolicy) -> Self {
        let identities = HashMap::new();
        Self { policy, identities }
    }

    /// What a recorded request comes to, at the time when it was last made.
    fn outcome(&mut self, asked: &Asked<'_>) -> Outcome {
        let policy = self.policy;
        let Some(facts) = asked.facts(policy) else {
            return Outcome::Refused;
        };
        match policy.decide(&facts) {
            Verdict::Allow { .. } => {
                let is_somebody = |identity: &MeshIdentity| {
                    let told = facts.route.impersonation(facts.principal, identity);
                    told.is_none_or(|told| told.is_ok())
                };
                let identity = self.identity(asked.principal).filter(is_somebody);
                identity.map_or(Outcome::Refused, Outcome::Allowed)
            }
            Verdict::SignIn => Outcome::SignIn,
            // Whoever has to be asked comes behind the sign-in.
            Verdict::StepUp { rule, .. } if policy.asks_for_approval(&rule, &facts) => {
                Outcome::Asks
            }
            Verdict::StepUp { .. } => Outcome::StepUp,
            Verdict::Ask { .. } => Outcome::Asks,
            Verdict::Deny(_) => Outcome::Refused,
        }
    }

    fn identity(&mut self, principal: Option<&Arc<Principal>>) -> Option<MeshIdentity> {
        let known = self
            .identities
            .entry(principal.map(|known| Arc::as_ptr(known).addr()));
        let identity = known
            .or_insert_with(|| { self.policy.mesh_identity(principal.map(AsRef::as_ref)) }.ok());
        identity.clone()
    }
}

/// What was asked, with what was granted at a moment.
pub(super) struct Asked<'a> {
    /// Who asked.
    pub(super) principal: Option<&'a Arc<Principal>>,
    /// For what.
    pub(super) recorded: &'a Recorded<'a>,
    /// `None`: what was recorded is no host, and no policy has a route for it.
    pub(super) host: Option<&'a Host>,
    /// The moment at which it counts as made.
    pub(super) at: Timestamp,
    /// What they could use then.
    pub(super) grants: &'a [Grant],
}

impl Asked<'_> {
    /// What a policy has to decide; `None`: no route of it leads there.
    pub(super) fn facts<'f>(&'f self, policy: &'f CompiledPolicy) -> Option<Facts<'f>> {
        let recorded = self.recorded;
        Some(Facts {
            principal: self.principal.map(AsRef::as_ref),
            route: policy.route(self.host?, &recorded.path)?,
            method: &recorded.method,
            path: &recorded.path,
            now: self.at.to_jiff(),
            peer: Some(recorded.peer),
            // Their values are not recorded.
            headers: None,
            grants: self.grants,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::spiffe_id::TrustDomain;

    fn effect(change: Change, person: Option<&str>, count: i64) -> Effect {
        Effect {
            change,
            person: person.map(str::to_owned),
            host: "a.example".to_owned(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            count,
            last_at: Timestamp::from_micros(count),
        }
    }

    #[test]
    fn every_way_nearer_to_access_is_told() {
        let own = TrustDomain::parse("td").unwrap();
        let named = |name| Outcome::Allowed(MeshIdentity::new(&own, "people", name).unwrap());
        let refused = Outcome::Refused;
        for (before, after, expected) in [
            (named("a"), named("a"), None),
            (named("a"), named("b"), Some(Change::Renamed)),
            (named("a"), refused.clone(), Some(Change::Loses)),
            (named("a"), Outcome::StepUp, Some(Change::SignsIn)),
            (named("a"), Outcome::SignIn, Some(Change::SignsIn)),
            (named("a"), Outcome::Asks, Some(Change::Asks)),
            (refused.clone(), named("a"), Some(Change::Gains)),
            (Outcome::Asks, named("a"), Some(Change::Gains)),
            (refused.clone(), Outcome::StepUp, Some(Change::MaySignIn)),
            (refused.clone(), Outcome::Asks, Some(Change::MayAsk)),
            (refused.clone(), Outcome::SignIn, None),
            (Outcome::Asks, Outcome::StepUp, Some(Change::MaySignIn)),
            (Outcome::StepUp, Outcome::Asks, None),
            (Outcome::Asks, refused, None),
        ] {
            assert_eq!(change(&before, &after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn many_of_one_change_hide_none_of_another() {
        let mut effects = vec![effect(Change::Gains, None, 7)];
        effects.splice(
            0..0,
            (0..9).map(|_| effect(Change::Loses, Some("alice"), 2)),
        );
        let listed = first_of_each(&effects, 3);
        assert_eq!(listed.len(), 4);
        assert_eq!(listed[3], &effects[9]);
        let sums: Vec<Sum> = by_change(&effects).filter_map(sum).collect();
        assert_eq!(
            (sums[0].people, sums[0].strangers, sums[0].requests),
            (1, false, 18)
        );
        assert_eq!(
            (sums[1].people, sums[1].strangers, sums[1].requests),
            (0, true, 7)
        );
    }
}
