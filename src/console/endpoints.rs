//! Every page and form of the console in one table, with the permission it needs.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, get, post};

use crate::console::drafts::Step;
use crate::console::{
    Console, audit, claim, decision, drafts, edit, guard, keys, live, object, objects, overview,
    people, person, programs, requests, revisions, sessions, settings, simulator,
};
use crate::policy::kind::Kind;
use crate::policy::roles::Permission;
use crate::web::endpoint::{Access, Endpoint};
use crate::web::stylesheet;

type Page = Endpoint<Arc<Console>>;

use Access::{SignedIn, With};
use Permission::{
    EndSessions, ReadAudit, ReadPolicy, ReadRequests, ReadSessions, ReadSettings, ReviewPolicy,
    RotateKeys, WritePolicy,
};

const fn page(path: &'static str, handler: fn() -> MethodRouter<Arc<Console>>) -> Page {
    Page::new("GET", path, Access::With(ReadPolicy), handler)
}

const fn form(
    path: &'static str,
    permission: Permission,
    handler: fn() -> MethodRouter<Arc<Console>>,
) -> Page {
    Page::new("POST", path, Access::With(permission), handler)
}

/// All of them, on the home host.
pub const ENDPOINTS: &[Page] = &[
    page("/console", || get(overview::show)),
    page(live::PATH, || get(live::listen)),
    page("/console/rules", || objects::list(Kind::Rule)),
    page("/console/rules/{name}", || object::show(Kind::Rule)),
    page("/console/routes", || objects::list(Kind::Route)),
    page("/console/routes/{name}", || object::show(Kind::Route)),
    page("/console/mappings", || objects::list(Kind::Mapping)),
    page("/console/mappings/{name}", || object::show(Kind::Mapping)),
    page("/console/named-people", || objects::list(Kind::People)),
    page("/console/named-people/{name}", || {
        object::show(Kind::People)
    }),
    page("/console/route-groups", || objects::list(Kind::RouteGroup)),
    page("/console/route-groups/{name}", || {
        object::show(Kind::RouteGroup)
    }),
    page("/console/roles", || objects::list(Kind::RoleBinding)),
    page("/console/roles/{name}", || object::show(Kind::RoleBinding)),
    page("/console/issuers", || objects::list(Kind::TrustedIssuer)),
    page("/console/issuers/{name}", || {
        object::show(Kind::TrustedIssuer)
    }),
    page("/console/service-accounts", || {
        objects::list(Kind::ServiceAccount)
    }),
    page("/console/service-accounts/{name}", || {
        object::show(Kind::ServiceAccount)
    }),
    page("/console/tests", || objects::list(Kind::Test)),
    page("/console/tests/{name}", || object::show(Kind::Test)),
    Page::new("GET", "/console/edit", Access::With(WritePolicy), || {
        get(edit::ask)
    }),
    form("/console/edit", WritePolicy, || post(edit::preview)),
    form("/console/edit/save", WritePolicy, || post(edit::save)),
    page("/console/revisions", || get(revisions::list)),
    page("/console/revisions/compare", || get(revisions::compare)),
    page("/console/revisions/{revision}", || get(revisions::show)),
    Page::new(
        "GET",
        "/console/revisions/{revision}/rollback",
        Access::With(WritePolicy),
        || get(revisions::ask_rollback),
    ),
    form(
        "/console/revisions/{revision}/rollback",
        WritePolicy,
        || post(revisions::rollback),
    ),
    page("/console/simulator", || get(simulator::show)),
    page("/console/drafts", || get(drafts::list)),
    page("/console/drafts/{draft}", || get(drafts::show)),
    form("/console/drafts/{draft}/comment", ReviewPolicy, || {
        drafts::step(Step::Comment)
    }),
    form("/console/drafts/{draft}/approve", ReviewPolicy, || {
        drafts::step(Step::Approve)
    }),
    form("/console/drafts/{draft}/reject", ReviewPolicy, || {
        drafts::step(Step::Reject)
    }),
    form("/console/drafts/{draft}/submit", WritePolicy, || {
        drafts::step(Step::Submit)
    }),
    form("/console/drafts/{draft}/rebase", WritePolicy, || {
        drafts::step(Step::Rebase)
    }),
    form("/console/drafts/{draft}/apply", WritePolicy, || {
        drafts::step(Step::Apply)
    }),
    form("/console/drafts/{draft}/discard", WritePolicy, || {
        drafts::step(Step::Discard)
    }),
    Page::new("GET", "/console/claim", SignedIn, || get(claim::ask)),
    Page::new("POST", "/console/claim", SignedIn, || post(claim::submit)),
    Page::new("GET", "/console/requests", With(ReadRequests), || {
        get(requests::list)
    }),
    form("/console/requests/{id}/approve", ReadRequests, || {
        post(requests::approve)
    }),
    form("/console/requests/{id}/refuse", ReadRequests, || {
        post(requests::refuse)
    }),
    Page::new(
        "GET",
        "/console/grants/{id}/revoke",
        With(ReadRequests),
        || get(requests::ask_revoke),
    ),
    form("/console/grants/{id}/revoke", ReadRequests, || {
        post(requests::revoke)
    }),
    form("/console/grants/{id}/review", ReadRequests, || {
        post(requests::review)
    }),
    Page::new("GET", "/console/sessions", With(ReadSessions), || {
        get(sessions::list)
    }),
    Page::new("GET", "/console/sessions/end", With(EndSessions), || {
        get(sessions::ask)
    }),
    Page::new("POST", "/console/sessions/end", With(EndSessions), || {
        post(sessions::end)
    }),
    Page::new("GET", "/console/programs", With(ReadSessions), || {
        get(programs::list)
    }),
    Page::new("GET", "/console/people", With(ReadSessions), || {
        get(people::list)
    }),
    Page::new(
        "GET",
        "/console/people/{person}",
        With(ReadSessions),
        || get(person::show),
    ),
    Page::new("GET", "/console/audit", With(ReadAudit), || {
        get(audit::search)
    }),
    Page::new("GET", "/console/audit/export", With(ReadAudit), || {
        get(audit::export)
    }),
    Page::new("POST", "/console/audit/verify", With(ReadAudit), || {
        post(audit::verify)
    }),
    Page::new(
        "GET",
        "/console/audit/decisions/{decision}",
        With(ReadAudit),
        || get(decision::show),
    ),
    Page::new("GET", "/console/settings", With(ReadSettings), || {
        get(settings::show)
    }),
    Page::new("GET", "/console/keys/rotate", With(RotateKeys), || {
        get(keys::ask_rotate)
    }),
    form("/console/keys/rotate", RotateKeys, || post(keys::rotate)),
    Page::new("GET", "/console/keys/revoke", With(RotateKeys), || {
        get(keys::ask_revoke)
    }),
    form("/console/keys/revoke", RotateKeys, || post(keys::revoke)),
];

/// The console's router, with its stylesheet and script.
pub fn router(console: Arc<Console>) -> Router {
    let mut pages = Router::new();
    let mut at: std::collections::BTreeMap<&str, _> = std::collections::BTreeMap::new();
    for endpoint in ENDPOINTS {
        let handler = guard::permitting(endpoint.access, endpoint.handler());
        let merged = match at.remove(endpoint.path) {
            Some(before) => handler.merge(before),
            None => handler,
        };
        at.insert(endpoint.path, merged);
    }
    for (path, handler) in at {
        pages = pages.route(path, handler);
    }
    pages
        .route("/console/", any(guard::nothing_here))
        .route("/console/{*rest}", any(guard::nothing_here))
        .layer(from_fn_with_state(Arc::clone(&console), guard::admit))
        .with_state(console)
        .route(
            &stylesheet::CONSOLE_PATH,
            get(async || stylesheet::console_response()),
        )
        .route(
            &stylesheet::SCRIPT_PATH,
            get(async || stylesheet::script_response()),
        )
        .route(
            &stylesheet::LIVE_PATH,
            get(async || stylesheet::live_response()),
        )
        .route(
            &stylesheet::EDITOR_PATH,
            get(async || stylesheet::editor_response()),
        )
}
