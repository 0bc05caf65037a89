//! Which header names a client must not bring along: those that some upstream may believe to come from the proxy in front of it.
//!
//! A list cannot be complete, which is why upstreams should read the signed assertion; but nothing on the list gets through.

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

/// Names that are removed as they stand.
const EXACT: &[&str] = &[
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "dpop",
    "fastly-client-ip",
    "forwarded",
    "remote",
    "true-client-ip",
    "x-access-user",
    "x-client-dn",
    "x-client-ip",
    "x-client-s-dn",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-email",
    "x-group",
    "x-groups",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-login",
    "x-method-override",
    "x-name",
    "x-principal",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-request-id",
    "x-role",
    "x-roles",
    "x-scheme",
    "x-subject",
    "x-url-scheme",
    "x-verified",
];

/// Names that begin so are removed, whatever follows.
const PREFIXES: &[&str] = &[
    "cf-access-",
    "cf-connecting-ip",
    "forwarded-",
    "impersonate-",
    "l5d-",
    "oidc-",
    "remote-",
    "ssl-",
    "tailscale-user",
    "wayleave-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-auth-email",
    "x-auth-group",
    "x-auth-name",
    "x-auth-request-",
    "x-auth-role",
    "x-auth-subject",
    "x-auth-user",
    "x-authenticated-",
    "x-authentik-",
    "x-client-cert",
    "x-consumer-",
    "x-credential-",
    "x-envoy-",
    "x-forwarded",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-http-method",
    "x-id-token",
    "x-identity",
    "x-istio-",
    "x-jwt-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-oidc-",
    "x-original-",
    "x-pomerium-",
    "x-remote-",
    "x-rewrite-",
    "x-spiffe-",
    "x-ssl-",
    "x-tls-",
    "x-token-",
    "x-user",
    "x-vouch-",
    "x-wayleave-",
    "x-webauth-",
];

/// Whether a name could be taken for one that speaks of the caller, in any spelling: CGI-like servers make `_` of `-`, and others of `.`.
pub(super) fn is_identity_like(name: &str) -> bool {
    // Nearly all headers of a request are ruled out by their first letter.
    let first = name.bytes().next().map(|byte| byte.to_ascii_lowercase());
    if !matches!(
        first,
        Some(b'c' | b'd' | b'f' | b'h' | b'i' | b'l' | b'o' | b'r' | b's' | b't' | b'w' | b'x')
    ) {
        return false;
    }
    if name
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return is_listed(name);
    }
    is_listed(&name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

fn is_listed(name: &str) -> bool {
    // What CGI would make of a header has the prefix already.
    let name = name.strip_prefix("http-").unwrap_or(name);
    EXACT.binary_search(&name).is_ok() || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
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
    use super::{EXACT, PREFIXES, is_identity_like};

    #[test]
    fn the_list_can_be_searched() {
        assert!(EXACT.is_sorted() && PREFIXES.is_sorted());
        let firsts = "cdfhilorstwx";
        for name in EXACT.iter().chain(PREFIXES) {
            assert!(firsts.contains(&name[..1]), "{name}");
            assert!(is_identity_like(name), "{name}");
        }
    }

    #[test]
    fn a1_a2_a9_identity_names_in_every_spelling() {
        for name in [
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
        ] {
            assert!(is_identity_like(name), "{name}");
        }
        for name in [
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
        ] {
            assert!(!is_identity_like(name), "{name}");
        }
    }
}
