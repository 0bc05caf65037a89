//! A signed GetCallerIdentity request, as text: the one kind of request that the edge sends for a stranger, so everything about it is either fixed or on a short list.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identity::aws::Partition;
use crate::secret::TokenHash;
use crate::token::aws::{AUDIENCE, AwsFault, NONCE};

/// The body, and so what is asked.
pub const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// Its type.
pub const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// How long a request is good after it was made.
pub const GOOD: Duration = Duration::from_secs(300);
/// By how much its maker's clock may be ahead.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Longest text that is read.
const LONGEST: usize = 16 * 1024;
/// The region that the endpoint without one is in.
const GLOBAL: &str = "us-east-1";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const AUTHORIZATION: &str = "authorization";
const CONTENT_LENGTH: &str = "content-length";
const CONTENT_TYPE: &str = "content-type";
const HOST: &str = "host";
const DATE: &str = "x-amz-date";

/// The headers that a request may have; all that it has must be signed, but for the signature itself.
const ALLOWED: [&str; 8] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    DATE,
    "x-amz-security-token",
    AUDIENCE,
    NONCE,
];
const REQUIRED: [&str; 3] = [HOST, DATE, AUDIENCE];

/// The request as it travels.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) url: String,
    pub(super) headers: WrittenHeaders,
    pub(super) body: String,
}

/// By lower-case name; a name that stands twice is refused.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct WrittenHeaders(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WrittenHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = WrittenHeaders;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    let former = headers.insert(name.to_ascii_lowercase(), value);
                    if former.is_some() {
                        return Err(serde::de::Error::custom("a header stands there twice"));
                    }
                }
                Ok(WrittenHeaders(headers))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A request that can do nothing but ask STS who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    endpoint: Endpoint,
    headers: Vec<(HeaderName, HeaderValue)>,
    audience: String,
    made_at: Timestamp,
    /// The hash of the signature, which is over everything else.
    id: TokenHash,
}

/// Where STS is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    region: String,
    partition: Partition,
}

impl Endpoint {
    fn parse(url: &str) -> Option<Self> {
        let host = url.strip_prefix("https://")?.strip_suffix('/')?;
        if host == "sts.amazonaws.com" {
            return Some(Self {
                host: host.to_owned(),
                region: GLOBAL.to_owned(),
                partition: Partition::Aws,
            });
        }
        let (region, is_china) = match host.strip_prefix("sts.")? {
            rest if rest.ends_with(".cn") => (rest.strip_suffix(".amazonaws.com.cn")?, true),
            rest => (rest.strip_suffix(".amazonaws.com")?, false),
        };
        let partition = Partition::of_region(region)?;
        (is_china == (partition == Partition::China)).then(|| Self {
            host: host.to_owned(),
            region: region.to_owned(),
            partition,
        })
    }

    /// The address for a region.
    pub(super) fn of_region(region: Option<&str>) -> Option<Self> {
        let host = match region {
            None => "amazonaws.com".to_owned(),
            Some(region) => match Partition::of_region(region)? {
                Partition::China => format!("{region}.amazonaws.com.cn"),
                Partition::Aws | Partition::GovCloud => format!("{region}.amazonaws.com"),
            },
        };
        Self::parse(&format!("https://sts.{host}/"))
    }
}

/// The host of STS in a region, or of the one without, and the region that requests to it are signed for.
pub(super) fn endpoint(region: Option<&str>) -> Option<(String, String)> {
    Endpoint::of_region(region).map(|endpoint| (endpoint.host, endpoint.region))
}

/// What an `authorization` header says.
struct Authorization<'a> {
    /// The day, region and service that the key was made for.
    scope: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the one form that there is, its parts in the order in which everybody writes them.
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let mut parts = rest.split(',').map(|part| part.trim_matches(' '));
        let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        let credential = part("Credential")?;
        let signed = part("SignedHeaders")?;
        let signature = part("Signature")?;
        if parts.next().is_some() {
            return None;
        }
        let (key, scope) = credential.split_once('/')?;
        let is_key =
            (16..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_signature = signature.len() == 64 && signature.bytes().all(is_hex);
        (is_key && is_signature).then(|| Self {
            scope,
            signed: signed.split(';').collect(),
            signature,
        })
    }
}

