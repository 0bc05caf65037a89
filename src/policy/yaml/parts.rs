//! The parts of a policy document: routes, identity mappings, rules.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::address::host::Host;
use crate::address::path::check_path;
use crate::identity::email::{Email, is_domain};
use crate::identity::principal::PrincipalKind;
use crate::identity::spiffe_id::SpiffeId;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{
    Action, IdentityHeaders, Mapping, Policy, Route, RouteTimeouts, Rule, Source, Target,
    Transport, Upstream, UpstreamAddress, UpstreamProtocol,
};
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::reader::{At, Fields, Reader};
use crate::policy::yaml::tree::{Node, Value};

/// Reads a whole document.
pub(super) fn policy(reader: &mut Reader, root: &Node) -> Policy {
    let at = At {
        node: root,
        key: String::new(),
    };
    if root.value == Value::Null {
        reader.fault(
            &at,
            "the document is empty; a policy without anything is `{}`",
        );
        return Policy::default();
    }
    let Some(fields) = reader.fields(&at, &["routes", "mappings", "rules"]) else {
        return Policy::default();
    };
    Policy {
        routes: part(reader, &fields, "routes", route),
        mappings: part(reader, &fields, "mappings", mapping),
        rules: part(reader, &fields, "rules", rule),
    }
}

fn part<T>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    name: &str,
    read: impl FnMut(&mut Reader, &At<'_>) -> Option<T>,
) -> Vec<T> {
    fields
        .field(name)
        .map(|at| reader.each(&at, read))
        .unwrap_or_default()
}

/// A name of one of our things: letters, digits, `.`, `-`, `_`; at most 100.
fn name(text: &str) -> Result<Arc<str>, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > 100 || !text.bytes().all(is_allowed) {
        return Err("a name has 1 to 100 letters, digits, `.`, `-` or `_`");
    }
    Ok(text.into())
}

fn route(reader: &mut Reader, at: &At<'_>) -> Option<Route> {
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
    let route_name = reader
        .required(&fields, "name")
        .and_then(|at| reader.parsed(&at, name));
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
];

/// The words of the file for each kind of principal.
pub(in crate::policy) const KINDS: &[(&str, PrincipalKind)] = &[
    ("user", PrincipalKind::User),
    ("workload", PrincipalKind::Workload),
];

const ACTIONS: &[(&str, Action)] = &[("allow", Action::Allow), ("deny", Action::Deny)];

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("it must be one of {}", words.join(", "))
    })
}

fn choice<T: Copy + Default>(
    reader: &mut Reader,
    fields: &Fields<'_>,
    field: &str,
    words: &[(&str, T)],
) -> T {
    fields
        .field(field)
        .and_then(|at| reader.parsed(&at, |text| word(text, words)))
        .unwrap_or_default()
}

fn flag(reader: &mut Reader, fields: &Fields<'_>, field: &str) -> bool {
    fields
        .field(field)
        .and_then(|at| reader.boolean(&at))
        .unwrap_or_default()
}

