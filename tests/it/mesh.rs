//! Requests into the mesh, through a real Envoy with its own mind about who may pass.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use wayleave::address::host::Host;
use wayleave::admin::actor::Actor;
use wayleave::admin::keys::Keys;
use wayleave::clock::{Clock, SharedClock, SystemClock};
use wayleave::config::checked::{Limits, MeshConfig, SvidConfig};
use wayleave::demo::authority::{Authority, Issued};
use wayleave::edge::body::EdgeBody;
use wayleave::edge::upstream::SendError;
use wayleave::edge::upstream::metrics::UpstreamMetrics;
use wayleave::edge::upstream::pools::Pools;
use wayleave::identity::spiffe_id::{MeshIdentity, SpiffeId, TrustDomain};
use wayleave::mesh::svids::Svids;
use wayleave::policy::compile::CompiledRoute;
use wayleave::policy::model::{
    IdentityHeaders, Route, RouteTimeouts, Transport, Upstream, UpstreamAddress, UpstreamProtocol,
};
use wayleave::telemetry::metrics::Metrics;
use wayleave::token::assertion::Minter;

use crate::parts::browser::{Browser, navigation};
use crate::parts::envoy::{Assertions, Envoy};
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::upstream::SPIFFE_ID;
use crate::parts::{beside, empty, full};

const WORKLOAD: &str = "spiffe://demo.wayleave/ns/apps/sa/web";

fn person(name: &str) -> MeshIdentity {
    MeshIdentity::parse(&format!("spiffe://demo.wayleave/ns/people/sa/{name}")).unwrap()
}

pub(crate) fn write(folder: &Path, name: &str, issued: &Issued) {
    std::fs::write(folder.join(format!("{name}.pem")), &issued.chain).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), &issued.key).unwrap();
}

/// An edge whose CA is `authority`'s, and which trusts what `bundle` leads to.
pub(crate) fn pools(folder: &Path, authority: &Authority, bundle: &str) -> Pools<EdgeBody> {
    write(folder, "edge", &authority.edge_authority().unwrap());
    // The edge's own signer is tried against the bundle, so both roots are in it where they differ.
    let roots = format!("{}{bundle}", authority.mesh_bundle());
    std::fs::write(folder.join("roots.pem"), roots).unwrap();
    let mesh = MeshConfig {
        trust_domain: TrustDomain::parse("demo.wayleave").unwrap(),
        bundle_file: folder.join("roots.pem"),
        svid: SvidConfig::Ca {
            chain_file: folder.join("edge.pem"),
            key_file: folder.join("edge.key"),
            namespaces: vec!["people".to_owned()],
            lifetime: std::time::Duration::from_secs(3600),
        },
    };
    let metrics = Metrics::default();
    let clock = Arc::new(SystemClock);
    let svids = Arc::new(Svids::new(&mesh, clock.clone(), &metrics).unwrap());
    Pools::new(
        svids,
        &Limits::default(),
        clock,
        UpstreamMetrics::new(&metrics),
    )
}

pub(crate) fn route(port: u16, protocol: UpstreamProtocol, expected: &str) -> Arc<CompiledRoute> {
    let route = Route {
        name: "web".into(),
        host: Host::parse("web.example.com").unwrap(),
        prefix: "/".to_owned(),
        strip_prefix: false,
        upstream: Upstream {
            addresses: vec![UpstreamAddress {
                host: "127.0.0.1".to_owned(),
                port,
                weight: 1,
            }],
            transport: Transport::Mtls {
                spiffe_ids: vec![SpiffeId::parse(expected).unwrap()],
            },
            protocol,
        },
        providers: None,
        identity_headers: IdentityHeaders::Assertion,
        websocket_origins: Vec::new(),
        upstream_host: None,
        timeouts: RouteTimeouts::default(),
        allow_path_parameters: false,
        kubernetes: None,
    };
    Arc::new(CompiledRoute {
        route,
        index: 0,
        svid: None,
    })
}

/// Status, the peer and the protocol that Envoy saw.
async fn ask(
    pools: &Pools<EdgeBody>,
    who: &MeshIdentity,
    route: &Arc<CompiledRoute>,
) -> Result<(u16, String, String), SendError> {
    let response = send(pools, who, route, &[]).await?;
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let (peer, protocol) = (header("x-peer"), header("x-proto"));
    response.into_body().collect().await.unwrap();
    Ok((status, peer, protocol))
}

/// Sends a request with these headers besides.
async fn send(
    pools: &Pools<EdgeBody>,
    who: &MeshIdentity,
    route: &Arc<CompiledRoute>,
    headers: &[(&str, &str)],
) -> Result<Response<Incoming>, SendError> {
    let svid = pools.svid(who).unwrap();
    let mut request = Request::builder()
        .uri("/")
        .header("host", "web.example.com");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(EdgeBody::Empty).unwrap();
    Ok(pools
        .exchange(&svid, route, Box::new(request))
        .await?
        .response)
}

