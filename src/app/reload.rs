//! Reloading on SIGHUP or when certificate files change: everything new is tried first, and what is at fault leaves the last good one in force.

use std::path::Path;
use std::sync::Arc;

use crate::app::inspect::Inspector;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::checked::{Listener, MeshConfig};
use crate::edge::kubernetes::Clusters;
use crate::edge::tls::certificates::Certificates;
use crate::mesh::svids::Svids;
use crate::oidc::Providers;
use crate::secret::{ExposeSecret, SecretString, TokenHash};
use crate::session::Sessions;
use crate::token::programs::Programs;

/// What a reload replaces.
pub struct Reloading {
    /// The configuration that is in force.
    pub running: Config,
    /// Providers, claims and issuers that policies were told of, as they were at the start.
    pub(in crate::app) known: [Vec<String>; 3],
    pub(in crate::app) certificates: Vec<Option<Arc<Certificates>>>,
    pub(in crate::app) svids: Arc<Svids>,
    pub(in crate::app) inspector: Arc<Inspector>,
    pub(in crate::app) providers: Arc<Providers>,
    pub(in crate::app) sessions: Arc<Sessions>,
    pub(in crate::app) programs: Programs,
    pub(in crate::app) clusters: Arc<Clusters>,
    pub(in crate::app) clock: SharedClock,
}

