//! The ID token that GitHub gives a job of Actions that asks for one.

use reqwest::{Client, redirect};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::cli::person::fault::Fault;
use crate::cli::person::home::{ANSWER, CONNECT, built};
use crate::cli::person::profile::is_loopback;

/// Where to ask, and with what; the runner says both.
pub(in crate::cli) struct IdTokenRequest {
    pub(in crate::cli) url: String,
    pub(in crate::cli) token: Zeroizing<String>,
}

/// A new ID token for an audience.
pub(in crate::cli) async fn id_token(
    request: &IdTokenRequest,
    audience: &str,
) -> Result<Zeroizing<String>, Fault> {
    let failed = |why: &dyn std::fmt::Display| {
        Fault::unreachable(format!("GitHub gives no ID token: {why}"))
            .next("does the job have `permissions: { id-token: write }`?")
    };
    let mut url = Url::parse(&request.url).map_err(|error| failed(&error))?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(failed(&"ACTIONS_ID_TOKEN_REQUEST_URL is not https"));
    }
    url.query_pairs_mut().append_pair("audience", audience);
    let mut builder = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(redirect::Policy::none());
    if is_loopback(&url) {
        builder = builder.no_proxy();
    }
    let asked = built(builder)?.get(url).bearer_auth(request.token.as_str());
    let response = asked.send().await.map_err(|error| failed(&error))?;
    let status = response.status();
    let text = response.text().await.map(Zeroizing::new);
    let text = text.map_err(|error| failed(&error))?;
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    match said["value"].as_str() {
        Some(token) if status.is_success() => Ok(Zeroizing::new(token.to_owned())),
        _ => Err(failed(&format!("it says {status}"))),
    }
}
