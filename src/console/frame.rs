//! What surrounds every page: who somebody is, where they may go, and word of what was just done.

use crate::admin::actor::Actor;
use crate::console::guard::Visit;
use crate::policy::roles::{Permission, Role};
use crate::web::stylesheet;

/// A part of the console that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Sections of the same group stand together.
    pub group: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// Where it is.
    pub path: &'static str,
    /// Who may; for others it is not shown.
    pub permission: Permission,
}

const fn section(
    group: &'static str,
    label: &'static str,
    path: &'static str,
    permission: Permission,
) -> Section {
    Section {
        group,
        label,
        path,
        permission,
    }
}

/// The section whose link says how much waits.
const REQUESTS: &str = "/console/requests";

/// All of them, in the order of the navigation.
pub const SECTIONS: &[Section] = &[
    section("Edge", "Overview", "/console", Permission::ReadPolicy),
    policy("Rules", "/console/rules"),
    policy("Routes", "/console/routes"),
    policy("Mappings", "/console/mappings"),
    policy("Named people", "/console/named-people"),
    policy("Route groups", "/console/route-groups"),
    policy("Roles", "/console/roles"),
    policy("Trusted issuers", "/console/issuers"),
    policy("Service accounts", "/console/service-accounts"),
    policy("Tests", "/console/tests"),
    change("Drafts", "/console/drafts"),
    change("Revisions", "/console/revisions"),
    change("Simulator", "/console/simulator"),
    section("Who", "Requests", REQUESTS, Permission::ReadRequests),
    section(
        "Who",
        "Sessions",
        "/console/sessions",
        Permission::ReadSessions,
    ),
    section("Who", "People", "/console/people", Permission::ReadSessions),
    section(
        "Who",
        "Programs",
        "/console/programs",
        Permission::ReadSessions,
    ),
    section("Record", "Audit", "/console/audit", Permission::ReadAudit),
    section(
        "Record",
        "Settings",
        "/console/settings",
        Permission::ReadSettings,
    ),
];

const fn policy(label: &'static str, path: &'static str) -> Section {
    section("Policy", label, path, Permission::ReadPolicy)
}

const fn change(label: &'static str, path: &'static str) -> Section {
    section("Changes", label, path, Permission::ReadPolicy)
}

/// Word of what a form did: a fixed text, named by a code in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// `?done=` in the address.
    pub code: &'static str,
    /// What the person reads.
    pub text: &'static str,
}

/// All of them.
pub const DONE: &[Done] = &[
    done("saved", "The draft was saved."),
    done("submitted", "The draft was left for review."),
    done("commented", "Your comment was added."),
    done("approved", "You approved of this version."),
    done("rejected", "You rejected the draft."),
    done(
        "rebased",
        "The draft is made against the current revision now.",
    ),
    done("discarded", "The draft was discarded."),
    done(
        "written",
        "This is the current revision now. Edges decide by it within two seconds.",
    ),
    done(
        "ended",
        "Done. The sessions have ended on every edge, and what was open in them is closed.",
    ),
    done(
        "granted",
        "It is granted. Every edge lets them in within two seconds.",
    ),
    done(
        "refused",
        "The request was refused, and its sender reads why.",
    ),
    done("reviewed", "Your findings are in the log."),
    done(
        "taken-away",
        "The grant has ended. What was open by it is closed.",
    ),
    done("verified", "The log was verified just now."),
    done(
        "rotated",
        "A new key was made. It is published now, and signs later.",
    ),
    done(
        "revoked",
        "The key was revoked. Every edge hears of it within two seconds.",
    ),
    done("owner", "You are owner of this edge."),
];

const fn done(code: &'static str, text: &'static str) -> Done {
    Done { code, text }
}

/// A link of the navigation.
#[derive(Clone, Debug)]
pub struct Link {
    /// What it is called.
    pub label: &'static str,
    /// Where it leads.
    pub path: &'static str,
    /// The page is of this section.
    pub is_here: bool,
    /// How much waits there for whoever looks; nothing is not shown.
    pub count: usize,
}

/// Links that stand together.
#[derive(Clone, Debug)]
pub struct Group {
    /// What is above them.
    pub label: &'static str,
    /// The links.
    pub links: Vec<Link>,
}

/// What `console/base.html` needs.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the page is called.
    pub title: String,
    /// The address of the stylesheet of all our pages.
    pub stylesheet: &'static str,
    /// The address of the console's own.
    pub console_stylesheet: &'static str,
    /// The address of the console's script.
    pub script: &'static str,
    /// The address of the script of pages that follow changes.
    pub live_script: &'static str,
    /// Where a page that follows changes begins.
    pub mark: String,
    /// Where the person may go.
    pub groups: Vec<Group>,
    /// Who they are.
    pub label: String,
    /// What they are to the edge.
    pub roles: Vec<&'static str>,
    /// What was just done.
    pub done: Option<&'static str>,
    /// The token of the page's forms.
    pub csrf: String,
    /// Identifies the request.
    pub request_id: String,
}

impl Frame {
    /// Surrounds a page.
    pub fn of(visit: &Visit, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            stylesheet: &stylesheet::PATH,
            console_stylesheet: &stylesheet::CONSOLE_PATH,
            script: &stylesheet::SCRIPT_PATH,
            live_script: &stylesheet::LIVE_PATH,
            mark: visit.mark.clone(),
            groups: groups(&visit.actor, &visit.path, visit.waiting.all()),
            label: visit.principal.label().to_owned(),
            roles: roles(&visit.actor),
            done: visit.done.map(|done| done.text),
            csrf: visit.form_token(),
            request_id: visit.info.request_id.to_string(),
        }
    }
}

fn roles(actor: &Actor) -> Vec<&'static str> {
    match actor {
        Actor::Operator { .. } => vec!["operator"],
        Actor::Person { roles, .. } => roles.iter().map(|role: &Role| role.as_str()).collect(),
    }
}

fn groups(actor: &Actor, path: &str, waiting: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for section in SECTIONS {
        if !actor.may(section.permission) {
            continue;
        }
        let link = Link {
            label: section.label,
            path: section.path,
            is_here: is_within(path, section.path),
            count: if section.path == REQUESTS { waiting } else { 0 },
        };
        match groups
            .last_mut()
            .filter(|group| group.label == section.group)
        {
            Some(group) => group.links.push(link),
            None => groups.push(Group {
                label: section.group,
                links: vec![link],
            }),
        }
    }
    groups
}

/// The overview's path is the beginning of every other.
fn is_within(path: &str, section: &str) -> bool {
    let path = path.trim_end_matches('/');
    let below = path.strip_prefix(section);
    below.is_some_and(|rest| rest.is_empty() || (section != "/console" && rest.starts_with('/')))
}

#[cfg(test)]
impl Frame {
    /// For tests of templates: every text is `text`.
    pub(super) fn sample(text: &str) -> Self {
        Self {
            title: text.to_owned(),
            stylesheet: &stylesheet::PATH,
            console_stylesheet: &stylesheet::CONSOLE_PATH,
            script: &stylesheet::SCRIPT_PATH,
            live_script: &stylesheet::LIVE_PATH,
            mark: text.to_owned(),
            groups: groups(&Actor::Operator { name: None }, "/console", 2),
            label: text.to_owned(),
            roles: vec!["owner"],
            done: DONE.first().map(|done| done.text),
            csrf: text.to_owned(),
            request_id: text.to_owned(),
        }
    }
}
