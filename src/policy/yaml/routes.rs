//! Routes of a policy document.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::address::host::Host;
use crate::address::path::{check_path, reading};
use crate::identity::email::is_domain;
use crate::identity::spiffe_id::SpiffeId;
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
