//! The files that the edge of the tests is given.

use std::net::SocketAddr;

use super::upstream::SPIFFE_ID;

/// The policy of the tests of a whole edge.
pub(crate) fn policy(upstream: SocketAddr) -> String {
    let route = |name: &str, more: &str| {
        format!(
            "  - name: {name}\n    host: {name}.localhost\n    upstream:\n      addresses: [\"{upstream}\"]\n      \
             mtls: {{ spiffe_ids: [\"{SPIFFE_ID}\"] }}\n{more}"
        )
    };
    format!(
        r#"routes:
{}{}{}{}
mappings:
  - name: robots
    from: [{{ kinds: [workload] }}]
    spiffe_id: "spiffe://demo.wayleave/ns/people/sa/robot"
  - name: people
    from: [{{ signed_in: true }}]
    spiffe_id: "spiffe://demo.wayleave/ns/people/sa/{{user}}"
  - name: nobody
    from: [{{ anyone: true }}]
    spiffe_id: "spiffe://demo.wayleave/ns/people/sa/anonymous"
role_bindings:
  - name: owners
    role: owner
    from: [{{ emails: [alice@demo.example] }}]
  - name: auditors
    role: auditor
    from: [{{ emails: [bob@demo.example] }}]
rules:
  - name: no-admin
    action: deny
    from: [{{ anyone: true }}]
    to: [{{ routes: [app], paths: ["/admin", "/admin/*"] }}]
  - name: staff
    action: allow
    from: [{{ groups: [staff] }}]
    to: [{{ routes: [app] }}]
  - name: robots
    action: allow
    from: [{{ groups: [robots], kinds: [workload] }}]
    to: [{{ routes: [app] }}]
  - name: readers
    action: allow
    from: [{{ groups: [staff] }}]
    to: [{{ routes: [admin], methods: [GET] }}]
  - name: partners
    action: allow
    from: [{{ signed_in: true }}]
    to: [{{ routes: [partner] }}]
  - name: members-only
    action: deny
    from: [{{ not_groups: [members] }}]
    to: [{{ routes: [partner], paths: ["/members"] }}]
  - name: public
    action: allow
    from: [{{ anyone: true }}]
    to: [{{ routes: [public] }}]
"#,
        route(
            "app",
            "    identity_headers: remote\n    providers: [demo, robots]\n"
        ),
        route("admin", "    providers: [demo, robots]\n"),
        route("public", ""),
        route("partner", "    providers: [partner]\n"),
    )
}

/// The configuration of the tests of a whole edge.
pub(crate) fn configuration(provider: &str, issuer: &str) -> String {
    format!(
        r#"[home]
host = "access.localhost"

[[listen]]
address = "127.0.0.1:0"
scheme = "http"

[[listen]]
address = "127.0.0.1:0"
scheme = "https"
[[listen.certificates]]
chain = "front-door.pem"
key = "front-door.key"

[admin]
address = "127.0.0.1:0"

[store]
url_file = "store.url"
key_file = "store.key"

[[identity_providers]]
name = "demo"
label = "Demo identity provider"
preset = "oidc"
issuer = "{provider}"
client_id = "wayleave"
client_secret_file = "provider.secret"
scopes = ["groups"]
groups_claim = "groups"
insecure_allow_http_loopback = true

[[identity_providers]]
name = "partner"
label = "Partner"
preset = "oidc"
issuer = "{issuer}"
client_id = "wayleave"
client_secret_file = "provider.secret"
insecure_allow_http_loopback = true

[[trusted_issuers]]
name = "robots"
issuer = "{issuer}"
jwks_url = "{issuer}/jwks"
audiences = ["wayleave-test"]
algorithms = ["ES256"]
kind = "workload"
groups_claim = "groups"
insecure_allow_http_loopback = true

[mesh]
trust_domain = "demo.wayleave"
bundle_file = "mesh-root.pem"

[mesh.svid]
source = "ca"
chain_file = "edge-ca.pem"
key_file = "edge-ca.key"
namespaces = ["people"]
lifetime = "15m"

[policy]
file = "policy.yaml"

[log]
access = "access.log"
filter = "warn"
"#
    )
}
