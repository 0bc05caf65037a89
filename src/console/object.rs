//! One object of the policy in force: in plain words, as its author wrote it, and what became of it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get};

use crate::admin::actor::Actor;
use crate::admin::objects::{Past, Reach, Touch};
use crate::clock::Timestamp;
use crate::console::answer::{Answer, Refused, page};
use crate::console::frame::Frame;
use crate::console::guard::Visit;
use crate::console::kinds::{self, KindPages};
use crate::console::objects::{Row, row};
use crate::console::{Console, link};
use crate::policy::document::written_object;
use crate::policy::kind::Kind;
use crate::policy::lint::is_about;
use crate::policy::model::Policy;
use crate::policy::roles::Permission;
use crate::policy::search::{names_group, names_people};
use crate::policy::words;
use crate::web::moment::Moment;

/// Other objects, or people, that a page lists.
const LISTED: usize = 50;

/// What an object says, by heading; items are alternatives or all hold, as the heading says.
struct Said {
    heading: &'static str,
    items: Vec<String>,
}

/// What a revision did to the object.
struct Change {
    what: &'static str,
    revision: i64,
    author: String,
    message: String,
    at: Moment,
}

/// Objects of one kind that it concerns.
struct Related {
    heading: String,
    empty: &'static str,
    rows: Vec<Row>,
    more: usize,
}

/// How often a rule decided.
struct Use {
    count: i64,
    last: Option<Moment>,
}

/// Somebody who may come in.
struct Person {
    label: String,
    provider: String,
    rule: String,
    rule_path: String,
    steps_up: bool,
}

