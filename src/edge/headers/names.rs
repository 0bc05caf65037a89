//! Which header names a client must not bring along: those that some upstream may believe to come from the proxy in front of it.
//!
//! What counts is the words of a name: one that speaks of users, groups, certificates or addresses is removed, whoever invented it, unless it is known
//! to be ordinary. A few names that say it without such a word are listed. No list is complete, which is why upstreams should read the signed assertion.
//! Credentials are another matter: `Authorization`, `Cookie` and tokens such as `X-Auth-Token` are proven by what reads them, and pass.

use http::HeaderName;

/// Connection-specific names (RFC 9110 §7.6.1), and `Expect`, which we answer ourselves.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "http2-settings"
    ) || name.starts_with("proxy-")
}

/// Names that are removed as they stand, though none of their words tells.
const EXACT: &[&str] = &[
    "displayname",
    "dpop",
    "front-end-https",
    "remote",
    "x-access",
    "x-client-verify",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-method",
    "x-method-override",
    "x-name",
    "x-remote",
    "x-request-id",
    "x-scheme",
    "x-url-scheme",
];

/// Names that begin so are removed, whatever follows.
const PREFIXES: &[&str] = &[
    "cf-access-",
    "cf-connecting-ip",
    "l5d-",
    "remote-",
    "shib-",
    "tailscale-",
    "wayleave-",
    "x-amzn-oidc-",
    "x-arr-",
    "x-auth-name",
    "x-auth-request-",
    "x-authentik-",
    "x-consumer-",
    "x-credential-",
    "x-envoy-",
    "x-forwarded",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-http-method",
    "x-id-token",
    "x-istio-",
    "x-jwt-",
    "x-ms-token-",
    "x-original-",
    "x-pomerium-",
    "x-remote-",
    "x-rewrite-",
    "x-token-",
    "x-vouch-",
    "x-wayleave-",
    "x-webauth-",
];

/// Names that have a telling word and are ordinary all the same: browsers' own, gRPC-Web's, those of cloud services that name a target.
const ORDINARY: &[&str] = &[
    "sec-fetch-user",
    "user-agent",
    "x-aws-log-group",
    "x-goog-user-project",
    "x-subject-token",
    "x-user-agent",
];

/// What describes a stored object is signed together with it, whatever its owner called it.
const METADATA: &[&str] = &["x-amz-meta-", "x-goog-meta-", "x-ms-meta-"];

/// Whether a name could be taken for one that speaks of the caller, in any spelling: CGI-like servers make `_` of `-`, and others of `.`.
pub(super) fn is_identity_like(name: &str) -> bool {
    if name
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return speaks_of_the_caller(name);
    }
    speaks_of_the_caller(&name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

fn speaks_of_the_caller(name: &str) -> bool {
    // What CGI would make of a header has the prefix already.
    let name = name.strip_prefix("http-").unwrap_or(name);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if name.split('-').any(is_telling) {
        return ORDINARY.binary_search(&name).is_err() && !begins(METADATA);
    }
    EXACT.binary_search(&name).is_ok() || (begins_like_one(name) && begins(PREFIXES))
}

/// Nearly all names are ruled out by their first letter.
fn begins_like_one(name: &str) -> bool {
    matches!(
        name.bytes().next(),
        Some(b'c' | b'l' | b'r' | b's' | b't' | b'w' | b'x')
    )
}

/// Whether a word of a name is about who somebody is, what they may, what certificate they showed, or where they came from.
fn is_telling(word: &str) -> bool {
    match word {
        "claim" | "claims" | "entitlements" | "group" | "groups" | "permissions" | "role"
        | "roles" | "scopes" => true,
        "assertion" | "authenticated" | "behalf" | "email" | "eppn" | "identity" | "ldap"
        | "login" | "logon" | "mail" | "nameid" | "oidc" | "principal" | "runas" | "saml"
        | "spiffe" | "sso" | "subject" | "verified" => true,
        "dn" | "mtls" | "ssl" | "tls" | "xfcc" => true,
        "addr" | "forward" | "forwarded" | "ip" | "realip" | "socketip" => true,
        // `userid`, `username`, `authuser`, `clientcert`, `certificates`, `useremail`, `clientip`.
        _ => {
            word.len() > 3
                && (word.starts_with("impersonat")
                    || (word.starts_with("user") && word != "useragent")
                    || word.ends_with("user")
                    || word.ends_with("email")
                    || word.starts_with("cert")
                    || word.ends_with("cert")
                    || word.ends_with("clientip"))
        }
    }
}

/// Whether a trailer field may pass: trailers must not be mistaken for headers (RFC 9110 §6.5.1).
pub(in crate::edge) fn may_be_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    !is_identity_like(name)
        && !is_hop_by_hop(name)
        && !matches!(
            name,
            "authorization"
                | "content-encoding"
                | "content-length"
                | "content-range"
                | "content-type"
                | "cookie"
                | "host"
                | "set-cookie"
                | "traceparent"
                | "tracestate"
                | "trailer"
                | "via"
        )
}

