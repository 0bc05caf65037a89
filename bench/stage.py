"""What both proxies are given: certificates of one mesh, a token issuer, a workload (nginx) that accepts only mTLS, and their configurations."""

import base64
import datetime
import http.cookiejar
import http.server
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID

HOST = "localhost"
WORKLOAD_ID = "spiffe://bench.test/ns/apps/sa/web"
EDGE_ID = "spiffe://bench.test/ns/edges/sa/envoy"
PORTS = {"wayleave": 17443, "envoy": 17444, "nginx": 17445, "workload": 17446, "keys": 17447, "admin": 17448, "envoy_admin": 17449, "plain": 17450}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Pki:
    """A root, the edge's intermediate below it, and leaves; everything P-256, as files."""

    def __init__(self, folder):
        self.folder = folder
        self.root_key, self.root = self.authority("root", None, None)
        key, self.intermediate = self.authority("edge-ca", self.root_key, self.root)
        self.leaf("workload", [x509.UniformResourceIdentifier(WORKLOAD_ID), x509.DNSName("workload.test")])
        self.leaf("envoy", [x509.UniformResourceIdentifier(EDGE_ID)])
        self.leaf("door", [x509.DNSName(HOST), x509.DNSName("access.localhost")])

    def authority(self, name, signer, issuer):
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        path_length = 1 if signer is None else 0
        builder = self.builder(name, key, issuer).add_extension(x509.BasicConstraints(True, path_length), True)
        certificate = builder.add_extension(usage, True).sign(signer or key, hashes.SHA256())
        self.write(name, key, [certificate])
        return key, certificate

    def leaf(self, name, names):
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self.builder(name, key, self.root).add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True).add_extension(purposes, False)
        self.write(name, key, [builder.sign(self.root_key, hashes.SHA256())])

    def builder(self, name, key, issuer):
        now = datetime.datetime.now(datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(days=1)))

    def write(self, name, key, chain):
        pem = serialization.Encoding.PEM
        text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.folder / f"{name}.key"
        path.write_bytes(text)
        path.chmod(0o600)
        (self.folder / f"{name}.pem").write_bytes(b"".join(c.public_bytes(pem) for c in chain))


class Issuer:
    """Signs ES256 tokens and publishes its key; as an OpenID provider it signs everybody in at once."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.url = f"http://localhost:{PORTS['keys']}"
        self.nonces = {}
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, _, query = self.path.partition("?")
                if path == "/authorize":
                    self.authorize(dict(urllib.parse.parse_qsl(query)))
                elif path == "/keys":
                    self.json(issuer.keys())
                else:
                    self.json(issuer.metadata())

            def do_POST(self):
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                code = dict(urllib.parse.parse_qsl(form))["code"]
                token = issuer.token("person", "wayleave", nonce=issuer.nonces.pop(code))
                self.json({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "id_token": token})

            def authorize(self, asked):
                code = b64(os.urandom(16))
                issuer.nonces[code] = asked["nonce"]
                answer = urllib.parse.urlencode({"code": code, "state": asked["state"], "iss": issuer.url})
                self.send_response(303)
                self.send_header("location", f"{asked['redirect_uri']}?{answer}")
                self.end_headers()

            def json(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", PORTS["keys"]), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def keys(self):
        numbers = self.key.public_key().public_numbers()
        return {"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
                          "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}]}

    def metadata(self):
        return {"issuer": self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True}

    def token(self, subject, audience="bench", **more):
        now = int(datetime.datetime.now().timestamp())
        claims = {"iss": self.url, "aud": audience, "sub": subject, "iat": now, "exp": now + 3600, "groups": ["staff"], **more}
        head = {"alg": "ES256", "kid": "k1", "typ": "JWT"}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        r, s = utils.decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def session_cookie():
    """Signs in at Wayleave as a browser does, and gives the cookie of the application's host."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1" if host.endswith("localhost") else host, *rest, **more)
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(jar))
    browser.addheaders = [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    browser.open(f"https://{HOST}:{PORTS['wayleave']}/").read()
    cookies = [cookie for cookie in jar if not cookie.domain.startswith("access") and "signin" not in cookie.name]
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)


