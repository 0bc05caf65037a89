//! Tests of a policy document, and questions about one, which describe people and requests in the same words.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::address::host::Host;
use crate::address::path::check_path;
use crate::identity::email::Email;
use crate::identity::principal::{Agent, Groups, LONGEST_CHAIN, Principal, PrincipalKind};
use crate::policy::model::{Expected, PolicyTest, TestRequest};
use crate::policy::trial::nobody_yet;
use crate::policy::yaml::parts::{choice_or, name, required_name, word};
use crate::policy::yaml::reader::{At, Fields, Reader};
use crate::policy::yaml::rules::{KINDS, SVIDS};
use crate::policy::yaml::tree::Node;
use crate::policy::yaml::{PolicyFault, circumstances};

/// What a test can expect.
pub(in crate::policy) const EXPECTED: &[(&str, Expected)] = &[
    ("allow", Expected::Allow),
    ("deny", Expected::Deny),
    ("sign_in", Expected::SignIn),
    ("step_up", Expected::StepUp),
    ("ask", Expected::Ask),
];

/// When a test takes place that does not say: at noon UTC of a Wednesday.
const WEDNESDAY: Timestamp = Timestamp::constant(1_577_880_000, 0);

/// Reads a test.
pub(super) fn test(reader: &mut Reader, at: &At<'_>) -> Option<PolicyTest> {
    let known = [
        "name",
        "as",
        "request",
        "source_ip",
        "headers",
        "granted",
        "at",
        "expect",
        "mesh_identity",
    ];
    let fields = reader.fields(at, &known)?;
    let test_name = required_name(reader, &fields);
    let at = fields.field("at");
    let moment = at.and_then(|at| reader.parsed(&at, moment));
    let moment = moment.unwrap_or(WEDNESDAY);
    let principal = fields.field("as");
    let principal = principal.map(|at| person(reader, &at, moment));
    let request = reader
        .required(&fields, "request")
        .and_then(|at| reader.parsed(&at, request));
    let expect = reader
        .required(&fields, "expect")
        .and_then(|at| reader.parsed(&at, |text| word(text, EXPECTED)));
    let source_ip = fields.field("source_ip");
    let source_ip = source_ip.and_then(|at| reader.parsed(&at, address));
    let identity = fields.field("mesh_identity");
    let identity = identity.and_then(|at| reader.text(&at).map(str::to_owned));
    let (headers, granted) = (headers(reader, &fields), granted(reader, &fields));
    // Everything was looked at by now, so that all that is wrong is said at once.
    let principal = match principal {
        Some(read) => Some(read?),
        None => None,
    };
    Some(PolicyTest {
        name: test_name?,
        principal,
        request: request?,
        source_ip,
        headers,
        granted,
        at: moment,
        expect: expect?,
        mesh_identity: identity,
    })
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let moment = text.parse::<Timestamp>();
    moment.map_err(|_| "a moment is written like 2027-01-31T18:00:00Z")
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    let address = text.parse::<IpAddr>();
    address.map_err(|_| "an address is written like 192.0.2.7 or 2001:db8::7")
}

fn ago(text: &str) -> Result<Duration, &'static str> {
    let ago = humantime::parse_duration(text);
    ago.map_err(|_| "a length of time is written like 90s, 10m or 8h")
}

/// What rules look at of a request's path.
fn path(text: &str) -> Result<String, String> {
    if text.contains('?') {
        return Err("rules see no query; leave out what begins with the `?`".to_owned());
    }
    check_path(text).map_err(|fault| fault.to_string())?;
    Ok(text.to_owned())
}

/// A question: what would come of a request.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub asking: Asking,
    /// Upper-case wire method.
    pub method: String,
    /// The host of the request.
    pub host: Host,
    /// Canonical path.
    pub path: String,
    /// Where the connection comes from; not known if `None`.
    pub source_ip: Option<IpAddr>,
    /// Header lines, by lower-case name.
    pub headers: Vec<(Arc<str>, String)>,
    /// Rules that were granted to them, beside those that really are to somebody known.
    pub granted: Vec<Arc<str>>,
    /// When; now if `None`.
    pub at: Option<Timestamp>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asking {
    /// Somebody who is not signed in.
    Nobody,
    /// Somebody as described.
    Described(Box<Principal>),
    /// Whoever last signed in so, as they did.
    Known(Known),
}

/// Somebody who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// By a vouched-for address.
    Email(Email),
    /// By the provider's name, and its `sub`.
    Subject {
        /// The provider's name in the configuration.
        provider: Arc<str>,
        /// The `sub`.
        subject: String,
    },
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Email(email) => f.write_str(email.as_str()),
            Self::Subject { provider, subject } => write!(f, "{provider}/{subject}"),
        }
    }
}

/// As the audit log calls people.
fn somebody_known(text: &str) -> Result<Known, &'static str> {
    let subject = text.split_once('/');
    if let Some((provider, subject)) = subject.filter(|(_, subject)| !subject.is_empty())
        && let Ok(provider) = name(provider)
    {
        let subject = subject.to_owned();
        return Ok(Known::Subject { provider, subject });
    }
    let email = Email::parse(text)
        .map_err(|_| "somebody is named by e-mail address, or as provider/subject")?;
    Ok(Known::Email(email))
}

/// Reads a question that is asked `now`: as a test, but with `method` and `url` for the request, `as_known` for somebody who has signed in, and nothing expected.
pub fn question(json: serde_json::Value, now: Timestamp) -> Result<Question, Vec<PolicyFault>> {
    let node = Node::from_json(json);
    let at = At {
        node: &node,
        key: String::new(),
    };
    let mut reader = Reader::default();
    let read = read_question(&mut reader, &at, now);
    let faults = reader.into_faults();
    read.filter(|_| faults.is_empty()).ok_or(faults)
}

