//! A kubeconfig with other entries: the text is changed where they stand, and nowhere else. What comes out is read again and compared before anybody sees it.

use serde_json::{Map, Value, json};

/// What is written of one cluster, all under one name.
pub(super) struct Entries {
    pub(super) name: String,
    pub(super) cluster: Value,
    pub(super) user: Value,
    pub(super) context: Value,
}

/// Why nothing is written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeFault {
    /// It cannot be read.
    #[error("it is no kubeconfig: {0}")]
    Unreadable(String),
    /// Its shape is not the one that is understood here.
    #[error("it is not laid out as kubectl does it, so nothing was changed")]
    Layout,
    /// Somebody else's entry has the name.
    #[error("it has another {kind} {name} already")]
    Taken {
        /// `cluster`, `user` or `context`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl MergeFault {
    /// What can be done.
    pub(super) fn next(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Layout => {
                "write another one with --kubeconfig FILE, and name both in KUBECONFIG"
            }
            Self::Taken { .. } => "give another name with --name NAME",
        }
    }
}

/// The lists of a kubeconfig, and what an item of each is.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("contexts", "context"),
    ("users", "user"),
];

impl Entries {
    fn of(&self, kind: &str) -> &Value {
        match kind {
            "cluster" => &self.cluster,
            "context" => &self.context,
            _ => &self.user,
        }
    }

    fn item(&self, kind: &str) -> Value {
        json!({ "name": self.name, kind: self.of(kind) })
    }
}

/// The text with these entries in it. Theirs is the current context if there is none, or if `is_used`.
pub(super) fn merged(text: &str, entries: &Entries, is_used: bool) -> Result<String, MergeFault> {
    let before = read(text)?;
    refuse_taken(&before, entries)?;
    let mut wanted = before.clone();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if !before.contains_key(key) {
            wanted.insert(key.to_owned(), json!(value));
            lines.push(format!("{key}: {value}"));
        }
    }
    for (list, kind) in LISTS {
        let item = entries.item(kind);
        put(&mut wanted, list, &entries.name, &item)?;
        place(&mut lines, list, &entries.name, &written(kind, entries))?;
    }
    let current = before.get("current-context").and_then(Value::as_str);
    if is_used || current.unwrap_or_default().is_empty() {
        let line = format!("current-context: {}", quoted(&entries.name));
        wanted.insert("current-context".to_owned(), json!(entries.name));
        let old = lines
            .iter()
            .position(|line| line.starts_with("current-context:"));
        match old.and_then(|at| lines.get_mut(at)) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }
    let after = lines.join("\n") + "\n";
    match read(&after) {
        Ok(read) if read == wanted => Ok(after),
        Ok(_) | Err(_) => Err(MergeFault::Layout),
    }
}

fn read(text: &str) -> Result<Map<String, Value>, MergeFault> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let read: Value = serde_saphyr::from_str(text)
        .map_err(|error| MergeFault::Unreadable(error.without_snippet().to_string()))?;
    match read {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(MergeFault::Unreadable("it is no mapping".to_owned())),
    }
}

fn named<'a>(file: &'a Map<String, Value>, list: &str, name: &str) -> Option<&'a Value> {
    let items = file.get(list)?.as_array()?;
    items.iter().find(|item| item["name"] == name)
}

/// Ours are told by what runs: a user of this name that gets its credential from us, or none and nothing else of the name.
fn refuse_taken(file: &Map<String, Value>, entries: &Entries) -> Result<(), MergeFault> {
    let name = &entries.name;
    let exec = |user: &Value| user["user"]["exec"]["args"][0] == "kube-credential";
    if named(file, "users", name).is_some_and(exec) {
        return Ok(());
    }
    let mut taken = LISTS.into_iter();
    match taken.find(|(list, _)| named(file, list, name).is_some()) {
        Some((_, kind)) => Err(MergeFault::Taken {
            kind,
            name: name.clone(),
        }),
        None => Ok(()),
    }
}

