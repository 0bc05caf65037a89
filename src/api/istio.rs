//! Istio's manifests over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::origin::Scheme;
use crate::admin::istio::ExportError;
use crate::api::Api;
use crate::api::answer::{Answer, Refusal, problem};
use crate::config::Config;
use crate::policy::istio::{Edge, Note, Placement, Wanted, WorkloadExport};
use crate::policy::model::Revision;

/// What workloads are told of this edge, but for its keys.
pub struct FrontDoors {
    issuer: String,
    doors: Vec<(Scheme, u16)>,
    providers: Vec<Arc<str>>,
    issuers: Vec<Arc<str>>,
}

impl FrontDoors {
    /// An edge with these doors, whose assertions have this issuer.
    pub fn new(config: &Config, doors: Vec<(Scheme, u16)>, issuer: String) -> Self {
        let providers = config.identity_providers.iter();
        let issuers = config.trusted_issuers.iter();
        Self {
            issuer,
            doors,
            providers: providers
                .map(|provider| Arc::clone(&provider.name))
                .collect(),
            issuers: issuers.map(|issuer| Arc::clone(&issuer.name)).collect(),
        }
    }

    /// With the keys of the moment.
    fn with_keys(&self, jwks: Value) -> Edge {
        Edge {
            issuer: self.issuer.clone(),
            jwks,
            doors: self.doors.clone(),
            providers: self.providers.clone(),
            issuers: self.issuers.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    revision: Option<i64>,
    #[serde(default)]
    ambient: bool,
    #[serde(default)]
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
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

pub(super) async fn manifests(
    State(api): State<Arc<Api>>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Answer {
    let Json(asked) = body?;
    let wanted = Wanted {
        ambient: asked.ambient,
        workloads: asked.workloads.into_iter().map(Placement::from).collect(),
    };
    let revision = asked.revision.map(Revision);
    let edge = api.front_doors.with_keys(api.keys.minter.jwks());
    let (revision, found) = api.revisions.istio(revision, &edge, &wanted).await?;
    let what = format!("Revision {} of the policy, by Wayleave.", revision.0);
    let file = |workload: &WorkloadExport| {
        let notes: Vec<Value> = workload.notes.iter().map(note).collect();
        json!({ "name": workload.file_name(), "text": workload.text(&what), "notes": notes })
    };
    Ok(Json(json!({
        "revision": revision.0,
        "files": found.workloads.iter().map(file).collect::<Vec<_>>(),
        "notes": found.notes.iter().map(note).collect::<Vec<_>>(),
    })))
}

impl Refusal for ExportError {
    fn refusal(self) -> Response {
        match self {
            Self::Revisions(error) => error.refusal(),
            Self::Wanted(fault) => {
                problem(StatusCode::BAD_REQUEST, "bad_placement", &fault.to_string())
            }
        }
    }
}

fn note(note: &Note) -> Value {
    json!({ "about": note.about, "effect": note.effect.as_str(), "why": note.why, "text": note.to_string() })
}
