//! Access tokens that are still good, in a file that only their owner can read, so that most commands need not ask the edge.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::login;
use crate::cli::person::fault::Fault;
use crate::cli::person::profile::{Folders, write_private};
use crate::clock::{Clock, SystemClock};

/// Its name among a profile's files.
pub(in crate::cli) const FILE: &str = "tokens.json";

/// What is left of a token's life has to suffice for a request, in seconds.
pub(in crate::cli) const SLACK: i64 = 20;
/// How long the list of routes is believed, in seconds.
const ROUTES: i64 = 300;

/// The tokens and routes of a profile.
#[derive(Default, Serialize, Deserialize)]
pub(in crate::cli) struct TokenCache {
    /// The edge that they are of.
    edge: String,
    home: Option<Kept>,
    /// By route, and by whether they are bound.
    routes: BTreeMap<String, Kept>,
    known: Option<Known>,
}

/// A token and its end.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct Kept {
    pub(in crate::cli) token: String,
    /// The one origin that it is good for.
    pub(in crate::cli) resource: String,
    /// Seconds since the Unix epoch, by this machine's clock.
    pub(in crate::cli) expires_at: i64,
}

/// A route, as the edge told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Route {
    pub(in crate::cli) name: String,
    pub(in crate::cli) url: String,
    pub(in crate::cli) resource: String,
    pub(in crate::cli) open: bool,
    /// `http`, `tcp` or `kubernetes`; an edge of an earlier release does not say.
    #[serde(default)]
    pub(in crate::cli) protocol: Option<String>,
    /// Why it is not open, as a code and in words.
    #[serde(default)]
    pub(in crate::cli) reason: Option<String>,
    #[serde(default)]
    pub(in crate::cli) why_not: Option<String>,
    /// It opens only after another sign-in.
    #[serde(default)]
    pub(in crate::cli) step_up: Option<AskedSignIn>,
    /// Paths that open, where the whole does not.
    #[serde(default)]
    pub(in crate::cli) open_in_parts: Vec<String>,
    /// Paths that can be asked for, where the whole is not open.
    #[serde(default)]
    pub(in crate::cli) ask_in_parts: Vec<String>,
}

/// How somebody has to sign in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct AskedSignIn {
    pub(in crate::cli) acr_values: Option<Vec<String>>,
    pub(in crate::cli) max_age: Option<u64>,
}

impl AskedSignIn {
    /// The command for it.
    pub(in crate::cli) fn command(&self, profile: &str) -> String {
        let classes = self.acr_values.iter().flatten().map(String::as_str);
        login::again(profile, classes, self.max_age)
    }
}

impl Route {
    /// Whether it is reached with `wayleave forward` and nothing else.
    pub(in crate::cli) fn is_tcp(&self) -> bool {
        self.protocol.as_deref() == Some("tcp")
    }

    /// Whether it is reached with kubectl.
    pub(in crate::cli) fn is_kubernetes(&self) -> bool {
        self.protocol.as_deref() == Some("kubernetes")
    }

    /// Refuses what kubectl can do nothing with.
    pub(in crate::cli) fn expect_kubernetes(&self) -> Result<(), Fault> {
        if self.is_kubernetes() {
            return Ok(());
        }
        let message = format!("{} leads to no Kubernetes API server", self.name);
        Err(Fault::usage(message).next("wayleave routes"))
    }

    /// Whether somebody's approval is all that is missing.
    pub(in crate::cli) fn may_be_asked_for(&self) -> bool {
        !self.open && self.reason.as_deref() == Some("approval_required")
    }

    #[cfg(test)]
    pub(in crate::cli) fn sample(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            resource: String::new(),
            open: true,
            protocol: None,
            reason: None,
            why_not: None,
            step_up: None,
            open_in_parts: Vec::new(),
            ask_in_parts: Vec::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Known {
    at: i64,
    routes: Vec<Route>,
}

/// The present second.
pub(in crate::cli) fn now() -> i64 {
    SystemClock.now().seconds()
}

fn name_of(route: &str, is_bound: bool) -> String {
    let kind = if is_bound { "dpop" } else { "bearer" };
    format!("{kind} {route}")
}

impl Kept {
    /// Whether it can be used for so long still.
    pub(in crate::cli) fn is_good_for(&self, more: Duration) -> bool {
        let more = i64::try_from(more.as_secs()).unwrap_or(i64::MAX);
        now().saturating_add(more) < self.expires_at
    }

    /// Whether it can be used for a request.
    pub(in crate::cli) fn is_good(&self) -> bool {
        now() + SLACK < self.expires_at
    }
}

impl TokenCache {
    /// What is kept for this edge; nothing, if it cannot be read.
    pub(in crate::cli) fn load(folders: &Folders, profile: &str, edge: &str) -> Self {
        let text = std::fs::read(folders.state(profile, FILE)).unwrap_or_default();
        let read: Self = serde_json::from_slice(&text).unwrap_or_default();
        if read.edge == edge {
            return read;
        }
        Self {
            edge: edge.to_owned(),
            ..Self::default()
        }
    }

    pub(in crate::cli) fn keep(&mut self, folders: &Folders, profile: &str) -> Result<(), Fault> {
        self.routes.retain(|_, token| token.is_good());
        let text = serde_json::to_vec(self).map_err(|error| Fault::failed(error.to_string()))?;
        write_private(&folders.state(profile, FILE), &text)
    }

    pub(in crate::cli) fn home(&self) -> Option<&Kept> {
        self.home.as_ref().filter(|token| token.is_good())
    }

    pub(in crate::cli) fn set_home(&mut self, token: Kept) {
        self.home = Some(token);
    }

    pub(in crate::cli) fn route(&self, route: &str, is_bound: bool) -> Option<&Kept> {
        let found = self.routes.get(&name_of(route, is_bound));
        found.filter(|token| token.is_good())
    }

    pub(in crate::cli) fn set_route(&mut self, route: &str, is_bound: bool, token: Kept) {
        self.routes.insert(name_of(route, is_bound), token);
    }

    pub(in crate::cli) fn known(&self) -> Option<&[Route]> {
        let known = self.known.as_ref();
        let known = known.filter(|known| (0..ROUTES).contains(&(now() - known.at)));
        known.map(|known| known.routes.as_slice())
    }

    pub(in crate::cli) fn set_known(&mut self, routes: Vec<Route>) {
        self.known = Some(Known { at: now(), routes });
    }

    /// After something was refused that looked good from here.
    pub(in crate::cli) fn clear(&mut self) {
        self.home = None;
        self.routes.clear();
        self.known = None;
    }
}