fn put(
    file: &mut Map<String, Value>,
    list: &str,
    name: &str,
    item: &Value,
) -> Result<(), MergeFault> {
    let items = file.entry(list).or_insert(Value::Null);
    if items.is_null() {
        *items = json!([]);
    }
    let items = items.as_array_mut().ok_or(MergeFault::Layout)?;
    match items.iter_mut().find(|own| own["name"] == name) {
        Some(own) => *own = item.clone(),
        None => items.push(item.clone()),
    }
    Ok(())
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Puts an item into a list of the text: in the place of the one with this name, else behind the last.
fn place(
    lines: &mut Vec<String>,
    list: &str,
    name: &str,
    item: &[String],
) -> Result<(), MergeFault> {
    let key = format!("{list}:");
    let Some(at) = lines.iter().position(|line| line.starts_with(&key)) else {
        lines.push(key);
        lines.extend(item.iter().cloned());
        return Ok(());
    };
    let said = lines.get(at).and_then(|line| line.strip_prefix(&key));
    let said = said.unwrap_or_default().trim();
    if matches!(said, "[]" | "null" | "~") {
        lines.splice(at..=at, std::iter::once(key).chain(item.iter().cloned()));
        return Ok(());
    }
    if !says_nothing(said) {
        return Err(MergeFault::Layout);
    }
    let is_next_key =
        |line: &String| indentation(line) == 0 && !line.starts_with('-') && !says_nothing(line);
    let end = { lines.iter().enumerate().skip(at + 1) }.find(|(_, line)| is_next_key(line));
    let mut end = end.map_or(lines.len(), |(end, _)| end);
    // What stands before the next key, and says nothing, belongs to it.
    while end > at + 1 && lines.get(end - 1).is_some_and(|line| says_nothing(line)) {
        end -= 1;
    }
    let starts = starts(lines, at + 1, end);
    let indent = starts.first().and_then(|start| lines.get(*start));
    let indent = " ".repeat(indent.map_or(0, |line| indentation(line)));
    let item = item.iter().map(|line| format!("{indent}{line}"));
    for (index, start) in starts.iter().enumerate() {
        let mut stop = starts.get(index + 1).copied().unwrap_or(end);
        while stop > *start + 1 && lines.get(stop - 1).is_some_and(|line| says_nothing(line)) {
            stop -= 1;
        }
        if name_of(lines.get(*start..stop).unwrap_or_default()).as_deref() == Some(name) {
            lines.splice(*start..stop, item);
            return Ok(());
        }
    }
    lines.splice(end..end, item);
    Ok(())
}

/// The first lines of a list's items.
fn starts(lines: &[String], from: usize, to: usize) -> Vec<usize> {
    let is_item = |line: &String| line.trim_start_matches(' ').starts_with("- ");
    let within = lines.iter().enumerate().take(to).skip(from);
    let mut starts: Vec<usize> = Vec::new();
    let mut depth = None;
    for (at, line) in within.filter(|(_, line)| is_item(line)) {
        if *depth.get_or_insert_with(|| indentation(line)) == indentation(line) {
            starts.push(at);
        }
    }
    starts
}

fn name_of(item: &[String]) -> Option<String> {
    let read: Value = serde_saphyr::from_str(&item.join("\n")).ok()?;
    Some(read[0]["name"].as_str()?.to_owned())
}

/// An item as kubectl lays it out.
fn written(kind: &str, entries: &Entries) -> Vec<String> {
    let mut lines = vec![format!("- {kind}:")];
    write_fields(&mut lines, entries.of(kind), 4);
    lines.push(format!("  name: {}", quoted(&entries.name)));
    lines
}

fn write_fields(lines: &mut Vec<String>, fields: &Value, indent: usize) {
    let space = " ".repeat(indent);
    for (key, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => {
                lines.push(format!("{space}{key}:"));
                write_fields(lines, value, indent + 2);
            }
            Value::Array(items) => {
                lines.push(format!("{space}{key}:"));
                lines.extend(items.iter().map(|item| format!("{space}- {item}")));
            }
            value => lines.push(format!("{space}{key}: {value}")),
        }
    }
}

/// A text in double quotes, which YAML reads as JSON does.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(name: &str, server: &str) -> Entries {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "args": ["kube-credential", "prod", "--profile", "yes"],
            "command": "wayleave",
        });
        Entries {
            name: name.to_owned(),
            cluster: json!({ "server": server }),
            user: json!({ "exec": exec }),
            context: json!({ "cluster": name, "user": name }),
        }
    }

    /// As kubectl writes it, with what people add.
    const OTHERS: &str = r#"apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTg==
    server: https://10.0.0.1:6443
  name: minikube   # the one on my machine
# the big one
- cluster: { server: "https://big.example", insecure-skip-tls-verify: true }
  name: big
contexts:
- context:
    cluster: minikube
    namespace: 0123
    user: minikube
  name: minikube

# what I use
current-context: minikube
kind: Config
preferences: {}
users:
- name: minikube
  user:
    token: 1e3
    password: |
      - not an item
      clusters:
- name: big
  user:
    exec:
      args:
      - get-token
      command: aws
