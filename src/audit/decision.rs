//! A decision about a request, as it is recorded: enough to say later who was let in to what, and what another policy would have said.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::principal::Principal;

/// What is recorded of one request, or of several that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The decision's id; of several, the first one's.
    pub id: String,
    /// Whether it was let through.
    pub is_allowed: bool,
    /// Why not: a stable code. Empty where it was.
    pub reason: String,
    /// The rule that decided, if one did.
    pub rule: Option<Arc<str>>,
    /// The policy revision that was decided by.
    pub revision: i64,
    /// The route's name.
    pub route: Arc<str>,
    /// The host as it was asked for.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path without its query; of several, the first one's.
    pub path: String,
    /// The path with `{*}` for what looks like an identifier.
    pub template: String,
    /// The connection's other end.
    pub peer: IpAddr,
    /// What logs call the session.
    pub session: Option<String>,
    /// The mesh identity that it was forwarded under.
    pub mesh_identity: Option<String>,
}

/// What another policy can be asked about a recorded [`Decision`], read from the same JSON without copying it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recorded<'a> {
    /// The host as it was asked for.
    #[serde(borrow)]
    pub host: Cow<'a, str>,
    /// The method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The path without its query; of several, the first one's.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The path with `{*}` for what looks like an identifier.
    #[serde(borrow)]
    pub template: Cow<'a, str>,
    /// The connection's other end.
    pub peer: IpAddr,
}

impl<'a> From<&'a Decision> for Recorded<'a> {
    fn from(decision: &'a Decision) -> Self {
        Self {
            host: (&decision.host).into(),
            method: (&decision.method).into(),
            path: (&decision.path).into(),
            template: (&decision.template).into(),
            peer: decision.peer,
        }
    }
}

/// A decision about somebody; `None` is somebody who was not signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Who asked.
    pub principal: Option<Arc<Principal>>,
    /// What was decided.
    pub decision: Decision,
    /// How often.
    pub count: i64,
    /// When first, in microseconds since the Unix epoch.
    pub first_at: i64,
    /// When last.
    pub last_at: i64,
}

/// Writes the path with `{*}` in place of segments that look like identifiers: numbers, and long ones with digits in them.
pub fn template(path: &str, into: &mut String) {
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            into.push('/');
        }
        into.push_str(if is_identifier(segment) {
            "{*}"
        } else {
            segment
        });
    }
}

fn is_identifier(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && digits == segment.len();
    let is_token = segment.len() >= 16 && digits >= 3;
    is_number || is_token || segment.len() > 64
}

#[cfg(test)]
mod tests {
    fn template(path: &str) -> String {
        let mut template = String::new();
        super::template(path, &mut template);
        template
    }

    #[test]
    fn what_looks_like_an_identifier_is_left_out() {
        for (path, expected) in [
            ("/", "/"),
            ("/d/42/edit", "/d/{*}/edit"),
            ("/v1/users", "/v1/users"),
            ("/x/0191f3c2-7d1a-7c3e-9b2a-000000000001", "/x/{*}"),
            ("/release-2026/notes", "/release-2026/notes"),
            ("/a//b/", "/a//b/"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        assert_eq!(template(&format!("/{}", "x".repeat(65))), "/{*}");
    }
}
