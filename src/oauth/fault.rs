//! Why a program does not get what it asks for (RFC 6749 §5.2 and its relatives): a code for programs, one description for people.

use http::StatusCode;

use crate::session::SessionError;
use crate::store::StoreError;
use crate::token::aws::AwsFault;
use crate::token::bearer::BearerFault;
use crate::token::certificate::CertificateFault;
use crate::token::client_assertion::AssertionFault;
use crate::token::dpop::ProofFault;

/// A refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum OAuthFault {
    /// The request cannot be read, or something in it makes no sense.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// No such client, or one that shows credentials although it has none.
    #[error(
        "there is no such client, or it has expired; none here has a secret, and service accounts prove a key with client_credentials"
    )]
    InvalidClient,
    /// What a service account shows of itself is refused.
    #[error("the client_assertion is refused: {0}")]
    ClientAssertion(AssertionFault),
    /// The certificate that a client has presented says nothing here.
    #[error("the client certificate is refused: {0}")]
    ClientCertificate(CertificateFault),
    /// What is presented is not good, or not any more.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// The JWT that a program shows is refused, or cannot be judged.
    #[error("the subject_token is refused: {0}")]
    SubjectToken(BearerFault),
    /// The JWT of whoever is to act is refused, or cannot be judged.
    #[error("the actor_token is refused: {0}")]
    ActorToken(BearerFault),
    /// The request that a role of AWS signed is refused, or AWS cannot be asked about it.
    #[error("the subject_token is refused: {0}")]
    AwsRequest(AwsFault),
    /// No such grant type.
    #[error("this grant type is not supported")]
    UnsupportedGrantType,
    /// No such response type.
    #[error("only response_type=code is supported")]
    UnsupportedResponseType,
    /// There is no such route, or it is named in two ways.
    #[error("{0}")]
    InvalidTarget(&'static str),
    /// The key is not proven.
    #[error("{0}")]
    InvalidProof(ProofFault),
    /// What a program that registers says of itself cannot be kept.
    #[error("{0}")]
    ClientMetadata(&'static str),
    /// Where a program wants people to be sent back to.
    #[error("{0}")]
    RedirectUri(&'static str),
    /// The configuration lets nobody register.
    #[error("programs do not register themselves here (agents.registration)")]
    NoRegistration,
    /// Tokens without a key are not given.
    #[error(
        "this edge gives no tokens that are bound to no key (tokens.allow_unbound; for kubectl bearer_tokens of its [[kubernetes]])"
    )]
    Unbound,
    /// Nobody has approved it yet.
    #[error("nobody has approved it yet")]
    AuthorizationPending,
    /// It asks too often.
    #[error("wait longer before asking again")]
    SlowDown,
    /// The person said no.
    #[error("it was refused")]
    AccessDenied,
    /// The code was not approved in time, or is unknown.
    #[error("the code has expired, was used, or was never given")]
    ExpiredToken,
    /// The address asks for more than it may.
    #[error("there are too many requests from this address")]
    TooManyRequests,
    /// The store failed.
    #[error("something that this needs does not answer")]
    Store(#[from] StoreError),
    /// The sessions failed.
    #[error("something that this needs does not answer")]
    Session(#[from] SessionError),
    /// What we wrote ourselves cannot be read.
    #[error("something went wrong on our side")]
    State,
}

impl OAuthFault {
    /// The error code that programs read.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SubjectToken(BearerFault::KeysUnavailable)
            | Self::ActorToken(BearerFault::KeysUnavailable)
            | Self::AwsRequest(AwsFault::Unavailable) => "temporarily_unavailable",
            // RFC 8693 §2.2.2.
            Self::InvalidRequest(_)
            | Self::Missing(_)
            | Self::SubjectToken(_)
            | Self::ActorToken(_)
            | Self::AwsRequest(_) => "invalid_request",
            Self::InvalidClient | Self::ClientAssertion(_) | Self::ClientCertificate(_) => {
                "invalid_client"
            }
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidTarget(_) => "invalid_target",
            Self::InvalidProof(_) => "invalid_dpop_proof",
            Self::ClientMetadata(_) => "invalid_client_metadata",
            Self::RedirectUri(_) => "invalid_redirect_uri",
            Self::NoRegistration => "access_denied",
            Self::Unbound => "unauthorized_client",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::TooManyRequests | Self::Store(_) | Self::Session(_) => "temporarily_unavailable",
            Self::State => "server_error",
        }
    }

    /// Whether the audit log tells of it where a token was to be exchanged: what somebody was not given, and not what failed for now.
    pub fn is_told(&self) -> bool {
        !self.status().is_server_error() && self.status() != StatusCode::TOO_MANY_REQUESTS
    }

    /// The parameter with the token that it is about.
    pub const fn parameter(&self) -> &'static str {
        match self {
            Self::ActorToken(_) => "actor_token",
            _ => "subject_token",
        }
    }

    /// The status that goes with it.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::SubjectToken(BearerFault::KeysUnavailable)
            | Self::ActorToken(BearerFault::KeysUnavailable)
            | Self::AwsRequest(AwsFault::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest(_)
            | Self::Missing(_)
            | Self::SubjectToken(_)
            | Self::ActorToken(_)
            | Self::AwsRequest(_)
            | Self::InvalidGrant(_)
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidTarget(_)
            | Self::InvalidProof(_)
            | Self::ClientMetadata(_)
            | Self::RedirectUri(_)
            | Self::Unbound
            | Self::AuthorizationPending
            | Self::SlowDown
            | Self::AccessDenied
            | Self::ExpiredToken => StatusCode::BAD_REQUEST,
            Self::NoRegistration => StatusCode::FORBIDDEN,
            Self::InvalidClient | Self::ClientAssertion(_) | Self::ClientCertificate(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) | Self::Session(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::State => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
