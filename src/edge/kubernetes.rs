//! Requests for Kubernetes API servers: the edge's own credential for each cluster, who may come this way, and what an API server's refusal of that credential
//! means.
//!
//! Whom a request is for stands in its permit; [`headers`](crate::edge::headers) says it to the API server.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderValue, Response, StatusCode};

use crate::config::checked::ClusterConfig;
use crate::edge::caller::Caller;
use crate::edge::respond::Refused;
use crate::edge::route::Routed;
use crate::policy::kubernetes::Cluster;
use crate::policy::model::Route;
use crate::web::audience::Audience;

/// The clusters of the configuration with their credentials, which rotate.
pub struct Clusters {
    known: Vec<Cluster>,
    /// Of each, in the same order. `None` is one that was never good.
    credentials: ArcSwap<Vec<Option<HeaderValue>>>,
}

impl Clusters {
    /// Reads the credentials. One that cannot be had is reported, and its routes answer that.
    pub fn new(known: Vec<Cluster>, configured: &[ClusterConfig]) -> Arc<Self> {
        let none = known.iter().map(|_| None).collect();
        let this = Self {
            known,
            credentials: ArcSwap::from_pointee(none),
        };
        this.reload(configured);
        Arc::new(this)
    }

    /// Reads the credentials again. One that cannot be read leaves the last good one.
    pub fn reload(&self, configured: &[ClusterConfig]) {
        let before = self.credentials.load();
        let read = self.known.iter().zip(before.iter()).map(|(cluster, before)| {
            let mut configured = configured.iter();
            let own = configured.find(|own| own.name == cluster.name);
            match own.map(credential) {
                Some(Ok(token)) => Some(token),
                Some(Err(why)) => {
                    tracing::error!(cluster = %cluster.name, why, "the token for a Kubernetes cluster was not read; the last good one stays");
                    before.clone()
                }
                None => before.clone(),
            }
        });
        self.credentials.store(Arc::new(read.collect()));
    }

    /// What a route's API server knows the edge by; `None` where that is the certificate of the mesh identity. The credential leaves for nobody else, whatever
    /// the policy in force says.
    pub(in crate::edge) fn credential(
        &self,
        route: &Route,
    ) -> Result<Option<HeaderValue>, Refused> {
        let kubernetes = route.kubernetes.as_ref();
        if kubernetes.is_none_or(|kubernetes| kubernetes.cluster.is_none()) {
            return Ok(None);
        }
        let cluster = Cluster::of(&self.known, route).ok_or(Refused::NoCredential)?;
        let at = self.known.iter().position(|known| known == cluster);
        let credentials = self.credentials.load();
        let found = at.and_then(|at| credentials.get(at).cloned().flatten());
        found.map(Some).ok_or(Refused::NoCredential)
    }
}

/// The token of a file, as a header has it.
fn credential(cluster: &ClusterConfig) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(&cluster.token_file).map_err(|error| error.to_string())?;
    let token = zeroize::Zeroizing::new(text);
    let token = token.trim();
    // RFC 6750 §2.1.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err("it is no bearer token".to_owned());
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an API server serves is for programs. A browser that was signed in there would run scripts of whatever pod is looked at through the server with all
/// that its person may do.
pub fn check(routed: &Routed, audience: Audience) -> Result<(), Refused> {
    match audience {
        Audience::Navigation if routed.leads_to_a_cluster() => Err(Refused::OnlyKubectl),
        _ => Ok(()),
    }
}

/// For the same reason no cookie counts there.
pub fn check_caller(routed: &Routed, caller: &Caller) -> Result<(), Refused> {
    if routed.leads_to_a_cluster() && caller.rides_on_a_cookie() {
        return Err(Refused::OnlyKubectl);
    }
    Ok(())
}

/// That an API server knows nobody is about the edge: nothing of the client's proves anything there. Passed on, it would make kubectl ask its user to sign in
/// again. What a pod behind the API server's own proxy says is another matter.
pub fn check_answer<B>(routed: &Routed, answer: &Response<B>) -> Result<(), Refused> {
    let is_unknown = answer.status() == StatusCode::UNAUTHORIZED;
    let is_of_a_pod = || routed.request().path.split('/').any(|part| part == "proxy");
    if routed.leads_to_a_cluster() && is_unknown && !is_of_a_pod() {
        return Err(Refused::CredentialRefused);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::{Policy, Transport};

    fn route(more: &str) -> Route {
        let text = format!(
            "routes:\n  - name: k\n    host: k.example\n    upstream:\n      addresses: [\"10.0.0.1:6443\"]\n{more}"
        );
        let Policy { routes, .. } = crate::policy::yaml::parse(&text).unwrap();
        routes.into_iter().next().unwrap()
    }

    #[test]
    fn a_credential_is_read_anew_and_goes_to_its_own_cluster_alone() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let write = |text: &str| std::fs::write(&token_file, text).unwrap();
        let known = Cluster {
            name: "prod".to_owned(),
            transport: Transport::Tls {
                server_name: "kubernetes.default.svc".to_owned(),
                ca_file: Some("/ca.pem".to_owned()),
            },
            bearer_tokens: false,
        };
        let configured = [ClusterConfig {
            name: "prod".to_owned(),
            server_name: "kubernetes.default.svc".to_owned(),
            ca_file: Some("/ca.pem".into()),
            token_file: token_file.clone(),
            bearer_tokens: false,
        }];
        let own = route(
            "      tls: { server_name: kubernetes.default.svc, ca_file: /ca.pem }\n    kubernetes: { cluster: prod }\n",
        );
        let clusters = Clusters::new(vec![known], &configured);
        let says = |route: &Route| clusters.credential(route).ok().flatten();
        assert!(clusters.credential(&own).is_err());
        for (text, expected) in [
            ("one\n", "Bearer one"),
            ("two.x-y", "Bearer two.x-y"),
            ("", "Bearer two.x-y"),
            ("three three", "Bearer two.x-y"),
            ("fo\nur", "Bearer two.x-y"),
        ] {
            write(text);
            clusters.reload(&configured);
            assert_eq!(says(&own).unwrap(), expected, "{text:?}");
        }
        std::fs::remove_file(&token_file).unwrap();
        clusters.reload(&configured);
        assert_eq!(says(&own).unwrap(), "Bearer two.x-y");

        for other in [
            "      tls: { server_name: evil.example, ca_file: /ca.pem }\n    kubernetes: { cluster: prod }\n",
            "      tls: { server_name: kubernetes.default.svc }\n    kubernetes: { cluster: prod }\n",
            "      tls: { server_name: kubernetes.default.svc, ca_file: /evil.pem }\n    kubernetes: { cluster: prod }\n",
            "      tls: { server_name: kubernetes.default.svc, ca_file: /ca.pem }\n    kubernetes: { cluster: test }\n",
        ] {
            assert!(clusters.credential(&route(other)).is_err(), "{other}");
        }
        let mesh = "      mtls: { spiffe_ids: [\"spiffe://td/ns/k/sa/k\"] }\n    kubernetes: {}\n";
        assert!(clusters.credential(&route(mesh)).unwrap().is_none());
    }
}
