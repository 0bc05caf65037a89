//! `when` and `require` of a rule, and conditions by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::identity::principal::Requirement;
use crate::policy::hours::Hours;
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Approval, When};
use crate::policy::yaml::reader::{At, Fields, Reader};
use crate::policy::yaml::tree::Value;

/// Headers that say nothing that a rule could be about: they are of one connection, carry credentials, or are the edge's own words to upstreams,
/// which it takes from no client.
const NOT_FOR_RULES: [&str; 11] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "forwarded",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads circumstances.
pub(super) fn when(reader: &mut Reader, at: &At<'_>) -> Option<When> {
    let fields = reader.fields(
        at,
        &[
            "source_ips",
            "not_source_ips",
            "headers",
            "not_headers",
            "hours",
            "until",
        ],
    )?;
    says_something(reader, &fields, "when");
    let hours = fields.field("hours").map(|at| match at.node.value {
        Value::List(_) => reader.each(&at, |reader, item| reader.parsed(item, Hours::parse)),
        _ => reader.parsed(&at, Hours::parse).into_iter().collect(),
    });
    let until = fields.field("until");
    Some(When {
        source_ips: reader.texts(&fields, "source_ips", network),
        not_source_ips: reader.texts(&fields, "not_source_ips", network),
        headers: conditions(reader, &fields, "headers", header_name),
        not_headers: conditions(reader, &fields, "not_headers", header_name),
        hours,
        until: until.and_then(|at| reader.parsed(&at, moment)),
    })
}

/// Reads what a rule requires: of the sign-in, and an approval.
pub(super) fn requirement(
    reader: &mut Reader,
    at: &At<'_>,
    approval: fn(&mut Reader, &At<'_>) -> Option<Approval>,
) -> Option<(Option<Requirement>, Option<Approval>)> {
    let fields = reader.fields(at, &["acr", "max_age", "approval"])?;
    says_something(reader, &fields, "require");
    let acr = fields.field("acr").map(|at| match at.node.value {
        Value::List(_) => reader.each(&at, |reader, item| reader.parsed(item, class)),
        _ => reader.parsed(&at, class).into_iter().collect(),
    });
    let max_age = fields.field("max_age");
    let asks_for_sign_in = acr.is_some() || max_age.is_some();
    let requirement = Requirement {
        acr,
        max_age: max_age.and_then(|at| reader.parsed(&at, age)),
    };
    let approval = match fields.field("approval") {
        Some(at) => Some(approval(reader, &at)?),
        None => None,
    };
    Some((asks_for_sign_in.then_some(requirement), approval))
}

fn says_something(reader: &mut Reader, fields: &Fields<'_>, name: &str) {
    if fields.is_empty() {
        let message = format!("it says nothing; leave `{name}` out");
        reader.fault(fields.at(), message);
    }
}

/// A mapping of names to lists of conditions.
pub(super) fn conditions(
    reader: &mut Reader,
    fields: &Fields<'_>,
    field: &str,
    parse_name: fn(&str) -> Result<Arc<str>, &'static str>,
) -> Option<BTreeMap<Arc<str>, Vec<TextMatch>>> {
    let at = fields.field(field)?;
    let entries = reader.entries(&at);
    if entries.as_ref().is_some_and(Vec::is_empty) {
        reader.fault(&at, "it says nothing; leave it out");
    }
    let mut read = BTreeMap::new();
    for (name, value) in entries.unwrap_or_default() {
        match parse_name(name) {
            Ok(name) => {
                let conditions =
                    reader.each(&value, |reader, item| reader.parsed(item, TextMatch::parse));
                if read.insert(name, conditions).is_some() {
                    reader.fault(&value, "this name stands here twice");
                }
            }
            Err(fault) => reader.fault(&value, fault),
        }
    }
    Some(read)
}

/// A mapping of names to lists of values.
pub(super) fn values(
    reader: &mut Reader,
    fields: &Fields<'_>,
    field: &str,
) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let entries = fields.field(field).and_then(|at| reader.entries(&at));
    let mut read = BTreeMap::new();
    for (name, value) in entries.unwrap_or_default() {
        let values = reader.each(&value, |reader, item| reader.text(item).map(Arc::from));
        read.insert(name.into(), values);
    }
    read
}

/// Compared without case, as in HTTP (RFC 9110 §5.1).
fn header_name(text: &str) -> Result<Arc<str>, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || text.len() > 100 || !text.bytes().all(plain) {
        return Err("a header's name has letters, digits and `-`; others are never let through");
    }
    let name = text.to_ascii_lowercase();
    if NOT_FOR_RULES.contains(&name.as_str()) {
        return Err("rules cannot be about this header; who somebody is stands in `from`");
    }
    if name.starts_with("x-forwarded-") || name.starts_with("wayleave-") {
        return Err("no client's word is taken in this header; for the other end use `source_ips`");
    }
    Ok(name.into())
}

fn network(text: &str) -> Result<IpNet, String> {
    const FORM: &str = "it must be a network like 10.0.0.0/8 or fd00::/8, or an address";
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_no_address) => text.parse::<IpNet>().map_err(|_fault| FORM)?,
    };
    if let IpNet::V6(v6) = network
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err("write it as an IPv4 network".to_owned());
    }
    if network.trunc() != network {
        return Err(format!(
            "it has more than the network; write {}",
            network.trunc()
        ));
    }
    Ok(network)
}

/// A moment, or a day, which it is until the end of in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, &'static str> {
    const FORM: &str = "it must be a day like 2027-01-31 (to its end, in UTC) or a moment like 2027-01-31T18:00:00Z";
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let is_day = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: Date = text.parse().ok().filter(|_| is_day).ok_or(FORM)?;
    let after = day.tomorrow().map_err(|_fault| FORM)?;
    let midnight = TimeZone::UTC.to_timestamp(after.at(0, 0, 0, 0));
    midnight.map_err(|_fault| FORM)
}

fn class(text: &str) -> Result<Arc<str>, &'static str> {
    // They are sent as a list with spaces between (OIDC Core §3.1.2.1), and within quotes (RFC 9470 §3).
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.is_empty() || text.len() > 200 || !text.bytes().all(plain) {
        return Err("a class has 1 to 200 visible ASCII characters, and no quotes");
    }
    Ok(text.into())
}

/// At least a minute: signing in takes a while itself.
fn age(text: &str) -> Result<u32, &'static str> {
    let age = humantime::parse_duration(text).ok();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    age.filter(|age| age.as_secs() >= 60 && *age <= year && age.subsec_nanos() == 0)
        .and_then(|age| u32::try_from(age.as_secs()).ok())
        .ok_or("it must be a duration like 15m or 8h, of whole seconds, from a minute to a year")
}

/// At least a minute, and not so long that it is no exception any more.
pub(super) fn grant_length(text: &str) -> Result<Duration, &'static str> {
    let length = humantime::parse_duration(text).ok();
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    let is_fine = |length: &Duration| {
        length.as_secs() >= 60 && *length <= longest && length.subsec_nanos() == 0
    };
    length
        .filter(is_fine)
        .ok_or("it must be a duration like 30m or 4h, of whole seconds, from a minute to 30 days")
}
