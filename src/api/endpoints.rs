//! Every endpoint of the API in one table, with the permission it needs and its description.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};

use crate::api::openapi::Operation;
use crate::api::{Api, access, audit, drafts, guard, istio, keys, openapi, policy};
use crate::policy::roles::Permission;
use crate::policy::yaml::LARGEST_DOCUMENT;
use crate::web::endpoint::{Access, Endpoint};

/// A document as a JSON text, with every line's end and quote escaped.
const LARGEST_BODY: usize = LARGEST_DOCUMENT + LARGEST_DOCUMENT / 2;

/// Where operators find the API on the admin listener.
pub const OPERATORS_PREFIX: &str = "/api/v1";
/// Where people's programs find it on the home host.
pub const PEOPLES_PREFIX: &str = "/.wayleave/api/v1";

/// An endpoint, and what programs are told of it.
pub struct Described {
    /// What answers, and whom.
    pub endpoint: Endpoint<Arc<Api>>,
    /// What the API's document says.
    pub operation: Operation,
}

/// No endpoint of the table yet.
struct Undescribed(Endpoint<Arc<Api>>);

impl Undescribed {
    const fn receiving(self, bytes: usize) -> Self {
        Self(self.0.receiving(bytes))
    }

    const fn described(self, operation: Operation) -> Described {
        Described {
            endpoint: self.0,
            operation,
        }
    }
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    permission: Permission,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Undescribed {
    Undescribed(Endpoint::new(
        method,
        path,
        Access::With(permission),
        handler,
    ))
}

use Permission::{ReadAudit, ReadPolicy, ReadSettings, ReviewPolicy, RotateKeys, WritePolicy};

const fn anybody(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Undescribed {
    Undescribed(Endpoint::new(method, path, Access::SignedIn, handler))
}

/// All of them; paths are below the API's prefix.
pub const ENDPOINTS: &[Described] = &[
    endpoint("GET", "/policy/revisions", ReadPolicy, || {
        get(policy::history)
    })
    .described(
        Operation::new(
            "listRevisions",
            "The policy's revisions, newest first.",
            "Revisions",
        )
        .query(&["before", "limit"]),
    ),
    endpoint("GET", "/policy/revisions/{revision}", ReadPolicy, || {
        get(policy::show)
    })
    .described(
        Operation::new(
            "showRevision",
            "A revision, and what it changed.",
            "RevisionShown",
        )
        .refuses(&[404]),
    ),
    endpoint("GET", "/policy/diff", ReadPolicy, || get(policy::diff)).described(
        Operation::new(
            "diffRevisions",
            "What differs between two revisions.",
            "Changes",
        )
        .query(&["from", "to"])
        .refuses(&[404]),
    ),
    endpoint("GET", "/policy/document", ReadPolicy, || {
        get(policy::export)
    })
    .described(
        Operation::new("exportPolicy", "The policy as a document.", "PolicyText")
            .query(&["in_revision"])
            .refuses(&[404]),
    ),
    endpoint("POST", "/policy/plan", ReadPolicy, || post(policy::plan))
        .receiving(LARGEST_BODY)
        .described(
            Operation::new("planPolicy", "What applying a document would do.", "Plan")
                .asks("PlanAsked"),
        ),
    endpoint("POST", "/policy/apply", WritePolicy, || post(policy::apply))
        .receiving(LARGEST_BODY)
        .described(
            Operation::new("applyPolicy", "Puts a document in force.", "Written")
                .asks("ApplyAsked")
                .refuses(&[409]),
        ),
    endpoint("POST", "/policy/rollback", WritePolicy, || {
        post(policy::rollback)
    })
    .described(
        Operation::new(
            "rollBackPolicy",
            "Puts an earlier revision in force again.",
            "Written",
        )
        .asks("RollbackAsked")
        .refuses(&[404, 409]),
    ),
    endpoint("POST", "/policy/explain", ReadPolicy, || {
        post(policy::explain)
    })
    .described(
        Operation::new(
            "explain",
            "Why somebody may or may not do something.",
            "Explained",
        )
        .asks("ExplainAsked")
        .refuses(&[404]),
    ),
    endpoint("GET", "/policy/explain/{decision}", ReadAudit, || {
        get(policy::explain_decision)
    })
    .described(
        Operation::new(
            "explainDecision",
            "Why a recorded decision was made.",
            "Explained",
        )
        .query(&["in_revision"])
        .refuses(&[404]),
    ),
    endpoint("POST", "/policy/replay", ReadAudit, || post(policy::replay))
        .receiving(LARGEST_BODY)
        .described(
            Operation::new(
                "replayDecisions",
                "Who would have lost or gained what.",
                "Replayed",
            )
            .asks("ReplayAsked")
            .refuses(&[404]),
        ),
    endpoint("GET", "/policy/drafts", ReadPolicy, || get(drafts::list)).described(
        Operation::new("listDrafts", "Drafts of policy, newest first.", "Drafts")
            .query(&["before", "limit", "all"]),
    ),
    endpoint("POST", "/policy/drafts", WritePolicy, || post(drafts::save))
        .receiving(LARGEST_BODY)
        .described(
            Operation::new("saveDraft", "Keeps a draft.", "DraftTold")
                .asks("DraftAsked")
                .refuses(&[404, 409]),
        ),
    endpoint("GET", "/policy/drafts/{draft}", ReadPolicy, || {
        get(drafts::show)
    })
    .described(
        Operation::new(
            "showDraft",
            "A draft, what it does, and what was said of it.",
            "DraftShown",
        )
        .refuses(&[404, 422]),
    ),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/comments",
        ReviewPolicy,
        || post(drafts::comment),
    )
    .described(
        Operation::new("commentDraft", "Says something of a draft.", "Commented")
            .asks("CommentAsked")
            .refuses(&[404, 409]),
    ),
    endpoint("POST", "/policy/drafts/{draft}/submit", WritePolicy, || {
        post(drafts::submit)
    })
    .described(
        Operation::new("submitDraft", "Asks for reviews.", "DraftTold")
            .asks("Who")
            .refuses(&[404, 409]),
    ),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/approve",
        ReviewPolicy,
        || post(drafts::approve),
    )
    .described(
        Operation::new(
            "approveDraft",
            "Approves a draft of somebody else.",
            "DraftTold",
        )
        .asks("ReviewAsked")
        .refuses(&[404, 409]),
    ),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/reject",
        ReviewPolicy,
        || post(drafts::reject),
    )
    .described(
        Operation::new("rejectDraft", "Sends a draft back.", "DraftTold")
            .asks("ReviewAsked")
            .refuses(&[404, 409]),
    ),
    endpoint("POST", "/policy/drafts/{draft}/rebase", WritePolicy, || {
        post(drafts::rebase)
    })
    .described(
        Operation::new(
            "rebaseDraft",
            "Carries a draft onto the policy in force.",
            "DraftTold",
        )
        .asks("Who")
        .refuses(&[404, 409]),
    ),
    endpoint("POST", "/policy/drafts/{draft}/apply", WritePolicy, || {
        post(drafts::apply)
    })
    .described(
        Operation::new("applyDraft", "Puts a draft in force.", "Written")
            .asks("DraftApplyAsked")
            .refuses(&[404, 409]),
    ),
    endpoint(
        "POST",
        "/policy/drafts/{draft}/discard",
        WritePolicy,
        || post(drafts::discard),
    )
    .described(
        Operation::new("discardDraft", "Ends a draft.", "DraftTold")
            .asks("Who")
            .refuses(&[404, 409]),
    ),
    endpoint("POST", "/policy/istio", ReadPolicy, || {
        post(istio::manifests)
    })
    .receiving(LARGEST_BODY)
    .described(
        Operation::new(
            "exportIstio",
            "Istio's objects for workloads.",
            "IstioManifests",
        )
        .asks("IstioAsked")
        .refuses(&[404]),
    ),
    endpoint("GET", "/audit/events", ReadAudit, || get(audit::list)).described(
        Operation::new("listEvents", "Events of the audit log.", "Events").query(&[
            "after", "before", "limit", "kind", "actor", "since", "until", "contains",
        ]),
    ),
    endpoint("GET", "/audit/checkpoints", ReadAudit, || {
        get(audit::checkpoints)
    })
    .described(Operation::new(
        "listCheckpoints",
        "Signed heads of the audit log.",
        "Checkpoints",
    )),
    endpoint("GET", "/keys", ReadSettings, || get(keys::list)).described(Operation::new(
        "listKeys",
        "The signing keys as a JWK set.",
        "Keys",
    )),
    endpoint("POST", "/keys/rotate", RotateKeys, || post(keys::rotate)).described(
        Operation::new("rotateKeys", "Has the next key sign.", "Rotated")
            .asks("RotateAsked")
            .refuses(&[409]),
    ),
    endpoint("POST", "/keys/revoke", RotateKeys, || post(keys::revoke)).described(
        Operation::new("revokeKey", "Takes a key back.", "KeyRevoked")
            .asks("RevokeKeyAsked")
            .refuses(&[404, 409]),
    ),
    // Who may do what of these is judged by the rule that each request is about.
    anybody("GET", "/access/own", || get(access::own)).described(
        Operation::new("listOwnAccess", "What one asked for, and has.", "Own").for_people(),
    ),
    anybody("GET", "/access/to-decide", || get(access::to_decide)).described(
        Operation::new(
            "listAccessToDecide",
            "What waits for one's decision.",
            "ToDecide",
        )
        .for_people(),
    ),
    anybody("POST", "/access/requests", || post(access::ask)).described(
        Operation::new("askForAccess", "Asks for access for a time.", "RequestTold")
            .asks("AccessAsked")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("GET", "/access/requests/{id}", || get(access::show)).described(
        Operation::new(
            "showAccessRequest",
            "A request of one's own.",
            "RequestTold",
        )
        .refuses(&[404])
        .for_people(),
    ),
    anybody("POST", "/access/requests/{id}/approve", || {
        post(access::approve)
    })
    .described(
        Operation::new("approveAccess", "Grants what is asked for.", "Done")
            .asks("ApproveAsked")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("POST", "/access/requests/{id}/refuse", || {
        post(access::refuse)
    })
    .described(
        Operation::new("refuseAccess", "Refuses it.", "Done")
            .asks("RefuseAsked")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("POST", "/access/requests/{id}/withdraw", || {
        post(access::withdraw)
    })
    .described(
        Operation::new("withdrawAccess", "Asks for it no more.", "Done")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("POST", "/access/grants/{id}/revoke", || {
        post(access::revoke)
    })
    .described(
        Operation::new("revokeGrant", "Takes access back.", "Done")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("POST", "/access/grants/{id}/give-back", || {
        post(access::give_back)
    })
    .described(
        Operation::new("giveBackGrant", "Gives access back.", "Done")
            .refuses(&[404, 409, 429])
            .for_people(),
    ),
    anybody("POST", "/access/grants/{id}/review", || {
        post(access::review)
    })
    .described(
        Operation::new(
            "reviewGrant",
            "Says that a use of break-glass was looked at.",
            "Done",
        )
        .asks("GrantReviewAsked")
        .refuses(&[404, 409, 429])
        .for_people(),
    ),
    anybody("GET", "/openapi.json", || get(openapi::show)).described(Operation::new(
        "showApi",
        "This document.",
        "OpenApi",
    )),
    anybody("GET", "/policy.schema.json", || get(openapi::policy_schema)).described(
        Operation::new(
            "showPolicySchema",
            "The JSON Schema of policy documents.",
            "JsonSchema",
        ),
    ),
];

/// All endpoints below `prefix`. A guard has to be laid around them, or nobody may do anything.
pub fn router(api: Arc<Api>, prefix: &str) -> Router {
    let mut router = Router::new();
    for Described { endpoint, .. } in ENDPOINTS {
        let handler = guard::permitting(endpoint.access, endpoint.body, endpoint.handler());
        router = router.route(&format!("{prefix}{}", endpoint.path), handler);
    }
    router
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(api)
}
