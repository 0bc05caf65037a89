//! The manifests of a workload as the text of a file.

use crate::policy::istio::WorkloadExport;

impl WorkloadExport {
    /// A name for the file: namespaces have no dots, so no two workloads share one.
    pub fn file_name(&self) -> String {
        format!("{}.{}.yaml", self.namespace, self.service_account)
    }

    /// All manifests as YAML, below what differs from the edge. What is about no workload comes first.
    pub fn text(&self, what: &str) -> String {
        let mut text = format!("# {what}\n");
        for note in &self.notes {
            text.push_str(&format!("# - {note}\n"));
        }
        for manifest in &self.manifests {
            // Texts, lists and maps of them can always be written.
            let yaml = serde_saphyr::to_string(manifest).unwrap_or_default();
            text.push_str("---\n");
            text.push_str(&yaml);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::istio::drift;
    use crate::policy::istio::manifest::{
        Action, AuthorizationPolicy, Condition, Key, Manifest, Metadata, Rule, WorkloadSelector,
    };
    use crate::policy::istio::{Effect, Note};

    #[test]
    fn b13_every_text_comes_out_as_it_is() {
        let odd = [
            "n",
            "yes",
            "on",
            "NULL",
            "~",
            "8080",
            "0x1",
            "1e3",
            ".5",
            "1:30",
            "2026-01-01",
            "*",
            "*a",
            "a*",
            "&a",
            "!a",
            "- a",
            "a: b",
            "a #b",
            " a",
            "a ",
            "'",
            "\"",
            "\\",
            "=",
            "<<",
            "{*}",
            "/d/{*}",
            "é",
            "\u{2028}",
            "a\u{7f}",
            "---",
            "...",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "?",
            "",
        ];
        let condition = Condition {
            key: Key::Groups,
            values: odd.iter().map(|text| (*text).to_owned()).collect(),
            not_values: Vec::new(),
        };
        let metadata = Metadata {
            name: "n".to_owned(),
            namespace: "y".to_owned(),
            labels: [("a.b/c".to_owned(), "off".to_owned())].into(),
        };
        let spec = AuthorizationPolicy {
            selector: WorkloadSelector {
                match_labels: [("app".to_owned(), "true".to_owned())].into(),
            },
            action: Action::Allow,
            rules: vec![Rule {
                when: vec![condition],
                ..Rule::default()
            }],
        };
        let export = WorkloadExport {
            namespace: "y".to_owned(),
            service_account: "n".to_owned(),
            manifests: vec![Manifest::authorization(metadata, spec)],
            notes: vec![Note {
                about: "rule r".to_owned(),
                effect: Effect::Look,
                why: "a\nkind: Secret\u{2028}".to_owned(),
            }],
        };
        let text = export.text("What it is.");
        let wanted = serde_json::to_value(&export.manifests[0]).unwrap();
        assert_eq!(drift::read(&text).unwrap(), [wanted], "{text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("# -")).count(),
            1
        );
        // Readers of YAML 1.1 take these for something else unless they are quoted.
        for bare in [
            "- n\n",
            "- yes\n",
            "- on\n",
            "- 1:30\n",
            "app: true\n",
            "name: n\n",
        ] {
            assert!(!text.contains(bare), "{bare:?} in {text}");
        }
    }
}
