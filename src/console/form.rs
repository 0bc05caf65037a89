//! The form of one policy object: the fields that the rule language has ([`schema`]), filled from an object's JSON and read back into it.
//!
//! A list is a text with one item a line, and a mapping one with `name: value` lines. What is left out stands nowhere in the object; `[]` is a list
//! without items, which matches nothing.

use serde_json::{Map, Value, json};

use crate::web::parameters::Parameters;

pub(super) mod schema;

use schema::{Field, Input, Section, Suggest};

/// Alternatives that a form can have.
const MOST: usize = 40;

/// A field as a page shows it.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    pub(super) value: String,
    pub(super) input: Drawn,
    /// The id of a list of suggestions.
    pub(super) suggest: &'static str,
}

/// How a field is drawn.
pub(super) enum Drawn {
    Line,
    Lines(usize),
    Flag,
    Choice(&'static [&'static str]),
}

/// Fields that stand together.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) hint: &'static str,
    pub(super) fields: Vec<Shown>,
    /// Rarely used ones.
    pub(super) more: Vec<Shown>,
    pub(super) has_more: bool,
    /// Shown closed, since nothing is in it.
    pub(super) is_closed: bool,
}

/// Items of a text with one a line.
pub(super) fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Names and values of a text with `name: value` lines; a name can come again.
pub(super) fn pairs(text: &str) -> Vec<(String, Vec<String>)> {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines(text) {
        // A name may have colons itself: those of claims are often URLs.
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => pairs.push((name, vec![value])),
        }
    }
    pairs
}

/// The form of an object; none if it has more alternatives than a form can have.
pub(super) fn shown(sections: &'static [Section], object: &Value) -> Vec<Group> {
    let mut groups = Vec::new();
    for section in sections {
        let Some(key) = section.repeats else {
            groups.push(group(section, section.title.to_owned(), "", object));
            continue;
        };
        let list = at(object, key).and_then(Value::as_array);
        let items = list.map(Vec::as_slice).unwrap_or_default();
        if items.len() >= MOST {
            return Vec::new();
        }
        for index in 0..=items.len() {
            let title = match index {
                0 => section.title.to_owned(),
                _ => format!("or: {}", section.again),
            };
            let prefix = format!("{key}.{index}.");
            let nothing = json!({});
            let item = items.get(index);
            let mut group = group(section, title, &prefix, item.unwrap_or(&nothing));
            group.is_closed = item.is_none() && index > 0;
            if index == 0 && section.is_optional {
                group.offer_nothing(key, list.is_some_and(Vec::is_empty));
            }
            groups.push(group);
        }
    }
    groups
}

impl Group {
    /// A list without alternatives matches nothing, and one that is left out everything: a form must be able to say both.
    fn offer_nothing(&mut self, key: &str, is_so: bool) {
        self.has_more = self.has_more || is_so;
        self.more.push(Shown {
            name: nothing_at_all(key),
            label: "Nothing at all",
            hint: "An empty list, which matches nothing.",
            value: if is_so { "on" } else { "" }.to_owned(),
            input: Drawn::Flag,
            suggest: "",
        });
    }
}

fn nothing_at_all(key: &str) -> String {
    format!("f.{key}.nothing")
}

fn group(section: &'static Section, title: String, prefix: &str, object: &Value) -> Group {
    let show = |field: &&'static Field| Shown {
        name: format!("f.{prefix}{}", field.path),
        label: field.label,
        hint: field.hint,
        value: written(field, at(object, field.path)),
        input: match field.input {
            Input::Line => Drawn::Line,
            Input::Lines | Input::Pairs | Input::OnePairs | Input::Addresses => {
                let value = at(object, field.path);
                let size = value.map_or(0, |value| match value {
                    Value::Array(items) => items.len(),
                    Value::Object(fields) => fields.len(),
                    _ => 1,
                });
                Drawn::Lines((size + 1).clamp(2, 8))
            }
            Input::Flag => Drawn::Flag,
            Input::Choice(words) => Drawn::Choice(words),
        },
        suggest: match field.suggest {
            Suggest::Nothing => "",
            Suggest::Groups => "known-groups",
            Suggest::Emails => "known-emails",
            Suggest::Providers => "known-providers",
            Suggest::People => "known-people",
            Suggest::Routes => "known-routes",
            Suggest::RouteGroups => "known-route-groups",
        },
    };
    let (usual, rare): (Vec<&Field>, Vec<&Field>) =
        section.fields.iter().partition(|field| !field.is_rare);
    let more: Vec<Shown> = rare.iter().map(show).collect();
    Group {
        title,
        hint: section.hint,
        fields: usual.iter().map(show).collect(),
        has_more: more.iter().any(|field| !field.value.is_empty()),
        more,
        is_closed: false,
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = object;
    for step in path.split('.') {
        found = found.get(step)?;
    }
    Some(found)
}

/// A value as its field has it.
fn written(field: &Field, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    match (field.input, value) {
        (Input::Flag, Value::Bool(true)) => "on".to_owned(),
        (Input::Flag, _) => String::new(),
        (_, Value::Array(items)) if items.is_empty() => "[]".to_owned(),
        (_, Value::Array(items)) => items.iter().map(item).collect::<Vec<_>>().join("\n"),
        (_, Value::Object(fields)) => {
            let mut all = Vec::new();
            for (name, value) in fields {
                match value.as_array() {
                    Some(values) if values.is_empty() => all.push(format!("{name}: []")),
                    Some(values) => {
                        all.extend(values.iter().map(|one| format!("{name}: {}", item(one))));
                    }
                    None => all.push(format!("{name}: {}", item(value))),
                }
            }
            all.join("\n")
        }
        (_, value) => item(value),
    }
}

