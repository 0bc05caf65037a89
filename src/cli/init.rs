//! `wayleave init`: writes what a new edge starts from, and never over anything that is there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::EXAMPLE;
use crate::policy::yaml::SCHEMA;
use crate::secret::random;

/// The policy to start from.
const POLICY: &str = include_str!("../../deploy/policy.example.yaml");

/// Who may read a file.
#[derive(Clone, Copy)]
enum Readers {
    Anyone,
    Owner,
}

/// Writes `wayleave.toml`, `policy.yaml` and its schema, `store.key` and `operator.token`; when any of them exists, says which and writes none.
pub fn run(folder: &Path) -> anyhow::Result<ExitCode> {
    let key = zeroize::Zeroizing::new(hex::encode(random::<32>()));
    let token = zeroize::Zeroizing::new(hex::encode(random::<32>()));
    let files = [
        ("wayleave.toml", EXAMPLE, Readers::Anyone),
        ("policy.yaml", POLICY, Readers::Anyone),
        ("policy.schema.json", SCHEMA, Readers::Anyone),
        ("store.key", key.as_str(), Readers::Owner),
        ("operator.token", token.as_str(), Readers::Owner),
    ];
    let existing: Vec<&str> = files
        .iter()
        .map(|(name, ..)| *name)
        .filter(|name| folder.join(name).symlink_metadata().is_ok())
        .collect();
    if !existing.is_empty() {
        anyhow::bail!(
            "{} has {} already; nothing was written. Choose another folder: wayleave init DIR",
            folder.display(),
            existing.join(" and ")
        );
    }
    fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    for (name, text, readers) in files {
        let file = folder.join(name);
        write_new(&file, text, readers)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        anstream::println!("wrote {}", file.display());
    }
    let config = folder.join("wayleave.toml");
    let policy = folder.join("policy.yaml");
    anstream::println!(
        "\nNext:\n  $EDITOR {config} {policy}\n  wayleave check --config {config}\n  wayleave serve --config {config}\n\nWhile nobody is owner, `serve` says in its log how to become it, at /console/claim of the home host.",
        config = config.display(),
        policy = policy.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that must not exist, with its mode from the first moment on.
fn write_new(file: &Path, text: &str, readers: Readers) -> std::io::Result<()> {
    let mode = match readers {
        Readers::Anyone => 0o644,
        Readers::Owner => 0o600,
    };
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn writes_what_is_needed_and_a_key_of_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("edge");
        run(&inner).unwrap();
        let policy = fs::read_to_string(inner.join("policy.yaml")).unwrap();
        let schema = policy.lines().next().unwrap().split("$schema=").nth(1);
        let schema = fs::read_to_string(inner.join(schema.unwrap())).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&schema).is_ok());
        let mode = fs::metadata(inner.join("store.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let key = fs::read_to_string(inner.join("store.key")).unwrap();
        assert_eq!(key.len(), 64);
        assert!(inner.join("wayleave.toml").exists() && inner.join("policy.yaml").exists());
    }

    #[test]
    fn every_policy_that_is_handed_out_compiles() {
        use crate::identity::spiffe_id::TrustDomain;
        use crate::policy::compile::CompiledPolicy;
        use crate::policy::model::Revision;

        let demo = include_str!("../../demo/policy.yaml")
            .replace("@DASHBOARDS_PORT@", "7001")
            .replace("@PAYROLL_PORT@", "7002")
            .replace("@RELEASES_PORT@", "7003")
            .replace("@LINES_PORT@", "7004");
        let okta = include_str!("../../deploy/examples/okta-istio/policy.yaml");
        for (text, trust_domain) in [
            (POLICY, "cluster.local"),
            (okta, "cluster.local"),
            (&demo, "demo.wayleave"),
        ] {
            let policy = crate::policy::yaml::parse(text).unwrap();
            let trust_domain = TrustDomain::parse(trust_domain).unwrap();
            CompiledPolicy::new(policy, Revision(1), &trust_domain).unwrap();
        }
    }

    #[test]
    fn overwrites_nothing_and_names_what_exists() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.yaml"), "mine").unwrap();
        let error = run(folder.path()).unwrap_err().to_string();
        assert!(error.contains("policy.yaml"), "{error}");
        assert!(!error.contains("store.key"), "{error}");
        assert_eq!(
            fs::read_to_string(folder.path().join("policy.yaml")).unwrap(),
            "mine"
        );
        assert!(
            !folder.path().join("wayleave.toml").exists(),
            "all or nothing"
        );
    }
}
