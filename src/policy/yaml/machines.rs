//! Programs without a person: trusted issuers of a policy document.

use serde_json::Value;
use url::{Host, Url};

use crate::identity::algorithm::algorithm;
use crate::identity::aws;
use crate::identity::bundle;
use crate::identity::public_keys::KeySet;
use crate::identity::spiffe_id::{SpiffeId, TrustDomain};
use crate::policy::machines::{Evidence, IssuerKeys, JwtTrust, TrustedIssuer, X509Trust};
use crate::policy::matcher::TextMatch;
use crate::policy::yaml::circumstances::{conditions, grant_length};
use crate::policy::yaml::parts::required_name;
use crate::policy::yaml::reader::{At, Fields, Reader};
use crate::policy::yaml::rules::claim_name;
use crate::policy::yaml::tree;

/// Reads a trusted issuer.
pub(super) fn trusted_issuer(reader: &mut Reader, at: &At<'_>) -> Option<TrustedIssuer> {
    let known = [
        "name",
        "issuer",
        "audiences",
        "algorithms",
        "jwks_url",
        "jwks",
        "required_claims",
        "not_claims",
        "subject_claim",
        "groups_claim",
        "claims",
        "at_most",
        AWS_ROLES,
        TRUST_DOMAIN,
        "bundle",
        "spiffe_ids",
    ];
    let fields = reader.fields(at, &known)?;
    let name = required_name(reader, &fields);
    let at_most = at_most(reader, &fields);
    let alone = OTHERWISE
        .iter()
        .find(|(key, _)| fields.field(key).is_some());
    if let Some((key, beside)) = alone {
        let strange =
            |field: &&&str| !["name", "at_most", key].contains(*field) && !beside.contains(*field);
        for field in known.iter().filter(strange) {
            if let Some(at) = fields.field(field) {
                reader.fault(&at, format!("beside `{key}` this says nothing"));
            }
        }
    }
    let evidence = match alone {
        None => jwt(reader, &fields).map(Evidence::Jwt),
        Some((AWS_ROLES, _)) => some(reader, &fields, AWS_ROLES, aws_role).map(Evidence::AwsRoles),
        Some(_) => x509(reader, &fields).map(Evidence::X509),
    };
    Some(TrustedIssuer {
        name: name?,
        evidence: evidence?,
        at_most,
    })
}

const AWS_ROLES: &str = "aws_roles";
const TRUST_DOMAIN: &str = "trust_domain";

/// Keys that say that its programs show something else than JWTs, and what else there is to say then.
const OTHERWISE: [(&str, &[&str]); 2] =
    [(AWS_ROLES, &[]), (TRUST_DOMAIN, &["bundle", "spiffe_ids"])];

fn x509(reader: &mut Reader, fields: &Fields<'_>) -> Option<X509Trust> {
    let trust_domain = reader.required(fields, TRUST_DOMAIN);
    let trust_domain = trust_domain.and_then(|at| reader.parsed(&at, TrustDomain::parse));
    let bundle = reader
        .required(fields, "bundle")
        .and_then(|at| reader.parsed(&at, |pem| bundle::roots(pem).map(|_| pem.to_owned())));
    let own = trust_domain.as_ref()?;
    let spiffe_ids = match fields.field("spiffe_ids") {
        None => None,
        Some(_) => Some(some(reader, fields, "spiffe_ids", |text| {
            workload(text, own)
        })?),
    };
    Some(X509Trust {
        issuer: format!("spiffe://{own}").into(),
        bundle: bundle?,
        spiffe_ids,
        trust_domain: trust_domain?,
    })
}

/// A workload of the trust domain, or the beginning of some.
fn workload(text: &str, own: &TrustDomain) -> Result<TextMatch, String> {
    let wanted = || format!("it must begin with spiffe://{own}/, and may end in `*`");
    let read = TextMatch::parse(text).map_err(|_| wanted())?;
    let is_own = |text: &String| text.starts_with(&format!("spiffe://{own}/"));
    let is_fine = match &read {
        TextMatch::Exact(id) => is_own(id) && SpiffeId::parse(id).is_ok(),
        TextMatch::Prefix(beginning) => is_own(beginning),
        TextMatch::Suffix(_) | TextMatch::Present => false,
    };
    is_fine.then_some(read).ok_or_else(wanted)
}

/// An account is always whole, so that nobody else's roles are meant.
fn aws_role(text: &str) -> Result<TextMatch, &'static str> {
    const FORM: &str = "it must be the ARN of a role without its path, like arn:aws:iam::123456789012:role/deploy, or end in `*` anywhere after role/";
    let role = TextMatch::parse(text).map_err(|_| FORM)?;
    let is_fine = match &role {
        TextMatch::Exact(arn) => aws::role_name(arn).is_some_and(|name| !name.is_empty()),
        TextMatch::Prefix(arn) => aws::role_name(arn).is_some(),
        TextMatch::Suffix(_) | TextMatch::Present => false,
    };
    is_fine.then_some(role).ok_or(FORM)
}