#[derive(Template)]
#[template(path = "console/object.html")]
struct ObjectPage {
    frame: Frame,
    kind: &'static KindPages,
    name: String,
    badges: Vec<(&'static str, String)>,
    said: Vec<Said>,
    text: String,
    findings: Vec<String>,
    changes: Vec<Change>,
    uses: Option<Use>,
    related: Vec<Related>,
    people: Option<Vec<Person>>,
    more_people: usize,
    edit: Option<String>,
    copy: String,
    remove: String,
    /// Why nothing can be changed here.
    locked: Option<String>,
}

/// `GET /console/rules/{name}` and so on.
pub(super) fn show(kind: Kind) -> MethodRouter<Arc<Console>> {
    get(move |console, visit, name| shown(kind, console, visit, name))
}

async fn shown(
    kind: Kind,
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(name): Path<String>,
) -> Answer {
    let kind = kinds::of(kind);
    let compiled = Arc::clone(&console.snapshots.current());
    let policy = compiled.policy();
    let names = policy.names(kind.kind);
    let index = names.iter().position(|known| *known == name);
    let index = index.ok_or(Refused::NotFound)?;
    let glance = row(policy, kind, index).ok_or(Refused::NotFound)?;
    let (now, revisions) = (console.clock.now(), &console.revisions);
    let past = revisions.past(kind.kind, &name).await?;
    let oddities = revisions.oddities(policy, kind.kind, &name, now);
    let findings = oddities.await?;
    let (people, more_people) = match kind.kind {
        Kind::Route if visit.actor.may(Permission::ReadSessions) => {
            let (people, more) = people(&revisions.reach(&compiled, &name, now).await?);
            (Some(people), more)
        }
        _ => (None, 0),
    };
    let address = |more: &[(&str, &str)]| {
        let mut parameters = vec![("kind", kind.kind.as_str())];
        parameters.extend(more);
        link::with_query("/console/edit", &parameters)
    };
    let may_write = revisions.check_own_writing(&visit.actor).is_ok();
    page(&ObjectPage {
        frame: Frame::of(&visit, name.clone()),
        badges: glance.badges,
        said: said(policy, kind.kind, index),
        text: past
            .text
            .clone()
            .unwrap_or_else(|| written(policy, kind.kind, index)),
        findings: findings.into_iter().map(|found| found.message).collect(),
        changes: changes(&past, now),
        uses: uses(&console, &visit.actor, kind.kind, &name, now).await,
        related: related(policy, kind.kind, &name),
        people,
        more_people,
        edit: may_write.then(|| address(&[("name", &name)])),
        copy: address(&[("copy", &name)]),
        remove: address(&[("name", &name), ("remove", "1")]),
        locked: console
            .revisions
            .follows
            .as_ref()
            .map(|file| file.display().to_string()),
        name,
        kind,
    })
}

/// What is not known in time is left out: the page is about more than that.
async fn uses(
    console: &Console,
    actor: &Actor,
    kind: Kind,
    name: &str,
    now: Timestamp,
) -> Option<Use> {
    if kind != Kind::Rule || !actor.may(Permission::ReadAudit) {
        return None;
    }
    let found = console.revisions.rule_use(name, now).await.ok()?;
    Some(Use {
        count: found.count,
        last: found.last_at.map(|at| Moment::of(at, now)),
    })
}

fn people(reach: &[Reach]) -> (Vec<Person>, usize) {
    let person = |reach: &Reach| Person {
        label: reach.principal.label().to_owned(),
        provider: reach.principal.provider.to_string(),
        rule_path: format!("/console/rules/{}", reach.rule),
        rule: reach.rule.clone(),
        steps_up: reach.steps_up,
    };
    let shown = reach.iter().take(LISTED).map(person).collect();
    (shown, reach.len().saturating_sub(LISTED))
}

fn changes(past: &Past, now: Timestamp) -> Vec<Change> {
    let change = |(touch, record): &(Touch, _)| {
        let record: &crate::store::policy::RevisionRecord = record;
        Change {
            what: match touch {
                Touch::Made => "made",
                Touch::Changed => "changed",
                Touch::Removed => "removed",
            },
            revision: record.revision.0,
            author: record.author.clone(),
            message: record.message.clone(),
            at: Moment::of(record.created_at, now),
        }
    };
    past.changes.iter().map(change).collect()
}

/// Where what the author wrote is not known.
fn written(policy: &Policy, kind: Kind, index: usize) -> String {
    let objects = policy.objects(kind);
    let object = objects.get(index).map(|object| object.to_json());
    object.as_ref().map(written_object).unwrap_or_default()
}

fn said(policy: &Policy, kind: Kind, index: usize) -> Vec<Said> {
    let one = |heading, items| Said { heading, items };
    match kind {
        Kind::Rule => {
            let rule = policy
                .rules
                .get(index)
                .map(|rule| words::rule(rule))
                .unwrap_or_default();
            let mut said = vec![one(rule.does, rule.who), one("On", rule.what)];
            if !rule.when.is_empty() {
                said.push(one("Only", rule.when));
            }
            said.extend(
                rule.require
                    .map(|require| one("If they came", vec![require])),
            );
            said.extend(
                rule.approval
                    .map(|approval| one("With the approval", vec![approval])),
            );
            said
        }
        Kind::Route => policy.routes.get(index).map_or_else(Vec::new, |route| {
            let providers = route.providers.as_ref();
            let providers = providers.map_or_else(
                || vec!["any provider or trusted issuer".to_owned()],
                |names| names.iter().map(ToString::to_string).collect(),
            );
            vec![
                one("Address", vec![format!("{}{}", route.host, route.prefix)]),
                one("Leads to", vec![words::upstream(route)]),
                one("Accepts people of", providers),
            ]
        }),
        Kind::Mapping => policy.mappings.get(index).map_or_else(Vec::new, |mapping| {
            vec![
                one("Gives", words::from(&mapping.from)),
                one("The mesh identity", vec![mapping.spiffe_id.clone()]),
                one(
                    "Tried",
                    vec![format!(
                        "as number {} of {}",
                        index + 1,
                        policy.mappings.len()
                    )],
                ),
            ]
        }),
        Kind::People => policy.people.get(index).map_or_else(Vec::new, |people| {
            vec![one("Stands for", words::from(&people.from))]
        }),
        Kind::TrustedIssuer => {
            let issuer = policy.trusted_issuers.get(index);
            issuer.map_or_else(Vec::new, |issuer| {
                vec![
                    one("Trusts", vec![words::issuer(issuer)]),
                    one("With tokens", words::tokens(issuer)),
                ]
            })
        }
        Kind::ServiceAccount => {
            let account = policy.service_accounts.get(index);
            account.map_or_else(Vec::new, |account| {
                vec![
                    one("Has the keys", account.key_names()),
                    one("Is", words::account(account)),
                ]
            })
        }
        Kind::RoleBinding => policy.role_bindings.get(index).map_or_else(Vec::new, |it| {
            vec![
                one("Makes", words::from(&it.from)),
                one("To", vec![it.role.as_str().to_owned()]),
            ]
        }),
        Kind::RouteGroup | Kind::Test => Vec::new(),
    }
}

fn related(policy: &Policy, kind: Kind, name: &str) -> Vec<Related> {
    let of_kind = |kind: &'static KindPages, heading: String, is_meant: &dyn Fn(usize) -> bool| {
        let count = policy.names(kind.kind).len();
        let all: Vec<usize> = (0..count).filter(|index| is_meant(*index)).collect();
        Related {
            heading,
            empty: "None.",
            rows: all
                .iter()
                .take(LISTED)
                .filter_map(|index| row(policy, kind, *index))
                .collect(),
            more: all.len().saturating_sub(LISTED),
        }
    };
    let (rules, routes) = (kinds::of(Kind::Rule), kinds::of(Kind::Route));
    let (mappings, roles) = (kinds::of(Kind::Mapping), kinds::of(Kind::RoleBinding));
    let rule = |index: usize| policy.rules.get(index);
    match kind {
        Kind::Route => vec![of_kind(rules, "Rules about it".to_owned(), &|index| {
            rule(index).is_some_and(|rule| is_about(policy, rule, name))
        })],
        Kind::RouteGroup => {
            let group = policy
                .route_groups
                .iter()
                .find(|group| *group.name == *name);
            let members = |index: usize| {
                let route = policy.routes.get(index).map(|route| &route.name);
                group
                    .zip(route)
                    .is_some_and(|(group, route)| group.routes.contains(route))
            };
            vec![
                of_kind(routes, "Its routes".to_owned(), &members),
                of_kind(rules, "Rules that name it".to_owned(), &|index| {
                    rule(index).is_some_and(|rule| names_group(rule, name))
                }),
            ]
        }
        Kind::People => vec![
            of_kind(rules, "Rules that name them".to_owned(), &|index| {
                rule(index).is_some_and(|rule| rule.callers().any(|from| names_people(from, name)))
            }),
            of_kind(mappings, "Mappings that name them".to_owned(), &|index| {
                let mapping = policy.mappings.get(index);
                mapping.is_some_and(|mapping| names_people(&mapping.from, name))
            }),
            of_kind(roles, "Roles that name them".to_owned(), &|index| {
                let binding = policy.role_bindings.get(index);
                binding.is_some_and(|binding| names_people(&binding.from, name))
            }),
        ],
        Kind::Rule
        | Kind::Mapping
        | Kind::TrustedIssuer
        | Kind::ServiceAccount
        | Kind::RoleBinding
        | Kind::Test => Vec::new(),
    }
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(9));
    ObjectPage {
        frame: Frame::sample(text),
        kind: kinds::of(Kind::Rule),
        name: text.to_owned(),
        badges: vec![("good", text.to_owned())],
        said: vec![Said {
            heading: "Allows",
            items: vec![text.to_owned()],
        }],
        text: text.to_owned(),
        findings: vec![text.to_owned()],
        changes: vec![Change {
            what: "changed",
            revision: 7,
            author: text.to_owned(),
            message: text.to_owned(),
            at: moment.clone(),
        }],
        uses: Some(Use {
            count: 3,
            last: Some(moment),
        }),
        related: vec![Related {
            heading: text.to_owned(),
            empty: "None.",
            rows: vec![crate::console::objects::sample_row(text)],
            more: 2,
        }],
        people: Some(vec![Person {
            label: text.to_owned(),
            provider: text.to_owned(),
            rule: text.to_owned(),
            rule_path: "/console/rules/r".to_owned(),
            steps_up: true,
        }]),
        more_people: 2,
        edit: Some(link::with_query("/console/edit", &[("name", text)])),
        copy: link::with_query("/console/edit", &[("copy", text)]),
        remove: link::with_query("/console/edit", &[("name", text)]),
        locked: Some(text.to_owned()),
    }
}
