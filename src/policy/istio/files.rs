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
