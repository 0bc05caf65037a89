//! TLS toward clients: which certificate answers for which host. [`certificates`] loads, chooses and replaces them.

use std::collections::HashMap;

use crate::address::host::Host;

pub mod certificates;

/// One of a listener's certificates: its place in the listener's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateId(pub usize);

/// The DNS names of a listener's certificates.
#[derive(Debug, Default)]
pub struct CertificateNames {
    exact: HashMap<String, CertificateId>,
    /// Keyed by what follows the `*.`.
    wildcard: HashMap<String, CertificateId>,
}

impl CertificateNames {
    /// Adds a DNS name as a certificate has it (`app.example` or `*.example`, RFC 6125 §6.4.3); of two certificates with one name the first counts.
    pub fn add(&mut self, name: &str, certificate: CertificateId) {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()),
            None => self.exact.entry(name),
        }
        .or_insert(certificate);
    }

    /// The certificate for a host: the exact name before a wildcard, which stands for exactly one label.
    pub fn certificate_for(&self, host: &Host) -> Option<CertificateId> {
        let name = host.as_str();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(by_wildcard).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateId, CertificateNames};
    use crate::address::host::Host;

    #[test]
    fn c5_only_named_hosts_have_a_certificate() {
        let mut names = CertificateNames::default();
        names.add("*.Example", CertificateId(0));
        names.add("app.example", CertificateId(1));
        let of = |host: &str| names.certificate_for(&Host::parse(host).unwrap());
        assert_eq!(of("app.example"), Some(CertificateId(1)));
        assert_eq!(of("b.example"), Some(CertificateId(0)));
        assert_eq!(of("a.b.example"), None);
        assert_eq!(of("example"), None);
        assert_eq!(of("other"), None);
    }
}