fn read_question(reader: &mut Reader, at: &At<'_>, now: Timestamp) -> Option<Question> {
    let known = [
        "as",
        "as_known",
        "method",
        "url",
        "source_ip",
        "headers",
        "granted",
        "at",
    ];
    let fields = reader.fields(at, &known)?;
    let at = fields.field("at");
    let moment = at.and_then(|at| reader.parsed(&at, moment));
    let asking = match (fields.field("as"), fields.field("as_known")) {
        (Some(at), _) => {
            let at_that_time = moment.unwrap_or(now);
            Asking::Described(Box::new(person(reader, &at, at_that_time)?))
        }
        (None, Some(at)) => Asking::Known(reader.parsed(&at, somebody_known)?),
        (None, None) => Asking::Nobody,
    };
    let method = reader.required(&fields, "method");
    let method = method.and_then(|at| reader.text(&at))?.to_owned();
    let url = reader.required(&fields, "url")?;
    let (host, path) = reader.parsed(&url, place)?;
    let source_ip = fields.field("source_ip");
    Some(Question {
        asking,
        method,
        host,
        path,
        source_ip: source_ip.and_then(|at| reader.parsed(&at, address)),
        headers: headers(reader, &fields),
        granted: granted(reader, &fields),
        at: moment,
    })
}

fn granted(reader: &mut Reader, fields: &Fields<'_>) -> Vec<Arc<str>> {
    reader.texts(fields, "granted", name).unwrap_or_default()
}

/// Host and path of a URL; what follows the path is not looked at by rules.
fn place(text: &str) -> Result<(Host, String), String> {
    const FORM: &str = "it must be a URL like https://grafana.corp.example/d/1";
    let (_, rest) = text.split_once("://").ok_or(FORM)?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = rest.get(..end).unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let (host, _) = Host::parse_authority(authority).map_err(|fault| fault.to_string())?;
    check_path(path).map_err(|fault| fault.to_string())?;
    Ok((host, path.to_owned()))
}

/// `GET grafana /d/1`: method, route and path; or `SVID x509`.
fn request(text: &str) -> Result<TestRequest, String> {
    let parts: Vec<&str> = text.split(' ').collect();
    if let ["SVID", kind] = parts.as_slice() {
        return word(kind, SVIDS).map(TestRequest::Svid);
    }
    let [method, route, path] = parts.as_slice() else {
        return Err(
            "it must be like `GET grafana /d/1`: method, route and path; or `SVID x509`".to_owned(),
        );
    };
    Ok(TestRequest::Route {
        method: (*method).to_owned(),
        route: name(route)?,
        path: self::path(path)?,
    })
}

fn headers(reader: &mut Reader, fields: &Fields<'_>) -> Vec<(Arc<str>, String)> {
    let entries = fields.field("headers").and_then(|at| reader.entries(&at));
    let mut headers = Vec::new();
    for (name, value) in entries.unwrap_or_default() {
        if let Some(text) = reader.text(&value) {
            headers.push((name.to_ascii_lowercase().into(), text.to_owned()));
        }
    }
    headers
}

/// An agent of whom no more is said than rules look at.
fn agent(text: &str) -> Result<Agent, &'static str> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(
            "an agent is named as in rules, like https://agent.example, loopback or robots/builder",
        );
    }
    Ok(Agent {
        id: text.into(),
        issuer: "".into(),
        subject: text.into(),
        name: None,
    })
}

fn person(reader: &mut Reader, at: &At<'_>, now: Timestamp) -> Option<Principal> {
    let known = [
        "provider",
        "subject",
        "email",
        "groups",
        "kind",
        "agents",
        "claims",
        "acr",
        "signed_in_ago",
    ];
    let fields = reader.fields(at, &known)?;
    let provider = reader
        .required(&fields, "provider")
        .and_then(|at| reader.parsed(&at, name));
    let subject = fields.field("subject").and_then(|at| reader.text(&at));
    let email = fields.field("email");
    let email = email.and_then(|at| reader.parsed(&at, Email::parse));
    let named = subject.map(str::to_owned);
    let named = named.or_else(|| email.as_ref().map(|email| email.as_str().to_owned()));
    if named.is_none() && fields.field("email").is_none() {
        reader.fault(at, "it must have `subject` or `email`");
    }
    let groups = reader.texts(&fields, "groups", |text| Ok::<_, String>(Arc::from(text)));
    let agents = reader.texts(&fields, "agents", agent).unwrap_or_default();
    if let Some(at) = fields.field("agents")
        && agents.len() > LONGEST_CHAIN
    {
        let message = format!("at most {LONGEST_CHAIN} agents may act one for the next");
        reader.fault(&at, message);
    }
    let acr = fields.field("acr").and_then(|at| reader.text(&at));
    let signed_in = fields.field("signed_in_ago");
    let signed_in = signed_in.and_then(|at| reader.parsed(&at, ago));
    let signed_in = signed_in.and_then(|ago| i64::try_from(ago.as_secs()).ok());
    Some(Principal {
        kind: choice_or(reader, &fields, "kind", KINDS, PrincipalKind::User),
        email,
        groups: Groups::Known(groups.unwrap_or_default().into_iter().collect()),
        claims: circumstances::values(reader, &fields, "claims"),
        agents,
        acr: acr.map(Arc::from),
        auth_time: signed_in.map(|ago| now.as_second().saturating_sub(ago)),
        ..nobody_yet(&provider?, &named?)
    })
}
