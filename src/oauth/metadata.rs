//! What programs read first: where the endpoints are and what they take (RFC 8414).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::identity::algorithm::ALGORITHMS;
use crate::oauth::token::{CLIENT_CREDENTIALS, DEVICE_GRANT, EXCHANGE_GRANT};
use crate::oauth::{OAuth, endpoints};
use crate::web::reply;
use crate::web::request_info::RequestInfo;

/// `GET /.well-known/oauth-authorization-server`.
pub(super) async fn show(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
) -> Response<Body> {
    let mut said = document(&oauth.issuer(&info));
    if oauth.agents.registration {
        let at = format!("{}{}", oauth.issuer(&info), endpoints::REGISTER);
        said["registration_endpoint"] = at.into();
    }
    if oauth.programs.trust_domains.are_there()
        && let Some(methods) = said["token_endpoint_auth_methods_supported"].as_array_mut()
    {
        methods.push("tls_client_auth".into());
    }
    reply::json(&info, StatusCode::OK, &said)
}

fn document(issuer: &str) -> Value {
    let at = |path: &str| format!("{issuer}{path}");
    json!({
        "issuer": issuer,
        "authorization_endpoint": at(endpoints::AUTHORIZE),
        "token_endpoint": at(endpoints::TOKEN),
        "device_authorization_endpoint": at(endpoints::DEVICE_AUTHORIZATION),
        "revocation_endpoint": at(endpoints::REVOKE),
        "introspection_endpoint": at(endpoints::INTROSPECT),
        "jwks_uri": at("/.wayleave/jwks.json"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", CLIENT_CREDENTIALS, DEVICE_GRANT, EXCHANGE_GRANT,
        ],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": true,
    })
}
