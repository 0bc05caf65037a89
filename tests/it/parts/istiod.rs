//! What istiod makes of authorization policies for a sidecar's Envoy, as far as it can be told from its sources: a filter per action, a policy per
//! rule, an item per alternative, and the four forms of a text as Envoy's matchers.

use serde_json::{Value, json};

fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// `prefix` goes in front of what is compared; a text that begins with a star becomes a regular expression then.
fn string_matcher(text: &str, prefix: &str) -> Value {
    if text == "*" {
        json!({ "safe_regex": { "regex": ".+" } })
    } else if let Some(end) = text.strip_prefix('*') {
        if prefix.is_empty() {
            json!({ "suffix": end })
        } else {
            json!({ "safe_regex": { "regex": format!("{prefix}.*{end}") } })
        }
    } else if let Some(beginning) = text.strip_suffix('*') {
        json!({ "prefix": format!("{prefix}{beginning}") })
    } else {
        json!({ "exact": format!("{prefix}{text}") })
    }
}

fn header(name: &str, text: &str, ignore_case: bool) -> Value {
    if text == "*" {
        return json!({ "header": { "name": name, "present_match": true } });
    }
    let mut matcher = string_matcher(text, "");
    if ignore_case {
        matcher["ignore_case"] = true.into();
    }
    json!({ "header": { "name": name, "string_match": matcher } })
}

fn path(text: &str) -> Value {
    if text.contains("{*}") || text.contains("{**}") {
        let template = text.replace("{*}", "*").replace("{**}", "**");
        let kind = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
        let config = json!({ "@type": kind, "path_template": template });
        return json!({ "uri_template": { "name": "uri-template", "typed_config": config } });
    }
    json!({ "url_path": { "path": string_matcher(text, "") } })
}

/// A claim that is a text or a list with such a text.
fn claim(key: &str, values: &[&str]) -> Value {
    let name = match key {
        "request.auth.audiences" => "aud",
        key => {
            let claim = key.strip_prefix("request.auth.claims[");
            claim.and_then(|rest| rest.strip_suffix(']')).unwrap()
        }
    };
    let one = |value: &&str| json!({ "string_match": string_matcher(value, "") });
    let value = match values {
        [only] => one(only),
        many => {
            json!({ "or_match": { "value_matchers": many.iter().map(one).collect::<Vec<_>>() } })
        }
    };
    let either = json!([{ "list_match": { "one_of": value } }, value]);
    json!({ "metadata": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{ "key": "payload" }, { "key": name }],
        "value": { "or_match": { "value_matchers": either } },
    } })
}

fn permission(operation: &Value) -> Value {
    let mut all = Vec::new();
    let mut add = |name: &str, of: &dyn Fn(&str) -> Value| {
        let rules: Vec<Value> = texts(&operation[name]).into_iter().map(of).collect();
        if !rules.is_empty() {
            let any = json!({ "or_rules": { "rules": rules } });
            let is_other = name.starts_with("not");
            all.push(if is_other {
                json!({ "not_rule": any })
            } else {
                any
            });
        }
    };
    add("hosts", &|text| header(":authority", text, true));
    add("methods", &|text| header(":method", text, false));
    add("notMethods", &|text| header(":method", text, false));
    add("paths", &path);
    add("notPaths", &path);
    add(
        "ports",
        &|text| json!({ "destination_port": text.parse::<u16>().unwrap() }),
    );
    if all.is_empty() {
        all.push(json!({ "any": true }));
    }
    json!({ "and_rules": { "rules": all } })
}

fn principal(source: Option<&Value>, when: &[Value]) -> Value {
    let mut all = Vec::new();
    if let Some(source) = source {
        let names = texts(&source["source"]["principals"]);
        let ids = names.into_iter().map(|name| {
            let matcher = string_matcher(name, "spiffe://");
            json!({ "authenticated": { "principal_name": matcher } })
        });
        all.push(json!({ "or_ids": { "ids": ids.collect::<Vec<_>>() } }));
    }
    for condition in when {
        let key = condition["key"].as_str().unwrap();
        for (name, is_other) in [("values", false), ("notValues", true)] {
            let values = texts(&condition[name]);
            if values.is_empty() {
                continue;
            }
            let found = claim(key, &values);
            all.push(if is_other {
                json!({ "not_id": found })
            } else {
                found
            });
        }
    }
    if all.is_empty() {
        all.push(json!({ "any": true }));
    }
    json!({ "and_ids": { "ids": all } })
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The filter of one action; `None` if there is no such policy.
pub(crate) fn rbac(manifests: &[Value], action: &str) -> Option<Value> {
    let policies: Vec<&Value> = manifests
        .iter()
        .filter(|one| one["kind"] == "AuthorizationPolicy" && one["spec"]["action"] == action)
        .collect();
    if policies.is_empty() {
        return None;
    }
    let mut made = serde_json::Map::new();
    for policy in policies {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let rules = items(&policy["spec"], "rules");
        if rules.is_empty() {
            let never = json!({ "not_rule": { "any": true } });
            let nobody = json!({ "not_id": { "any": true } });
            let never = json!({ "permissions": [never], "principals": [nobody] });
            made.insert(format!("{name}[0]"), never);
        }
        for (number, rule) in rules.iter().enumerate() {
            let mut permissions: Vec<Value> = items(rule, "to")
                .iter()
                .map(|to| permission(&to["operation"]))
                .collect();
            if permissions.is_empty() {
                permissions.push(permission(&Value::Null));
            }
            let when = items(rule, "when");
            let mut principals: Vec<Value> = items(rule, "from")
                .iter()
                .map(|from| principal(Some(from), when))
                .collect();
            if principals.is_empty() {
                principals.push(principal(None, when));
            }
            let policy = json!({ "permissions": permissions, "principals": principals });
            made.insert(format!("{name}[{number}]"), policy);
        }
    }
    Some(json!({ "action": action, "policies": made }))
}

/// The filter that verifies assertions: a wrong one is refused, none is none.
pub(crate) fn jwt_authn(manifests: &[Value]) -> Value {
    let authentication = manifests
        .iter()
        .find(|one| one["kind"] == "RequestAuthentication")
        .unwrap();
    let rule = &authentication["spec"]["jwtRules"][0];
    let headers = items(rule, "fromHeaders").iter();
    let headers: Vec<Value> = headers
        .map(|header| json!({ "name": header["name"] }))
        .collect();
    let provider = json!({
        "issuer": rule["issuer"],
        "audiences": rule["audiences"],
        "local_jwks": { "inline_string": rule["jwks"] },
        "from_headers": headers,
        "forward": rule["forwardOriginalToken"],
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": { "space_delimited_claims": ["scope", "permission"] },
    });
    let either =
        json!({ "requirements": [{ "provider_name": "origins-0" }, { "allow_missing": {} }] });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": { "origins-0": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": either } }],
    })
}