/// A route's prefix: "/" or a canonical path without a slash at its end.
fn prefix(text: &str) -> Result<String, String> {
    check_path(text).map_err(|fault| fault.to_string())?;
    if text != "/" && text.ends_with('/') {
        return Err("write the prefix without the slash at its end".to_owned());
    }
    Ok(text.to_owned())
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

fn mapping(reader: &mut Reader, at: &At<'_>) -> Option<Mapping> {
    let fields = reader.fields(at, &["name", "from", "spiffe_id"])?;
    let mapping_name = reader
        .required(&fields, "name")
        .and_then(|at| reader.parsed(&at, name));
    let from = reader
        .required(&fields, "from")
        .map(|at| reader.each(&at, source));
    let spiffe_id = reader.required(&fields, "spiffe_id").and_then(|at| {
        reader.parsed(&at, |text| {
            IdentityTemplate::parse(text).map(|_| text.to_owned())
        })
    });
    Some(Mapping {
        name: mapping_name?,
        from: from?,
        spiffe_id: spiffe_id?,
    })
}

fn rule(reader: &mut Reader, at: &At<'_>) -> Option<Rule> {
    let fields = reader.fields(at, &["name", "action", "from", "to"])?;
    let rule_name = reader
        .required(&fields, "name")
        .and_then(|at| reader.parsed(&at, name));
    let action = reader
        .required(&fields, "action")
        .and_then(|at| reader.parsed(&at, |text| word(text, ACTIONS)));
    let from = reader
        .required(&fields, "from")
        .map(|at| reader.each(&at, source));
    let to = fields.field("to").map(|at| reader.each(&at, target));
    Some(Rule {
        name: rule_name?,
        action: action?,
        from: from?,
        to,
    })
}

fn source(reader: &mut Reader, at: &At<'_>) -> Option<Source> {
    let fields = reader.fields(
        at,
        &[
            "anyone",
            "signed_in",
            "emails",
            "email_domains",
            "subjects",
            "groups",
            "providers",
            "kinds",
            "not_emails",
            "not_subjects",
            "not_groups",
            "not_providers",
        ],
    )?;
    if fields.is_empty() {
        reader.fault(
            at,
            "it says nothing; for everyone who is signed in write `signed_in: true`",
        );
    }
    for field in ["anyone", "signed_in"] {
        if let Some(at) = fields.field(field)
            && reader.boolean(&at) == Some(false)
        {
            reader.fault(&at, "it can only be true; leave it out otherwise");
        }
    }
    let anyone = fields.field("anyone").is_some();
    if anyone && fields.len() > 1 {
        reader.fault(at, "nothing may stand beside `anyone: true`");
    }
    Some(Source {
        anyone,
        signed_in: fields.field("signed_in").is_some(),
        emails: reader.texts(&fields, "emails", email_match),
        email_domains: reader.texts(&fields, "email_domains", email_domain),
        subjects: reader.texts(&fields, "subjects", TextMatch::parse),
        groups: reader.texts(&fields, "groups", TextMatch::parse),
        providers: reader.texts(&fields, "providers", name),
        kinds: reader.texts(&fields, "kinds", |text| word(text, KINDS)),
        not_emails: reader.texts(&fields, "not_emails", email_match),
        not_subjects: reader.texts(&fields, "not_subjects", TextMatch::parse),
        not_groups: reader.texts(&fields, "not_groups", TextMatch::parse),
        not_providers: reader.texts(&fields, "not_providers", name),
    })
}

/// A whole address, `*@domain` or `*`: whatever leaves the domain open would match addresses that anybody can have.
fn email_match(text: &str) -> Result<TextMatch, String> {
    match TextMatch::parse(&text.to_ascii_lowercase()).map_err(|fault| fault.to_string())? {
        TextMatch::Exact(text) => Email::parse(&text)
            .map(|email| TextMatch::Exact(email.into()))
            .map_err(|fault| fault.to_string()),
        TextMatch::Suffix(suffix) if Email::parse(&format!("x{suffix}")).is_ok() => {
            Ok(TextMatch::Suffix(suffix))
        }
        TextMatch::Present => Ok(TextMatch::Present),
        TextMatch::Suffix(_) | TextMatch::Prefix(_) => Err(
            "the domain must be whole: write alice@corp.example, *@corp.example, or use `email_domains`"
                .to_owned(),
        ),
    }
}

fn email_domain(text: &str) -> Result<String, &'static str> {
    if !is_domain(text) {
        return Err("it must be a whole domain like corp.example, without `@` or `*`");
    }
    Ok(text.to_ascii_lowercase())
}

fn target(reader: &mut Reader, at: &At<'_>) -> Option<Target> {
    let fields = reader.fields(
        at,
        &[
            "routes",
            "methods",
            "paths",
            "not_routes",
            "not_methods",
            "not_paths",
        ],
    )?;
    if fields.is_empty() {
        reader.fault(at, "it says nothing; to mean everything leave `to` out");
    }
    Some(Target {
        routes: reader.texts(&fields, "routes", name),
        methods: reader.texts(&fields, "methods", method),
        paths: reader.texts(&fields, "paths", PathMatch::parse),
        not_routes: reader.texts(&fields, "not_routes", name),
        not_methods: reader.texts(&fields, "not_methods", method),
        not_paths: reader.texts(&fields, "not_paths", PathMatch::parse),
    })
}

fn method(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_allowed) {
        return Err(
            "a method is written in upper case, like GET; for any method leave the list out",
        );
    }
    Ok(text.to_owned())
}