"#;

    /// Whether all lines of one text stand in another, in their order.
    fn keeps(text: &str, lines: &str) -> bool {
        let mut has = text.lines();
        lines.lines().all(|line| has.any(|own| own == line))
    }

    #[test]
    fn entries_of_others_stay_byte_for_byte_and_ours_come_and_change() {
        let added = merged(OTHERS, &entries("prod", "https://k.example"), false).unwrap();
        assert!(keeps(&added, OTHERS), "{added}");
        let file = read(&added).unwrap();
        assert_eq!(file["current-context"], "minikube");
        assert_eq!(
            named(&file, "clusters", "prod").unwrap()["cluster"]["server"],
            "https://k.example"
        );
        let user = named(&file, "users", "prod").unwrap();
        assert_eq!(user["user"]["exec"]["args"][3], "yes");

        let same = merged(&added, &entries("prod", "https://k.example"), false).unwrap();
        assert_eq!(same, added);
        let moved = merged(&added, &entries("prod", "https://l.example"), true).unwrap();
        assert_eq!(
            moved
                .replace("l.example", "k.example")
                .replace("current-context: \"prod\"", "current-context: minikube"),
            added
        );
        let third = merged(&moved, &entries("test", "https://m.example"), false).unwrap();
        assert!(third.starts_with("apiVersion: v1\nclusters:\n- cluster:\n    certificate"));
        assert_eq!(
            read(&third).unwrap()["clusters"].as_array().unwrap().len(),
            4
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_empty_becomes_one() {
        let nothing = "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: null\nusers:\ncurrent-context: \"\"\n";
        for text in ["", "\n", "# mine\n", nothing] {
            let made = merged(text, &entries("prod", "https://k.example"), false).unwrap();
            let file = read(&made).unwrap();
            assert_eq!(file["current-context"], "prod", "{made}");
            assert_eq!(
                (&file["kind"], &file["apiVersion"]),
                (&json!("Config"), &json!("v1"))
            );
            for (list, _) in LISTS {
                assert!(named(&file, list, "prod").is_some(), "{made}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_or_somebody_elses_is_left_alone() {
        let ours = |name| entries(name, "https://k.example");
        assert_eq!(
            merged(OTHERS, &ours("minikube"), false),
            Err(MergeFault::Taken {
                kind: "cluster",
                name: "minikube".to_owned()
            })
        );
        for odd in [
            "{\"apiVersion\": \"v1\", \"clusters\": [{\"name\": \"a\", \"cluster\": {}}]}",
            "clusters: [{ name: a, cluster: { server: x } }]\n",
            "\"clusters\":\n- name: a\n",
            "clusters:\n  a: b\n",
        ] {
            assert_eq!(
                merged(odd, &ours("prod"), false),
                Err(MergeFault::Layout),
                "{odd}"
            );
        }
        for broken in ["- a\n", "a: [\n", "a: 1\na: 2\n"] {
            assert!(matches!(
                merged(broken, &ours("prod"), false),
                Err(MergeFault::Unreadable(_))
            ));
        }
    }

    #[test]
    fn lists_that_are_indented_stay_so() {
        let text = "clusters:\n  - name: a\n    cluster:\n      server: x\n\n# next\nusers: []\n";
        let made = merged(text, &entries("prod", "https://k.example"), false).unwrap();
        assert!(made.contains("      server: x\n  - cluster:\n      server: \"https://k.example\"\n    name: \"prod\"\n\n# next\n"), "{made}");
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_it_is_refused_or_keeps_what_it_had(
            text in "((clusters|users|contexts|current-context|kind|x):( \\[\\]| a| \\||)\n|  ? ?- (name|cluster|user): (a|\"b\"|\\{\\})\n|    ?(name|x): (a|b|\\|)\n|#.*\n|\n){0,12}",
            name in "[ab]|prod|yes|1|a b|\"",
        ) {
            let own = entries(&name, "https://k.example");
            if let Ok(made) = merged(&text, &own, false) {
                let (before, after) = (read(&text).unwrap(), read(&made).unwrap());
                for (list, kind) in LISTS {
                    prop_assert_eq!(named(&after, list, &name), Some(&own.item(kind)));
                    let had = before.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
                    let has = after[list].as_array().unwrap();
                    for item in had {
                        prop_assert!(item["name"] == *name || has.contains(&item));
                    }
                }
                for (key, value) in &before {
                    let is_ours = LISTS.iter().any(|(list, _)| list == key) || key == "current-context";
                    prop_assert!(is_ours || after.get(key) == Some(value));
                }
                prop_assert_eq!(merged(&made, &own, false), Ok(made.clone()));
            }
        }
    }
}