impl Reloading {
    /// Reads the configuration again. A fault anywhere in it leaves all as it was, and is logged.
    pub fn configuration(&mut self, path: &Path) {
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(faults) => {
                for fault in &faults {
                    tracing::error!(%fault, "the new configuration is at fault");
                }
                tracing::error!(
                    "the configuration was not reloaded; the last good one stays in force"
                );
                return;
            }
        };
        for section in self.needs_restart(&config) {
            tracing::warn!(
                section,
                "this part of the configuration changes with a restart only"
            );
        }
        let providers = config.identity_providers.clone();
        self.providers.replace(providers.clone());
        self.programs.configure(&config);
        self.sessions.providers_changed();
        self.running.identity_providers = providers;
        self.running.trusted_issuers = config.trusted_issuers;
        self.running.policy_issuers = config.policy_issuers;
        // What the policy in force was compiled for goes on being signed for.
        let trust_domain = self.running.mesh.trust_domain.clone();
        self.running.mesh = MeshConfig {
            trust_domain,
            ..config.mesh
        };
        take_certificates(&mut self.running.listeners, config.listeners);
        self.files();
        self.inspector.replace(&self.running);
        tracing::info!("the configuration was reloaded");
    }

    /// Reads certificates, the mesh's authority and its bundle, and clusters' tokens again.
    pub fn files(&self) {
        let now = self.clock.now();
        let listeners = self.running.listeners.iter().zip(&self.certificates);
        for (listener, certificates) in listeners {
            let Some(certificates) = certificates else {
                continue;
            };
            if let Err(faults) = certificates.reload(&listener.certificates, now) {
                for fault in &faults {
                    let cause = std::error::Error::source(fault);
                    tracing::error!(%fault, cause, address = %listener.address, "certificates were not reloaded; the last good ones stay");
                }
            }
        }
        self.clusters.reload(&self.running.kubernetes);
        // It reports what is wrong by itself.
        let _reloaded = self.svids.reload(&self.running.mesh, now);
    }

    /// Every file that [`Self::files`] reads.
    pub fn watched(&self) -> Vec<&Path> {
        let listeners = self.running.listeners.iter();
        let pairs = listeners.flat_map(|listener| &listener.certificates);
        let mut files: Vec<&Path> = pairs
            .flat_map(|pair| [pair.chain.as_path(), pair.key.as_path()])
            .collect();
        files.extend(self.running.mesh.files());
        let clusters = self.running.kubernetes.iter();
        files.extend(clusters.map(|cluster| cluster.token_file.as_path()));
        files
    }

    /// The parts that are different and are not replaced while the process runs, each by its name in the file.
    fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let old = &self.running;
        // Every part by name: whoever adds one to the configuration has to say here how it is taken up.
        let Config {
            home_host,
            listeners,
            admin,
            admin_hosts,
            store,
            session,
            tokens,
            agents,
            // Taken up, but for what policies were told of them.
            identity_providers: _,
            trusted_issuers: _,
            policy_issuers: _,
            kubernetes,
            mesh,
            operator_token,
            policy,
            limits,
            audit,
            log,
            workers,
        } = new;
        let doors = |listeners: &[Listener]| -> Vec<_> {
            let doors = listeners.iter();
            doors
                .map(|door| {
                    let asks = door.client_certificates;
                    (door.address, door.scheme, door.external_port, asks)
                })
                .collect()
        };
        let hash = |token: &Option<SecretString>| {
            let token = token.as_ref();
            token.map(|token| TokenHash::of(token.expose_secret().as_bytes()))
        };
        let token = hash(&old.operator_token) != hash(operator_token);
        let known = [new.provider_names(), new.claim_names(), new.issuers()];
        let differs = [
            ("home", old.home_host != *home_host),
            ("listen", doors(&old.listeners) != doors(listeners)),
            ("admin.address", old.admin != *admin),
            ("admin.hosts", old.admin_hosts != *admin_hosts),
            ("admin.operator_token", token),
            ("store", !old.store.is_same(store)),
            ("session", old.session != *session),
            ("tokens", old.tokens != *tokens),
            (
                "names and claims that policies may use",
                self.known != known,
            ),
            ("agents", old.agents != *agents),
            ("kubernetes", old.kubernetes != *kubernetes),
            ("policy", old.policy != *policy),
            ("limits", old.limits != *limits),
            ("audit", old.audit != *audit),
            ("log", old.log != *log),
            ("data_plane", old.workers != *workers),
            (
                "mesh.trust_domain",
                old.mesh.trust_domain != mesh.trust_domain,
            ),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Gives each listener the certificates that the new configuration has for its address, wherever in the file that is now. One that is gone from it
/// keeps its own until the restart that closes it.
fn take_certificates(running: &mut [Listener], mut new: Vec<Listener>) {
    for listener in running {
        let is_same =
            |other: &Listener| (other.address, other.scheme) == (listener.address, listener.scheme);
        if let Some(at) = new.iter().position(is_same) {
            // Taken once: with port 0 several may look alike, and pair in order.
            listener.certificates = new.remove(at).certificates;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::take_certificates;
    use crate::address::origin::Scheme;
    use crate::config::checked::{CertificateFiles, Listener};

    fn listener(port: u16, scheme: Scheme, certificate: &str) -> Listener {
        Listener {
            address: ([127, 0, 0, 1], port).into(),
            scheme,
            external_port: port,
            certificates: vec![CertificateFiles {
                chain: certificate.into(),
                key: certificate.into(),
            }],
            client_certificates: false,
        }
    }

    #[test]
    fn c12_listeners_keep_their_certificates_when_the_file_names_them_in_another_order() {
        let mut running = vec![
            listener(1, Scheme::Https, "one"),
            listener(2, Scheme::Https, "two"),
            listener(3, Scheme::Https, "three"),
            listener(0, Scheme::Https, "any"),
            listener(0, Scheme::Https, "another"),
        ];
        let new = vec![
            listener(4, Scheme::Https, "four"),
            listener(3, Scheme::Http, "plain"),
            listener(0, Scheme::Https, "new any"),
            listener(2, Scheme::Https, "new two"),
            listener(0, Scheme::Https, "new another"),
            listener(1, Scheme::Https, "new one"),
        ];
        take_certificates(&mut running, new);
        let shown: Vec<_> = running
            .iter()
            .map(|listener| listener.certificates[0].chain.to_str().unwrap())
            .collect();
        let expected = ["new one", "new two", "three", "new any", "new another"];
        assert_eq!(shown, expected);
    }
}
