//! Routes of a policy document.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::address::host::Host;
use crate::address::path::{check_path, reading};
use crate::identity::email::is_domain;
use crate::identity::spiffe_id::SpiffeId;
use crate::policy::kubernetes::{Kubernetes, UserName};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{
    IdentityHeaders, Route, RouteTimeouts, Transport, Upstream, UpstreamAddress, UpstreamProtocol,
};
use crate::policy::yaml::parts::{choice, flag, name, required_name};
use crate::policy::yaml::reader::{At, Reader};
use crate::policy::yaml::tree::Value;

/// The words of the file for each family of identity headers.
pub(in crate::policy) const IDENTITY_HEADERS: &[(&str, IdentityHeaders)] = &[
    ("assertion", IdentityHeaders::Assertion),
    ("x-forwarded", IdentityHeaders::XForwarded),
    ("x-auth-request", IdentityHeaders::XAuthRequest),
    ("remote", IdentityHeaders::Remote),
];

/// The words of the file for each protocol.
pub(in crate::policy) const PROTOCOLS: &[(&str, UpstreamProtocol)] = &[
    ("auto", UpstreamProtocol::Auto),
    ("http1", UpstreamProtocol::Http1),
    ("http2", UpstreamProtocol::Http2),
    ("tcp", UpstreamProtocol::Tcp),
];

/// The words of the file for what a user of a cluster is called by.
pub(in crate::policy) const USER_NAMES: &[(&str, UserName)] = &[
    ("email", UserName::Email),
    ("subject", UserName::Subject),
    ("mesh_identity", UserName::MeshIdentity),
];

/// Reads a route.
pub(super) fn route(reader: &mut Reader, at: &At<'_>) -> Option<Route> {
    let fields = reader.fields(
        at,
        &[
            "name",
            "host",
            "prefix",
            "strip_prefix",
            "upstream",
            "providers",
            "identity_headers",
            "websocket_origins",
            "upstream_host",
            "timeouts",
            "allow_path_parameters",
            "kubernetes",
        ],
    )?;
    let route_name = required_name(reader, &fields);
    let host = reader
        .required(&fields, "host")
        .and_then(|at| reader.parsed(&at, Host::parse));
    let prefix = fields.field("prefix").map(|at| reader.parsed(&at, prefix));
    let upstream = reader
        .required(&fields, "upstream")
        .and_then(|at| upstream(reader, &at));
    let optional = OptionalRouteFields {
        strip_prefix: flag(reader, &fields, "strip_prefix"),
        providers: reader.texts(&fields, "providers", name),
        identity_headers: choice(reader, &fields, "identity_headers", IDENTITY_HEADERS),
        websocket_origins: reader
            .texts(&fields, "websocket_origins", origin)
            .unwrap_or_default(),
        upstream_host: fields
            .field("upstream_host")
            .and_then(|at| reader.parsed(&at, authority)),
        timeouts: fields
            .field("timeouts")
            .and_then(|at| timeouts(reader, &at))
            .unwrap_or_default(),
        allow_path_parameters: flag(reader, &fields, "allow_path_parameters"),
        kubernetes: fields
            .field("kubernetes")
            .and_then(|at| kubernetes(reader, &at)),
    };
    Some(Route {
        name: route_name?,
        host: host?,
        prefix: prefix.unwrap_or_else(|| Some("/".to_owned()))?,
        strip_prefix: optional.strip_prefix,
        upstream: upstream?,
        providers: optional.providers,
        identity_headers: optional.identity_headers,
        websocket_origins: optional.websocket_origins,
        upstream_host: optional.upstream_host,
        timeouts: optional.timeouts,
        allow_path_parameters: optional.allow_path_parameters,
        kubernetes: optional.kubernetes,
    })
}

/// What is read before it is known whether the rest can be: all faults are found at once.
struct OptionalRouteFields {
    strip_prefix: bool,
    providers: Option<Vec<Arc<str>>>,
    identity_headers: IdentityHeaders,
    websocket_origins: Vec<String>,
    upstream_host: Option<String>,
    timeouts: RouteTimeouts,
    allow_path_parameters: bool,
    kubernetes: Option<Kubernetes>,
}

