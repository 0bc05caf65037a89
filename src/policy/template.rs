//! Templates of mesh identities: the `spiffe_id` of an identity mapping.

use crate::identity::encode::{slug, user_slug};
use crate::identity::principal::Principal;
use crate::identity::spiffe_id::{MeshIdentity, SpiffeIdFault, TrustDomain};

/// A parsed template. Only the service account varies with the caller, so a claim can never choose a namespace or trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityTemplate {
    /// `None` for `{trust_domain}`.
    trust_domain: Option<TrustDomain>,
    namespace: String,
    account: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    User,
    /// `{provider}.{subject}`, which stand together only: a subject means nothing without its provider.
    ProviderSubject,
    Provider,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// It would give no mesh identity.
    #[error(transparent)]
    Identity(#[from] SpiffeIdFault),
    /// A brace is not closed, or its word is unknown or stands where it may not.
    #[error(
        "{{trust_domain}} may stand for the trust domain, and only the part behind /sa/ may have {{user}}, {{provider}} and {{provider}}.{{subject}}"
    )]
    Placeholder,
    /// Subjects of two providers may be equal.
    #[error(
        "write {{provider}}.{{subject}}: a subject alone may be somebody else's at another provider"
    )]
    SubjectAlone,
}

impl IdentityTemplate {
    /// Reads a template and proves with sample values that it gives mesh identities.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(SpiffeIdFault::Scheme)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", account] = parts.as_slice() else {
            return Err(SpiffeIdFault::Shape.into());
        };
        if namespace.contains(['{', '}']) {
            return Err(TemplateFault::Placeholder);
        }
        let template = Self {
            trust_domain: match *trust_domain {
                "{trust_domain}" => None,
                name => Some(TrustDomain::parse(name)?),
            },
            namespace: (*namespace).to_owned(),
            account: parse_account(account)?,
        };
        let sample = TrustDomain::parse("sample")?;
        template.build(&sample, |piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::User | Piece::Provider => "a".to_owned(),
            Piece::ProviderSubject => "a.b".to_owned(),
        })?;
        Ok(template)
    }

    /// The namespace of all its identities.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The trust domain that is written out, if one is.
    pub fn trust_domain(&self) -> Option<&TrustDomain> {
        self.trust_domain.as_ref()
    }

    /// What all its identities begin with, without `spiffe://`, and whether that is the whole of them.
    pub(super) fn beginning(&self, own: &TrustDomain) -> (String, bool) {
        let is_literal = |piece: &&Piece| matches!(piece, Piece::Literal(_));
        let literals = self.account.iter().take_while(is_literal);
        let account: String = literals
            .filter_map(|piece| match piece {
                Piece::Literal(text) => Some(text.as_str()),
                Piece::User | Piece::Provider | Piece::ProviderSubject => None,
            })
            .collect();
        let trust_domain = self.trust_domain.as_ref().unwrap_or(own);
        let text = format!("{trust_domain}/ns/{}/sa/{account}", self.namespace);
        (text, !self.names_the_caller())
    }

    /// Whether it needs to know who the caller is.
    pub fn names_the_caller(&self) -> bool {
        self.account
            .iter()
            .any(|piece| !matches!(piece, Piece::Literal(_)))
    }

    /// Fills the template; `None` is somebody who is not signed in, for whom a template that names the caller gives no identity.
    pub fn identity(
        &self,
        own: &TrustDomain,
        principal: Option<&Principal>,
    ) -> Result<MeshIdentity, SpiffeIdFault> {
        match principal {
            Some(principal) => self.build(own, |piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::User => user_slug(principal),
                Piece::Provider => slug(&principal.provider),
                Piece::ProviderSubject => {
                    // Without dots in the first part, the first dot of the whole always separates the two.
                    let provider = slug(&principal.provider).replace('.', "--2e");
                    format!("{provider}.{}", slug(&principal.subject))
                }
            }),
            None if self.names_the_caller() => Err(SpiffeIdFault::Shape),
            None => self.build(own, |piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::User | Piece::Provider | Piece::ProviderSubject => String::new(),
            }),
        }
    }

    fn build(
        &self,
        own: &TrustDomain,
        fill: impl Fn(&Piece) -> String,
    ) -> Result<MeshIdentity, SpiffeIdFault> {
        let account: String = self.account.iter().map(fill).collect();
        let trust_domain = self.trust_domain.as_ref().unwrap_or(own);
        MeshIdentity::new(trust_domain, &self.namespace, &account)
    }
}