/// One item; an address with a weight is `host:port weight`.
fn item(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let address = fields.get("address").and_then(Value::as_str);
            let weight = fields.get("weight").map(ToString::to_string);
            format!(
                "{} {}",
                address.unwrap_or_default(),
                weight.unwrap_or_default()
            )
        }
        other => other.to_string(),
    }
}

/// The object that a form was filled in with.
pub(super) fn read(sections: &'static [Section], form: &Parameters) -> Value {
    let mut object = Map::new();
    for section in sections {
        let Some(key) = section.repeats else {
            read_fields(section, "f.", form, &mut object);
            continue;
        };
        let mut items = Vec::new();
        for index in 0..MOST {
            let mut item = Map::new();
            let prefix = format!("f.{key}.{index}.");
            read_fields(section, &prefix, form, &mut item);
            if !item.is_empty() {
                items.push(Value::Object(item));
            }
        }
        let is_nothing = form.one(&nothing_at_all(key)).is_some();
        if !items.is_empty() || !section.is_optional || is_nothing {
            put(&mut object, key, items.into());
        }
    }
    object.into()
}

fn read_fields(
    section: &'static Section,
    prefix: &str,
    form: &Parameters,
    object: &mut Map<String, Value>,
) {
    for field in section.fields {
        let text = form.one(&format!("{prefix}{}", field.path));
        let text = text.unwrap_or_default().trim();
        if let Some(value) = value(field, text) {
            put(object, field.path, value);
        }
    }
}

fn value(field: &Field, text: &str) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    Some(match field.input {
        Input::Flag => true.into(),
        Input::Line | Input::Choice(_) => text.into(),
        Input::Lines if text == "[]" => json!([]),
        Input::Lines => json!(lines(text)),
        Input::Addresses => lines(text).iter().map(|line| address(line)).collect(),
        Input::Pairs => {
            let pairs = pairs(text).into_iter();
            let listed = |(name, values): (String, Vec<String>)| match values.as_slice() {
                [none] if none == "[]" => (name, json!([])),
                _ => (name, json!(values)),
            };
            Value::Object(pairs.map(listed).collect())
        }
        Input::OnePairs => {
            let pairs = pairs(text).into_iter();
            let one = |(name, values): (String, Vec<String>)| (name, values.join(", ").into());
            Value::Object(pairs.map(one).collect())
        }
    })
}

fn address(line: &str) -> Value {
    let weighed = line.split_once(' ');
    match weighed.and_then(|(address, weight)| Some((address, weight.trim().parse::<u32>().ok()?)))
    {
        Some((address, weight)) => json!({ "address": address, "weight": weight }),
        None => line.into(),
    }
}

fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((step, rest)) => {
            let below = object.entry(step).or_insert_with(|| json!({}));
            if let Some(below) = below.as_object_mut() {
                put(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::form_urlencoded::Serializer;

    use super::*;
    use crate::policy::json::{from_json, to_json};
    use crate::policy::kind::Kind;
    use crate::policy::properties::policies;

    /// A form as a browser sends it back unchanged.
    fn sent(groups: &[Group]) -> Parameters {
        let mut form = Serializer::new(String::new());
        for group in groups {
            for field in group.fields.iter().chain(&group.more) {
                // Browsers end lines of texts so, and leave out flags that are not set.
                let value = field.value.replace('\n', "\r\n");
                if !matches!(field.input, Drawn::Flag) || !value.is_empty() {
                    form.append_pair(&field.name, &value);
                }
            }
        }
        Parameters::parse(form.finish().as_bytes(), usize::MAX).unwrap()
    }

    proptest! {
        #[test]
        fn every_object_goes_through_its_form(policy in policies()) {
            let before = to_json(&policy);
            for kind in Kind::ALL {
                for object in before.of(kind) {
                    let sections = schema::of(kind);
                    // What has no form is written as text.
                    if sections.is_empty() {
                        continue;
                    }
                    let after = read(sections, &sent(&shown(sections, object)));
                    prop_assert_eq!(&after, object, "{}", kind);
                }
            }
            prop_assert!(from_json(before).is_ok());
        }
    }

    #[test]
    fn what_no_form_can_hold_has_none() {
        let many =
            |count: usize| json!({ "name": "r", "from": vec![json!({ "groups": ["g"] }); count] });
        assert!(!shown(schema::of(Kind::Rule), &many(MOST - 1)).is_empty());
        assert!(shown(schema::of(Kind::Rule), &many(MOST)).is_empty());
        let nothing = json!({ "name": "r", "from": [], "to": [] });
        let after = read(
            schema::of(Kind::Rule),
            &sent(&shown(schema::of(Kind::Rule), &nothing)),
        );
        assert_eq!(after, nothing);
    }

    #[test]
    fn names_of_pairs_may_have_colons() {
        let read = pairs("https://x.example/role: a\n https://x.example/role: b: c \n\nplain");
        let expected = [
            (
                "https://x.example/role".to_owned(),
                vec!["a".to_owned(), "b: c".to_owned()],
            ),
            ("plain".to_owned(), vec![String::new()]),
        ];
        assert_eq!(read, expected);
    }
}
