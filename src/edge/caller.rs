//! Somebody whose proof was verified, and what a worker remembers of them: mesh identity and assertions. Forgotten with the proof.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use crate::address::host::Host;
use crate::address::origin::Origin;
use crate::clock::Timestamp;
use crate::edge::Edge;
use crate::edge::access_token::AccessProof;
use crate::identity::principal::Principal;
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::svid::Svid;
use crate::policy::compile::{CompiledPolicy, MapFault};
use crate::policy::model::Revision;
use crate::secret::TokenHash;
use crate::session::{Due, Session, SessionId};
use crate::token::assertion::{Assertion, Minter};
use crate::token::bearer::VerifiedBearer;

/// Assertions remembered per caller; a person who visits more hosts than this has them signed anew.
const ASSERTIONS: usize = 32;

/// The sender of requests.
pub struct Caller {
    number: u64,
    proof: Proof,
    memo: RefCell<Memo>,
}

/// How it is known who somebody is.
pub enum Proof {
    /// It is not.
    Nobody,
    /// A session cookie, good for one host.
    Session {
        /// What the cookie leads to.
        session: Arc<Session>,
        /// The cookie's hash.
        cookie: TokenHash,
        /// The host it is good for.
        host: Host,
    },
    /// A trusted issuer's token.
    Bearer {
        /// The token itself, to verify it again when keys change.
        token: Rc<str>,
        /// What it says.
        verified: VerifiedBearer,
    },
    /// An access token of our own.
    Access(AccessProof),
}

#[derive(Default)]
struct Memo {
    identity: Option<(Revision, MeshIdentity)>,
    assertions: Vec<SignedFor>,
    /// For logs.
    session: Option<Rc<str>>,
}

/// An assertion, and everything it depends on besides the caller.
struct SignedFor {
    audience: Origin,
    thumbprint: String,
    granted_until: Option<Timestamp>,
    assertion: Assertion,
}

impl Caller {
    /// Somebody who showed nothing.
    pub fn nobody() -> Self {
        Self::of(Proof::Nobody)
    }

    /// The holder of a session cookie.
    pub fn session(session: Arc<Session>, cookie: TokenHash, host: Host) -> Self {
        Self::of(Proof::Session {
            session,
            cookie,
            host,
        })
    }

    /// The bearer of a token.
    pub fn bearer(token: Rc<str>, verified: VerifiedBearer) -> Self {
        Self::of(Proof::Bearer { token, verified })
    }

    /// Whoever was given an access token of ours.
    pub fn access(proof: AccessProof) -> Self {
        Self::of(Proof::Access(proof))
    }

    fn of(proof: Proof) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            proof,
            memo: RefCell::default(),
        }
    }

    /// Tells callers apart for as long as the process runs.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How it is known who this is.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Who this is.
    pub fn principal(&self) -> Option<&Principal> {
        match &self.proof {
            Proof::Nobody => None,
            Proof::Session { session, .. } => Some(&session.principal),
            Proof::Access(proof) => Some(&proof.principal),
            Proof::Bearer { verified, .. } => Some(&verified.principal),
        }
    }

    /// The session behind the proof, if there is one.
    pub fn session_id(&self) -> Option<&SessionId> {
        match &self.proof {
            Proof::Nobody | Proof::Bearer { .. } => None,
            Proof::Session { session, .. } => Some(&session.id),
            Proof::Access(proof) => Some(&proof.granted.session.id),
        }
    }

    /// Whether a browser sends the proof along by itself, whichever page asks.
    pub fn rides_on_a_cookie(&self) -> bool {
        matches!(self.proof, Proof::Session { .. })
    }

    /// Whether `Authorization` was meant for us.
    pub fn came_with_a_token(&self) -> bool {
        matches!(self.proof, Proof::Bearer { .. } | Proof::Access(_))
    }

    /// Whether the proof holds without asking anybody.
    pub(in crate::edge) fn stands(&self, edge: &Edge, now: Timestamp) -> bool {
        match &self.proof {
            Proof::Nobody => true,
            Proof::Session { session, .. } => {
                session.is_live(now) && session.refresh_due(now) == Due::No
            }
            Proof::Access(proof) => {
                now < proof.expires_at
                    && proof.lives(now)
                    && proof.granted.session.refresh_due(now) == Due::No
            }
            Proof::Bearer { verified, .. } => {
                now < verified.expires_at && verified.generation == edge.bearer.generation()
            }
        }
    }

    pub(in crate::edge) fn is_session_at(&self, wanted: &Host) -> bool {
        matches!(&self.proof, Proof::Session { host, .. } if host == wanted)
    }

    pub(in crate::edge) fn is_of(&self, wanted: &Arc<Session>) -> bool {
        matches!(&self.proof, Proof::Session { session, .. } if Arc::ptr_eq(session, wanted))
    }

    /// Records a use of the session.
    pub(in crate::edge) fn touch(&self, now: Timestamp) {
        if let Some(session) = self.live_session() {
            session.touch(now);
        }
    }

    fn live_session(&self) -> Option<&Arc<Session>> {
        match &self.proof {
            Proof::Session { session, .. } => Some(session),
            Proof::Access(proof) => Some(&proof.granted.session),
            Proof::Nobody | Proof::Bearer { .. } => None,
        }
    }

    /// What logs may say of the session.
    pub(in crate::edge) fn session_label(&self) -> Option<Rc<str>> {
        let session = self.live_session()?;
        let mut memo = self.memo.borrow_mut();
        let label = memo
            .session
            .get_or_insert_with(|| session.id.label().into());
        Some(Rc::clone(label))
    }

    /// The mesh identity under a revision of the policy.
    pub(in crate::edge) fn mesh_identity(
        &self,
        policy: &CompiledPolicy,
    ) -> Result<MeshIdentity, MapFault> {
        let mut memo = self.memo.borrow_mut();
        if let Some((revision, identity)) = &memo.identity
            && *revision == policy.revision
        {
            return Ok(identity.clone());
        }
        let identity = policy.mesh_identity(self.principal())?;
        memo.identity = Some((policy.revision, identity.clone()));
        Ok(identity)
    }

    /// The assertion for an origin, bound to an SVID; `None` for nobody. One for what a grant allows ends with it, and serves for nothing else.
    pub(in crate::edge) fn assertion(
        &self,
        minter: &Minter,
        audience: &Origin,
        svid: &Svid,
        granted_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let principal = self.principal()?;
        let mut memo = self.memo.borrow_mut();
        let signed = memo.assertions.iter().position(|signed| {
            signed.audience == *audience
                && signed.thumbprint == svid.thumbprint
                && signed.granted_until == granted_until
        });
        if let Some(signed) = signed.and_then(|at| memo.assertions.get(at))
            && now < signed.assertion.renew_at
            && minter.is_signing(&signed.assertion.kid)
        {
            return Some(signed.assertion.value.clone());
        }
        memo.assertions.retain(|signed| {
            let is_granted = signed.granted_until.is_some();
            signed.audience != *audience || is_granted != granted_until.is_some()
        });
        if memo.assertions.len() >= ASSERTIONS {
            memo.assertions.remove(0);
        }
        let mut assertion = minter.mint(principal, &audience.to_string(), svid, granted_until);
        assertion.value.set_sensitive(true);
        let value = assertion.value.clone();
        memo.assertions.push(SignedFor {
            audience: audience.clone(),
            thumbprint: svid.thumbprint.clone(),
            granted_until,
            assertion,
        });
        Some(value)
    }
}
