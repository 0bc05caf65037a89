//! Forms that change something: read only after origin, fetch metadata and token are verified.

use aws_lc_rs::hmac;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request, header};

use crate::address::origin::Origin;
use crate::secret::TokenHash;
use crate::web::parameters::{ParameterFault, Parameters};
use crate::web::receive::{self, ReceiveFault};

/// Largest form, in bytes.
pub const FORM_LIMIT: usize = 64 * 1024;

/// The form field that carries the token.
pub const FIELD: &str = "csrf";

const PURPOSE: &[u8] = b"wayleave form token 1";

/// Why a form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrfFault {
    /// Sent by a page of another origin, or by none that says so.
    #[error("the form was not sent by a page of this origin")]
    Origin,
    /// No token, or the token of another session.
    #[error("the form's token is missing or not of this session")]
    Token,
    /// No form, or too large.
    #[error("the body is no form")]
    NotAForm,
    /// It did not arrive in time.
    #[error("the form did not arrive in time")]
    TooSlow,
    /// The fields are not acceptable.
    #[error(transparent)]
    Fields(#[from] ParameterFault),
}

/// The token that forms of a session's pages carry; derived, so that nothing has to be kept.
pub fn form_token(session_cookie: TokenHash) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(session_cookie), PURPOSE))
}

fn key(session_cookie: TokenHash) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, session_cookie.as_bytes())
}

/// A form that has been received and cannot be read yet.
pub struct Protected {
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl Protected {
    /// Receives a form.
    pub async fn receive(request: Request<Body>) -> Result<Self, CsrfFault> {
        let (headers, body) = receive_form(request).await?;
        Ok(Self { headers, body })
    }

    /// Verifies where the form comes from and whose it is; only then are there fields.
    pub fn open(self, origin: &Origin, session_cookie: TokenHash) -> Result<Parameters, CsrfFault> {
        check_origin(&self.headers, origin)?;
        let fields = Parameters::parse(&self.body, FORM_LIMIT)?;
        let presented = fields
            .one(FIELD)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or(CsrfFault::Token)?;
        hmac::verify(&key(session_cookie), PURPOSE, &presented).map_err(|_| CsrfFault::Token)?;
        Ok(fields)
    }
}

/// At most [`FORM_LIMIT`] bytes of `application/x-www-form-urlencoded`, in time, and the headers that came with them.
pub async fn receive_form(request: Request<Body>) -> Result<(HeaderMap, bytes::Bytes), CsrfFault> {
    let (head, body) = request.into_parts();
    if !is_form(&head.headers) {
        return Err(CsrfFault::NotAForm);
    }
    match receive::body(body, FORM_LIMIT).await {
        Ok(body) => Ok((head.headers, body)),
        Err(ReceiveFault::TooSlow) => Err(CsrfFault::TooSlow),
        Err(ReceiveFault::TooLong | ReceiveFault::BrokenOff) => Err(CsrfFault::NotAForm),
    }
}

/// `application/x-www-form-urlencoded`, with or without parameters such as a charset.
pub fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            kind.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

/// Our pages have `Referrer-Policy: no-referrer`, under which browsers send `Origin: null` with a form. Then
/// `Sec-Fetch-Site: same-origin`, which no page can forge, has to be there; without fetch metadata `Origin` must be ours.
fn check_origin(headers: &HeaderMap, origin: &Origin) -> Result<(), CsrfFault> {
    let site = headers.get("sec-fetch-site");
    let sent = headers.get(header::ORIGIN);
    let sent_is_ours = sent.is_some_and(|value| value.as_bytes() == origin.to_string().as_bytes());
    let sent_is_hidden = sent.is_none_or(|value| value == "null");
    let good = match site {
        Some(site) => site == "same-origin" && (sent_is_ours || sent_is_hidden),
        None => sent_is_ours,
    };
    if good { Ok(()) } else { Err(CsrfFault::Origin) }
}
