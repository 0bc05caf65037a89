//! Every page and form of the console in one table, with the permission it needs.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};

use crate::console::{
    Console, audit, claim, decision, guard, overview, people, person, sessions, settings,
};
use crate::policy::roles::Permission;
use crate::web::endpoint::{Access, Endpoint};
use crate::web::stylesheet;

type Page = Endpoint<Arc<Console>>;

use Access::{SignedIn, With};
use Permission::{EndSessions, ReadAudit, ReadPolicy, ReadSessions, ReadSettings};

/// All of them, on the home host.
pub const ENDPOINTS: &[Page] = &[
    Page::new("GET", "/console", With(ReadPolicy), || get(overview::show)),
    Page::new("GET", "/console/claim", SignedIn, || get(claim::ask)),
    Page::new("POST", "/console/claim", SignedIn, || post(claim::submit)),
    Page::new("GET", "/console/sessions", With(ReadSessions), || {
        get(sessions::list)
    }),
    Page::new("GET", "/console/sessions/end", With(EndSessions), || {
        get(sessions::ask)
    }),
    Page::new("POST", "/console/sessions/end", With(EndSessions), || {
        post(sessions::end)
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
}
