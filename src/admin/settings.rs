//! What the edge was told and what it knows of itself, as far as people may see it: never a secret.

use std::path::PathBuf;
use std::time::Duration;

use crate::admin::actor::{Actor, NotPermitted};
use crate::audit::checkpoint::Keys;
use crate::clock::Timestamp;
use crate::config::checked::SessionConfig;
use crate::policy::roles::Permission;

/// From when until when something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// From here.
    pub begins: Timestamp,
    /// Until here.
    pub ends: Timestamp,
}

/// How soon something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not soon.
    Later,
    /// Within a month, and in the last third of its life.
    Soon,
    /// Within a week, and in the last sixth of its life.
    Now,
}

impl Life {
    /// How soon it ends. What lives for hours only is replaced all the time: that it ends within a day is nothing to look at.
    pub fn ending(self, now: Timestamp) -> Ending {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let (whole, left) = (self.ends.since(self.begins), self.ends.since(now));
        if left < DAY * 7 && left < whole / 6 {
            Ending::Now
        } else if left < DAY * 30 && left < whole / 3 {
            Ending::Soon
        } else {
            Ending::Later
        }
    }
}

/// A certificate of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFact {
    /// The hosts it is for.
    pub names: Vec<String>,
    /// How long it is good.
    pub life: Life,
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
    /// How long the edge's own authority is good.
    pub authority: Life,
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
}

/// Who knows the settings: the part that put the edge together.
pub trait Inspect: Send + Sync + 'static {
    /// As they are now. Quick, since pages wait for it.
    fn settings(&self) -> Settings;

    /// The public keys by which checkpoints are verified, also those that sign no more.
    fn keys(&self) -> Keys;
}

/// The settings, for whoever may see them.
pub fn settings(of: &dyn Inspect, actor: &Actor) -> Result<Settings, NotPermitted> {
    actor.check(Permission::ReadSettings)?;
    Ok(of.settings())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_told_by_its_own_measure() {
        let begins = Timestamp::from_seconds(1_900_000_000);
        let hours = |hours: u64| begins.plus(Duration::from_secs(hours * 3600));
        for (lives, left, expected) in [
            (24, 23, Ending::Later),
            (24, 7, Ending::Soon),
            (24, 3, Ending::Now),
            (24 * 90, 24 * 31, Ending::Later),
            (24 * 90, 24 * 29, Ending::Soon),
            (24 * 90, 24 * 6, Ending::Now),
            (24 * 3650, 24 * 100, Ending::Later),
            (24 * 3650, 0, Ending::Now),
        ] {
            let life = Life {
                begins,
                ends: hours(lives),
            };
            assert_eq!(life.ending(hours(lives - left)), expected, "{lives} {left}");
        }
    }
}
