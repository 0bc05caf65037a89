//! What the store remembers of a sign-in under way: attempts, exchanges with a provider, hand-backs. Each is sealed, short-lived and used once.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::identity::principal::Requirement;
use crate::oidc::PendingExchange;
use crate::secret::{Token, TokenHash};
use crate::session::SessionId;
use crate::sign_in::{SignIn, SignInError};

/// How long an attempt and an exchange live.
const ATTEMPT: Duration = Duration::from_secs(600);

/// How long a hand-back code lives.
const HAND_BACK: Duration = Duration::from_secs(60);

/// Signing in again, as an access rule asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepUp {
    /// Where the person signed in before, and does again.
    pub provider: Arc<str>,
    /// How they have to.
    pub require: Requirement,
}

/// Where a sign-in started, on a route host.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The route host's origin, as text.
    pub(crate) origin: String,
    /// Path and query, checked by `safe_return`.
    pub(crate) return_to: String,
    /// Hash of the token in the browser's cookie on that host, hexadecimal.
    pub(crate) binding: String,
    /// Set when a session is there already and does not suffice.
    #[serde(default)]
    pub(crate) step_up: Option<StepUp>,
}

/// A visit to a provider.
#[derive(Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) pending: PendingExchange,
    /// The attempt it is for; `None` when the home host itself was opened.
    pub(crate) attempt: Option<String>,
    /// The page of the home host that they came from, checked by `safe_own_page`.
    #[serde(default)]
    pub(crate) then: Option<String>,
    /// Hash of the token in the browser's cookie on the home host, hexadecimal.
    pub(crate) binding: String,
}

/// A signed-in person on the way back to the route host.
#[derive(Serialize, Deserialize)]
pub(crate) struct HandBack {
    /// Hash of the attempt's id, hexadecimal.
    pub(crate) attempt: String,
    pub(crate) session: SessionId,
}

/// A kind of one-time state and its lifetime.
pub(crate) trait Pending: Serialize + DeserializeOwned {
    const KIND: &'static str;
    const LIFETIME: Duration;
    /// Whether anybody can cause one, without being known.
    const BY_ANYBODY: bool;
}

impl Pending for Attempt {
    const KIND: &'static str = "attempt";
    const LIFETIME: Duration = ATTEMPT;
    const BY_ANYBODY: bool = true;
}

impl Pending for Exchange {
    const KIND: &'static str = "exchange";
    const LIFETIME: Duration = ATTEMPT;
    const BY_ANYBODY: bool = true;
}

impl Pending for HandBack {
    const KIND: &'static str = "handback";
    const LIFETIME: Duration = HAND_BACK;
    const BY_ANYBODY: bool = false;
}

impl SignIn {
    pub(crate) async fn remember<P: Pending>(
        &self,
        id: &Token,
        value: &P,
    ) -> Result<(), SignInError> {
        let bytes = serde_json::to_vec(value).map_err(|_| SignInError::State)?;
        let until = self.clock.now().plus(P::LIFETIME);
        let value = self.store.sealed_once(P::KIND, id.hash(), &bytes, until);
        if P::BY_ANYBODY {
            return self.writes.put(value).await;
        }
        match self.store.put_all_once(&[value]).await?.as_slice() {
            [true] => Ok(()),
            _ => Err(SignInError::State),
        }
    }

    pub(crate) async fn peek<P: Pending>(&self, id: &Token) -> Result<Option<P>, SignInError> {
        read(self.store.peek_once(P::KIND, id.hash()).await?)
    }

    pub(crate) async fn take<P: Pending>(&self, id: &Token) -> Result<Option<P>, SignInError> {
        read(self.store.take_once(P::KIND, id.hash()).await?)
    }
}

fn read<P: Pending>(bytes: Option<Vec<u8>>) -> Result<Option<P>, SignInError> {
    bytes
        .map(|b| serde_json::from_slice(&b))
        .transpose()
        .map_err(|_| SignInError::State)
}

/// Whether a kept hash is that of `hash`; text that is no hash never is.
pub(crate) fn same(kept: &str, hash: TokenHash) -> bool {
    TokenHash::from_hex(kept) == Some(hash)
}
