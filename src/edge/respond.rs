//! Every refusal and failure of the data plane, and the answer to it. The matches have no `_`: what is new has to be thought about here.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use crate::edge::access_log::Entry;
use crate::edge::body::EdgeBody;
use crate::edge::headers::ValueFault;
use crate::edge::metrics::Outcome;
use crate::edge::normalise::RequestFault;
use crate::edge::streams::Cut;
use crate::edge::upstream::SendError;
use crate::identity::principal::Requirement;
use crate::mesh::svid::SvidError;
use crate::token::access::AccessFault;
use crate::token::bearer::BearerFault;
use crate::token::dpop::ProofFault;
use crate::web::audience::Audience;
use crate::web::problem::Problem;
use crate::web::security_headers;

mod denial;

pub use denial::denial;

/// Why a request is not answered by an upstream or a page of ours.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It has no single reading.
    #[error(transparent)]
    Fault(#[from] RequestFault),
    /// It has been through us before.
    #[error("the request has been through this proxy before")]
    Loop,
    /// No route has its host and path.
    #[error("no route leads there")]
    NoRoute,
    /// Nothing was heard from the store for too long.
    #[error("it is not known any more who may do what")]
    Stale,
    /// Somebody has to sign in, and it is no navigation.
    #[error("nobody is signed in")]
    SignInRequired,
    /// Somebody would have to sign in otherwise than they did, and it is no navigation of theirs.
    #[error("the sign-in is not as a rule asks")]
    StepUpRequired(Requirement),
    /// The bearer token is not good.
    #[error("the bearer token is refused: {0}")]
    BadToken(BearerFault),
    /// The access token is not one of ours for this place.
    #[error("the access token is refused: {0}")]
    BadAccessToken(AccessFault),
    /// What the access token was derived from has ended.
    #[error("the access token's session or family has ended")]
    TokenEnded,
    /// A token that is bound to a key came without a proof of it, or one that is not came with one.
    #[error("the token is not of the kind that it is presented as")]
    WrongScheme,
    /// The proof of the token's key is not good.
    #[error("the proof of the token's key is refused: {0}")]
    BadProof(ProofFault),
    /// The session cannot be looked up.
    #[error("the store does not answer")]
    StoreUnavailable,
    /// The session has to be refreshed and cannot be.
    #[error("the identity provider does not answer")]
    ProviderUnavailable,
    /// The signer gives no SVID.
    #[error("there is no SVID: {0}")]
    Svid(#[from] SvidError),
    /// The signer gave somebody else's SVID.
    #[error("the SVID at hand is another identity's")]
    WrongSvid,
    /// Something about the caller cannot be put into a header.
    #[error(transparent)]
    Value(#[from] ValueFault),
    /// The upstream gives no answer.
    #[error(transparent)]
    Send(SendError),
    /// The upstream changes to a protocol that nobody asked for.
    #[error("the upstream changed to another protocol than asked for")]
    WrongProtocol,
    /// A TCP route carries tunnels and nothing else.
    #[error("the route carries TCP alone")]
    OnlyTunnels,
    /// A tunnel is asked for where HTTP is spoken.
    #[error("the route carries no TCP")]
    NoTunnels,
    /// What leads to an API server is for programs.
    #[error("the route leads to a Kubernetes API server, and a browser asks")]
    OnlyKubectl,
    /// There is nothing that the API server would know us by.
    #[error("there is no credential for this Kubernetes API server")]
    NoCredential,
    /// The API server does not know us.
    #[error("the Kubernetes API server does not accept the edge's credential")]
    CredentialRefused,
    /// The decision cannot be written down.
    #[error("the decision cannot be recorded")]
    NotRecorded,
    /// It must not go on.
    #[error(transparent)]
    Cut(Cut),
    /// One of our own pages failed or took too long.
    #[error("a page of ours gave no answer")]
    OwnPage,
}

/// What is said of a refusal.
struct Words {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
}

const fn words(
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
) -> Words {
    Words {
        status,
        code,
        title,
        detail: Cow::Borrowed(detail),
    }
}

const ONLY_TUNNELS: Words = words(
    StatusCode::MISDIRECTED_REQUEST,
    "only_tunnels",
    "This is not for a browser",
    "What is here speaks no HTTP. Reach it from the command line: `wayleave forward` gives it a port on your machine.",
);

const NO_TUNNELS: Words = words(
    StatusCode::MISDIRECTED_REQUEST,
    "no_tunnels",
    "This route carries no TCP",
    "It speaks HTTP: open it in a browser, or use `wayleave curl`.",
);

const ONLY_KUBECTL: Words = words(
    StatusCode::MISDIRECTED_REQUEST,
    "only_kubectl",
    "This is not for a browser",
    "A Kubernetes API server is here. Reach it with kubectl: `wayleave kubeconfig` sets it up.",
);

const NO_CREDENTIAL: Words = words(
    StatusCode::SERVICE_UNAVAILABLE,
    "no_cluster_credential",
    "The cluster cannot be reached at the moment",
    "The proxy has no credential for this cluster's API server. Please tell your administrators.",
);

const CREDENTIAL_REFUSED: Words = words(
    StatusCode::BAD_GATEWAY,
    "cluster_credential_refused",
    "The cluster does not know the proxy",
    "The API server does not accept the proxy's own credential. Signing in again does not help; please tell your administrators.",
);

impl Refused {
    fn words(&self) -> Words {
        match self {
            Self::Fault(fault) => Words {
                detail: Cow::Owned(format!("It was refused because {fault}.")),
                ..words(
                    fault.status(),
                    "bad_request",
                    "This request cannot be read",
                    "",
                )
            },
            Self::Loop => words(
                StatusCode::LOOP_DETECTED,
                "loop",
                "This request goes in circles",
                "The application's address leads back to this proxy.",
            ),
            Self::NoRoute => words(
                StatusCode::NOT_FOUND,
                "no_route",
                "There is nothing here",
                "This address does not lead to any application.",
            ),
            Self::SignInRequired => words(
                StatusCode::UNAUTHORIZED,
                "sign_in_required",
                "Signing in is needed",
                "Open the application in a browser and sign in, or send a bearer token.",
            ),
            Self::StepUpRequired(_) => words(
                StatusCode::UNAUTHORIZED,
                "step_up_required",
                "Signing in again is needed",
                "This asks for a more recent or stronger sign-in than yours. Open the application in a browser, or send a token of such a sign-in.",
            ),
            Self::BadToken(fault) => bad_token(fault),
            Self::BadAccessToken(_) | Self::TokenEnded | Self::WrongScheme => INVALID_TOKEN,
            Self::BadProof(fault) => Words {
                detail: Cow::Owned(format!("It was refused because {fault}.")),
                ..words(
                    StatusCode::UNAUTHORIZED,
                    "invalid_dpop_proof",
                    "The token's key is not proven",
                    "",
                )
            },
            Self::Stale => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "stale",
                "Access cannot be checked at the moment",
                "The proxy has had no word from its store for too long. Please try again in a moment.",
            ),
            Self::NotRecorded => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_recorded",
                "Access cannot be recorded at the moment",
                "The proxy lets nobody in without a record of it, and cannot write one. Please tell your administrators.",
            ),
            Self::StoreUnavailable => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "Your session cannot be checked at the moment",
                "Something that checking it needs does not answer. Please try again in a moment.",
            ),
            Self::ProviderUnavailable => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "provider_unavailable",
                "Your session cannot be checked at the moment",
                "The identity provider does not answer. Please try again in a moment.",
            ),
            Self::Svid(fault) => no_svid(fault),
            Self::WrongSvid | Self::OwnPage => words(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side",
                "Please try again, and tell your administrators the request's id if it happens again.",
            ),
            Self::Value(ValueFault) => words(
                StatusCode::FORBIDDEN,
                "identity_not_sendable",
                "Your identity cannot be passed on",
                "Something in it cannot be put into a header.",
            ),
            Self::Send(error) => not_sent(error),
            Self::WrongProtocol => words(
                StatusCode::BAD_GATEWAY,
                "upstream_protocol",
                "The application did not answer well",
                "It changed to another protocol than it was asked for.",
            ),
            Self::OnlyTunnels => ONLY_TUNNELS,
            Self::NoTunnels => NO_TUNNELS,
            Self::OnlyKubectl => ONLY_KUBECTL,
            Self::NoCredential => NO_CREDENTIAL,
            Self::CredentialRefused => CREDENTIAL_REFUSED,
            Self::Cut(cut) => cut_off(*cut),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Fault(_)
            | Self::Loop
            | Self::NoRoute
            | Self::OnlyTunnels
            | Self::NoTunnels
            | Self::OnlyKubectl => Outcome::Rejected,
            Self::SignInRequired
            | Self::StepUpRequired(_)
            | Self::BadToken(_)
            | Self::BadAccessToken(_)
            | Self::TokenEnded
            | Self::WrongScheme
            | Self::BadProof(_) => Outcome::SignIn,
            Self::Cut(cut) => cut.outcome(),
            Self::Stale
            | Self::NotRecorded
            | Self::StoreUnavailable
            | Self::ProviderUnavailable
            | Self::Svid(_)
            | Self::WrongSvid
            | Self::Value(_)
            | Self::Send(_)
            | Self::WrongProtocol
            | Self::NoCredential
            | Self::CredentialRefused
            | Self::OwnPage => Outcome::Failed,
        }
    }

    /// RFC 6750 §3: an error only when there was a token.
    fn challenge(&self) -> Option<String> {
        match self {
            Self::SignInRequired => Some("Bearer".to_owned()),
            Self::StepUpRequired(require) => Some(step_up_challenge(require)),
            Self::BadToken(BearerFault::KeysUnavailable) => None,
            Self::BadToken(_) | Self::BadAccessToken(_) | Self::TokenEnded => {
                Some("Bearer error=\"invalid_token\"".to_owned())
            }
            Self::WrongScheme => Some(dpop_challenge(
                "invalid_token",
                "the token is bound to a key, or presented as if it were",
            )),
            Self::BadProof(fault) => Some(dpop_challenge("invalid_dpop_proof", &fault.to_string())),
            Self::Cut(Cut::ProofEnded) => Some("Bearer".to_owned()),
            Self::Fault(_)
            | Self::Loop
            | Self::NoRoute
            | Self::Stale
            | Self::NotRecorded
            | Self::StoreUnavailable
            | Self::ProviderUnavailable
            | Self::Svid(_)
            | Self::WrongSvid
            | Self::Value(_)
            | Self::Send(_)
            | Self::WrongProtocol
            | Self::OnlyTunnels
            | Self::NoTunnels
            | Self::OnlyKubectl
            | Self::NoCredential
            | Self::CredentialRefused
            | Self::Cut(_)
            | Self::OwnPage => None,
        }
    }
}

