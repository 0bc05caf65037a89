//! Reading policy YAML: every fault at once, each with its place.
//!
//! The text becomes a tree of nodes with places ([`tree`]), bounded before it is built; the tree is read by hand ([`reader`], [`parts`], [`routes`], [`rules`])
//! instead of by derived types, which would stop at the first fault. What the store keeps of an object is read by the same code.
//!
//! A document with every key there is; what is marked optional may be left out:
//!
//! ```yaml
//! routes:
//!   - name: grafana
//!     host: grafana.corp.example
//!     prefix: /dashboards                # optional; "/"
//!     strip_prefix: true                 # optional; false
//!     upstream:
//!       addresses: ["10.0.0.1:15443", { address: "[fd00::1]:15443", weight: 3 }]
//!       mtls: { spiffe_ids: ["spiffe://corp.example/ns/obs/sa/grafana"] }
//!       # or   tls: { server_name: grafana.corp.example, ca_file: /etc/ca.pem }   with ca_file optional
//!       protocol: auto                   # optional; auto, http1, http2 or tcp
//!     providers: [okta]                  # optional; all
//!     identity_headers: assertion        # optional; assertion, x-forwarded, x-auth-request or remote
//!     websocket_origins: ["https://portal.corp.example"]   # optional
//!     upstream_host: grafana.internal    # optional; the public host
//!     timeouts: { response_head: 30s, idle: 5m }           # optional, each
//!     allow_path_parameters: false       # optional; false
//!     # kubernetes: { cluster: prod, user: email, user_prefix: "corp:", groups: [sre, "team-*"], group_prefix: "corp:" }
//!     # of a Kubernetes API server with a host of its own, each key optional; user is email, subject or mesh_identity
//! route_groups:                          # optional; routes that rules name together
//!   - { name: tools, routes: [grafana] }
//! people:                                # optional; callers that rules and mappings name together
//!   - { name: admins, from: [{ groups: [sre-leads] }, { emails: [root@corp.example] }] }
//! mappings:
//!   - name: people
//!     from: [{ signed_in: true }]
//!     spiffe_id: spiffe://{trust_domain}/ns/people/sa/{user}
//! rules:
//!   - name: sre-may-write
//!     action: allow                      # or deny
//!     mode: enforce                      # optional; or shadow: evaluated and reported, not enforced
//!     from:                              # items are alternatives, fields of an item all hold
//!       - { groups: [sre, "sre-*"], providers: [okta] }
//!       # anyone: true (alone), signed_in: true, emails, email_domains, subjects, groups, providers, kinds: [user, workload],
//!       # claims: { department: [eng, "eng-*"] }, people, agents, not_agents, and not_emails, not_subjects, not_groups, not_providers, not_claims, not_people
//!     to:                                # optional; everything
//!       - { routes: [grafana], methods: [GET, POST], paths: ["/d/{*}", "/api/*"] }
//!       # or { svids: [x509, jwt] } alone: SVIDs for the caller's own hands
//!       # routes, route_groups, methods, paths, and not_routes, not_route_groups, not_methods, not_paths
//!     when:                              # optional; all fields hold, values of a field are alternatives
//!       source_ips: [10.0.0.0/8]         # and not_source_ips: the connection's other end
//!       headers: { x-env: [prod] }       # and not_headers
//!       hours: Mon-Fri 08:00-19:00 Europe/Berlin           # or a list
//!       until: 2027-01-31                # that day to its end in UTC, or a moment (RFC 3339)
//!     require:                           # optional; how somebody must have signed in, or sign in again, and that somebody else has to approve
//!       acr: mfa
//!       max_age: 8h
//!       approval: { from: [{ groups: [sre-leads] }], at_most: 4h, break_glass: false }   # break_glass optional; false
//! trusted_issuers:                       # optional; issuers whose tokens stand for programs, besides the configuration's
//!   - name: github
//!     issuer: https://token.actions.githubusercontent.com
//!     audiences: ["https://access.corp.example"]
//!     algorithms: [RS256]                # ES256, ES384, EdDSA, RS256 ... PS512
//!     # jwks_url, or jwks: { keys: [...] }   optional; its discovery document says where its keys are
//!     required_claims: { repository: ["corp/*"] }        # optional, and not_claims
//!     subject_claim: repository          # optional; sub
//!     groups_claim: groups               # optional
//!     claims: [ref]                      # optional; kept for the claims of rules
//!     at_most: 1h                        # optional; a token counts so long after it was issued
//!   - name: aws                          # or roles of AWS, which sign a request to STS; besides the name only at_most
//!     aws_roles: ["arn:aws:iam::123456789012:role/deploy", "arn:aws:iam::123456789012:role/ci-*"]
//!   # or workloads of another trust domain, with their certificates; spiffe_ids and at_most may be left out
//!   # - { name: partner, trust_domain: partner.example, bundle: "-----BEGIN CERTIFICATE-----...", spiffe_ids: ["spiffe://partner.example/ns/jobs/*"] }
//! service_accounts:                      # optional; programs that have no issuer, each with keys of its own
//!   - name: backup                       # rules name it as the subject `backup` of the provider `service-accounts`
//!     jwks: { keys: [{ kty: EC, crv: P-256, x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4, y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM }] }
//!     description: nightly, on the host in the basement   # optional
//!     groups: [backups]                  # optional; none
//!     until: 2027-01-31                  # optional; that day to its end in UTC, or a moment (RFC 3339)
//! role_bindings:                         # optional; who may look after the edge: owner, admin, approver or auditor
//!   - { name: sre-leads, role: admin, from: [{ people: [admins] }] }
//! tests:                                 # optional; run before the policy is written, and one that fails refuses it
//!   - name: sre-on-a-weekday
//!     as: { provider: okta, email: alice@corp.example, groups: [sre], acr: mfa, signed_in_ago: 1h }
//!     # provider, subject, email, groups, kind, claims, agents, acr, signed_in_ago; without `as` nobody is signed in
//!     request: GET grafana /d/1          # method, route, path; or SVID x509
//!     source_ip: 10.1.2.3                # optional
//!     headers: { x-env: prod }           # optional
//!     granted: [sre-may-write]           # optional; rules that somebody approved of
//!     at: "2026-11-24T10:00:00Z"         # optional; noon UTC of a Wednesday
//!     expect: allow                      # allow, deny, sign_in, step_up or ask
//!     # mesh_identity: spiffe://{trust_domain}/ns/people/sa/...   optional
//! ```