/// `20270131T090000Z`, the basic format of ISO 8601 and no other.
fn moment(text: &str) -> Option<Timestamp> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    // The parser forgives a sign before the year.
    let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let read = time::PrimitiveDateTime::parse(text, &format).ok();
    let at = read.filter(|_| is_plain)?.assume_utc();
    Some(Timestamp::from_seconds(at.unix_timestamp()))
}

impl SignedRequest {
    /// Reads a request, and refuses whatever is not fixed or on the list.
    pub fn parse(shown: &str) -> Result<Self, AwsFault> {
        if shown.len() > LONGEST {
            return Err(AwsFault::Malformed);
        }
        let json = URL_SAFE_NO_PAD
            .decode(shown)
            .map_err(|_| AwsFault::Malformed)?;
        let written: Written = serde_json::from_slice(&json).map_err(|_| AwsFault::Malformed)?;
        let endpoint = Endpoint::parse(&written.url).ok_or(AwsFault::Url)?;
        if written.body != BODY {
            return Err(AwsFault::Body);
        }
        let headers = &written.headers.0;
        let said = |name: &str| headers.get(name).map(String::as_str);
        let is_known = |name: &String| ALLOWED.contains(&name.as_str());
        let is_text = |value: &String| {
            let is_visible = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            is_visible && !value.is_empty() && value.trim_matches(' ').len() == value.len()
        };
        if !headers.keys().all(is_known) || !headers.values().all(is_text) {
            return Err(AwsFault::Header);
        }
        let is_form = |kind: &str| {
            kind == "application/x-www-form-urlencoded" || kind.eq_ignore_ascii_case(FORM)
        };
        let is_fixed = said(CONTENT_TYPE).is_none_or(is_form)
            && said(CONTENT_LENGTH).is_none_or(|length| length == BODY.len().to_string())
            && said(HOST).is_none_or(|host| host == endpoint.host);
        if !is_fixed {
            return Err(AwsFault::Header);
        }
        let authorization = said(AUTHORIZATION).and_then(Authorization::parse);
        let authorization = authorization.ok_or(AwsFault::Authorization)?;
        let signed = &authorization.signed;
        let is_signed = |name: &&str| signed.contains(name);
        let present = headers.keys().map(String::as_str);
        let mut present = present.filter(|name| *name != AUTHORIZATION);
        // What is signed and not there would be there empty for AWS, so nothing but what is there may be named.
        let has =
            |name: &&str| *name == HOST || (headers.contains_key(*name) && *name != AUTHORIZATION);
        if !REQUIRED.iter().all(is_signed)
            || !present.all(|name| is_signed(&name))
            || !signed.iter().all(has)
        {
            return Err(AwsFault::Unsigned);
        }
        let (date, audience) = (
            said(DATE).unwrap_or_default(),
            said(AUDIENCE).unwrap_or_default(),
        );
        let made_at = moment(date).ok_or(AwsFault::Time)?;
        let day = date.get(..8).unwrap_or_default();
        if authorization.scope != format!("{day}/{}/sts/aws4_request", endpoint.region) {
            return Err(AwsFault::Authorization);
        }
        // The client says by itself how long the body is, which was looked at above.
        let sent = headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH);
        let sent = sent.map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Ok(Self {
            headers: sent.collect::<Option<_>>().ok_or(AwsFault::Header)?,
            audience: audience.to_owned(),
            made_at,
            id: TokenHash::of(authorization.signature.as_bytes()),
            endpoint,
        })
    }

    /// Whether it was made for this audience, and lately.
    pub fn check(&self, audience: &str, now: Timestamp) -> Result<(), AwsFault> {
        if self.audience != audience {
            return Err(AwsFault::Audience);
        }
        let is_old = self.made_at.plus(GOOD) <= now;
        if is_old || self.made_at > now.plus(LEEWAY) {
            return Err(AwsFault::Time);
        }
        Ok(())
    }

    /// The host that it is for.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// The same as a header.
    pub(super) fn host_value(&self) -> HeaderValue {
        // It is one of a few forms, all of letters, digits, dots and dashes.
        HeaderValue::from_str(&self.endpoint.host).unwrap_or(HeaderValue::from_static("invalid"))
    }

    /// The part of AWS that it is for.
    pub fn partition(&self) -> Partition {
        self.endpoint.partition
    }

    /// When it says it was made.
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// What it is sent with: nothing that is not signed, but for the signature.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// By what it is known again.
    pub fn id(&self) -> TokenHash {
        self.id
    }
}
