//! Why somebody may or may not do something: asked of a revision, answered rule by rule.

use std::sync::Arc;

use crate::address::host::Host;
use crate::admin::actor::Actor;
use crate::admin::granted::History;
use crate::admin::replay::Asked;
use crate::admin::revisions::{Revisions, RevisionsError};
use crate::audit::decision::{Decided, Recorded};
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::check::{fault, no_claim, no_provider};
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{Facts, Grant, Shadow, Verdict};
use crate::policy::draft::DraftId;
use crate::policy::explain::Explanation;
use crate::policy::kubernetes::Impersonation;
use crate::policy::model::{Policy, Revision, Rule};
use crate::policy::roles::Permission;
use crate::policy::when::RequestHeaders;
use crate::policy::yaml::{Asking, Known, PolicyFault, Question};
use crate::snapshot::{NOTHING, load_revision};

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The revision that was asked.
    pub revision: Revision,
    /// Who it is about; `None` is somebody who is not signed in.
    pub principal: Option<Principal>,
    /// The route's name; `None` when no route leads there, and then there is no more.
    pub found: Option<Found>,
}

/// What is said of a request with a route.
#[derive(Clone, Debug)]
pub struct Found {
    /// The route's name.
    pub route: String,
    /// The verdict and the rules considered.
    pub explanation: Explanation,
    /// What rules in shadow mode would change.
    pub shadow: Option<Shadow>,
    /// The SPIFFE ID that it would go under, or why there is none.
    pub mesh_identity: Result<String, String>,
    /// Whom the cluster would take the caller for, or why for nobody; `None` where the route leads to none.
    pub kubernetes: Option<Result<Impersonation, String>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It asks about what there is not.
    #[error("this cannot be asked")]
    Question(Vec<PolicyFault>),
    /// Nothing is known of a person.
    #[error("nobody who is {0} has a session")]
    UnknownPerson(String),
    /// No such decision was recorded.
    #[error("no decision {0} is recorded")]
    UnknownDecision(String),
    /// There is no such draft.
    #[error("there is no draft {}", .0.0)]
    UnknownDraft(DraftId),
    /// The revision cannot be read.
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
}

impl Found {
    /// Why the edge refuses what the rules allow: the caller is nobody in the mesh, or in the cluster; `None` where it does not, or the rules do.
    pub fn refused_as_nobody(&self) -> Option<&str> {
        if !matches!(self.explanation.verdict, Verdict::Allow { .. }) {
            return None;
        }
        let in_cluster = self
            .kubernetes
            .as_ref()
            .and_then(|told| told.as_ref().err());
        let nobody = self.mesh_identity.as_ref().err().or(in_cluster);
        nobody.map(String::as_str)
    }

    /// What would change the answer.
    pub fn remedies(&self) -> Vec<String> {
        match self.refused_as_nobody() {
            Some(_) => {
                vec!["An identity mapping that gives them a valid mesh identity.".to_owned()]
            }
            None => self.explanation.remedies(&self.route),
        }
    }
}

impl Revisions {
    /// Answers a question by a revision, or by the current one. With what is known of somebody it is told what their provider said of them.
    pub async fn explain(
        &self,
        actor: &Actor,
        question: Question,
        revision: Option<Revision>,
        now: Timestamp,
    ) -> Result<Answer, ExplainError> {
        check_asking(actor, &question)?;
        let policy = self.compiled(revision).await?;
        self.answer(&policy, question, now).await
    }

    /// Answers a question by a draft as it stands.
    pub async fn explain_draft(
        &self,
        actor: &Actor,
        question: Question,
        draft: DraftId,
        now: Timestamp,
    ) -> Result<Answer, ExplainError> {
        check_asking(actor, &question)?;
        let found = self.store.draft(draft).await;
        let found = found.map_err(RevisionsError::from)?;
        let draft = found.ok_or(ExplainError::UnknownDraft(draft))?;
        let policy = self.rules.check(&draft.text);
        let policy = policy.map_err(RevisionsError::Faults)?;
        let compiled = CompiledPolicy::new(policy, NOTHING, &self.rules.trust_domain);
        let compiled = compiled.map_err(RevisionsError::Faults)?;
        self.answer(&compiled, question, now).await
    }

    async fn answer(
        &self,
        policy: &CompiledPolicy,
        question: Question,
        now: Timestamp,
    ) -> Result<Answer, ExplainError> {
        self.check_names(policy.policy(), &question)?;
        let at = question.at.unwrap_or_else(|| now.to_jiff());
        let is_known = matches!(question.asking, Asking::Known(_));
        let principal = match question.asking {
            Asking::Nobody => None,
            Asking::Described(principal) => {
                let known = &self.rules.known;
                Some(known.with_issuer(policy.policy(), *principal))
            }
            Asking::Known(known) => Some(self.last_seen(&known).await?),
        };
        let mut grants: Vec<Grant> = question.granted.iter().map(granted).collect();
        if let Some(principal) = principal.as_ref().filter(|_| is_known) {
            let at = Timestamp::from_micros(at.as_microsecond());
            let history = History::of(&self.store, at).await;
            let history = history.map_err(RevisionsError::from)?;
            grants.extend(history.at(Some(principal), at));
        }
        let route = policy.asked_for(&question.host, &question.path).cloned();
        let found = route.map(|route| {
            let headers = RequestHeaders::of_list(policy.header_names(), &question.headers);
            let facts = Facts {
                principal: principal.as_ref(),
                route: &route,
                method: &question.method,
                path: &question.path,
                now: at,
                peer: question.source_ip,
                headers: Some(&headers),
                grants: &grants,
            };
            found(policy, &facts)
        });
        Ok(Answer {
            revision: policy.revision,
            principal,
            found,
        })
    }

