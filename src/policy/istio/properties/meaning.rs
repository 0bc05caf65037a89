//! What Istio's manifests mean, by its reference and by what istiod makes of them: read from the manifests' JSON, with nothing of the exporter in it.

use serde_json::Value;

/// A request as the workload's proxy sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Without `spiffe://`.
    pub(crate) principal: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) method: String,
    /// Without query.
    pub(crate) path: String,
    /// Whether the proxy takes `*` and `=` for a part of a template's segment: Envoys differ.
    pub(crate) takes_all: bool,
    /// The assertion's claims, if there is one.
    pub(crate) claims: Option<Value>,
}

fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// The four forms of a text.
fn text(wanted: &str, found: &str) -> bool {
    if wanted == "*" {
        !found.is_empty()
    } else if let Some(end) = wanted.strip_prefix('*') {
        found.ends_with(end)
    } else if let Some(beginning) = wanted.strip_suffix('*') {
        found.starts_with(beginning)
    } else {
        wanted == found
    }
}

/// A part of a template is a segment; `{**}` comes last, and is anything behind the slash.
fn path(wanted: &str, seen: &Seen) -> bool {
    let found = seen.path.as_str();
    if !wanted.contains('{') {
        return text(wanted, found);
    }
    let mut found = found.split('/');
    for part in wanted.split('/') {
        if part == "{**}" {
            let rest: Vec<&str> = found.collect();
            return !rest.is_empty() && rest.iter().all(|part| is_part(part, seen));
        }
        let is_good = found.next().is_some_and(|found| match part {
            "{*}" => !found.is_empty() && is_part(found, seen),
            literal => literal == found,
        });
        if !is_good {
            return false;
        }
    }
    found.next().is_none()
}

fn is_part(part: &str, seen: &Seen) -> bool {
    seen.takes_all || !part.contains(['*', '='])
}

/// Absent is no condition.
fn field(wanted: &Value, holds: impl Fn(&str) -> bool) -> bool {
    wanted.is_null() || texts(wanted).into_iter().any(holds)
}

fn operation(operation: &Value, seen: &Seen) -> bool {
    let none = |other: &Value, holds: &dyn Fn(&str) -> bool| !texts(other).into_iter().any(holds);
    field(&operation["hosts"], |host| text(host, &seen.host))
        && field(&operation["ports"], |port| port == seen.port.to_string())
        && field(&operation["methods"], |method| text(method, &seen.method))
        && none(&operation["notMethods"], &|method| {
            text(method, &seen.method)
        })
        && field(&operation["paths"], |wanted| path(wanted, seen))
        && none(&operation["notPaths"], &|other| path(other, seen))
}

/// The values of a claim: a text, or the texts of a list.
fn claim<'a>(key: &str, seen: &'a Seen) -> Vec<&'a str> {
    let name = match key {
        "request.auth.audiences" => "aud",
        key => key
            .strip_prefix("request.auth.claims[")
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap(),
    };
    let value = seen.claims.as_ref().map(|claims| &claims[name]);
    match value {
        Some(Value::String(one)) => vec![one],
        Some(list @ Value::Array(_)) => texts(list),
        _ => Vec::new(),
    }
}

fn condition(condition: &Value, seen: &Seen) -> bool {
    let values = claim(condition["key"].as_str().unwrap(), seen);
    let any = |wanted: &str| values.iter().any(|value| text(wanted, value));
    let others = texts(&condition["notValues"]);
    field(&condition["values"], any) && !others.into_iter().any(any)
}

fn rule(rule: &Value, seen: &Seen) -> bool {
    let items = |name: &str| rule[name].as_array();
    let from = items("from");
    let to = items("to");
    from.is_none_or(|from| {
        from.iter().any(|one| {
            field(&one["source"]["principals"], |wanted| {
                text(wanted, &seen.principal)
            })
        })
    }) && to.is_none_or(|to| to.iter().any(|one| operation(&one["operation"], seen)))
        && items("when").is_none_or(|when| when.iter().all(|one| condition(one, seen)))
}

/// DENY before ALLOW; with any ALLOW policy there is, one has to match.
pub(crate) fn is_allowed(manifests: &[Value], seen: &Seen) -> bool {
    let policies = |action: &str| -> Vec<&Value> {
        manifests
            .iter()
            .filter(|manifest| manifest["kind"] == "AuthorizationPolicy")
            .map(|manifest| &manifest["spec"])
            .filter(|spec| spec["action"] == action)
            .collect()
    };
    let matches = |spec: &&Value| {
        let rules = spec["rules"].as_array();
        rules.is_some_and(|rules| rules.iter().any(|one| rule(one, seen)))
    };
    is_believed(manifests, seen)
        && !policies("DENY").iter().any(matches)
        && (policies("ALLOW").is_empty() || policies("ALLOW").iter().any(matches))
}

/// An assertion of a known issuer must be for one of the audiences.
fn is_believed(manifests: &[Value], seen: &Seen) -> bool {
    let Some(claims) = &seen.claims else {
        return true;
    };
    let mut authentications = manifests
        .iter()
        .filter(|manifest| manifest["kind"] == "RequestAuthentication");
    authentications.all(|manifest| {
        let rules = manifest["spec"]["jwtRules"].as_array().unwrap();
        let of_issuer = rules.iter().find(|rule| rule["issuer"] == claims["iss"]);
        of_issuer.is_some_and(|rule| {
            texts(&rule["audiences"])
                .into_iter()
                .any(|audience| claims["aud"] == audience)
        })
    })
}
