//! Istio's manifests, as far as they are written here: a field that Istio does not document, or a word it does not know, cannot be said.

use std::collections::BTreeMap;

use serde::Serialize;

/// One object of Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Manifest {
    /// Which assertions are believed.
    RequestAuthentication(Object<RequestAuthentication>),
    /// Who may do what.
    AuthorizationPolicy(Object<AuthorizationPolicy>),
}

/// What all objects have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object<S> {
    /// Group and version.
    pub api_version: ApiVersion,
    /// Of the object.
    pub kind: Kind,
    /// Which one it is.
    pub metadata: Metadata,
    /// What it says.
    pub spec: S,
}

/// The version that Istio has for both since 1.22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ApiVersion {
    /// Stable.
    #[serde(rename = "security.istio.io/v1")]
    V1,
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// See [`RequestAuthentication`].
    RequestAuthentication,
    /// See [`AuthorizationPolicy`].
    AuthorizationPolicy,
}

/// Name, place and labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Unique among its kind and namespace.
    pub name: String,
    /// The workload's.
    pub namespace: String,
    /// Says whose it is.
    pub labels: BTreeMap<String, String>,
}

/// Which pods of the namespace it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// All must be there.
    pub match_labels: BTreeMap<String, String>,
}

/// Which tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestAuthentication {
    /// Which pods.
    pub selector: WorkloadSelector,
    /// Each issuer's.
    pub jwt_rules: Vec<JwtRule>,
}

/// An issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtRule {
    /// `iss`.
    pub issuer: String,
    /// Any of these.
    pub audiences: Vec<String>,
    /// The keys, as a JSON text (RFC 7517).
    pub jwks: String,
    /// Where the token is, and nowhere else.
    pub from_headers: Vec<JwtHeader>,
    /// The application gets it as well.
    pub forward_original_token: bool,
}

/// A header with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationPolicy {
    /// Which pods.
    pub selector: WorkloadSelector,
    /// What follows when a rule matches.
    pub action: Action,
    /// Alternatives. With none nothing matches, so that an `ALLOW` of nothing denies everything that no other allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// The two of Istio's actions that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// What no other policy denies may go on.
    Allow,
    /// It is refused.
    Deny,
}

/// All that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Alternatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<From>,
    /// Alternatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<To>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
}

/// One alternative of `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct From {
    /// The connection's other end.
    pub source: Source,
}

/// The connection's other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// SPIFFE IDs without `spiffe://`: whole, or a prefix and `*`.
    pub principals: Vec<String>,
}

/// One alternative of `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct To {
    /// What is asked for.
    pub operation: Operation,
}

/// What is asked for. An empty list is no condition in Istio, so it is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Values of `Host`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The workload's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_methods: Vec<String>,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_paths: Vec<String>,
}

/// A condition on an attribute of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which attribute.
    pub key: Key,
    /// Any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// None of these; an attribute that is absent is none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_values: Vec<String>,
}

/// The attributes that are used: what the assertion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Key {
    /// `aud`.
    #[serde(rename = "request.auth.audiences")]
    Audiences,
    /// `iss`. Not `requestPrincipals`, which splits at the last slash: subjects may have slashes.
    #[serde(rename = "request.auth.claims[iss]")]
    Issuer,
    /// `sub`.
    #[serde(rename = "request.auth.claims[sub]")]
    Subject,
    /// `email`.
    #[serde(rename = "request.auth.claims[email]")]
    Email,
    /// `groups`.
    #[serde(rename = "request.auth.claims[groups]")]
    Groups,
    /// `provider`.
    #[serde(rename = "request.auth.claims[provider]")]
    Provider,
}

/// The label that tells manifests of ours from others.
pub const OWNER_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "wayleave");

impl Manifest {
    /// The kind's name.
    pub fn kind(&self) -> Kind {
        match self {
            Self::RequestAuthentication(object) => object.kind,
            Self::AuthorizationPolicy(object) => object.kind,
        }
    }

    /// Name and place.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::RequestAuthentication(object) => &object.metadata,
            Self::AuthorizationPolicy(object) => &object.metadata,
        }
    }

    pub(super) fn authentication(metadata: Metadata, spec: RequestAuthentication) -> Self {
        Self::RequestAuthentication(Object {
            api_version: ApiVersion::V1,
            kind: Kind::RequestAuthentication,
            metadata,
            spec,
        })
    }

    pub(super) fn authorization(metadata: Metadata, spec: AuthorizationPolicy) -> Self {
        Self::AuthorizationPolicy(Object {
            api_version: ApiVersion::V1,
            kind: Kind::AuthorizationPolicy,
            metadata,
            spec,
        })
    }
}