def nginx_conf(folder, name, server):
    """nginx with one worker and nothing logged."""
    text = f"""daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p; fastcgi_temp_path {folder}/{name}-f;
 uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s; keepalive_requests 10000000; client_max_body_size 100m; {server} }}"""
    path = folder / f"{name}.conf"
    path.write_text(text)
    return path


def workload_conf(folder):
    (folder / "big").write_bytes(os.urandom(10 * 1024 * 1024))
    return nginx_conf(folder, "workload", f"""server {{ listen 127.0.0.1:{PORTS['workload']} ssl;
  ssl_certificate {folder}/workload.pem; ssl_certificate_key {folder}/workload.key; ssl_protocols TLSv1.3;
  ssl_client_certificate {folder}/root.pem; ssl_verify_client on; ssl_verify_depth 3;
  location / {{ default_type text/plain; return 200 "ok\\n"; }} location /big {{ root {folder}; }}
  # Answers only after it has read the whole body; nginx's own answers would not wait for it.
  location /upload {{ client_body_buffer_size 11m; proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
   proxy_pass http://127.0.0.1:{PORTS['plain']}/; }} }}
 server {{ listen 127.0.0.1:{PORTS['plain']}; location / {{ default_type text/plain; return 200 "ok\\n"; }} }}""")


def plain_nginx_conf(folder):
    return nginx_conf(folder, "nginx", f"""upstream mesh {{ server 127.0.0.1:{PORTS['workload']}; keepalive 64; keepalive_requests 10000000; }}
 server {{ listen 127.0.0.1:{PORTS['nginx']} ssl http2; server_name {HOST};
  ssl_certificate {folder}/door.pem; ssl_certificate_key {folder}/door.key; ssl_protocols TLSv1.3;
  location / {{ proxy_pass https://mesh; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
   proxy_ssl_certificate {folder}/envoy.pem; proxy_ssl_certificate_key {folder}/envoy.key; proxy_ssl_protocols TLSv1.3;
   proxy_ssl_trusted_certificate {folder}/root.pem; proxy_ssl_verify on; proxy_ssl_name workload.test; proxy_buffering off; }} }}""")


def envoy_conf(folder, issuer):
    """The best full peer: jwt_authn with its cache, RBAC on a claim, mTLS with a verified SPIFFE ID to the workload."""
    t = "type.googleapis.com/envoy.extensions"
    tls = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}

    def pair(name):
        return [{"certificate_chain": {"filename": f"{folder}/{name}.pem"}, "private_key": {"filename": f"{folder}/{name}.key"}}]

    def cluster(name, port, socket=None):
        endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        built = {"name": name, "type": "STATIC", "connect_timeout": "1s",
                 "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}
        return built | ({"transport_socket": socket} if socket else {})

    door = {"name": "tls", "typed_config": {"@type": f"{t}.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": {
        "alpn_protocols": ["h2", "http/1.1"], "tls_certificates": pair("door"), "tls_params": tls}}}
    out = {"name": "tls", "typed_config": {"@type": f"{t}.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {
        "tls_certificates": pair("envoy"), "tls_params": tls, "validation_context": {
            "trusted_ca": {"filename": f"{folder}/root.pem"},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": WORKLOAD_ID}}]}}}}
    jwt = {"@type": f"{t}.filters.http.jwt_authn.v3.JwtAuthentication", "providers": {"bench": {
        "issuer": issuer.url, "audiences": ["bench"], "forward": True, "payload_in_metadata": "payload",
        "jwt_cache_config": {"jwt_cache_size": 10000},
        "remote_jwks": {"http_uri": {"uri": f"{issuer.url}/keys", "cluster": "keys", "timeout": "2s"}, "async_fetch": {}}}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]}
    group = {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "groups"}],
                          "value": {"list_match": {"one_of": {"string_match": {"exact": "staff"}}}}}}
    rbac = {"@type": f"{t}.filters.http.rbac.v3.RBAC", "rules": {"action": "ALLOW", "policies": {
        "staff": {"permissions": [{"any": True}], "principals": [group]}}}}
    manager = {"@type": f"{t}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in", "codec_type": "AUTO",
               "access_log": [{"name": "file", "typed_config": {"@type": f"{t}.access_loggers.file.v3.FileAccessLog", "path": f"{folder}/envoy-access.log"}}],
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "mesh", "timeout": "0s"}}]}]},
               "http_filters": [{"name": "jwt", "typed_config": jwt}, {"name": "rbac", "typed_config": rbac},
                                {"name": "router", "typed_config": {"@type": f"{t}.filters.http.router.v3.Router"}}]}
    listener = {"name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": PORTS["envoy"]}},
                "filter_chains": [{"transport_socket": door, "filters": [{"name": "hcm", "typed_config": manager}]}]}
    config = {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": PORTS["envoy_admin"]}}},
              "static_resources": {"listeners": [listener], "clusters": [cluster("mesh", PORTS["workload"], out), cluster("keys", PORTS["keys"])]}}
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    return path


