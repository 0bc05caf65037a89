//! The API as an OpenAPI 3.1 document, made of the table of endpoints: none can be in the table without its description.
//!
//! What bodies look like is in `openapi/components.json`. The policy document has its own schema, which is served beside this one and referred to.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::answer::internal;
use crate::api::endpoints::{Described, ENDPOINTS, OPERATORS_PREFIX, PEOPLES_PREFIX};
use crate::policy::yaml::SCHEMA;
use crate::web::endpoint::Access;

/// Parameters, schemas and ways to say who asks.
const COMPONENTS: &str = include_str!("openapi/components.json");

/// What programs are told of an endpoint. Names are those of the components.
#[derive(Clone, Copy)]
pub struct Operation {
    id: &'static str,
    summary: &'static str,
    answers: &'static str,
    asks: Option<&'static str>,
    query: &'static [&'static str],
    refuses: &'static [u16],
    is_for_people: bool,
}

impl Operation {
    /// Its id for programs, what it is for, and the schema of its answer.
    pub const fn new(id: &'static str, summary: &'static str, answers: &'static str) -> Self {
        Self {
            id,
            summary,
            answers,
            asks: None,
            query: &[],
            refuses: &[],
            is_for_people: false,
        }
    }

    /// With the schema of its body.
    pub const fn asks(mut self, schema: &'static str) -> Self {
        self.asks = Some(schema);
        self
    }

    /// With parameters after the path.
    pub const fn query(mut self, names: &'static [&'static str]) -> Self {
        self.query = names;
        self
    }

    /// With statuses of refusals that are its own.
    pub const fn refuses(mut self, statuses: &'static [u16]) -> Self {
        self.refuses = statuses;
        self
    }

    /// About whoever is signed in, which operators are not.
    pub const fn for_people(mut self) -> Self {
        self.is_for_people = true;
        self
    }
}

/// `GET /openapi.json`.
pub(super) async fn show() -> Response {
    match document() {
        Ok(document) => Json(document).into_response(),
        Err(error) => internal(&error),
    }
}

/// `GET /policy.schema.json`, where the document refers to it.
pub(super) async fn policy_schema() -> Response {
    ([(CONTENT_TYPE, "application/json")], SCHEMA).into_response()
}

/// The document.
pub fn document() -> serde_json::Result<Value> {
    let components: Value = serde_json::from_str(COMPONENTS)?;
    let mut paths = Map::new();
    for described in ENDPOINTS {
        let path = paths
            .entry(described.endpoint.path)
            .or_insert_with(|| json!({}));
        path[described.endpoint.method.to_lowercase()] = operation(described);
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Wayleave",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Policy, audit log, keys, and access for a time. Refusals are problems (RFC 9457); their `code` stays what it is.",
        },
        "servers": [
            { "url": OPERATORS_PREFIX, "description": "The admin listener, for operators." },
            { "url": PEOPLES_PREFIX, "description": "The home host, for people's programs." },
        ],
        "paths": paths,
        "components": components,
    }))
}

fn operation(described: &Described) -> Value {
    let Described {
        endpoint,
        operation,
    } = described;
    let in_path = endpoint.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?;
        name.strip_suffix('}')
    });
    let parameters: Vec<Value> = in_path
        .chain(operation.query.iter().copied())
        .map(|name| reference("parameters", name))
        .collect();
    let security = match operation.is_for_people {
        true => json!([{ "person": [] }]),
        false => json!([{ "operator": [] }, { "person": [] }]),
    };
    let mut said = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "security": security,
        "parameters": parameters,
        "responses": responses(described, !parameters.is_empty()),
    });
    if let Access::With(permission) = endpoint.access {
        said["x-wayleave-permission"] = permission.as_str().into();
    }
    if let Some(schema) = operation.asks {
        let content = json!({ "application/json": { "schema": reference("schemas", schema) } });
        said["requestBody"] = json!({ "required": true, "content": content });
    }
    said
}

/// What an endpoint refuses of its own, and what any may.
fn responses(described: &Described, has_parameters: bool) -> Value {
    let Described {
        endpoint,
        operation,
    } = described;
    let answer = reference("schemas", operation.answers);
    let mut responses = json!({
        "200": { "description": "It is done.", "content": { "application/json": { "schema": answer } } },
    });
    let mut statuses = vec![401, 403, 500, 503];
    if has_parameters {
        statuses.push(400);
    }
    if endpoint.method == "POST" {
        statuses.extend([408, 413]);
    }
    if operation.asks.is_some() {
        statuses.extend([400, 415, 422]);
    }
    for status in statuses.iter().chain(operation.refuses) {
        let problem = reference("schemas", "Problem");
        let content = json!({ "application/problem+json": { "schema": problem } });
        responses[status.to_string()] =
            json!({ "description": meaning(*status), "content": content });
    }
    responses
}

const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Something of it cannot be read, or makes no sense.",
        401 => "It is not known who asks.",
        403 => "Whoever asks may not.",
        404 => "There is no such thing, or it is not theirs to see.",
        408 => "The body took too long.",
        409 => "It does not go with what is there now.",
        413 => "The body is too large.",
        415 => "The body is not said to be JSON.",
        422 => "The body has not the shape that is wanted, or the policy has faults.",
        429 => "Too many, or too often.",
        503 => "The store cannot be reached.",
        _ => "The log says more.",
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document().unwrap();
        let policy: Value = serde_json::from_str(SCHEMA).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let target = match reference.strip_prefix("policy.schema.json#") {
                Some(pointer) => policy.pointer(pointer),
                None => document.pointer(reference.trim_start_matches('#')),
            };
            assert!(target.is_some(), "{reference}");
        }
    }

    #[test]
    fn every_component_is_used_and_every_id_is_one_operation_s() {
        let document = document().unwrap();
        let text = document.to_string();
        for kind in ["parameters", "schemas"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(
                    text.contains(&format!("#/components/{kind}/{name}\"")),
                    "{name}"
                );
            }
        }
        let ids: BTreeSet<_> = ENDPOINTS.iter().map(|one| one.operation.id).collect();
        assert_eq!(ids.len(), ENDPOINTS.len());
    }

    #[test]
    fn the_file_in_docs_is_the_document_that_is_served() {
        let wanted = serde_json::to_string_pretty(&document().unwrap()).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        if std::env::var_os("WAYLEAVE_WRITE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/openapi.json is another document: WAYLEAVE_WRITE_DOCS=1 cargo test --lib openapi writes it"
        );
    }
}