/// Beside what is said already, where a program learns how to come by a token (RFC 9728 §5.1).
fn with_metadata(challenge: String, entry: &Entry) -> String {
    match entry.resource_metadata() {
        Some(address) => {
            let between = if challenge.contains(' ') { "," } else { "" };
            format!("{challenge}{between} resource_metadata=\"{address}\"")
        }
        None => challenge,
    }
}

/// RFC 9449 §7.1.
fn dpop_challenge(error: &str, description: &str) -> String {
    format!("DPoP error=\"{error}\", error_description=\"{description}\", algs=\"ES256\"")
}

/// RFC 9470 §3.
fn step_up_challenge(require: &Requirement) -> String {
    let mut challenge = "Bearer error=\"insufficient_user_authentication\"".to_owned();
    if let Some(acr) = &require.acr {
        challenge.push_str(&format!(", acr_values=\"{}\"", acr.join(" ")));
    }
    if let Some(max_age) = require.max_age {
        challenge.push_str(&format!(", max_age=\"{max_age}\""));
    }
    challenge
}

/// Asks a browser to ask again: what it was to be shown was cut off because its session ended, and it may have another by now, as when two of its tabs
/// signed in at once. If not, it is sent to sign in.
pub fn once_more(entry: &mut Entry) -> Option<Response<EdgeBody>> {
    let request = entry.request()?;
    let query = request.query.as_deref();
    let target = match query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let scheme = request.origin.scheme;
    let mut response = Response::new(EdgeBody::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(&target).ok()?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    security_headers::apply(headers, scheme);
    entry.status(StatusCode::SEE_OTHER);
    entry.outcome(Cut::ProofEnded.outcome(), Cut::ProofEnded.code());
    Some(response)
}

fn bad_token(fault: &BearerFault) -> Words {
    match fault {
        BearerFault::KeysUnavailable => words(
            StatusCode::SERVICE_UNAVAILABLE,
            "issuer_unavailable",
            "The token cannot be checked at the moment",
            "Its issuer's keys cannot be had. Please try again in a moment.",
        ),
        BearerFault::Malformed
        | BearerFault::UnknownIssuer
        | BearerFault::Algorithm
        | BearerFault::Signature
        | BearerFault::Time
        | BearerFault::Audience
        | BearerFault::Claim(_) => INVALID_TOKEN,
    }
}

const INVALID_TOKEN: Words = words(
    StatusCode::UNAUTHORIZED,
    "invalid_token",
    "The token is not accepted",
    "The bearer token is not one that is accepted here, or not any more.",
);

fn no_svid(fault: &SvidError) -> Words {
    match fault {
        SvidError::Namespace(_) | SvidError::TrustDomain(_) => words(
            StatusCode::FORBIDDEN,
            "mesh_identity_not_signed",
            "You have no identity in the mesh",
            "The mesh identity chosen for you is not one that may be signed here. Your administrators can see why by the request's id.",
        ),
        SvidError::AuthorityExpired | SvidError::Signing => words(
            StatusCode::SERVICE_UNAVAILABLE,
            "svid_unavailable",
            "Your mesh identity cannot be proven at the moment",
            "No certificate can be had for it. Please try again in a moment.",
        ),
    }
}

fn not_sent(error: &SendError) -> Words {
    const TITLE: &str = "The application cannot be reached";
    match error {
        SendError::Resolve(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_unresolved",
            TITLE,
            "Its name does not resolve.",
        ),
        SendError::Connect(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            TITLE,
            "It does not accept connections.",
        ),
        SendError::ConnectTimeout => words(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_connect_timeout",
            TITLE,
            "Connecting to it took too long.",
        ),
        SendError::PeerIdentity(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_identity_mismatch",
            TITLE,
            "What answers there did not prove to be the application.",
        ),
        SendError::Tls(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_tls",
            TITLE,
            "No secure connection to it could be made.",
        ),
        SendError::IdentityRefused(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_refused_identity",
            "The application does not accept you",
            "The workload refused this identity: its own mesh policy or trust does not let your mesh identity in.",
        ),
        SendError::HeadTimeout => words(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The application did not answer in time",
            "The request was sent, and no answer came.",
        ),
        SendError::Exhausted => words(
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream_exhausted",
            "The application is busy",
            "Too many connections to it are in use. Please try again in a moment.",
        ),
        SendError::Broken(_) => words(
            StatusCode::BAD_GATEWAY,
            "upstream_broke_off",
            "The application broke off",
            "The connection to it ended before an answer came.",
        ),
    }
}

fn cut_off(cut: Cut) -> Words {
    match cut {
        Cut::ProofEnded => words(
            StatusCode::UNAUTHORIZED,
            "session_ended",
            "Your session has ended",
            "It ended while the request was under way. Sign in again.",
        ),
        Cut::NotAllowed => words(
            StatusCode::FORBIDDEN,
            "no_longer_allowed",
            "This is not allowed any more",
            "The access rules changed while the request was under way, or what was granted to you is over.",
        ),
        Cut::Stale => words(
            StatusCode::SERVICE_UNAVAILABLE,
            "stale",
            "Access cannot be checked at the moment",
            "The proxy has had no word from its store for too long. Please try again in a moment.",
        ),
        Cut::Idle => words(
            StatusCode::REQUEST_TIMEOUT,
            "idle",
            "The request took too long",
            "Nothing came for too long.",
        ),
        Cut::ClientLeft => words(
            StatusCode::BAD_REQUEST,
            "client_left",
            "The request was broken off",
            "Its body did not arrive whole.",
        ),
        Cut::Over => words(
            StatusCode::BAD_GATEWAY,
            "over",
            "The exchange is over",
            "The application has answered already.",
        ),
    }
}

/// The answer to a request that is refused.
pub fn refusal(refused: &Refused, audience: Audience, entry: &mut Entry) -> Response<EdgeBody> {
    let said = refused.words();
    // Anybody can send what is not read or goes in circles, as often as they like: that is no warning.
    if said.status.is_server_error() && refused.outcome() != Outcome::Rejected {
        let cause = std::error::Error::source(refused).map(ToString::to_string);
        tracing::warn!(request_id = %entry.id(), error = %refused, cause, "a request failed");
    }
    entry.outcome(refused.outcome(), said.code);
    let problem = Problem {
        status: said.status,
        code: said.code,
        title: said.title,
        detail: said.detail.into_owned(),
        request_id: entry.id().to_string(),
        decision: None,
        authenticate: refused
            .challenge()
            .map(|challenge| with_metadata(challenge, entry)),
        retry_after: (said.status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        sign_in_path: None,
        ask_url: None,
    };
    answer(problem, audience, entry)
}

pub(in crate::edge) fn answer(
    problem: Problem,
    audience: Audience,
    entry: &mut Entry,
) -> Response<EdgeBody> {
    entry.status(problem.status);
    own(problem.into_response(audience), entry)
}

/// An answer of our own. One to HEAD keeps its headers alone, whichever version carries it (RFC 9110 §9.3.2).
pub fn own(mut response: Response<axum::body::Body>, entry: &mut Entry) -> Response<EdgeBody> {
    // Pages set them themselves; what the router refuses on its own does not.
    security_headers::apply(response.headers_mut(), entry.scheme());
    let is_head = entry
        .method()
        .is_some_and(|method| method == http::Method::HEAD);
    response.map(|body| {
        if is_head {
            EdgeBody::Empty
        } else {
            EdgeBody::Own(body)
        }
    })
}

#[cfg(test)]
mod tests;