fn parse_account(text: &str) -> Result<Vec<Piece>, TemplateFault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = if let Some(after) = rest.strip_prefix("{user}") {
            (Piece::User, after)
        } else if let Some(after) = rest.strip_prefix("{provider}.{subject}") {
            (Piece::ProviderSubject, after)
        } else if let Some(after) = rest.strip_prefix("{provider}") {
            (Piece::Provider, after)
        } else if rest.starts_with("{subject}") {
            return Err(TemplateFault::SubjectAlone);
        } else if rest.starts_with(['{', '}']) {
            return Err(TemplateFault::Placeholder);
        } else {
            let (literal, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            (Piece::Literal(literal.to_owned()), after)
        };
        pieces.push(piece);
        rest = after;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principal::{Groups, PrincipalKind};

    fn alice() -> Principal {
        Principal {
            kind: PrincipalKind::User,
            provider: "okta.eu".into(),
            issuer: "https://corp.okta.com".into(),
            subject: "00u/1".into(),
            email: None,
            display_name: None,
            groups: Groups::Missing,
            claims: std::collections::BTreeMap::new(),
            acr: None,
            auth_time: None,
            agents: Vec::new(),
        }
    }

    #[test]
    fn templates_fill_only_the_service_account() {
        let own = TrustDomain::parse("corp.example").unwrap();
        for (text, expected) in [
            (
                "spiffe://{trust_domain}/ns/teams/sa/sre",
                "spiffe://corp.example/ns/teams/sa/sre",
            ),
            (
                "spiffe://corp.example/ns/teams/sa/sre",
                "spiffe://corp.example/ns/teams/sa/sre",
            ),
            (
                "spiffe://{trust_domain}/ns/people/sa/p-{provider}.{subject}",
                "spiffe://corp.example/ns/people/sa/p-okta--2eeu.00u--2f1",
            ),
            (
                "spiffe://{trust_domain}/ns/people/sa/{provider}-{user}.x",
                &format!(
                    "spiffe://corp.example/ns/people/sa/okta.eu-{}.x",
                    user_slug(&alice())
                ),
            ),
        ] {
            let template = IdentityTemplate::parse(text).unwrap();
            let identity = template.identity(&own, Some(&alice())).unwrap();
            assert_eq!(identity.as_str(), expected);
        }
    }

    #[test]
    fn unclear_templates_are_refused() {
        use TemplateFault::{Placeholder, SubjectAlone};
        let shape = TemplateFault::Identity(SpiffeIdFault::Shape);
        for (text, fault) in [
            ("https://td/ns/a/sa/b", SpiffeIdFault::Scheme.into()),
            ("spiffe://td/user/{user}", shape.clone()),
            ("spiffe://td/ns/a/sa", shape.clone()),
            ("spiffe://td/ns/a/sa/", shape.clone()),
            ("spiffe://td/ns/a/sa/b/c", shape.clone()),
            ("spiffe://td/ns/a/sa/{user}/{user}", shape.clone()),
            ("spiffe://td/ns/A/sa/b", shape.clone()),
            ("spiffe://td/ns/a/sa/B", shape.clone()),
            ("spiffe:///ns/a/sa/b", SpiffeIdFault::TrustDomain.into()),
            (
                "spiffe://{user}/ns/a/sa/b",
                SpiffeIdFault::TrustDomain.into(),
            ),
            (
                "spiffe://x{trust_domain}/ns/a/sa/b",
                SpiffeIdFault::TrustDomain.into(),
            ),
            ("spiffe://td/ns/{user}/sa/b", Placeholder),
            ("spiffe://td/ns/a/sa/{trust_domain}", Placeholder),
            ("spiffe://td/ns/a/sa/{groups}", Placeholder),
            ("spiffe://td/ns/a/sa/{user", Placeholder),
            ("spiffe://td/ns/a/sa/user}", Placeholder),
            ("spiffe://td/ns/a/sa/{subject}", SubjectAlone),
            ("spiffe://td/ns/a/sa/{provider}-{subject}", SubjectAlone),
        ] {
            assert_eq!(IdentityTemplate::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn nobody_has_no_name() {
        let own = TrustDomain::parse("td").unwrap();
        let named = IdentityTemplate::parse("spiffe://td/ns/a/sa/{user}").unwrap();
        assert!(named.identity(&own, None).is_err());
        let fixed = IdentityTemplate::parse("spiffe://td/ns/a/sa/guest").unwrap();
        assert_eq!(
            fixed.identity(&own, None).unwrap().as_str(),
            "spiffe://td/ns/a/sa/guest"
        );
    }
}