    /// A question about what there is not would be answered, and mislead.
    fn check_names(&self, policy: &Policy, question: &Question) -> Result<(), ExplainError> {
        let mut faults = Vec::new();
        let known = &self.rules.known;
        if let Asking::Described(person) = &question.asking {
            if known.issuer_of(policy, &person.provider).is_none() {
                let message = no_provider(&person.provider);
                faults.push(fault("as.provider".to_owned(), message));
            }
            let kept = known.claims_of(policy);
            for name in person.claims.keys().filter(|name| !kept.contains(&***name)) {
                faults.push(fault("as.claims".to_owned(), no_claim(name)));
            }
        }
        for (index, name) in question.granted.iter().enumerate() {
            let asks = |rule: &Arc<Rule>| rule.name == *name && rule.approval.is_some();
            if !policy.rules.iter().any(asks) {
                let message = format!("no rule that asks for an approval is called {name}");
                faults.push(fault(format!("granted[{index}]"), message));
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(ExplainError::Question(faults))
    }

    /// Explains a decision that was made, by the revision that decided or by another.
    pub async fn explain_decision(
        &self,
        actor: &Actor,
        id: &str,
        revision: Option<Revision>,
    ) -> Result<(Decided, Answer), ExplainError> {
        let permitted = actor.check(Permission::ReadAudit);
        permitted.map_err(RevisionsError::from)?;
        let decided = self
            .store
            .decision(id)
            .await
            .map_err(RevisionsError::from)?;
        let decided = decided.ok_or_else(|| ExplainError::UnknownDecision(id.to_owned()))?;
        let decision = &decided.decision;
        let revision = revision.unwrap_or(Revision(decision.revision));
        let policy = self.compiled(Some(revision)).await?;
        let at = Timestamp::from_micros(decided.first_at);
        let history = History::of(&self.store, at).await;
        let history = history.map_err(RevisionsError::from)?;
        let grants = history.at(decided.principal.as_deref(), at);
        let host = Host::parse(&decision.host).ok();
        let asked = Asked {
            principal: decided.principal.as_ref(),
            recorded: &Recorded::from(decision),
            host: host.as_ref(),
            at,
            grants: &grants,
        };
        let found = asked.facts(&policy).map(|facts| found(&policy, &facts));
        let answer = Answer {
            revision: policy.revision,
            principal: decided.principal.as_deref().cloned(),
            found,
        };
        Ok((decided, answer))
    }

    pub(super) async fn compiled(
        &self,
        revision: Option<Revision>,
    ) -> Result<CompiledPolicy, RevisionsError> {
        let wanted = self.wanted(revision).await?;
        Ok(load_revision(&self.store, wanted, &self.rules.trust_domain).await?)
    }

    async fn last_seen(&self, known: &Known) -> Result<Principal, ExplainError> {
        let found = match known {
            Known::Email(email) => self.store.last_principal(email.as_str()).await,
            Known::Subject { provider, subject } => {
                self.store.last_principal_of(provider, subject).await
            }
        };
        let found = found.map_err(RevisionsError::from)?;
        found.ok_or_else(|| ExplainError::UnknownPerson(known.to_string()))
    }
}

/// What a provider said of somebody is for those who may look at sessions.
fn check_asking(actor: &Actor, question: &Question) -> Result<(), RevisionsError> {
    match question.asking {
        Asking::Known(_) => Ok(actor.check(Permission::ReadSessions)?),
        Asking::Nobody | Asking::Described(_) => Ok(()),
    }
}

/// For as long as the question lasts.
fn granted(rule: &std::sync::Arc<str>) -> Grant {
    Grant {
        rule: rule.clone(),
        until: jiff::Timestamp::MAX,
    }
}

fn found(policy: &CompiledPolicy, facts: &Facts<'_>) -> Found {
    let explanation = policy.explain(facts);
    let identity = policy.mesh_identity(facts.principal);
    let told = identity.as_ref().ok();
    let told = told.and_then(|identity| facts.route.impersonation(facts.principal, identity));
    Found {
        route: facts.route.route.name.to_string(),
        shadow: policy.shadow(facts, &explanation.verdict),
        kubernetes: told.map(|told| told.map_err(|why| why.to_string())),
        mesh_identity: identity
            .map(|identity| identity.to_string())
            .map_err(|why| why.to_string()),
        explanation,
    }
}
