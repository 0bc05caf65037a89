//! A real Envoy that stands where a sidecar does: it takes mTLS from the mesh only, and lets some identities through.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::parts::program::free_ports;

/// Runs until dropped.
pub(crate) struct Envoy {
    child: Child,
    pub(crate) port: u16,
}

/// What Envoy asks of `Wayleave-Jwt-Assertion`.
pub(crate) struct Assertions<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    /// Where the edge's plain front door publishes its keys.
    pub(crate) keys_port: u16,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Envoy {
    /// With `svid.pem`, `svid.key` and `bundle.pem` of `folder`; only `allowed` gets through, and is answered by Envoy itself. With `assertions` only a
    /// request that bears one of these does.
    pub(crate) async fn start(
        folder: &Path,
        allowed: &str,
        assertions: Option<Assertions<'_>>,
    ) -> Self {
        let [port] = free_ports();
        let dir = folder.to_str().unwrap();
        let config = CONFIG
            .replace("@PORT@", &port.to_string())
            .replace("@DIR@", dir)
            .replace("@ALLOWED@", allowed);
        let config = match assertions {
            Some(assertions) => config
                .replace("@JWT@", JWT)
                .replace("@CLUSTERS@", KEYS)
                .replace("@ISSUER@", assertions.issuer)
                .replace("@AUDIENCE@", assertions.audience)
                .replace("@KEYS_PORT@", &assertions.keys_port.to_string()),
            None => config.replace("@JWT@", "").replace("@CLUSTERS@", "[]"),
        };
        Self::run(folder, &config, &[port]).await
    }

    /// With the same files; each listener has a `name`, a `port`, and the `manager` of its HTTP.
    pub(crate) async fn start_as(folder: &Path, listeners: &[Value]) -> Self {
        let socket = from_the_mesh(folder);
        let port = |listener: &Value| u16::try_from(listener["port"].as_u64().unwrap()).unwrap();
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        let listeners = listeners.iter().map(|listener| {
            let address = json!({ "address": "127.0.0.1", "port_value": listener["port"] });
            let filter = json!({ "name": "http", "typed_config": listener["manager"] });
            json!({
                "name": listener["name"],
                "address": { "socket_address": address },
                "filter_chains": [{ "transport_socket": socket, "filters": [filter] }],
            })
        });
        let config = json!({
            "node": { "id": "sidecar", "cluster": "mesh" },
            "static_resources": { "listeners": listeners.collect::<Vec<_>>() },
        });
        Self::run(folder, &config.to_string(), &ports).await
    }

    /// With the same files, for what speaks no HTTP: whoever's SPIFFE ID begins like `allowed` is let through to `upstream`, and nobody else.
    pub(crate) async fn start_tcp(folder: &Path, allowed: &str, upstream: u16) -> Self {
        let [port] = free_ports();
        let kind =
            |name: &str| format!("type.googleapis.com/envoy.extensions.filters.network.{name}");
        let principal = json!({ "authenticated": { "principal_name": { "prefix": allowed } } });
        let rbac = json!({
            "@type": kind("rbac.v3.RBAC"),
            "stat_prefix": "rbac",
            "rules": { "action": "ALLOW", "policies": { "allowed": {
                "permissions": [{ "any": true }], "principals": [principal],
            } } },
        });
        let proxy = json!({
            "@type": kind("tcp_proxy.v3.TcpProxy"), "stat_prefix": "tcp", "cluster": "local",
        });
        let at =
            |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
        let endpoint = json!({ "endpoint": { "address": at(upstream) } });
        let config = json!({
            "node": { "id": "sidecar", "cluster": "mesh" },
            "static_resources": {
                "listeners": [{
                    "name": "tcp",
                    "address": at(port),
                    "filter_chains": [{
                        "transport_socket": from_the_mesh(folder),
                        "filters": [
                            { "name": "envoy.filters.network.rbac", "typed_config": rbac },
                            { "name": "envoy.filters.network.tcp_proxy", "typed_config": proxy },
                        ],
                    }],
                }],
                "clusters": [{
                    "name": "local", "type": "STATIC", "connect_timeout": "5s",
                    "load_assignment": {
                        "cluster_name": "local",
                        "endpoints": [{ "lb_endpoints": [endpoint] }],
                    },
                }],
            },
        });
        Self::run(folder, &config.to_string(), &[port]).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "tests learn from the environment where the real peers are"
    )]
    async fn run(folder: &Path, config: &str, ports: &[u16]) -> Self {
        let binary = std::env::var("WAYLEAVE_TEST_ENVOY")
            .expect("WAYLEAVE_TEST_ENVOY names Envoy; run this by tests/parts/with-parts.sh");
        let file = folder.join("envoy.yaml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.join("envoy.log")).unwrap();
        let child = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "-l",
                "warning",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        let mut envoy = Self {
            child,
            port: ports[0],
        };
        let end = Instant::now() + Duration::from_secs(30);
        for port in ports {
            while TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
                let log = std::fs::read_to_string(folder.join("envoy.log")).unwrap_or_default();
                let has_ended = envoy.child.try_wait().unwrap().is_some();
                assert!(
                    !has_ended && Instant::now() < end,
                    "Envoy does not listen: {log}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        envoy
    }
}

/// TLS that takes nobody without a certificate of the mesh.
fn from_the_mesh(folder: &Path) -> Value {
    let file = |name: &str| json!({ "filename": folder.join(name) });
    let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let tls = json!({
        "@type": kind,
        "require_client_certificate": true,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{ "certificate_chain": file("svid.pem"), "private_key": file("svid.key") }],
            "validation_context": { "trusted_ca": file("bundle.pem") },
        },
    });
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls })
}

const CONFIG: &str = r#"
node: { id: sidecar, cluster: mesh }
static_resources:
  listeners:
  - name: inbound
    address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - { certificate_chain: { filename: "@DIR@/svid.pem" }, private_key: { filename: "@DIR@/svid.key" } }
            validation_context:
              trusted_ca: { filename: "@DIR@/bundle.pem" }
              match_typed_subject_alt_names:
              - { san_type: URI, matcher: { prefix: "spiffe://demo.wayleave/" } }
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: AUTO
          http_filters:@JWT@
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  allowed:
                    permissions: [ { any: true } ]
                    principals: [ { authenticated: { principal_name: { exact: "@ALLOWED@" } } } ]
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: "through" } }
                response_headers_to_add:
                - { header: { key: x-peer, value: "%DOWNSTREAM_PEER_URI_SAN%" } }
                - { header: { key: x-proto, value: "%PROTOCOL%" } }
                - { header: { key: x-payload, value: "%REQ(x-payload)%" } }
  clusters: @CLUSTERS@
"#;

const JWT: &str = r#"
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                wayleave:
                  issuer: "@ISSUER@"
                  audiences: ["@AUDIENCE@"]
                  from_headers: [ { name: wayleave-jwt-assertion } ]
                  forward_payload_header: x-payload
                  remote_jwks:
                    http_uri: { uri: "http://access.localhost:@KEYS_PORT@/.wayleave/jwks.json", cluster: keys, timeout: 5s }
              rules: [ { match: { prefix: / }, requires: { provider_name: wayleave } } ]"#;

const KEYS: &str = r#"
  - name: keys
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: keys
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @KEYS_PORT@ } } } } ] } ]"#;
