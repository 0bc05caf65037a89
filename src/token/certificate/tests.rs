use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::*;
use crate::policy::yaml;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const JOB: &str = "spiffe://partner.example/ns/jobs/sa/nightly";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = NOW.minus(24 * HOUR).to_offset_date_time();
    params.not_after = NOW.plus(24 * HOUR).to_offset_date_time();
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a workload of these names presents, with a change.
fn presented(
    by: &Ca,
    uris: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
    params.subject_alt_names = uris.iter().map(uri).collect();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = NOW.minus(HOUR).to_offset_date_time();
    params.not_after = NOW.plus(2 * HOUR).to_offset_date_time();
    change(&mut params);
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), by).unwrap();
    vec![leaf.der().clone()]
}

fn item(name: &str, domain: &str, by: &Ca, more: &str) -> String {
    let bundle = by.pem().replace('\n', "\n      ");
    format!("  - name: {name}\n    trust_domain: {domain}\n    bundle: |\n      {bundle}\n{more}")
}

fn trusting(items: &[String]) -> TrustDomains {
    let policy = yaml::parse(&format!("trusted_issuers:\n{}", items.concat())).unwrap();
    let domains = TrustDomains::new(vec!["taken".to_owned()]);
    domains.follow(&policy.trusted_issuers);
    domains
}

#[test]
fn a_workload_of_a_trusted_domain_is_who_its_certificate_says() {
    let partner = authority();
    let domains = trusting(&[item("partner", "partner.example", &partner, "")]);
    let good = presented(&partner, &[JOB], |_| ());
    for client_id in [None, Some(JOB)] {
        let known = domains.verify(&good, client_id, NOW).unwrap();
        let principal = &known.principal;
        assert_eq!(
            (&*principal.provider, &*principal.subject),
            ("partner", JOB)
        );
        assert_eq!(&*principal.issuer, "spiffe://partner.example");
        assert_eq!(known.until, NOW.plus(HOUR));
        assert!(domains.vouch_for(principal));
    }
    // Nothing that it begins outlives the certificate, nor what the policy says.
    let late = NOW.plus(90 * Duration::from_secs(60));
    let known = domains.verify(&good, None, late).unwrap();
    assert_eq!(known.until, NOW.plus(2 * HOUR));
    let short = item("partner", "partner.example", &partner, "    at_most: 5m\n");
    let known = trusting(&[short]).verify(&good, None, NOW).unwrap();
    assert_eq!(known.until, NOW.plus(Duration::from_secs(300)));
    // Through an authority in between.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = NOW.minus(HOUR).to_offset_date_time();
    params.not_after = NOW.plus(HOUR).to_offset_date_time();
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &*partner);
    let between: Ca = between.unwrap();
    let mut chain = presented(&between, &[JOB], |_| ());
    assert!(domains.verify(&chain, None, NOW).is_err());
    chain.push(between.der().clone());
    domains.verify(&chain, None, NOW).unwrap();
}