use std::fmt;

use crate::policy::check;
use crate::policy::model::Policy;

mod accounts;
mod circumstances;
mod machines;
mod parts;
mod reader;
mod routes;
mod rules;
mod tree;
mod trials;

pub(super) use routes::{IDENTITY_HEADERS, PROTOCOLS, USER_NAMES};
pub(super) use rules::KINDS;
pub use trials::{Asking, Known, Question, question};

pub(super) use tree::Node;

/// One fault of a policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// One-based; 0 when the fault has no single place.
    pub line: u64,
    /// One-based, in characters; 0 when the fault has no single place.
    pub column: u64,
    /// Like `rules[2].to[0].paths[1]`.
    pub key: String,
    /// What is wrong and, where it is not plain, what would be right.
    pub message: String,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}", self.line)?;
            if self.column > 0 {
                write!(f, ", column {}", self.column)?;
            }
            f.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The JSON Schema of documents, for editors and programs. It refuses nothing; reading does.
pub const SCHEMA: &str = include_str!("../../docs/policy.schema.json");

/// Bytes of the largest document.
pub const LARGEST_DOCUMENT: usize = 32 * 1024 * 1024;

/// Reads a document. Unknown keys, unreadable values, references to what does not exist: all are faults, and one fault refuses the whole document.
/// Only a fault of the YAML itself hides others.
///
/// A document has at most 32 MiB (some hundred thousand rules), nesting of at most 16, and no anchors, aliases, merge keys, unknown tags or second document.
pub fn parse(text: &str) -> Result<Policy, Vec<PolicyFault>> {
    parse_placed(text).map(|(policy, _)| policy)
}

/// Reads a document as [`parse`] does, and where everything stands in it, where that can be told.
pub(super) fn parse_placed(
    text: &str,
) -> Result<(Policy, Option<Vec<PlacedPart>>), Vec<PolicyFault>> {
    let root = tree::from_yaml(text).map_err(|fault| vec![fault])?;
    let (policy, mut faults) = read(&root);
    // Between parts that could not be read there is nothing to compare.
    if faults.is_empty() {
        faults = check::check(&policy);
        for fault in &mut faults {
            (fault.line, fault.column) = root.place_of(&fault.key);
        }
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults.truncate(reader::MAX_FAULTS);
    if faults.is_empty() {
        Ok((policy, placed(&root)))
    } else {
        Err(faults)
    }
}

/// Where a part of a document and its objects stand, in lines from 0.
pub(super) struct PlacedPart {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) items: Vec<usize>,
}

/// Where everything stands in a document; `None` where that cannot be told.
pub(super) fn lines_of_items(text: &str) -> Option<Vec<PlacedPart>> {
    placed(&tree::from_yaml(text).ok()?)
}

fn placed(root: &Node) -> Option<Vec<PlacedPart>> {
    let line_of = |node: &Node| usize::try_from(node.line.checked_sub(1)?).ok();
    let tree::Value::Map(parts) = &root.value else {
        return None;
    };
    let placed = parts.iter().map(|(key, part)| {
        let (tree::Value::Text(name), tree::Value::List(items)) = (&key.value, &part.value) else {
            return None;
        };
        Some(PlacedPart {
            name: name.clone(),
            line: line_of(key)?,
            items: items.iter().map(line_of).collect::<Option<_>>()?,
        })
    });
    placed.collect()
}

/// Gives the places of faults whose keys lead into this document, which has been read without a fault before.
pub fn place(text: &str, faults: &mut [PolicyFault]) {
    if let Ok(root) = tree::from_yaml(text) {
        for fault in faults {
            (fault.line, fault.column) = root.place_of(&fault.key);
        }
    }
}

/// Reads what a tree says; the policy has gaps where there are faults.
pub(super) fn read(root: &Node) -> (Policy, Vec<PolicyFault>) {
    let mut reader = reader::Reader::default();
    let policy = parts::policy(&mut reader, root);
    (policy, reader.into_faults())
}

#[cfg(test)]
mod tests;
