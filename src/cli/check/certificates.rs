//! Whether certificates and keys are what the edge needs: by using them, as the edge would.

use std::time::Duration;

use super::report::Report;
use crate::address::host::Host;
use crate::address::origin::Scheme;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::checked::{CertificateFiles, Listener, MeshConfig};
use crate::edge::tls::certificates::Certificate;
use crate::edge::tls::{CertificateId, CertificateNames};
use crate::mesh::authority::Authority;
use crate::policy::model::Policy;
use crate::telemetry::causes::Causes;

/// What ends within this is remarked on, unless it is short-lived anyway.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// The names that the listeners with TLS have certificates for.
pub(super) struct FrontDoors {
    /// In the order of the configuration.
    doors: Vec<CertificateNames>,
    /// Whether all certificates could be read; otherwise nothing is known of what is missing.
    is_whole: bool,
}

impl FrontDoors {
    /// Tries every certificate, and the one for the home host.
    pub(super) fn tried(config: &Config, now: Timestamp, report: &mut Report) -> Self {
        let mut this = Self {
            doors: Vec::new(),
            is_whole: true,
        };
        let with_tls = |listener: &&Listener| listener.scheme == Scheme::Https;
        for listener in config.listeners.iter().filter(with_tls) {
            let mut names = CertificateNames::default();
            for (place, files) in listener.certificates.iter().enumerate() {
                let item = format!("certificate {}", files.chain.display());
                match front_door(files, now) {
                    Ok(certificate) => {
                        for name in &certificate.names {
                            names.add(name, CertificateId(place));
                        }
                        let (until, said) = (certificate.ends, certificate.names.join(", "));
                        let said = format!("for {said}, until {}", until.rfc3339());
                        report.item(&item, Ok(said));
                        remark_on_end(&item, certificate.begins, until, now, report);
                    }
                    Err(why) => {
                        this.is_whole = false;
                        report.fault(&item, &why);
                    }
                }
            }
            this.doors.push(names);
        }
        // The home host is at the first of them, whatever others there are.
        if this.is_whole
            && let Some(first) = this.doors.first()
        {
            let home = &config.home_host;
            let outcome = match first.certificate_for(home) {
                Some(_) => Ok(String::new()),
                None => Err(
                    "no certificate of the first https listener has this name, so nobody could sign in; add one for it"
                        .to_owned(),
                ),
            };
            report.item(&format!("certificate for the home host {home}"), outcome);
        }
        this
    }

    /// Names every host of the policy that no listener has a certificate for.
    pub(super) fn try_routes(&self, policy: &Policy, report: &mut Report) {
        if !self.is_whole || self.doors.is_empty() {
            return;
        }
        for route in &policy.routes {
            if !self.knows(&route.host) {
                let item = format!("certificate for {} of route {}", route.host, route.name);
                let why = "no certificate of any https listener has this name, so no browser gets there; add one for it, or a wildcard";
                report.fault(&item, why);
            }
        }
    }

    fn knows(&self, host: &Host) -> bool {
        { self.doors.iter() }.any(|names| names.certificate_for(host).is_some())
    }
}

/// A listener's chain and key: loaded as the edge loads them.
fn front_door(files: &CertificateFiles, now: Timestamp) -> Result<Certificate, String> {
    Certificate::load(files, now).map_err(|fault| Causes(&fault).to_string())
}

/// The edge's own CA: loaded as the edge loads it, which signs a throw-away certificate and verifies it against the bundle.
pub(super) fn authority(
    mesh: &MeshConfig,
    now: Timestamp,
    report: &mut Report,
) -> Option<Authority> {
    let item = "certificate authority of the mesh";
    match Authority::load(mesh, now) {
        Ok(authority) => {
            let (begins, ends) = (authority.begins(), authority.ends());
            report.item(item, Ok(format!("until {}", ends.rfc3339())));
            remark_on_end(item, begins, ends, now, report);
            Some(authority)
        }
        Err(error) => {
            report.fault(item, &Causes(&error).to_string());
            None
        }
    }
}

