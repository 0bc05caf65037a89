//! Slugs of different texts differ and always make a mesh identity; what is read as a SPIFFE ID is written as it was.

use wayleave::identity::encode::{MAX_SLUG, slug};
use wayleave::identity::spiffe_id::{MeshIdentity, SpiffeId, TrustDomain};

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(id) = SpiffeId::parse(input) {
        assert_eq!(id.as_str(), input);
        assert!(TrustDomain::parse(id.trust_domain()).is_ok());
    }
    let Ok(trust_domain) = TrustDomain::parse("td") else {
        return;
    };
    let (first, second) = input.split_once('\n').unwrap_or((input, ""));
    let slugs = [slug(first), slug(second)];
    assert_eq!(first == second, slugs[0] == slugs[1]);
    for slug in &slugs {
        assert!(slug.len() <= MAX_SLUG);
        let identity = MeshIdentity::new(&trust_domain, "people", slug);
        assert_eq!(
            identity.as_ref().map(MeshIdentity::service_account),
            Ok(slug.as_str())
        );
    }
}
