//! What the console shows of configuration and parts. What is told here was chosen field by field: nothing of the configuration is passed on whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::address::origin::Scheme;
use crate::admin::settings::{
    CertificateFact, Inspect, IssuerFact, Life, ListenerFact, MeshFact, ProviderFact, Settings,
};
use crate::app::follow::PolicyFileMetric;
use crate::audit::checkpoint::Keys;
use crate::config::Config;
use crate::config::checked::SvidConfig;
use crate::edge::tls::certificates::Certificates;
use crate::mesh::svids::Svids;
use crate::oidc::Providers;
use crate::secret::ExposeSecret;
use crate::token::assertion::Minter;

/// The parts that are asked.
pub struct Inspector {
    told: ArcSwap<Settings>,
    parts: Inspected,
}

/// See above.
pub struct Inspected {
    /// Of each listener, in the order of the configuration.
    pub certificates: Vec<Option<Arc<Certificates>>>,
    /// Who signs SVIDs.
    pub svids: Arc<Svids>,
    /// Where people sign in.
    pub providers: Arc<Providers>,
    /// Who signs assertions.
    pub minter: Arc<Minter>,
    /// How the policy file is, if one is followed.
    pub policy_file: Option<PolicyFileMetric>,
    /// The home host's origin.
    pub home: String,
}

impl Inspector {
    /// As the configuration has it.
    pub fn new(config: &Config, parts: Inspected) -> Arc<Self> {
        let told = told(config, &parts);
        Arc::new(Self {
            told: ArcSwap::from_pointee(told),
            parts,
        })
    }

    /// The configuration was reloaded.
    pub fn replace(&self, config: &Config) {
        self.told.store(Arc::new(told(config, &self.parts)));
    }
}

impl Inspect for Inspector {
    fn settings(&self) -> Settings {
        let parts = &self.parts;
        let mut settings = Settings::clone(&self.told.load());
        for (listener, certificates) in settings.listeners.iter_mut().zip(&parts.certificates) {
            let shown = certificates
                .iter()
                .flat_map(|certificates| certificates.shown());
            listener.certificates = shown
                .map(|shown| CertificateFact {
                    names: shown.names,
                    life: Life {
                        begins: shown.begins,
                        ends: shown.ends,
                    },
                })
                .collect();
        }
        let faults = parts.providers.faults();
        for provider in &mut settings.providers {
            let mut faults = faults.iter();
            let found = faults.find(|(name, _)| **name == *provider.name);
            provider.fault = found.map(|(_, fault)| fault.clone());
        }
        settings.mesh.authority = authority(&parts.svids);
        let file = parts.policy_file.as_ref();
        settings.policy_file_is_good = file.is_none_or(PolicyFileMetric::is_good);
        settings
    }

    fn keys(&self) -> Keys {
        // What we write ourselves is a key set.
        Keys::read(&self.parts.minter.all_keys()).unwrap_or_else(Keys::none)
    }
}

fn told(config: &Config, parts: &Inspected) -> Settings {
    let SvidConfig::Ca {
        namespaces,
        lifetime,
        ..
    } = &config.mesh.svid;
    Settings {
        home: parts.home.clone(),
        listeners: config.listeners.iter().map(listener).collect(),
        providers: providers(config, &parts.home),
        issuers: issuers(config),
        mesh: MeshFact {
            trust_domain: config.mesh.trust_domain.to_string(),
            namespaces: namespaces.clone(),
            lifetime: *lifetime,
            authority: authority(&parts.svids),
        },
        session: config.session,
        keep_events: config.audit.keep_events,
        keep_decisions: config.audit.keep_decisions,
        store: if config.store.url.expose_secret().starts_with("sqlite:") {
            "SQLite"
        } else {
            "PostgreSQL"
        },
        policy_file: config.policy.file.clone(),
        policy_file_is_good: true,
    }
}

fn authority(svids: &Svids) -> Life {
    let (begins, ends) = svids.authority_lives();
    Life { begins, ends }
}

fn listener(listener: &crate::config::checked::Listener) -> ListenerFact {
    ListenerFact {
        address: listener.address.to_string(),
        scheme: match listener.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        },
        certificates: Vec::new(),
    }
}

fn providers(config: &Config, home: &str) -> Vec<ProviderFact> {
    let told = config.identity_providers.iter().map(|provider| {
        let name = provider.name.to_string();
        ProviderFact {
            label: provider.label.clone(),
            issuer: provider.issuer_text.to_string(),
            client_id: provider.client_id.clone(),
            redirect_uri: format!("{home}/.wayleave/callback/{name}"),
            logout_uri: format!("{home}/.wayleave/backchannel-logout/{name}"),
            fault: None,
            name,
        }
    });
    told.collect()
}

fn issuers(config: &Config) -> Vec<IssuerFact> {
    let told = config.trusted_issuers.iter().map(|issuer| IssuerFact {
        name: issuer.name.to_string(),
        issuer: issuer.issuer.to_string(),
        audiences: issuer.audiences.clone(),
        algorithms: issuer
            .algorithms
            .iter()
            .map(|algorithm| format!("{algorithm:?}"))
            .collect(),
    });
    told.collect()
}