#[tokio::test]
async fn envoy_sees_the_callers_identity_and_decides_by_it() {
    let test = async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(SystemClock.now()).unwrap();
        write(
            folder.path(),
            "svid",
            &authority.workload(WORKLOAD).unwrap(),
        );
        std::fs::write(folder.path().join("bundle.pem"), authority.mesh_bundle()).unwrap();
        let (alice, bob) = (person("alice"), person("bob"));
        let envoy = Envoy::start(folder.path(), alice.as_str(), None).await;
        let stranger = Authority::new(SystemClock.now()).unwrap();
        for (protocol, name) in [
            (UpstreamProtocol::Http1, "HTTP/1.1"),
            (UpstreamProtocol::Http2, "HTTP/2"),
            (UpstreamProtocol::Auto, "HTTP/2"),
        ] {
            let ours = pools(folder.path(), &authority, "");
            let web = route(envoy.port, protocol, WORKLOAD);
            for _ in 0..50 {
                let answer = ask(&ours, &alice, &web).await.unwrap();
                assert_eq!(answer, (200, alice.as_str().to_owned(), name.to_owned()));
                let (status, _, _) = ask(&ours, &bob, &web).await.unwrap();
                assert_eq!(status, 403, "bob may not, whoever asked before him");
            }

            let other = route(
                envoy.port,
                protocol,
                "spiffe://demo.wayleave/ns/apps/sa/other",
            );
            let refused = ask(&ours, &alice, &other).await;
            assert!(
                matches!(refused, Err(SendError::PeerIdentity(_))),
                "{refused:?}"
            );

            let theirs = pools(folder.path(), &stranger, &authority.mesh_bundle());
            let refused = ask(&theirs, &alice, &web).await;
            assert!(
                matches!(refused, Err(SendError::IdentityRefused(_))),
                "{refused:?}"
            );
        }
    };
    LocalSet::new().run_until(test).await;
}

pub(crate) fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Has another key made that signs soon, and waits until the edge publishes it.
async fn rotating(house: &House, issuer: &str) -> Keys {
    let clock: SharedClock = Arc::new(SystemClock);
    let minter = Minter::load(house.store(), clock.clone(), issuer.to_owned()).await;
    let keys = Keys {
        store: house.store().clone(),
        minter: minter.unwrap(),
        lifetime: Duration::from_secs(90 * 24 * 60 * 60),
        lead: Duration::from_secs(6),
        clock,
    };
    keys.rotate(&Actor::Operator { name: None }).await.unwrap();
    let set = house.url("access", "/.wayleave/jwks.json");
    let published = async || {
        let request = http::Request::get(&set).body(empty()).unwrap();
        let set: Value = serde_json::from_str(&house.send(request).await.text()).unwrap();
        set["keys"].as_array().unwrap().len() == 2
    };
    eventually("both keys are published", published).await;
    keys
}