#[cfg(test)]
mod tests {
    use super::{EXACT, ORDINARY, PREFIXES, is_identity_like, is_telling};

    #[test]
    fn the_lists_are_needed_and_can_be_searched() {
        assert!(EXACT.is_sorted() && PREFIXES.is_sorted() && ORDINARY.is_sorted());
        for name in EXACT.iter().chain(PREFIXES) {
            assert!(is_identity_like(name), "{name}");
        }
        for name in ORDINARY {
            assert!(name.split('-').any(is_telling), "{name}");
            assert!(!is_identity_like(name), "{name}");
        }
    }

    const FORGED: &[&str] = &[
        "x-forwarded-for",
        "X_Forwarded_Email",
        "x.forwarded.user",
        "X-Forwarded-Uri",
        "x-forwarded",
        "forwarded",
        "X-Real-IP",
        "x_real_ip",
        "x-auth-request-user",
        "X-Auth-Email",
        "remote-user",
        "REMOTE_USER",
        "http_remote_user",
        "x-remote-group",
        "x-pomerium-jwt-assertion",
        "cf-access-jwt-assertion",
        "x-goog-iap-jwt-assertion",
        "x-goog-authenticated-user-email",
        "x-amzn-oidc-data",
        "x-forwarded-client-cert",
        "x-ssl-client-dn",
        "x-client-cert",
        "ssl-client-verify",
        "x-envoy-external-address",
        "x-istio-attributes",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "wayleave-jwt-assertion",
        "Wayleave_Jwt_Assertion",
        "impersonate-user",
        "Impersonate_User",
        "http_impersonate_group",
        "impersonate-uid",
        "Impersonate.Extra.Scopes",
        "impersonate-extra-acme%2Fscopes",
        "impersonate%2dgroup",
        "x-impersonated",
        "x-webauth-user",
        "x-user",
        "x-user-id",
        "x-email",
        "x-groups",
        "true-client-ip",
        "oidc_claim_sub",
        "x-ms-client-principal-name",
        "x-request-id",
        "X-Identity",
        "X_Identity",
        "x-arr-clientcert",
        "x-arr-ssl",
        "x-clientcert",
        "x-mtls-clientcert",
        "x-peer-certificate",
        "x-cert-subject",
        "x-client-subject",
        "x-authenticated",
        "authenticated-user",
        "auth-user",
        "x-appengine-user-email",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-forward-for",
        "x-hasura-role",
        "x-sso-user",
        "x-saml-user",
        "x-ldap-user",
        "x-oauth-user",
        "x-session-user",
        "X.Session_User",
        "http-auth-user",
        "x-endpoint-api-userinfo",
        "x-authuser",
        "x-username",
        "x-user-locale",
        "es-security-runas-user",
        "client-cert-chain",
        "fastly-client-ip",
        "x-access-user",
        "x-client-s-dn",
        "x-cluster-client-ip",
        "x-proxyuser-ip",
        "x-amzn-mtls-clientcert-leaf",
        "oidc-claim-sub",
        "x-ms-client-principal",
        "x-auth-roles",
        "x-on-behalf-of",
        "mail",
    ];

    const ORDINARY_ONES: &[&str] = &[
        "accept",
        "authorization",
        "content-type",
        "cookie",
        "host",
        "origin",
        "referer",
        "user-agent",
        "x-requested-with",
        "x-csrf-token",
        "x-api-key",
        "sec-websocket-key",
        "grpc-timeout",
        "traceparent",
        "x-b3-traceid",
        "range",
        "if-match",
        "x-auth-token",
        "x-tenant",
        "cache-control",
        "from",
        "sec-fetch-user",
        "sec-ch-ua-platform",
        "upgrade-insecure-requests",
        "access-control-request-headers",
        "max-forwards",
        "x-user-agent",
        "x-grpc-web",
        "x-useragent",
        "x-amz-content-sha256",
        "x-amz-meta-user",
        "x-goog-user-project",
        "x-scope-orgid",
        "x-grafana-org-id",
        "x-dashboard-uid",
        "x-registry-auth",
        "x-subject-token",
        "x-client-version",
        "x-vault-token",
        "x-gitlab-token",
        "x-hub-signature-256",
        "x-hasura-admin-secret",
        "docker-content-digest",
        "kubectl-session",
        "x-session-id",
        "sentry-trace",
        "baggage",
        "last-event-id",
        "idempotency-key",
        "soapaction",
        "membership",
    ];

    #[test]
    fn a1_a2_a9_identity_names_in_every_spelling() {
        for name in FORGED {
            assert!(is_identity_like(name), "{name}");
        }
        for name in ORDINARY_ONES {
            assert!(!is_identity_like(name), "{name}");
        }
    }
}
