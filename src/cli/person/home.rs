//! The way to an edge's home host: its authorization server and its API for people's programs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, Method, RequestBuilder, StatusCode, redirect};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::cli::client::Refusal;
use crate::cli::person::fault::Fault;
use crate::cli::person::profile::{self, Profile, is_loopback};
use crate::clock::{Clock, SystemClock};
use crate::token::dpop::prover::Prover;

pub(in crate::cli) mod aws;
pub(in crate::cli) mod github;
pub(in crate::cli) mod tunnel;

/// Longest wait for an answer: the edge may have to ask the identity provider.
const ANSWER: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// Clocks that are further apart than this make proofs of no use, in seconds.
const CLOCKS: i64 = 45;

/// Where tokens are had.
pub(in crate::cli) const TOKEN: &str = "/.wayleave/oauth/token";
/// The API for people's programs.
const API: &str = "/.wayleave/api/v1";
/// The id that the edge knows us by.
pub(in crate::cli) const CLIENT: &str = "wayleave-cli";

/// An edge's home host.
pub(in crate::cli) struct Home {
    http: reqwest::Client,
    edge: Url,
}

/// What an endpoint for tokens refused.
#[derive(Debug)]
pub(in crate::cli) struct TokenRefusal {
    pub(in crate::cli) code: String,
    pub(in crate::cli) description: String,
}

/// Something to ask of the API.
pub(in crate::cli) struct Call<'a> {
    pub(in crate::cli) method: Method,
    /// Below the API's own.
    pub(in crate::cli) path: &'a str,
    pub(in crate::cli) query: &'a [(&'a str, String)],
    pub(in crate::cli) body: Option<&'a Value>,
}

/// What the API says.
pub(in crate::cli) enum Called {
    Done(Value),
    /// A problem (RFC 9457).
    Refused(Refusal),
    /// The token is not good any more.
    NotSignedIn,
}

/// An answer that is JSON.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Home {
    pub(in crate::cli) fn new(profile: &Profile) -> Result<Self, Fault> {
        let builder = builder(profile, &profile.edge)?.timeout(ANSWER);
        Ok(Self {
            http: built(builder.http1_only())?,
            edge: profile.edge.clone(),
        })
    }

    /// The edge's name for itself in tokens and answers.
    pub(in crate::cli) fn issuer(&self) -> String {
        self.edge.origin().ascii_serialization()
    }

    pub(in crate::cli) fn url(&self, path: &str) -> Url {
        let mut url = self.edge.clone();
        url.set_path(path);
        url
    }

    /// Makes sure that an edge answers there.
    pub(in crate::cli) async fn check(&self) -> Result<(), Fault> {
        let url = self.url("/.well-known/oauth-authorization-server");
        let answer = self.answer(self.http.get(url)).await?;
        if answer.body["issuer"] != self.issuer().as_str() {
            return Err(self.is_no_edge(&"it has another name for itself"));
        }
        Ok(())
    }

    fn is_no_edge(&self, why: &dyn std::fmt::Display) -> Fault {
        let message = format!("what answers at {} is no Wayleave edge: {why}", self.edge);
        Fault::unreachable(message).next("is this the address of its home host?")
    }

    /// Posts a form to an endpoint for tokens, with a proof of the key.
    pub(in crate::cli) async fn post(
        &self,
        path: &str,
        key: &Prover,
        fields: &[(&str, &str)],
    ) -> Result<Result<Value, TokenRefusal>, Fault> {
        let url = self.url(path);
        let proof = proof(key, "POST", url.as_str(), None)?;
        let request = self.http.post(url).header("dpop", proof).form(fields);
        let answer = self.answer(request).await?;
        if answer.status.is_success() {
            return Ok(Ok(answer.body));
        }
        let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
        let refusal = TokenRefusal {
            code: text("error"),
            description: text("error_description"),
        };
        match refusal.code.as_str() {
            "" => Err(self.is_no_edge(&format!("it says {}", answer.status))),
            "invalid_dpop_proof" => Err(clock_or(&answer.headers, refusal.description)),
            "temporarily_unavailable" | "server_error" => {
                Err(Fault::unreachable(refusal.description).next("try again in a moment"))
            }
            _ => Ok(Err(refusal)),
        }
    }

    /// Asks the API with a token.
    pub(in crate::cli) async fn call(
        &self,
        call: &Call<'_>,
        key: &Prover,
        token: &str,
    ) -> Result<Called, Fault> {
        let mut url = self.url(&format!("{API}/{}", call.path));
        // Proofs are of an address without its query (RFC 9449 §4.2).
        let headers = token_headers(key, call.method.as_str(), &url, token)?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let request = self.http.request(call.method.clone(), url);
        let mut request = request.headers(headers);
        if let Some(body) = call.body {
            request = request.json(body);
        }
        let Answer {
            status,
            headers,
            body,
        } = self.answer(request).await?;
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (status, text("code").as_str()) {
            (status, _) if status.is_success() => Ok(Called::Done(body)),
            (_, "invalid_dpop_proof") => Err(clock_or(&headers, text("detail"))),
            (StatusCode::UNAUTHORIZED, _) => Ok(Called::NotSignedIn),
            (status, "") => Err(self.is_no_edge(&format!("it says {status}"))),
            _ => Ok(Called::Refused(Refusal {
                status,
                problem: body,
            })),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, Fault> {
        let response = request.send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await;
        let text = text.map_err(|error| self.unreachable(&error))?;
        let body = serde_json::from_str(&text)
            .map_err(|_| self.is_no_edge(&format!("it says {status}, and no JSON")))?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        unreachable(&self.edge, error)
    }
}

/// A client for one host of a profile's edge.
fn builder(profile: &Profile, host: &Url) -> Result<ClientBuilder, Fault> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .user_agent(concat!("wayleave/", env!("CARGO_PKG_VERSION")))
        // Tokens go to the edge that was named and nowhere else.
        .redirect(redirect::Policy::none())
        .https_only(profile.edge.scheme() == "https");
    if let Some(name) = host.host_str().filter(|_| is_loopback(host)) {
        // Not every resolver knows that these names are this machine's (RFC 6761 §6.3).
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        builder = builder.resolve(name, here).no_proxy();
    }
    if let Some(file) = &profile.ca_file {
        let unusable = |why: &dyn std::fmt::Display| {
            profile::unusable(file, why)
                .next("give another with --ca-file FILE: a person with `wayleave login`")
        };
        let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem);
        let roots = roots.map_err(|error| unusable(&error))?;
        if roots.is_empty() {
            return Err(unusable(&"there is no certificate in it"));
        }
        builder = builder.tls_certs_merge(roots);
    }
    if let Some(files) = &profile.certificate {
        builder = builder.identity(identity(files)?);
    }
    Ok(builder)
}

