//! What the edge was told and what it knows of itself, as far as people may see it: never a secret.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;

use crate::admin::actor::{Actor, NotPermitted};
use crate::clock::Timestamp;
use crate::config::checked::SessionConfig;
use crate::policy::roles::Permission;

/// A certificate of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// The hosts it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub ends: Timestamp,
}

/// Where people come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFact {
    /// The address.
    pub address: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What it shows.
    pub certificates: Vec<CertificateFact>,
}

/// Where people sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFact {
    /// As rules call it.
    pub name: String,
    /// As people see it.
    pub label: String,
    /// Its issuer.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// To be entered there.
    pub redirect_uri: String,
    /// To be entered there.
    pub logout_uri: String,
    /// Why it cannot be used at present.
    pub fault: Option<String>,
}

/// Whose tokens programs present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFact {
    /// As rules call it.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// Who its tokens have to be for.
    pub audiences: Vec<String>,
    /// How they are signed.
    pub algorithms: Vec<String>,
}

/// The mesh behind the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshFact {
    /// Its name.
    pub trust_domain: String,
    /// Those that the edge signs for.
    pub namespaces: Vec<String>,
    /// How long an SVID lives.
    pub lifetime: Duration,
    /// When the edge's own authority ends.
    pub authority_ends: Timestamp,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The home host's origin.
    pub home: String,
    /// Where people come in.
    pub listeners: Vec<ListenerFact>,
    /// Where they sign in.
    pub providers: Vec<ProviderFact>,
    /// Whose tokens programs present.
    pub issuers: Vec<IssuerFact>,
    /// Where requests go.
    pub mesh: MeshFact,
    /// How long sessions live.
    pub session: SessionConfig,
    /// How long events are kept, at least.
    pub keep_events: Duration,
    /// How long decisions are kept.
    pub keep_decisions: Duration,
    /// The database's kind.
    pub store: &'static str,
    /// The policy file that is followed.
    pub policy_file: Option<PathBuf>,
    /// Its newest content is in force.
    pub policy_file_is_good: bool,
    /// Ids of the keys that sign assertions and checkpoints.
    pub signing_keys: Vec<String>,
}

/// Who knows the settings: the part that put the edge together.
pub trait Inspect: Send + Sync + 'static {
    /// As they are now. Quick, since pages wait for it.
    fn settings(&self) -> Settings;

    /// The public keys by which assertions and checkpoints are verified.
    fn keys(&self) -> JwkSet;
}

/// The settings, for whoever may see them.
pub fn settings(of: &dyn Inspect, actor: &Actor) -> Result<Settings, NotPermitted> {
    actor.check(Permission::ReadSettings)?;
    Ok(of.settings())
}
