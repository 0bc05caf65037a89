//! The simulator: what would come of a request, and why. A question is an address, so that it can be passed on.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::admin::actor::Actor;
use crate::admin::explain::{ExplainError, Found};
use crate::admin::objects::Names;
use crate::admin::revisions::RevisionsError;
use crate::console::answer::{Answer, Refused, page, sentence};
use crate::console::form::{lines, pairs};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Visit};
use crate::console::{Console, cursor};
use crate::identity::principal::{Groups, Principal};
use crate::policy::decide::{DenyReason, Shadow, Verdict};
use crate::policy::draft::DraftId;
use crate::policy::kubernetes::Impersonation;
use crate::policy::model::{Action, Mode, Revision};
use crate::policy::roles::Permission;
use crate::policy::yaml::{self, PolicyFault};
use crate::web::parameters::Parameters;

/// The fields of a question as they were filled in.
#[derive(Default)]
struct Asked {
    who: String,
    provider: String,
    subject: String,
    groups: String,
    claims: String,
    agents: String,
    method: String,
    url: String,
    source_ip: String,
    headers: String,
    at: String,
    revision: String,
    draft: String,
}

impl Asked {
    fn of(query: &Parameters) -> Self {
        let field = |name| query.one(name).unwrap_or_default().to_owned();
        Self {
            who: field("who"),
            provider: field("provider"),
            subject: field("subject"),
            groups: field("groups"),
            claims: field("claims"),
            agents: field("agents"),
            method: Some(field("method"))
                .filter(|method| !method.is_empty())
                .unwrap_or_else(|| "GET".to_owned()),
            url: field("url"),
            source_ip: field("source_ip"),
            headers: field("headers"),
            at: field("at"),
            revision: field("revision"),
            draft: field("draft"),
        }
    }

    /// In the words of a policy's tests.
    fn question(&self) -> Value {
        let mut question = Map::new();
        let mut put = |key: &str, text: &str| {
            if !text.trim().is_empty() {
                question.insert(key.to_owned(), text.trim().into());
            }
        };
        put("method", &self.method);
        put("source_ip", &self.source_ip);
        put("at", &self.at);
        let url = self.url.trim();
        let url = match url.contains("://") {
            true => url.to_owned(),
            false => format!("https://{url}"),
        };
        put("url", &url);
        if self.provider.trim().is_empty() {
            put("as_known", &self.who);
        } else {
            question.insert("as".to_owned(), self.described());
        }
        let headers = pairs(&self.headers);
        let headers: Map<String, Value> = headers
            .into_iter()
            .filter_map(|(name, values)| Some((name, values.into_iter().next()?.into())))
            .collect();
        if !headers.is_empty() {
            question.insert("headers".to_owned(), headers.into());
        }
        question.into()
    }

    fn described(&self) -> Value {
        let mut person = Map::new();
        person.insert("provider".to_owned(), self.provider.trim().into());
        let (who, subject) = (self.who.trim(), self.subject.trim());
        if !who.is_empty() {
            person.insert("email".to_owned(), who.into());
        }
        if !subject.is_empty() || who.is_empty() {
            let subject = if subject.is_empty() {
                "somebody"
            } else {
                subject
            };
            person.insert("subject".to_owned(), subject.into());
        }
        person.insert("groups".to_owned(), json!(lines(&self.groups)));
        let claims: Map<String, Value> = pairs(&self.claims)
            .into_iter()
            .map(|(name, values)| (name, json!(values)))
            .collect();
        if !claims.is_empty() {
            person.insert("claims".to_owned(), claims.into());
        }
        let agents = lines(&self.agents);
        if !agents.is_empty() {
            person.insert("agents".to_owned(), json!(agents));
        }
        person.into()
    }
}

/// A rule that was considered.
struct Considered {
    rule: String,
    path: String,
    badge: &'static str,
    action: &'static str,
    is_shadow: bool,
    applies: bool,
    fails: String,
}