#[test]
fn c6_certificates_count_by_the_spiffe_rules_and_the_bundle_of_their_own_domain() {
    let (partner, other) = (authority(), authority());
    let domains = trusting(&[
        item(
            "partner",
            "partner.example",
            &partner,
            "    spiffe_ids: ['spiffe://partner.example/ns/jobs/*']\n",
        ),
        item("other", "other.example", &other, ""),
        item("taken", "taken.example", &partner, ""),
    ]);
    let refused = |chain: &[CertificateDer<'_>], now| {
        let refused = domains.verify(chain, None, now).unwrap_err();
        refused.to_string()
    };
    domains
        .verify(&presented(&partner, &[JOB], |_| ()), None, NOW)
        .unwrap();
    let of = |by: &Ca, uris: &[&str]| presented(by, uris, |_| ());
    let changed = |change: fn(&mut CertificateParams)| presented(&partner, &[JOB], change);
    let chain = "does not lead to the trust bundle";
    for (what, chain, why) in [
        ("nothing", Vec::new(), "cannot be read"),
        (
            "garbage",
            vec![CertificateDer::from(vec![0; 9])],
            "cannot be read",
        ),
        ("of a stranger", of(&authority(), &[JOB]), chain),
        ("by another domain's authority", of(&other, &[JOB]), chain),
        (
            "of another domain",
            of(&partner, &["spiffe://other.example/ns/jobs/sa/nightly"]),
            chain,
        ),
        (
            "of a domain that nobody trusts",
            of(&partner, &["spiffe://third.example/x"]),
            "nobody of the trust domain third.example",
        ),
        (
            "of one whose name is taken",
            of(&partner, &["spiffe://taken.example/x"]),
            "nobody of the trust domain taken.example",
        ),
        (
            "of two names",
            of(
                &partner,
                &[JOB, "spiffe://partner.example/ns/jobs/sa/other"],
            ),
            "2 URI names",
        ),
        ("of none", of(&partner, &[]), "0 URI names"),
        (
            "of a host",
            of(&partner, &["https://partner.example/"]),
            "no SPIFFE ID",
        ),
        (
            "of a workload that is not meant",
            of(&partner, &["spiffe://partner.example/ns/web/sa/shop"]),
            "does not trust spiffe://partner.example/ns/web/sa/shop",
        ),
        (
            "an authority's",
            changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "authority",
        ),
        (
            "one that signs",
            changed(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            "authority",
        ),
        (
            "a server's",
            changed(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            chain,
        ),
    ] {
        let told = refused(&chain, NOW);
        assert!(told.contains(why), "{what}: {told}");
    }
    let good = of(&partner, &[JOB]);
    for now in [NOW.minus(2 * HOUR), NOW.plus(3 * HOUR)] {
        assert!(refused(&good, now).contains(chain));
    }
    let of_another = domains.verify(
        &good,
        Some("spiffe://partner.example/ns/jobs/sa/other"),
        NOW,
    );
    assert_eq!(of_another, Err(CertificateFault::ClientId));
}

#[test]
fn f8_a_workload_is_vouched_for_while_the_policy_trusts_it_under_its_name() {
    let partner = authority();
    let of = |name: &str, domain: &str, more: &str| trusting(&[item(name, domain, &partner, more)]);
    let job = of("partner", "partner.example", "");
    let known = job
        .verify(&presented(&partner, &[JOB], |_| ()), None, NOW)
        .unwrap();
    let jobs = "    spiffe_ids: ['spiffe://partner.example/ns/jobs/*']\n";
    let webs = "    spiffe_ids: ['spiffe://partner.example/ns/web/*']\n";
    for (domains, is_vouched) in [
        (of("partner", "partner.example", jobs), true),
        (of("partner", "partner.example", webs), false),
        (of("other", "partner.example", ""), false),
        (of("partner", "other.example", ""), false),
    ] {
        assert_eq!(domains.vouch_for(&known.principal), is_vouched);
    }
    let mut posing = known.principal;
    posing.kind = PrincipalKind::User;
    assert!(!job.vouch_for(&posing));
}

#[test]
fn g_a_trust_domain_is_written_with_roots_alone_and_of_its_own_workloads() {
    let partner = authority();
    let read = |items: &[String]| yaml::parse(&format!("trusted_issuers:\n{}", items.concat()));
    let of = |more: &str| item("partner", "partner.example", &partner, more);
    for good in [
        "",
        "    at_most: 1h\n",
        "    spiffe_ids: ['spiffe://partner.example/a', 'spiffe://partner.example/*']\n",
    ] {
        read(&[of(good)]).unwrap();
    }
    for bad in [
        "    spiffe_ids: []\n",
        "    spiffe_ids: ['*']\n",
        "    spiffe_ids: ['spiffe://partner.example*']\n",
        "    spiffe_ids: ['spiffe://other.example/a']\n",
        "    spiffe_ids: ['spiffe://partner.example/a b']\n",
        "    issuer: x\n",
        "    audiences: [a]\n",
        "    aws_roles: ['arn:aws:iam::123456789012:role/a']\n",
    ] {
        assert!(read(&[of(bad)]).is_err(), "{bad}");
    }
    let leaf = presented(&partner, &[JOB], |_| ());
    let pem = |der: &[u8]| {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let key = KeyPair::generate().unwrap().serialize_pem();
    for (what, text) in [
        ("a leaf", pem(&leaf[0])),
        ("damaged", pem(b"x")),
        ("with a key", format!("{}{key}", partner.pem())),
        ("many", partner.pem().repeat(21)),
        ("nothing", "x".to_owned()),
    ] {
        let bundle = serde_json::Value::from(text);
        let item = format!("  - {{ name: p, trust_domain: p.example, bundle: {bundle} }}\n");
        assert!(read(&[item]).is_err(), "{what}");
    }
    for domain in ["Partner.example", "'spiffe://partner.example'", "''"] {
        assert!(
            read(&[item("partner", domain, &partner, "")]).is_err(),
            "{domain}"
        );
    }
    assert!(read(&[of(""), item("again", "partner.example", &partner, "")]).is_err());
    // The mesh's own, of which people may have certificates.
    let policy = read(&[of("")]).unwrap();
    let revision = crate::policy::model::Revision(1);
    for (own, is_other) in [("td", true), ("partner.example", false)] {
        let own = crate::identity::spiffe_id::TrustDomain::parse(own).unwrap();
        let compiled = crate::policy::compile::CompiledPolicy::new(policy.clone(), revision, &own);
        assert_eq!(compiled.is_ok(), is_other, "{own:?}");
    }
}
