//! What providers and issuers answer is bounded, and is theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;
use wayleave::clock::SystemClock;
use wayleave::config::checked::{IdentityProviderConfig, Preset};
use wayleave::oidc::{OidcError, Providers};
use wayleave::secret::SecretString;
use wayleave::token::outbound::{Outbound, OutboundError, Reach};

use crate::parts::beside;

/// A server whose answers to `/{what}` this makes.
async fn serve(app: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    beside(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn hostile(Path(what): Path<String>) -> Response {
    match what.as_str() {
        "long" => format!("[{}1]", "1,".repeat(1024 * 1024)).into_response(),
        // What this unpacks to is nobody's business: packed answers are not asked for, and not unpacked.
        "packed" => ([(CONTENT_ENCODING, "gzip")], [31_u8, 139, 8, 0].to_vec()).into_response(),
        "endless" => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("["))]);
            let rest = futures_util::StreamExt::chain(first, futures_util::stream::pending());
            Body::from_stream(rest).into_response()
        }
        "silent" => std::future::pending().await,
        _ => Json(json!({ "fine": true })).into_response(),
    }
}

#[tokio::test]
async fn l2_l3_answers_of_others_are_bounded_in_size_and_time() {
    let server = serve(axum::Router::new().route("/{what}", get(hostile))).await;
    let outbound = Outbound::new(Reach {
        ca_file: None,
        allowed_private_networks: &[],
        insecure_allow_http_loopback: true,
    });
    let outbound = outbound.unwrap();
    let ask = async |what: &str| {
        let url = Url::parse(&format!("{server}/{what}")).unwrap();
        let began = Instant::now();
        let answer = outbound.fetch_json::<Value>(&url, None).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{what}");
        answer
    };
    let host = || "localhost".to_owned();
    assert_eq!(ask("fine").await, Ok(json!({ "fine": true })));
    assert_eq!(ask("long").await, Err(OutboundError::TooLong(host())));
    assert_eq!(ask("packed").await, Err(OutboundError::Json(host())));
    let (endless, silent) = tokio::join!(ask("endless"), ask("silent"));
    assert_eq!(endless, Err(OutboundError::Timeout(host())));
    assert_eq!(silent, Err(OutboundError::Timeout(host())));
}

fn provider(preset: Preset, issuer: &str) -> Arc<Providers> {
    let config = IdentityProviderConfig {
        name: "test".into(),
        label: "Test".into(),
        preset,
        issuer: Url::parse(issuer).unwrap(),
        issuer_text: issuer.into(),
        client_id: "wayleave".into(),
        client_secret: None,
        scopes: None,
        groups_claim: None,
        claims: Vec::new(),
        groups_strip_prefix: None,
        trust_email: None,
        allowed_tenants: None,
        ca_file: None,
        allowed_private_networks: Vec::new(),
        insecure_allow_http_loopback: true,
        assume_pkce: None,
    };
    Providers::new(vec![config], Arc::new(SystemClock))
}

/// Metadata of the issuer at `/{what}`, which calls itself a little differently where `what` says how.
async fn metadata(Path(what): Path<String>, headers: HeaderMap) -> Json<Value> {
    let host = headers["host"].to_str().unwrap();
    let own = format!("http://{host}/{what}");
    let issuer = match what.as_str() {
        "slash" => format!("{own}/"),
        "case" => own.replace("localhost", "LOCALHOST"),
        "path" => format!("{own}/other"),
        "scheme" => own.replace("http:", "https:"),
        _ => own.clone(),
    };
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{own}/authorize"),
        "token_endpoint": format!("{own}/token"),
        "jwks_uri": format!("{own}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
    });
    if what == "with-logout" {
        metadata["end_session_endpoint"] = format!("{own}/logout").into();
    }
    Json(metadata)
}

async fn issuers() -> String {
    let path = "/{what}/.well-known/openid-configuration";
    serve(axum::Router::new().route(path, get(metadata))).await
}

#[tokio::test]
async fn signing_out_at_the_provider_takes_the_way_it_has() {
    let server = issuers().await;
    let back = Url::parse("https://access.example/.wayleave/signed-out").unwrap();
    let way = async |preset, what: &str| {
        let providers = provider(preset, &format!("{server}/{what}"));
        let url = providers
            .end_session_url("test", None, &back, "state")
            .await;
        url.map(|url| url.as_str().replace(&server, ""))
    };
    let back = "https%3A%2F%2Faccess.example%2F.wayleave%2Fsigned-out";
    let standard = format!(
        "/with-logout/logout?client_id=wayleave&post_logout_redirect_uri={back}&state=state"
    );
    let auth0 = format!("/v2/logout?client_id=wayleave&returnTo={back}");
    for (preset, what, expected) in [
        (Preset::Oidc, "with-logout", Some(&standard)),
        (Preset::Auth0, "with-logout", Some(&standard)),
        (Preset::Auth0, "without", Some(&auth0)),
        (Preset::Oidc, "without", None),
        (Preset::Google, "with-logout", None),
    ] {
        let url = way(preset, what).await;
        assert_eq!(url.as_ref(), expected, "{preset:?} {what}");
    }
}

#[tokio::test]
async fn e13_metadata_of_another_issuer_is_refused() {
    let server = issuers().await;
    let begin = async |what: &str| {
        let providers = provider(Preset::Oidc, &format!("{server}/{what}"));
        let back = Url::parse("https://access.example/.wayleave/callback/test").unwrap();
        let begun = providers
            .begin("test", &back, &SecretString::from("state"), None)
            .await;
        begun.map(|_| ())
    };
    begin("right").await.unwrap();
    for what in ["slash", "case", "path", "scheme"] {
        let refused = begin(what).await;
        assert!(
            matches!(refused, Err(OidcError::Metadata(_))),
            "{what}: {refused:?}"
        );
    }
}
