//! Events of SVIDs for people's own hands: given, and refused.

use serde_json::{Value, json};

use crate::audit::event::{Event, FamilyEvent};

/// An SVID that was given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// `x509` or `jwt`.
    pub kind: &'a str,
    /// The SPIFFE ID.
    pub mesh_identity: &'a str,
    /// The rule that allows it.
    pub rule: &'a str,
    /// The revision that it is of.
    pub revision: i64,
    /// Not good from then on.
    pub expires_at: &'a str,
    /// The certificate's serial number, or the token's `jti`: what the mesh's logs may have.
    pub id: &'a str,
    /// The certificate's thumbprint; a token has none.
    pub thumbprint: Option<&'a str>,
    /// Whom a token is for.
    pub audience: Option<&'a str>,
    /// Where the request came from.
    pub peer: &'a str,
}

impl Event {
    /// Somebody got an SVID.
    pub fn svid_issued(told: &FamilyEvent<'_>, given: &Given<'_>) -> Self {
        let details = json!({
            "svid": given.kind,
            "mesh_identity": given.mesh_identity,
            "rule": given.rule,
            "revision": given.revision,
            "expires_at": given.expires_at,
            "id": given.id,
            "thumbprint": given.thumbprint,
            "audience": given.audience,
            "peer": given.peer,
        });
        told.event("svid_issued", &members(details))
    }

    /// Somebody asked for one, and did not get it.
    pub fn svid_refused(told: &FamilyEvent<'_>, kind: &str, refused: &Refused<'_>) -> Self {
        let details = json!({
            "svid": kind,
            "reason": refused.reason,
            "why": refused.why,
            "rule": refused.rule,
            "revision": refused.revision,
            "peer": refused.peer,
        });
        told.event("svid_refused", &members(details))
    }
}

/// Why an SVID was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Stable.
    pub reason: &'a str,
    /// In words of ours: nothing of what was sent.
    pub why: &'a str,
    /// The rule that it is for, if there is one.
    pub rule: Option<&'a str>,
    /// The revision that decided.
    pub revision: i64,
    /// Where the request came from.
    pub peer: &'a str,
}

fn members(details: Value) -> Vec<(&'static str, Value)> {
    const NAMES: [&str; 11] = [
        "svid",
        "mesh_identity",
        "reason",
        "why",
        "rule",
        "revision",
        "expires_at",
        "id",
        "thumbprint",
        "audience",
        "peer",
    ];
    let known = NAMES.into_iter();
    known
        .filter_map(|name| details.get(name).map(|value| (name, value.clone())))
        .collect()
}
