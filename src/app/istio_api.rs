//! The operators' API for Istio's manifests: translates between HTTP and the use case, and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::origin::Scheme;
use crate::admin::istio::ExportError;
use crate::admin::revisions::Revisions;
use crate::app::operators::{Unreadable, problem};
use crate::app::policy_api::refusal;
use crate::config::Config;
use crate::policy::istio::{Edge, Note, Placement, Wanted, WorkloadExport};
use crate::policy::model::Revision;
use crate::token::assertion::Minter;

/// What the endpoint reads.
#[derive(Clone)]
pub struct IstioExport {
    /// Where the policy is.
    pub revisions: Revisions,
    /// What the edge is to the mesh.
    pub edge: Arc<Edge>,
}

/// What workloads are told of an edge with these front doors.
pub fn edge(
    config: &Config,
    doors: &[(Scheme, u16)],
    issuer: String,
    minter: &Minter,
) -> Arc<Edge> {
    let providers = config.identity_providers.iter();
    let issuers = config.trusted_issuers.iter();
    Arc::new(Edge {
        issuer,
        jwks: minter.jwks(),
        doors: doors.to_vec(),
        providers: providers
            .map(|provider| Arc::clone(&provider.name))
            .collect(),
        issuers: issuers.map(|issuer| Arc::clone(&issuer.name)).collect(),
    })
}

/// The one endpoint.
pub fn router(export: IstioExport) -> Router {
    Router::new()
        .route("/api/v1/policy/istio", post(manifests))
        .with_state(export)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    revision: Option<i64>,
    #[serde(default)]
    ambient: bool,
    #[serde(default)]
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    namespace: String,
    service_account: String,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ports: BTreeMap<u16, u16>,
}

impl From<Workload> for Placement {
    fn from(workload: Workload) -> Self {
        Self {
            namespace: workload.namespace,
            service_account: workload.service_account,
            labels: workload.labels,
            ports: workload.ports,
        }
    }
}

async fn manifests(
    State(export): State<IstioExport>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let Json(asked) = match body {
        Ok(asked) => asked,
        Err(rejection) => return Unreadable::from(rejection).into_response(),
    };
    let wanted = Wanted {
        ambient: asked.ambient,
        workloads: asked.workloads.into_iter().map(Placement::from).collect(),
    };
    let revision = asked.revision.map(Revision);
    let found = export
        .revisions
        .istio(revision, &export.edge, &wanted)
        .await;
    let (revision, found) = match found {
        Ok(found) => found,
        Err(ExportError::Revisions(error)) => return refusal(&error),
        Err(ExportError::Wanted(fault)) => {
            return problem(StatusCode::BAD_REQUEST, "bad_placement", &fault.to_string());
        }
    };
    let what = format!("Revision {} of the policy, by Wayleave.", revision.0);
    let file = |workload: &WorkloadExport| {
        let notes: Vec<Value> = workload.notes.iter().map(note).collect();
        json!({ "name": workload.file_name(), "text": workload.text(&what), "notes": notes })
    };
    Json(json!({
        "revision": revision.0,
        "files": found.workloads.iter().map(file).collect::<Vec<_>>(),
        "notes": found.notes.iter().map(note).collect::<Vec<_>>(),
    }))
    .into_response()
}

fn note(note: &Note) -> Value {
    json!({ "about": note.about, "effect": note.effect.as_str(), "why": note.why, "text": note.to_string() })
}
