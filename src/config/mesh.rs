//! `[mesh]`: the trust domain, its bundle, and where SVIDs come from.

use std::time::Duration;

use crate::config::checked::{MeshConfig, SvidConfig};
use crate::config::secrets::secret_file;
use crate::config::section::Section;
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};

/// Bounds of an SVID's life.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read(section: &Section<'_>) -> Option<MeshConfig> {
    if !section.is_present() {
        section.fault_here(
            "this section is missing; the edge needs a trust domain, its bundle and a CA",
        );
    }
    let trust_domain = section.required_parsed("trust_domain", |text| {
        TrustDomain::parse(text).map_err(|fault| {
            format!(
                "this is no trust domain such as \"corp.example\" or \"cluster.local\": {fault}"
            )
        })
    });
    let bundle_file = section.required_file("bundle_file");
    let svid = svid(&section.section("svid"), trust_domain.as_ref());
    Some(MeshConfig {
        trust_domain: trust_domain?,
        bundle_file: bundle_file?,
        svid: svid?,
    })
}

fn svid(section: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<SvidConfig> {
    let source = section.required_parsed("source", |text| match text {
        "ca" => Ok(()),
        _ => Err("this must be \"ca\""),
    });
    let chain_file = section.required_file("chain_file");
    let key_file = secret_file(section, "key_file");
    let namespaces = section.required_list("namespaces").and_then(|namespaces| {
        let trust_domain = trust_domain?;
        let bad = namespaces
            .iter()
            .find(|namespace| MeshIdentity::new(trust_domain, namespace, "x").is_err());
        if let Some(bad) = bad {
            section.fault(
                "namespaces",
                format!("{bad:?} is no namespace: names of a-z 0-9 . - are"),
            );
            return None;
        }
        Some(namespaces)
    });
    let lifetime = section.duration("lifetime", Duration::from_secs(60 * 60));
    let lifetime = lifetime.filter(|lifetime| {
        let fits = (SHORTEST..=LONGEST).contains(lifetime);
        if !fits {
            section.fault("lifetime", "this must be from 1m to 24h");
        }
        fits
    });
    source?;
    Some(SvidConfig::Ca {
        chain_file: chain_file?,
        key_file: key_file?,
        namespaces: namespaces?,
        lifetime: lifetime?,
    })
}
