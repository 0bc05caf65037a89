//! What a token is asked for: a route, by its name or its origin (RFC 8707), or our own API.

use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;

use crate::address::path::check_path;
use crate::identity::principal::Principal;
use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth};
use crate::policy::decide::{DenyReason, Verdict};
use crate::policy::kubernetes::Cluster;
use crate::web::request_info::RequestInfo;

/// The one audience of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Our own API on the home host.
    Home,
    /// A route's origin, as text.
    Route(String),
}

impl Target {
    /// The `aud` of the token.
    pub(crate) fn audience(&self, info: &RequestInfo) -> String {
        match self {
            Self::Home => info.origin.to_string(),
            Self::Route(origin) => origin.clone(),
        }
    }
}

const UNKNOWN: OAuthFault = OAuthFault::InvalidTarget("there is no such route");

impl OAuth {
    /// What `resource` or `audience` names; `None` when neither is there. Two that do not mean the same are refused.
    pub(crate) fn target(&self, asked: &Asked) -> Result<Option<Target>, OAuthFault> {
        let mut found = None;
        for name in ["resource", "audience"] {
            let Some(text) = asked.form.one(name) else {
                continue;
            };
            let target = self.target_named(&asked.info, text)?;
            if found.as_ref().is_some_and(|other| *other != target) {
                let why = "resource and audience name different routes; a token is for one";
                return Err(OAuthFault::InvalidTarget(why));
            }
            found = Some(target);
        }
        Ok(found)
    }

    /// The route that a resource (RFC 8707) is part of, by name, and its origin: what an agent asks for, as the route's metadata have it or below.
    pub(crate) fn route_of(
        &self,
        info: &RequestInfo,
        resource: &str,
    ) -> Result<(Arc<str>, String), OAuthFault> {
        let url = Url::parse(resource).map_err(|_| UNKNOWN)?;
        let is_plain = url.query().is_none() && url.fragment().is_none();
        let has_no_user = url.username().is_empty() && url.password().is_none();
        if !is_plain || !has_no_user || check_path(url.path()).is_err() {
            return Err(UNKNOWN);
        }
        let origin = url.origin().ascii_serialization();
        let policy = self.snapshots.current();
        let mut hosts = policy.routes().iter().map(|route| &route.route.host);
        let host = hosts.find(|host| info.origin.at_host((*host).clone()).to_string() == origin);
        let route = host.and_then(|host| policy.route(host, url.path()));
        let route = route.filter(|route| !route.route.is_tcp());
        route
            .map(|route| (Arc::clone(&route.route.name), origin))
            .ok_or(UNKNOWN)
    }

    /// What a program is told of a route that it named: where it is and what is spoken there.
    pub(crate) fn told_of_route(&self, asked: &Asked) -> Option<Value> {
        let name = asked.form.one("resource").or(asked.form.one("audience"))?;
        let policy = self.snapshots.current();
        let mut routes = policy.routes().iter().map(|route| &route.route);
        let route = routes.find(|route| &*route.name == name)?;
        let origin = asked.info.origin.at_host(route.host.clone());
        Some(json!({
            "name": name,
            "url": format!("{origin}{}", route.prefix),
            "protocol": if route.is_tcp() { "tcp" } else { "http" },
        }))
    }

    /// Whether all that a token would be good for is API servers that kubectl reaches, which can prove no key, and the configuration lets them be reached so.
    pub(crate) fn is_for_kubectl(&self, asked: &Asked, target: &Target) -> bool {
        let Target::Route(origin) = target else {
            return false;
        };
        let policy = self.snapshots.current();
        let routes = policy.routes().iter().map(|route| &route.route);
        let mut routes = routes.filter(|route| {
            let own = asked.info.origin.at_host(route.host.clone());
            own.to_string() == *origin
        });
        // A policy gives an API server a host of its own.
        routes.next().is_some_and(|route| {
            let cluster = Cluster::of(&self.clusters, route);
            cluster.is_some_and(|cluster| cluster.bearer_tokens)
        }) && routes.next().is_none()
    }

    fn target_named(&self, info: &RequestInfo, text: &str) -> Result<Target, OAuthFault> {
        let policy = self.snapshots.current();
        let named = policy
            .routes()
            .iter()
            .find(|route| &*route.route.name == text);
        if let Some(route) = named {
            let origin = info.origin.at_host(route.route.host.clone());
            // Whatever the policy says: what is good at a route is good for nothing here.
            let is_home = origin.to_string() == info.origin.to_string();
            return if is_home {
                Err(UNKNOWN)
            } else {
                Ok(Target::Route(origin.to_string()))
            };
        }
        // An origin, with or without its slash.
        let url = Url::parse(text).map_err(|_| UNKNOWN)?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let has_no_user = url.username().is_empty() && url.password().is_none();
        if !is_bare || !has_no_user {
            return Err(UNKNOWN);
        }
        let origin = url.origin().ascii_serialization();
        if origin == info.origin.to_string() {
            return Ok(Target::Home);
        }
        let is_route = |host: &crate::address::host::Host| {
            info.origin.at_host(host.clone()).to_string() == origin
        };
        let mut hosts = policy.routes().iter().map(|route| &route.route.host);
        match hosts.any(is_route) {
            true => Ok(Target::Route(origin)),
            false => Err(UNKNOWN),
        }
    }

    /// Refuses a route that does not count the person's provider at all (security.md I1). Everything else the edge decides with each request.
    pub(crate) fn check_provider(
        &self,
        info: &RequestInfo,
        target: &Target,
        principal: &Principal,
    ) -> Result<(), OAuthFault> {
        let is_in_use = self.providers.is_known(&principal.provider)
            || self.programs.vouch_for(principal, self.clock.now());
        if !is_in_use {
            return Err(OAuthFault::InvalidGrant(
                "the identity provider of this session is not in use any more",
            ));
        }
        let Target::Route(origin) = target else {
            return Ok(());
        };
        let policy = self.snapshots.current();
        let now = self.clock.now().to_jiff();
        let grants = self.grants.current();
        let reach = policy.reach(principal, now, Some(info.client), grants.of(principal));
        let mut at_host = reach.iter().filter(|reach| {
            let host = reach.route.route.host.clone();
            info.origin.at_host(host).to_string() == *origin
        });
        let refused = |verdict: &Verdict| matches!(verdict, Verdict::Deny(DenyReason::Provider));
        if at_host.all(|reach| refused(&reach.verdict)) {
            return Err(OAuthFault::InvalidGrant(
                "the route does not accept those whom this identity provider or trusted issuer vouches for",
            ));
        }
        Ok(())
    }
}