fn kubernetes(reader: &mut Reader, at: &At<'_>) -> Option<Kubernetes> {
    let known = ["cluster", "user", "user_prefix", "groups", "group_prefix"];
    let fields = reader.fields(at, &known)?;
    let cluster = fields.field("cluster");
    let cluster = cluster.and_then(|at| reader.parsed(&at, name));
    let mut prefix = |field| {
        let at = fields.field(field);
        let text = at.and_then(|at| reader.text(&at).map(str::to_owned));
        text.unwrap_or_default()
    };
    Some(Kubernetes {
        user_prefix: prefix("user_prefix"),
        group_prefix: prefix("group_prefix"),
        user: choice(reader, &fields, "user", USER_NAMES),
        groups: reader.texts(&fields, "groups", TextMatch::parse),
        cluster,
    })
}

/// A route's prefix: "/" or the reading of a canonical path, without a slash at its end.
fn prefix(text: &str) -> Result<String, String> {
    check_path(text).map_err(|fault| fault.to_string())?;
    if text != "/" && text.ends_with('/') {
        return Err("write the prefix without the slash at its end".to_owned());
    }
    Ok(reading(text).into_owned())
}

/// A host with or without a port, as a `Host` header has it.
fn authority(text: &str) -> Result<String, String> {
    let (host, port) = Host::parse_authority(text).map_err(|fault| fault.to_string())?;
    Ok(port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}")))
}

