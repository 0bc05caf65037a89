//! The other side: a role signs who it is, for one edge.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::random;
use crate::token::aws::request::{BODY, FORM, Written, WrittenHeaders, endpoint};
use crate::token::aws::{AUDIENCE, NONCE};

/// What a role proves itself with. It is never written out.
pub struct RoleKey {
    /// The id of the key.
    pub id: String,
    /// The key.
    pub secret: Zeroizing<String>,
    /// The token that goes with a key of a session.
    pub session_token: Option<Zeroizing<String>>,
}

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SigningFault {
    #[error("this is no region of AWS")]
    Region,
    #[error("the credentials cannot be used in a request")]
    Credentials,
}

/// A request that asks STS who signed it, as the token endpoint takes it; of a region, or of the endpoint without one.
pub fn subject_token(
    key: &RoleKey,
    region: Option<&str>,
    audience: &str,
    now: Timestamp,
) -> Result<Zeroizing<String>, SigningFault> {
    let (host, region) = endpoint(region).ok_or(SigningFault::Region)?;
    let url = format!("https://{host}/");
    let session_token = key.session_token.as_ref().map(|token| token.to_string());
    let secret = key.secret.as_str();
    let identity = Credentials::new(&key.id, secret, session_token, None, "wayleave").into();
    let unusable = SigningFault::Credentials;
    let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(now.micros()).unwrap_or(0));
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name("sts")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unusable)?
        .into();
    let nonce = URL_SAFE_NO_PAD.encode(random::<16>());
    let said = [
        ("host", host.as_str()),
        ("content-type", FORM),
        (AUDIENCE, audience),
        (NONCE, &nonce),
    ];
    let body = SignableBody::Bytes(BODY.as_bytes());
    let request = SignableRequest::new("POST", &url, said.into_iter(), body);
    let signed = sign(request.map_err(|_| unusable)?, &params).map_err(|_| unusable)?;
    let (instructions, _signature) = signed.into_parts();
    let mut headers = WrittenHeaders::default();
    for (name, value) in said.into_iter().chain(instructions.headers()) {
        headers.0.insert(name.to_owned(), value.to_owned());
    }
    let written = Written {
        url,
        headers,
        body: BODY.to_owned(),
    };
    let json = serde_json::to_vec(&written).map(Zeroizing::new);
    let json = json.map_err(|_| unusable)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(&*json)))
}