/// What came of the question.
struct Outcome {
    badge: &'static str,
    verdict: &'static str,
    why: String,
    rule: Option<String>,
    person: Vec<(&'static str, String)>,
    route: Option<String>,
    identity: Option<Result<String, String>>,
    /// The user of a cluster, with their groups.
    cluster: Option<Result<Impersonation, String>>,
    shadow: Option<String>,
    considered: Vec<Considered>,
    /// What would have to be different.
    hints: Vec<String>,
    of: String,
}

#[derive(Template)]
#[template(path = "console/simulator.html")]
struct SimulatorPage {
    frame: Frame,
    asked: Asked,
    names: Names,
    hosts: Vec<String>,
    methods: &'static [&'static str],
    outcome: Option<Outcome>,
    refusal: Vec<String>,
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// `GET /console/simulator`.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let asked = Asked::of(&query);
    let (mut outcome, mut refusal) = (None, Vec::new());
    if !asked.url.trim().is_empty() {
        match answer(&console, &visit.actor, &asked).await? {
            Ok(found) => outcome = Some(found),
            Err(faults) => refusal = faults,
        }
    }
    let mut names = match visit.actor.may(Permission::ReadSessions) {
        true => console.revisions.names().await?,
        false => Names::default(),
    };
    names.providers = console
        .revisions
        .rules
        .known
        .providers
        .keys()
        .cloned()
        .collect();
    let policy = console.snapshots.current();
    let routes = policy.policy().routes.iter().take(1000);
    page(&SimulatorPage {
        frame: Frame::of(&visit, "Simulator"),
        asked,
        names,
        hosts: routes
            .map(|route| format!("https://{}{}", route.host, route.prefix))
            .collect(),
        methods: METHODS,
        outcome,
        refusal,
    })
}

/// What cannot be answered is said beside the question.
async fn answer(
    console: &Console,
    actor: &Actor,
    asked: &Asked,
) -> Result<Result<Outcome, Vec<String>>, Refused> {
    let (now, revisions) = (console.clock.now(), &console.revisions);
    let question = match yaml::question(asked.question(), now.to_jiff()) {
        Ok(question) => question,
        Err(faults) => return Ok(Err(said(&faults))),
    };
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        text => cursor::number(text).map(Some),
    };
    let (revision, draft) = (number(&asked.revision)?, number(&asked.draft)?);
    let answered = match draft {
        Some(draft) => {
            let draft = DraftId(draft);
            revisions.explain_draft(actor, question, draft, now).await
        }
        None => {
            revisions
                .explain(actor, question, revision.map(Revision), now)
                .await
        }
    };
    let answered = match answered {
        Ok(answered) => answered,
        Err(ExplainError::Revisions(RevisionsError::Faults(_))) => {
            return Ok(Err(vec![
                "The draft has faults; nothing can be asked of it.".to_owned(),
            ]));
        }
        Err(ExplainError::Question(faults)) => return Ok(Err(said(&faults))),
        Err(ExplainError::Revisions(
            error @ (RevisionsError::Unknown(_) | RevisionsError::NotPermitted(_)),
        )) => {
            return Ok(Err(vec![sentence(&error)]));
        }
        Err(ExplainError::Revisions(error)) => return Err(error.into()),
        Err(error) => return Ok(Err(vec![sentence(&error)])),
    };
    let of = match draft {
        Some(draft) => format!("draft {draft}"),
        None => format!("revision {}", answered.revision.0),
    };
    let person = answered.principal.as_ref().map(person).unwrap_or_default();
    Ok(Ok(match answered.found {
        Some(found) => outcome(found, person, of),
        None => Outcome {
            badge: "bad",
            verdict: "No route",
            why: "No route of this policy leads there; the edge answers that it does not know the host or path.".to_owned(),
            rule: None,
            person,
            route: None,
            identity: None,
            cluster: None,
            shadow: None,
            considered: Vec::new(),
            hints: vec!["A route for this host and path.".to_owned()],
            of,
        },
    }))
}

fn said(faults: &[PolicyFault]) -> Vec<String> {
    let said = |fault: &PolicyFault| format!("{}: {}", fault.key, fault.message);
    faults.iter().map(said).collect()
}

fn person(principal: &Principal) -> Vec<(&'static str, String)> {
    let groups = match &principal.groups {
        Groups::Missing => "not known".to_owned(),
        Groups::Known(names) if names.is_empty() => "none".to_owned(),
        Groups::Known(names) => {
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            names.join(", ")
        }
    };
    let mut said = vec![
        ("Who", principal.label().to_owned()),
        ("Provider", principal.provider.to_string()),
        ("Groups", groups),
    ];
    let claims = principal.claims.iter();
    let claims: Vec<String> = claims
        .map(|(name, values)| format!("{name}: {}", values.join(", ")))
        .collect();
    if !claims.is_empty() {
        said.push(("Claims", claims.join("; ")));
    }
    said.extend(principal.acting().map(|agents| ("Through", agents)));
    said
}