/// A web origin (RFC 6454 §6.2) without the port that its scheme implies.
fn origin(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or("an origin is like https://app.example")?;
    let (host, port) = Host::parse_authority(rest).map_err(|fault| fault.to_string())?;
    let implied = if scheme == "http" { 80 } else { 443 };
    Ok(match port {
        Some(port) if port != implied => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

fn timeouts(reader: &mut Reader, at: &At<'_>) -> Option<RouteTimeouts> {
    let fields = reader.fields(at, &["response_head", "idle"])?;
    let mut read = |field| {
        fields
            .field(field)
            .and_then(|at| reader.parsed(&at, duration))
    };
    Some(RouteTimeouts {
        response_head: read("response_head"),
        idle: read("idle"),
    })
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration = humantime::parse_duration(text).ok();
    let day = Duration::from_secs(24 * 60 * 60);
    duration
        .filter(|duration| !duration.is_zero() && *duration <= day)
        .ok_or("it must be a duration like 30s or 5m, more than nothing and at most a day")
}

fn upstream(reader: &mut Reader, at: &At<'_>) -> Option<Upstream> {
    let fields = reader.fields(at, &["addresses", "mtls", "tls", "protocol"])?;
    let addresses = reader.required(&fields, "addresses").map(|at| {
        let addresses = reader.each(&at, upstream_address);
        if matches!(&at.node.value, Value::List(items) if items.is_empty()) {
            reader.fault(&at, "there must be an address");
        }
        addresses
    });
    let protocol = choice(reader, &fields, "protocol", PROTOCOLS);
    let transport = match (fields.field("mtls"), fields.field("tls")) {
        (Some(mtls), None) => mtls_transport(reader, &mtls),
        (None, Some(tls)) => tls_transport(reader, &tls),
        _ => {
            reader.fault(at, "it must have one of `mtls` and `tls`");
            None
        }
    };
    Some(Upstream {
        addresses: addresses?,
        transport: transport?,
        protocol,
    })
}

fn mtls_transport(reader: &mut Reader, at: &At<'_>) -> Option<Transport> {
    let fields = reader.fields(at, &["spiffe_ids"])?;
    let at = reader.required(&fields, "spiffe_ids")?;
    let spiffe_ids = reader.each(&at, |reader, item| reader.parsed(item, SpiffeId::parse));
    if matches!(&at.node.value, Value::List(items) if items.is_empty()) {
        reader.fault(
            &at,
            "there must be a SPIFFE ID that the upstream has to prove",
        );
    }
    Some(Transport::Mtls { spiffe_ids })
}

fn tls_transport(reader: &mut Reader, at: &At<'_>) -> Option<Transport> {
    let fields = reader.fields(at, &["server_name", "ca_file"])?;
    let server_name = reader
        .required(&fields, "server_name")
        .and_then(|at| reader.parsed(&at, |text| Host::parse(text).map(|host| host.to_string())));
    let ca_file = fields.field("ca_file").and_then(|at| {
        reader.parsed(&at, |text| match text {
            "" => Err("it is empty"),
            text => Ok(text.to_owned()),
        })
    });
    Some(Transport::Tls {
        server_name: server_name?,
        ca_file,
    })
}

/// `host:port`, or a mapping that gives a weight as well.
fn upstream_address(reader: &mut Reader, at: &At<'_>) -> Option<UpstreamAddress> {
    if matches!(at.node.value, Value::Text(_)) {
        let (host, port) = reader.parsed(at, host_and_port)?;
        let weight = 1;
        return Some(UpstreamAddress { host, port, weight });
    }
    let fields = reader.fields(at, &["address", "weight"])?;
    let address = reader
        .required(&fields, "address")
        .and_then(|at| reader.parsed(&at, host_and_port));
    let weight = fields.field("weight").map(|at| reader.integer(&at, 1));
    let (host, port) = address?;
    Some(UpstreamAddress {
        host,
        port,
        weight: weight.unwrap_or(Some(1))?,
    })
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    const FORM: &str = "it must be like name.example:8443, 10.0.0.1:8443 or [fd00::1]:8443";
    let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
    let is_number = !port.is_empty()
        && !port.starts_with('0')
        && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = Some(port)
        .filter(|_| is_number)
        .and_then(|port| port.parse().ok())
        .ok_or(FORM)?;
    if let Some(literal) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: Ipv6Addr = literal.parse().map_err(|_| FORM)?;
        return Ok((address.to_string(), port));
    }
    let last_label = host.rsplit('.').next().unwrap_or(host);
    // A last label that begins with a digit is an address in one notation or another; only the usual one is taken.
    let is_address = last_label.starts_with(|first: char| first.is_ascii_digit());
    let is_good = if is_address {
        host.parse::<Ipv4Addr>().is_ok()
    } else {
        is_domain(host)
    };
    if !is_good {
        return Err(FORM);
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use crate::policy::check::{Known, unknown_names};
    use crate::policy::json::{from_json, to_json};
    use crate::policy::kind::Object;
    use crate::policy::kubernetes::{Cluster, Kubernetes, UserName};
    use crate::policy::matcher::TextMatch;
    use crate::policy::model::Transport;
    use crate::policy::yaml::{SCHEMA, parse};

    /// Editors show it.
    fn every_property_is_described(schema: &serde_json::Value) {
        let members = schema.as_object().into_iter().flatten();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_forbidden = *property == false;
            let is_described = is_forbidden || property["description"].is_string();
            assert!(is_described, "{name} in {schema}");
        }
        members.for_each(|(_, value)| every_property_is_described(value));
        let items = schema.as_array().into_iter().flatten();
        items.for_each(every_property_is_described);
    }

    const TLS: &str = "tls: { server_name: k.svc, ca_file: /ca.pem }";

    fn with(upstream: &str, kubernetes: &str) -> String {
        format!(
            "routes:\n  - name: k\n    host: k.example\n    upstream: {{ addresses: [\"k.svc:6443\"], {upstream} }}\n    kubernetes: {kubernetes}\n"
        )
    }

    fn keys(text: &str) -> Vec<String> {
        let faults = parse(text).map_or_else(|faults| faults, |_| Vec::new());
        faults.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn what_is_said_of_a_cluster_is_read_kept_and_published() {
        let whole = "{ cluster: prod, user: mesh_identity, user_prefix: \"u:\", groups: [sre, \"team-*\"], group_prefix: \"g:\" }";
        let policy = parse(&with(TLS, whole)).unwrap();
        let expected = Kubernetes {
            cluster: Some("prod".into()),
            user: UserName::MeshIdentity,
            user_prefix: "u:".to_owned(),
            groups: Some(vec![
                TextMatch::parse("sre").unwrap(),
                TextMatch::parse("team-*").unwrap(),
            ]),
            group_prefix: "g:".to_owned(),
        };
        assert_eq!(policy.routes[0].kubernetes.as_ref(), Some(&expected));
        assert_eq!(from_json(to_json(&policy)).unwrap(), policy);

        let mesh = with("mtls: { spiffe_ids: [\"spiffe://td/ns/k/sa/k\"] }", "{}");
        let mesh = parse(&mesh).unwrap();
        assert_eq!(mesh.routes[0].kubernetes, Some(Kubernetes::default()));
        assert_eq!(
            mesh.routes[0].to_json()["kubernetes"],
            serde_json::json!({})
        );
        assert_eq!(from_json(to_json(&mesh)).unwrap(), mesh);

        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        every_property_is_described(&schema);
        let published = &schema["$defs"]["route"]["properties"]["kubernetes"];
        assert_eq!(published["additionalProperties"], false);
        let published = published["properties"].as_object().unwrap();
        let written = policy.routes[0].to_json()["kubernetes"].clone();
        let mut published: Vec<&String> = published.keys().collect();
        let mut written: Vec<&String> = written.as_object().unwrap().keys().collect();
        published.sort();
        written.sort();
        assert_eq!(published, written);
    }

    #[test]
    fn what_cannot_be_said_of_a_cluster_is_a_fault() {
        let mtls = "mtls: { spiffe_ids: [\"spiffe://td/ns/k/sa/k\"] }";
        let prod = "{ cluster: prod }";
        let at = |text: &str| keys(text).join(" ");
        assert_eq!(at(&with(TLS, prod)), "");
        assert_eq!(at(&with(TLS, "{}")), "routes[0].kubernetes.cluster");
        assert_eq!(at(&with(mtls, prod)), "routes[0].kubernetes.cluster");
        let odd = "{ cluster: prod, user_prefix: \"system:\", group_prefix: sys }";
        assert_eq!(
            at(&with(TLS, odd)),
            "routes[0].kubernetes.user_prefix routes[0].kubernetes.group_prefix"
        );
        assert_eq!(
            at(&with(TLS, "{ cluster: prod, user: name, zz: 1 }")),
            "routes[0].kubernetes.user routes[0].kubernetes.zz"
        );
        let http2 = with(&format!("{TLS}, protocol: http2"), prod);
        assert_eq!(at(&http2), "routes[0].upstream.protocol");
        let tcp = with(&format!("{TLS}, protocol: tcp"), prod);
        assert_eq!(at(&tcp), "routes[0].kubernetes");
        let below =
            with(TLS, prod).replace("    host: k.example", "    host: k.example\n    prefix: /k");
        assert_eq!(at(&below), "routes[0].prefix");
        let beside = format!(
            "{}  - {{ name: l, host: k.example, prefix: /l, upstream: {{ addresses: [\"l:1\"], {TLS} }} }}\n",
            with(TLS, prod)
        );
        assert_eq!(at(&beside), "routes[0].host");
        let plain = with(TLS, &format!("{prod}\n    identity_headers: remote"));
        assert_eq!(at(&plain), "routes[0].identity_headers");
    }

    #[test]
    fn j4_a_credential_is_for_the_api_server_that_the_configuration_names() {
        let known = Known {
            clusters: vec![Cluster {
                name: "prod".to_owned(),
                transport: Transport::Tls {
                    server_name: "k.svc".to_owned(),
                    ca_file: Some("/ca.pem".to_owned()),
                },
                bearer_tokens: true,
            }],
            ..Known::default()
        };
        let faults = |upstream: &str, kubernetes: &str| {
            let policy = parse(&with(upstream, kubernetes)).unwrap();
            let faults = unknown_names(&policy, &known);
            let faults = faults
                .iter()
                .map(|fault| format!("{}: {}", fault.key, fault.message));
            faults.collect::<Vec<_>>().join("\n")
        };
        let prod = "{ cluster: prod }";
        assert_eq!(faults(TLS, prod), "");
        let unknown = faults(TLS, "{ cluster: test }");
        assert!(
            unknown.starts_with("routes[0].kubernetes.cluster: "),
            "{unknown}"
        );
        for other in [
            "tls: { server_name: evil.example, ca_file: /ca.pem }",
            "tls: { server_name: k.svc, ca_file: /evil.pem }",
            "tls: { server_name: k.svc }",
        ] {
            let said = faults(other, prod);
            assert!(said.starts_with("routes[0].upstream: "), "{said}");
            assert!(
                said.contains("tls: { server_name: k.svc, ca_file: /ca.pem }"),
                "{said}"
            );
        }
    }
}
