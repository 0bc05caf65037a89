//! Every endpoint of the API in one table, with the permission it needs.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};

use crate::api::{Api, access, audit, drafts, guard, istio, keys, policy};
use crate::policy::roles::Permission;
use crate::policy::yaml::LARGEST_DOCUMENT;
use crate::web::endpoint::{Access, Endpoint};

/// A document as a JSON text, with every line's end and quote escaped.
const LARGEST_BODY: usize = LARGEST_DOCUMENT + LARGEST_DOCUMENT / 2;

const fn endpoint(
    method: &'static str,
    path: &'static str,
    permission: Permission,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Endpoint<Arc<Api>> {
    Endpoint::new(method, path, Access::With(permission), handler)
}

use Permission::{ReadAudit, ReadPolicy, ReadSettings, ReviewPolicy, RotateKeys, WritePolicy};

const fn anybody(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Endpoint<Arc<Api>> {
    Endpoint::new(method, path, Access::SignedIn, handler)
}

/// All of them; paths are below the API's prefix.
pub const ENDPOINTS: &[Endpoint<Arc<Api>>] = &[
    endpoint("GET", "/policy/revisions", ReadPolicy, || {
        get(policy::history)
    }),
    endpoint("GET", "/policy/revisions/{revision}", ReadPolicy, || {
        get(policy::show)
    }),
    endpoint("GET", "/policy/diff", ReadPolicy, || get(policy::diff)),
    endpoint("GET", "/policy/document", ReadPolicy, || {
        get(policy::export)
    }),
    endpoint("POST", "/policy/plan", ReadPolicy, || post(policy::plan)).receiving(LARGEST_BODY),
    endpoint("POST", "/policy/apply", WritePolicy, || post(policy::apply)).receiving(LARGEST_BODY),
    endpoint("POST", "/policy/rollback", WritePolicy, || {
        post(policy::rollback)
    }),
    endpoint("POST", "/policy/explain", ReadPolicy, || {
        post(policy::explain)
    }),
    endpoint("GET", "/policy/explain/{decision}", ReadAudit, || {
        get(policy::explain_decision)
    }),
    endpoint("POST", "/policy/replay", ReadAudit, || post(policy::replay)).receiving(LARGEST_BODY),
    endpoint("GET", "/policy/drafts", ReadPolicy, || get(drafts::list)),
    endpoint("POST", "/policy/drafts", WritePolicy, || post(drafts::save)).receiving(LARGEST_BODY),
    endpoint("GET", "/policy/drafts/{draft}", ReadPolicy, || {
        get(drafts::show)
    }),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/comments",
        ReviewPolicy,
        || post(drafts::comment),
    ),
    endpoint("POST", "/policy/drafts/{draft}/submit", WritePolicy, || {
        post(drafts::submit)
    }),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/approve",
        ReviewPolicy,
        || post(drafts::approve),
    ),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/reject",
        ReviewPolicy,
        || post(drafts::reject),
    ),
    endpoint("POST", "/policy/drafts/{draft}/rebase", WritePolicy, || {
        post(drafts::rebase)
    }),
    endpoint("POST", "/policy/drafts/{draft}/apply", WritePolicy, || {
        post(drafts::apply)
    }),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/discard",
        WritePolicy,
        || post(drafts::discard),
    ),
    endpoint("POST", "/policy/istio", ReadPolicy, || {
        post(istio::manifests)
    })
    .receiving(LARGEST_BODY),
    endpoint("GET", "/audit/events", ReadAudit, || get(audit::events)),
    endpoint("GET", "/audit/checkpoints", ReadAudit, || {
        get(audit::checkpoints)
    }),
    endpoint("GET", "/keys", ReadSettings, || get(keys::list)),
    endpoint("POST", "/keys/rotate", RotateKeys, || post(keys::rotate)),
    endpoint("POST", "/keys/revoke", RotateKeys, || post(keys::revoke)),
    // Who may do what of these is judged by the rule that each request is about.
    anybody("GET", "/access/own", || get(access::own)),
    anybody("GET", "/access/to-decide", || get(access::to_decide)),
    anybody("POST", "/access/requests", || post(access::ask)),
    anybody("GET", "/access/requests/{id}", || get(access::show)),
    anybody("POST", "/access/requests/{id}/approve", || {
        post(access::approve)
    }),
    anybody("POST", "/access/requests/{id}/refuse", || {
        post(access::refuse)
    }),
    anybody("POST", "/access/requests/{id}/withdraw", || {
        post(access::withdraw)
    }),
    anybody("POST", "/access/grants/{id}/revoke", || {
        post(access::revoke)
    }),
    anybody("POST", "/access/grants/{id}/give-back", || {
        post(access::give_back)
    }),
    anybody("POST", "/access/grants/{id}/review", || {
        post(access::review)
    }),
];

/// All endpoints below `prefix`. A guard has to be laid around them, or nobody may do anything.
pub fn router(api: Arc<Api>, prefix: &str) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        let handler = guard::permitting(endpoint.access, endpoint.body, endpoint.handler());
        router = router.route(&format!("{prefix}{}", endpoint.path), handler);
    }
    router
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(api)
}