def wayleave_conf(folder, issuer):
    """The same work: token, one rule on a group, an identity of its own in the mesh; access log and metrics on, as always."""
    (folder / "store.key").write_text(os.urandom(32).hex())
    (folder / "provider.secret").write_text("secret")
    for name in ("store.key", "provider.secret"):
        (folder / name).chmod(0o600)
    (folder / "policy.yaml").write_text(f"""routes:
  - name: web
    host: {HOST}
    upstream:
      addresses: ["127.0.0.1:{PORTS['workload']}"]
      protocol: http1
      mtls: {{ spiffe_ids: ["{WORKLOAD_ID}"] }}
mappings:
  - name: newcomers
    from: [{{ groups: [newcomers] }}]
    spiffe_id: "spiffe://bench.test/ns/people/sa/{{user}}"
  - name: everybody
    from: [{{ signed_in: true }}]
    spiffe_id: "spiffe://bench.test/ns/people/sa/staff"
rules:
  - name: staff
    action: allow
    from: [{{ groups: [staff] }}]
""")
    path = folder / "wayleave.toml"
    path.write_text(f"""[data_plane]
workers = 1
[home]
host = "access.localhost"
[[listen]]
address = "127.0.0.1:{PORTS['wayleave']}"
scheme = "https"
[[listen.certificates]]
chain = "door.pem"
key = "door.key"
[admin]
address = "127.0.0.1:{PORTS['admin']}"
[store]
url = "sqlite://wayleave.db"
key_file = "store.key"
[[identity_providers]]
name = "people"
label = "People"
preset = "oidc"
issuer = "{issuer.url}"
client_id = "wayleave"
client_secret_file = "provider.secret"
groups_claim = "groups"
insecure_allow_http_loopback = true
[[trusted_issuers]]
name = "bench"
issuer = "{issuer.url}"
jwks_url = "{issuer.url}/keys"
audiences = ["bench"]
algorithms = ["ES256"]
kind = "workload"
groups_claim = "groups"
insecure_allow_http_loopback = true
[mesh]
trust_domain = "bench.test"
bundle_file = "root.pem"
[mesh.svid]
source = "ca"
chain_file = "edge-ca.pem"
key_file = "edge-ca.key"
namespaces = ["people"]
lifetime = "1h"
[policy]
file = "policy.yaml"
[log]
access = "access.log"
filter = "warn"
""")
    return path


def start(command, log):
    return subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, cwd=pathlib.Path(log).parent)
