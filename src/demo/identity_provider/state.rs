//! Codes, refresh tokens and access tokens that are out: used once, bounded in number and time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::demo::identity_provider::people::Person;
use crate::secret::{Token, TokenHash};

/// No more grants than this are kept of a kind.
const MOST: usize = 10_000;

/// Who signed in, when, and for what.
#[derive(Clone)]
pub(super) struct SignedIn {
    pub(super) person: &'static Person,
    /// The provider's own session.
    pub(super) sid: String,
    pub(super) auth_time: i64,
}

/// What a token stands for.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) signed_in: SignedIn,
    pub(super) scope: String,
    /// Of a code: what has to come with it.
    pub(super) exchange: Option<Exchange>,
}

/// What the token request must match.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
}

/// What a token is for; one of another kind is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Code,
    Refresh,
    Access,
}

/// All tokens that are out. The lock is held for single look-ups and never across an await.
#[derive(Default)]
pub(super) struct Grants(Mutex<HashMap<(Kind, TokenHash), (Timestamp, Grant)>>);

impl Grants {
    /// Hands out a token that ends at `now` + `lifetime`.
    pub(super) fn give(
        &self,
        kind: Kind,
        grant: Grant,
        now: Timestamp,
        lifetime: Duration,
    ) -> Token {
        let token = Token::generate();
        let mut grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= MOST {
            grants.retain(|_, (ends, _)| *ends > now);
        }
        if grants.len() >= MOST {
            grants.clear();
        }
        grants.insert((kind, token.hash()), (now.plus(lifetime), grant));
        token
    }

    /// Takes a token: it is known no more.
    pub(super) fn take(&self, kind: Kind, token: &str, now: Timestamp) -> Option<Grant> {
        let hash = Token::parse(token)?.hash();
        let mut grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, grant) = grants.remove(&(kind, hash))?;
        (ends > now).then_some(grant)
    }

    /// Looks a token up.
    pub(super) fn look_up(&self, kind: Kind, token: &str, now: Timestamp) -> Option<Grant> {
        let hash = Token::parse(token)?.hash();
        let grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, grant) = grants.get(&(kind, hash))?;
        (*ends > now).then(|| grant.clone())
    }

    /// Forgets everything of one provider session.
    pub(super) fn end_session(&self, sid: &str) {
        let mut grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        grants.retain(|_, (_, grant)| grant.signed_in.sid != sid);
    }
}