/// Every request gets through until the new key signs, and with what it signs, by the set that was read before.
async fn through_a_rotation(browser: &mut Browser, url: &str, keys: &Keys) {
    let mut ask = async || {
        let page = browser.fetch(navigation("GET", url, empty())).await;
        assert_eq!(page.text(), "through", "{}", page.status);
        page.headers["x-payload"].clone()
    };
    let before = keys.minter.keys().remove(1).kid;
    assert!(keys.minter.is_signing(&before), "it was too late");
    let by_old = ask().await;
    while keys.minter.is_signing(&before) {
        ask().await;
    }
    assert_ne!(ask().await, by_old, "an assertion of before goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_verifies_the_assertion_by_the_published_keys() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    let app = house.url("app", "/x");
    browser.fetch(navigation("GET", &app, empty())).await;
    let seen = house.upstream.only();
    let genuine = seen.headers["wayleave-jwt-assertion"].to_str().unwrap();
    let claims = payload(genuine);
    let (issuer, audience) = (claims["iss"].as_str(), claims["aud"].as_str());
    let assertions = |audience| Assertions {
        issuer: issuer.unwrap(),
        audience,
        keys_port: house.http.port(),
    };

    let folder = tempfile::tempdir().unwrap();
    let workload = house.authority.workload(SPIFFE_ID).unwrap();
    write(folder.path(), "svid", &workload);
    let bundle = house.authority.mesh_bundle();
    std::fs::write(folder.path().join("bundle.pem"), bundle).unwrap();
    let ours = Some(assertions(audience.unwrap()));
    let keys = rotating(&house, issuer.unwrap()).await;
    let envoy = Envoy::start(folder.path(), &seen.peer, ours).await;
    let (direct, through) = (
        house.upstream.address.to_string(),
        format!("127.0.0.1:{}", envoy.port),
    );
    house.change_policy(|text| text.replace(&direct, &through));
    let answered = async {
        loop {
            let page = browser.fetch(navigation("GET", &app, empty())).await;
            // The policy may change under a request, which is refused then.
            let is_cut = page.status == http::StatusCode::FORBIDDEN;
            if page.text() != "hello" && !is_cut {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(Duration::from_secs(10), answered).await;
    let page = page.expect("the policy is followed");
    assert_eq!(page.text(), "through", "{}", page.status);
    let forwarded = page.headers["x-payload"].to_str().unwrap();
    let forwarded = URL_SAFE_NO_PAD
        .decode(forwarded.trim_end_matches('='))
        .unwrap();
    let forwarded: Value = serde_json::from_slice(&forwarded).unwrap();
    assert_eq!(forwarded["sub"], claims["sub"]);
    through_a_rotation(&mut browser, &app, &keys).await;

    // Whoever has a certificate of the mesh but no assertion, or not a good one, is refused.
    let identity = MeshIdentity::parse(&seen.peer).unwrap();
    let test = async {
        let pools = pools(folder.path(), &house.authority, "");
        let direct = route(envoy.port, UpstreamProtocol::Http1, SPIFFE_ID);
        let (signed, signature) = genuine.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{signed}.{other}{}", &signature[1..]);
        for (token, expected) in [(genuine, 200), (&forged, 401), ("", 401)] {
            let header = [("wayleave-jwt-assertion", token)];
            let headers = if token.is_empty() {
                &[][..]
            } else {
                &header[..]
            };
            let answer = send(&pools, &identity, &direct, headers).await.unwrap();
            assert_eq!(answer.status(), expected, "{token}");
        }
        let for_another = Some(assertions("https://another.example"));
        let another = Envoy::start(folder.path(), &seen.peer, for_another).await;
        let direct = route(another.port, UpstreamProtocol::Http1, SPIFFE_ID);
        let headers = [("wayleave-jwt-assertion", genuine)];
        let answer = send(&pools, &identity, &direct, &headers).await.unwrap();
        assert_eq!(answer.status(), 403, "it was made for somebody else");
    };
    LocalSet::new().run_until(test).await;
}

/// A server outside the mesh, with a certificate for `app.localhost`: what each connection offered and whether it showed a certificate.
async fn outside(issued: &Issued) -> (u16, Arc<Mutex<Vec<(String, bool)>>>) {
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"istio".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    beside(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let tls = stream.get_ref().1;
            let agreed = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default());
            let had = (agreed.into_owned(), tls.peer_certificates().is_some());
            record.lock().unwrap().push(had);
            beside(async move {
                let hello =
                    service_fn(async |_| Ok::<_, Infallible>(Response::new(full("outside"))));
                let server = hyper::server::conn::http1::Builder::new();
                let _ended = server.serve_connection(TokioIo::new(stream), hello).await;
            });
        }
    });
    (port, seen)
}

#[tokio::test]
async fn outside_the_mesh_the_name_is_proved_and_no_identity_is_shown() {
    let test = async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(SystemClock.now()).unwrap();
        let ca_file = folder.path().join("outside.pem");
        std::fs::write(&ca_file, authority.door_bundle()).unwrap();
        let stranger = Authority::new(SystemClock.now()).unwrap();
        let strange_file = folder.path().join("strange.pem");
        std::fs::write(&strange_file, stranger.door_bundle()).unwrap();
        let issued = authority.front_door(&["app.localhost"]).unwrap();
        let (port, seen) = outside(&issued).await;
        let pools = pools(folder.path(), &authority, "");
        let reach = async |name: &str, ca_file: &Path| {
            let mut to = route(port, UpstreamProtocol::Auto, WORKLOAD);
            Arc::get_mut(&mut to).unwrap().route.upstream.transport = Transport::Tls {
                server_name: name.to_owned(),
                ca_file: Some(ca_file.to_str().unwrap().to_owned()),
            };
            send(&pools, &person("alice"), &to, &[]).await
        };
        let response = reach("app.localhost", &ca_file).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "outside");
        let nothing_shown = [("http/1.1".to_owned(), false)];
        assert_eq!(*seen.lock().unwrap(), nothing_shown);
        for (name, ca_file) in [
            ("other.localhost", &ca_file),
            ("app.localhost", &strange_file),
        ] {
            let refused = reach(name, ca_file).await;
            assert!(
                matches!(refused, Err(SendError::PeerIdentity(_) | SendError::Tls(_))),
                "{name}: {refused:?}"
            );
        }
    };
    LocalSet::new().run_until(test).await;
}