fn remark_on_end(
    item: &str,
    begins: Timestamp,
    ends: Timestamp,
    now: Timestamp,
    report: &mut Report,
) {
    if ends_soon(begins, ends, now) {
        let left = ends.since(now).as_secs() / 60;
        let left = format!("{}h{:02}m", left / 60, left % 60);
        report.note(
            item,
            &format!("it ends in {left}; is something going to renew it?"),
        );
    }
}

/// Within the last tenth of its life or the last day, of which what lives for less than three days has a third of its life.
fn ends_soon(begins: Timestamp, ends: Timestamp, now: Timestamp) -> bool {
    let life = ends.since(begins);
    ends.since(now) < (life / 10).max(SOON.min(life / 3))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::checked::SvidConfig;
    use crate::demo::stage::{Ports, Stage};
    use crate::identity::spiffe_id::TrustDomain;
    use crate::lifecycle::Lifecycle;

    const ANY: Ports = Ports {
        http: 0,
        https: 0,
        admin: 0,
        identity_provider: 0,
    };

    fn mesh(stage: &Stage, chain: &str, key: &str, bundle: &str) -> MeshConfig {
        MeshConfig {
            trust_domain: TrustDomain::parse("demo.wayleave").unwrap(),
            bundle_file: stage.path(bundle),
            svid: SvidConfig::Ca {
                chain_file: stage.path(chain),
                key_file: stage.path(key),
                namespaces: vec!["people".to_owned()],
                lifetime: Duration::from_secs(900),
            },
        }
    }

    #[tokio::test]
    async fn authorities_and_certificates_are_tried_by_using_them() {
        let lifecycle = Lifecycle::new();
        let stage = Stage::set_up(ANY, Arc::new(SystemClock), &lifecycle)
            .await
            .unwrap();
        let now = SystemClock.now();
        let good = mesh(&stage, "edge-ca.pem", "edge-ca.key", "mesh-root.pem");
        let load =
            |mesh: &MeshConfig, now| Authority::load(mesh, now).map_err(|e| Causes(&e).to_string());
        load(&good, now).map(drop).unwrap();
        for (chain, key, bundle) in [
            ("edge-ca.pem", "front-door.key", "mesh-root.pem"),
            ("edge-ca.pem", "edge-ca.key", "front-door-root.pem"),
            ("front-door.pem", "front-door.key", "front-door-root.pem"),
            ("edge-ca.pem", "store.key", "mesh-root.pem"),
            ("store.key", "edge-ca.key", "mesh-root.pem"),
        ] {
            let bad = load(&mesh(&stage, chain, key, bundle), now);
            assert!(bad.is_err(), "{chain} {key} {bundle}");
        }
        let later = now.plus(Duration::from_secs(48 * 3600));
        let ended = load(&good, later).map(drop).unwrap_err();
        assert!(ended.contains("ends too soon"));
        let files = |key: &str| CertificateFiles {
            chain: stage.path("front-door.pem"),
            key: stage.path(key),
        };
        let door = front_door(&files("front-door.key"), now).unwrap();
        assert!(door.names.contains(&"grafana.localhost".to_owned()));
        assert!(front_door(&files("edge-ca.key"), now).is_err());
        lifecycle.stop(Duration::from_secs(5)).await;
        let folder = stage.path("");
        stage.close().unwrap();
        assert!(!folder.exists(), "nothing is left behind");
    }

    #[test]
    fn an_end_is_soon_by_the_life_that_leads_to_it() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let now = Timestamp::from_seconds(1_800_000_000);
        // Life and what is left of it, in hours.
        for (life, left, soon) in [
            (90 * 24, 30 * 24, false),
            (90 * 24, 8 * 24, true),
            (5 * 24, 25, false),
            (5 * 24, 23, true),
            (24, 9, false),
            (24, 7, true),
        ] {
            let ends = now.plus(hours(left));
            let begins = ends.minus(hours(life));
            assert_eq!(ends_soon(begins, ends, now), soon, "{life} {left}");
        }
    }
}