/// What a program presents: its chain, and the key that belongs to it.
fn identity(files: &[PathBuf; 2]) -> Result<reqwest::Identity, Fault> {
    let mut pem = Zeroizing::new(Vec::new());
    for file in files {
        let read = std::fs::read(file).map(Zeroizing::new);
        let read = read.map_err(|error| {
            Fault::failed(format!("{} cannot be read: {error}", file.display()))
        })?;
        pem.extend_from_slice(&read);
        pem.push(b'\n');
    }
    reqwest::Identity::from_pem(&pem).map_err(|error| {
        let [chain, key] = files.each_ref().map(|file| file.display());
        Fault::failed(format!(
            "{chain} and {key} are no certificate and its key: {error}"
        ))
    })
}

fn built(builder: ClientBuilder) -> Result<reqwest::Client, Fault> {
    let http = builder.build();
    http.map_err(|error| Fault::failed(format!("no HTTP client: {error}")))
}

/// Why there is no answer, and what may help.
fn unreachable(edge: &Url, error: &reqwest::Error) -> Fault {
    let causes = causes(error);
    let is = |word: &str| causes.to_ascii_lowercase().contains(word);
    if is("notvalidyet") || is("not valid yet") || is("expired") {
        return Fault::unreachable(format!(
            "the certificate of {edge} is not valid now: {causes}"
        ))
        .next("is this machine's clock right? If it is, tell your administrators");
    }
    if is("notvalidforname") || is("not valid for name") {
        return Fault::unreachable(format!(
            "the certificate of {edge} is another host's: {causes}"
        ))
        .next("is this the address of the edge's home host?");
    }
    if is("certificate") || is("unknownissuer") {
        return Fault::unreachable(format!(
            "the certificate of {edge} is not trusted: {causes}"
        ))
        .next("if it is of a private authority, give its root with --ca-file FILE, where you sign in or where a program names its edge");
    }
    Fault::unreachable(format!("{edge} does not answer: {causes}"))
            .next("is this the address of the edge's home host, and does it have to be reached through a VPN or proxy?")
}

/// The innermost causes say what it was.
fn causes(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = inner.source();
    }
    match texts.len() {
        0 => error.to_string(),
        count => texts.split_off(count.saturating_sub(2)).join(": "),
    }
}

/// A proof for a request that is about to be sent.
pub(in crate::cli) fn proof(
    key: &Prover,
    method: &str,
    url: &str,
    token: Option<&str>,
) -> Result<String, Fault> {
    let now = SystemClock.now();
    let proof = key.proof(method, url, token, now);
    proof.map_err(|error| Fault::failed(error.to_string()))
}

/// What a request says that is about to be sent with a token: the token, and a proof of its key.
fn token_headers(key: &Prover, method: &str, url: &Url, token: &str) -> Result<HeaderMap, Fault> {
    let value = |text: String| {
        HeaderValue::try_from(text).map_err(|error| Fault::failed(error.to_string()))
    };
    let proof = proof(key, method, url.as_str(), Some(token))?;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value(format!("DPoP {token}"))?);
    headers.insert("dpop", value(proof)?);
    Ok(headers)
}

/// Most proofs that are refused were made by a clock that is wrong.
fn clock_or(headers: &HeaderMap, description: String) -> Fault {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(theirs) = theirs else {
        return Fault::failed(description);
    };
    let ahead = SystemClock.now().seconds() - theirs.timestamp().as_second();
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    if ahead.abs() < CLOCKS {
        return Fault::failed(description);
    }
    let message = format!(
        "this machine's clock is {} s {side} the edge's",
        ahead.abs()
    );
    Fault::failed(message).next("set the clock, as with `timedatectl set-ntp true`")
}