fn outcome(found: Found, person: Vec<(&'static str, String)>, of: String) -> Outcome {
    let (badge, verdict, why, rule) = match &found.explanation.verdict {
        Verdict::Allow { rule, .. } if found.refused_as_nobody().is_some() => (
            "bad",
            "Refused",
            "the rule allows it, and no identity mapping makes them anybody where it leads",
            Some(rule),
        ),
        Verdict::Allow { rule, .. } => ("good", "Allowed", "this rule allows it", Some(rule)),
        Verdict::SignIn => (
            "warn",
            "Asked to sign in",
            "nobody is signed in, and somebody who is might be allowed",
            None,
        ),
        Verdict::StepUp { rule, .. } => (
            "warn",
            "Asked to sign in again",
            "the rule asks for another sign-in",
            Some(rule),
        ),
        Verdict::Ask { rule, .. } => (
            "warn",
            "May ask for access",
            "the rule asks for somebody else's approval",
            Some(rule),
        ),
        Verdict::Deny(DenyReason::Rule { rule }) => (
            "bad",
            "Refused",
            "this rule refuses it, whatever others allow",
            Some(rule),
        ),
        Verdict::Deny(DenyReason::NoRule) => ("bad", "Refused", "no rule allows it", None),
        Verdict::Deny(DenyReason::Provider) => (
            "bad",
            "Refused",
            "the route does not accept people of this provider",
            None,
        ),
        Verdict::Deny(DenyReason::Agent) => (
            "bad",
            "Refused",
            "the person may do it, and no rule lets the agent do it for them",
            None,
        ),
    };
    let shadow = found.shadow.as_ref().map(|shadow| match shadow {
        Shadow::WouldDeny { rule } => {
            format!("Rule {rule} is in shadow mode; enforced, it would refuse this.")
        }
        Shadow::WouldAllow { rule } => {
            format!("Rule {rule} is in shadow mode; enforced, it would allow this.")
        }
    });
    Outcome {
        badge,
        verdict,
        why: why.to_owned(),
        rule: rule.map(ToString::to_string),
        person,
        hints: found.remedies(),
        considered: found
            .explanation
            .considered
            .iter()
            .map(considered)
            .collect(),
        route: Some(found.route),
        identity: Some(found.mesh_identity),
        cluster: found.kubernetes,
        shadow,
        of,
    }
}

fn considered(rule: &crate::policy::explain::Considered) -> Considered {
    let (badge, action) = match rule.action {
        Action::Allow => ("good", "allow"),
        Action::Deny => ("bad", "deny"),
    };
    Considered {
        path: format!("/console/rules/{}", rule.rule),
        rule: rule.rule.to_string(),
        badge,
        action,
        is_shadow: rule.mode == Mode::Shadow,
        applies: rule.fails.is_empty(),
        fails: rule.why_not().unwrap_or_default(),
    }
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    let own = || text.to_owned();
    SimulatorPage {
        frame: Frame::sample(text),
        asked: Asked {
            who: own(),
            provider: own(),
            subject: own(),
            groups: own(),
            claims: own(),
            agents: own(),
            method: "GET".to_owned(),
            url: own(),
            source_ip: own(),
            headers: own(),
            at: own(),
            revision: own(),
            draft: own(),
        },
        names: Names {
            groups: vec![own()],
            emails: vec![own()],
            providers: vec![own()],
        },
        hosts: vec![own()],
        methods: METHODS,
        outcome: Some(Outcome {
            badge: "good",
            verdict: "Allowed",
            why: own(),
            rule: Some(own()),
            person: vec![("Who", own())],
            route: Some(own()),
            identity: Some(Ok(own())),
            cluster: Some(Ok(Impersonation {
                user: own(),
                groups: vec![own()],
            })),
            shadow: Some(own()),
            considered: vec![Considered {
                rule: own(),
                path: "/console/rules/r".to_owned(),
                badge: "good",
                action: "allow",
                is_shadow: true,
                applies: false,
                fails: own(),
            }],
            hints: vec![own()],
            of: own(),
        }),
        refusal: vec![own()],
    }
}