fn jwt(reader: &mut Reader, fields: &Fields<'_>) -> Option<JwtTrust> {
    let keys = keys(reader, fields);
    let issuer = reader.required(fields, "issuer").and_then(|at| {
        // With keys of its own an issuer is a text that is compared and never visited (Kubernetes clusters have such).
        let is_visited = keys == Some(IssuerKeys::Discovery);
        reader.parsed(&at, |text| issuer(text, is_visited))
    });
    let audiences = some(reader, fields, "audiences", plain);
    let algorithms = some(reader, fields, "algorithms", algorithm);
    let claim = |reader: &mut Reader, field| {
        let at = fields.field(field)?;
        reader.parsed(&at, claim_name)
    };
    Some(JwtTrust {
        issuer: issuer?.into(),
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        required_claims: conditions(reader, fields, "required_claims", claim_name),
        not_claims: conditions(reader, fields, "not_claims", claim_name),
        subject_claim: claim(reader, "subject_claim"),
        groups_claim: claim(reader, "groups_claim"),
        claims: { reader.texts(fields, "claims", claim_name) }.unwrap_or_default(),
    })
}

fn at_most(reader: &mut Reader, fields: &Fields<'_>) -> Option<std::time::Duration> {
    let at = fields.field("at_most")?;
    reader.parsed(&at, grant_length)
}

/// A list that must be there and not be empty.
fn some<T, E: std::fmt::Display>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<Vec<T>> {
    let at = reader.required(fields, name)?;
    let read = reader.texts(fields, name, parse)?;
    if matches!(&at.node.value, tree::Value::List(items) if items.is_empty()) {
        reader.fault(&at, "there must be one at least");
    }
    Some(read)
}

pub(super) fn plain(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
        return Err("it has 1 to 500 characters, none of them a control character");
    }
    Ok(text.to_owned())
}

fn issuer(text: &str, is_visited: bool) -> Result<String, &'static str> {
    if is_visited && Url::parse(text).is_ok_and(|url| url.query().is_some()) {
        return Err("an issuer has no query");
    }
    match is_visited {
        true => address(text),
        false => plain(text),
    }
}

/// What may be fetched; whether it may be reached, the configuration says.
fn address(text: &str) -> Result<String, &'static str> {
    let url =
        Url::parse(text).map_err(|_| "this is no URL; an issuer that is none needs `jwks`")?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("the URL has a user name, password or fragment");
    }
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if is_here => Ok(text.to_owned()),
        _ => Err("it must begin with https://"),
    }
}

fn keys(reader: &mut Reader, fields: &Fields<'_>) -> Option<IssuerKeys> {
    match (fields.field("jwks_url"), fields.field("jwks")) {
        (Some(at), Some(_)) => {
            reader.fault(&at, "give `jwks_url` or `jwks`, and not both");
            None
        }
        (Some(at), None) => reader.parsed(&at, address).map(IssuerKeys::Url),
        (None, Some(at)) => written_keys(reader, &at).map(IssuerKeys::Written),
        (None, None) => Some(IssuerKeys::Discovery),
    }
}

/// A JWK set, as a mapping or as the text of one.
pub(super) fn written_keys(reader: &mut Reader, at: &At<'_>) -> Option<Value> {
    let keys = match &at.node.value {
        tree::Value::Text(text) => serde_json::from_str(text).ok(),
        _ => json(&at.node.value),
    };
    let Some(keys) = keys else {
        reader.fault(
            at,
            "this is no JWK set (RFC 7517): a mapping with `keys`, or its JSON as a text",
        );
        return None;
    };
    match KeySet::parse_written(&keys) {
        Ok(_) => Some(keys),
        Err(fault) => {
            reader.fault(at, fault);
            None
        }
    }
}

fn json(value: &tree::Value) -> Option<Value> {
    Some(match value {
        tree::Value::Null => Value::Null,
        tree::Value::Bool(flag) => (*flag).into(),
        tree::Value::Integer(number) => (*number).into(),
        tree::Value::OtherNumber => return None,
        tree::Value::Text(text) => text.as_str().into(),
        tree::Value::List(items) => {
            let items = items.iter().map(|item| json(&item.value));
            items.collect::<Option<Value>>()?
        }
        tree::Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| match &key.value {
                tree::Value::Text(name) => Some((name.clone(), json(&value.value)?)),
                _ => None,
            });
            Value::Object(entries.collect::<Option<_>>()?)
        }
    })
}
