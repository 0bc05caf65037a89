//! `wayleave policy export --format istio`: the policy as manifests, and whether those in a folder are still it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::client::{Client, ClientError};
use crate::policy::istio::drift::{self, Difference, Part};

/// The manifests in the folder are not those of the policy.
const DIFFERS: u8 = 6;

/// Which manifests, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct IstioArguments {
    /// With --format istio: for ztunnel, which sees ports and principals only.
    #[arg(long)]
    ambient: bool,
    /// With --format istio: the labels of a workload's pods; the default is app=SERVICE-ACCOUNT.
    #[arg(long, value_name = "NAMESPACE/SERVICE-ACCOUNT=KEY:VALUE,…", value_parser = selector)]
    selector: Vec<Selector>,
    /// With --format istio: the workload's own port for one of its Service's.
    #[arg(long, value_name = "NAMESPACE/SERVICE-ACCOUNT=PORT:TARGET", value_parser = target_port)]
    target_port: Vec<TargetPort>,
    /// With --format istio: write a file for each workload into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// With --format istio: say what differs in the manifests of this folder, and exit with 6 if anything does.
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
}

/// Namespace and service account.
type Workload = (String, String);

#[derive(Clone, Debug)]
struct Selector(Workload, BTreeMap<String, String>);

#[derive(Clone, Debug)]
struct TargetPort(Workload, u16, u16);

impl IstioArguments {
    /// Whether any is given.
    pub(super) fn are_given(&self) -> bool {
        self.ambient
            || !self.selector.is_empty()
            || !self.target_port.is_empty()
            || self.out.is_some()
            || self.check.is_some()
    }

    fn body(&self, revision: Option<i64>) -> Value {
        let mut workloads: BTreeMap<&Workload, (Option<BTreeMap<_, _>>, BTreeMap<u16, u16>)> =
            BTreeMap::new();
        for Selector(workload, labels) in &self.selector {
            let known = &mut workloads.entry(workload).or_default().0;
            known.get_or_insert_default().extend(labels.clone());
        }
        for TargetPort(workload, port, target) in &self.target_port {
            let known = &mut workloads.entry(workload).or_default().1;
            known.insert(*port, *target);
        }
        let workloads: Vec<Value> = workloads
            .into_iter()
            .map(|((namespace, service_account), (labels, ports))| {
                json!({
                    "namespace": namespace,
                    "service_account": service_account,
                    "labels": labels,
                    "ports": ports,
                })
            })
            .collect();
        json!({ "revision": revision, "ambient": self.ambient, "workloads": workloads })
    }
}

fn workload(text: &str) -> Result<(Workload, &str), &'static str> {
    let split = text
        .split_once('=')
        .and_then(|(workload, rest)| Some((workload.split_once('/')?, rest)));
    let ((namespace, service_account), rest) =
        split.ok_or("it is written NAMESPACE/SERVICE-ACCOUNT=…")?;
    Ok(((namespace.to_owned(), service_account.to_owned()), rest))
}

fn selector(text: &str) -> Result<Selector, &'static str> {
    let (workload, rest) = workload(text)?;
    let labels: Option<BTreeMap<_, _>> = rest
        .split(',')
        .map(|label| {
            let (key, value) = label.split_once(':')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect();
    let labels = labels.ok_or("labels are written KEY:VALUE,KEY:VALUE")?;
    Ok(Selector(workload, labels))
}

fn target_port(text: &str) -> Result<TargetPort, &'static str> {
    let (workload, rest) = workload(text)?;
    let ports = rest
        .split_once(':')
        .and_then(|(port, target)| Some((port.parse().ok()?, target.parse().ok()?)));
    let (port, target) = ports.ok_or("ports are written PORT:TARGET, like 80:3000")?;
    Ok(TargetPort(workload, port, target))
}

/// The manifests of a revision, and what differs from the edge on standard error.
pub(super) async fn fetch(
    client: &Client,
    arguments: &IstioArguments,
    revision: Option<i64>,
) -> Result<Value, ClientError> {
    let body = arguments.body(revision);
    let said = client.post("policy/istio", &body).await?;
    // Whoever compares has read them when they wrote the manifests, in which they stand.
    if arguments.check.is_none() {
        let of_files = items(&said, "files").flat_map(|file| items(file, "notes"));
        for note in items(&said, "notes").chain(of_files) {
            anstream::eprintln!("note: {}", text(note, "text"));
        }
    }
    Ok(said)
}

/// Writes, prints or compares what was fetched.
pub(super) fn deliver(
    said: &Value,
    arguments: &IstioArguments,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &arguments.check {
        return check(said, folder, json);
    }
    if let Some(folder) = &arguments.out {
        write(said, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    if json {
        anstream::println!("{said:#}");
        return Ok(ExitCode::SUCCESS);
    }
    for note in items(said, "notes") {
        anstream::println!("# - {}", text(note, "text"));
    }
    for (number, file) in items(said, "files").enumerate() {
        if number > 0 {
            anstream::println!("---");
        }
        anstream::print!("{}", text(file, "text"));
    }
    Ok(ExitCode::SUCCESS)
}

fn write(said: &Value, folder: &Path) -> anyhow::Result<()> {
    let failed = |path: &Path| format!("{} cannot be written", path.display());
    std::fs::create_dir_all(folder).with_context(|| failed(folder))?;
    for file in items(said, "files") {
        let path = folder.join(text(file, "name"));
        std::fs::write(&path, text(file, "text")).with_context(|| failed(&path))?;
        anstream::println!("{}", path.display());
    }
    for (id, difference) in differences(said, folder)? {
        if difference == Difference::NotWanted {
            anstream::eprintln!(
                "note: {id} is in the folder and not of the policy any more; delete it, from the cluster as well"
            );
        }
    }
    Ok(())
}

fn check(said: &Value, folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let differences = differences(said, folder)?;
    if json {
        let differences: Vec<Value> = differences.iter().map(as_json).collect();
        anstream::println!(
            "{:#}",
            json!({ "revision": said["revision"], "differences": differences })
        );
    } else {
        print_differences(said, &differences);
    }
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERS)
    })
}

fn as_json((id, difference): &(drift::Id, Difference)) -> Value {
    let (what, parts) = match difference {
        Difference::Missing => ("missing", None),
        Difference::NotWanted => ("not_wanted", None),
        Difference::Twice => ("twice", None),
        Difference::Other(parts) => ("other", Some(parts)),
    };
    let part = |part: &Part| json!({ "place": part.place, "is": part.is, "wanted": part.wanted });
    let parts: Vec<Value> = parts.into_iter().flatten().map(part).collect();
    json!({ "object": id.to_string(), "difference": what, "parts": parts })
}

fn print_differences(said: &Value, differences: &[(drift::Id, Difference)]) {
    let revision = &said["revision"];
    if differences.is_empty() {
        anstream::println!("The manifests are those of revision {revision}.");
        return;
    }
    anstream::println!("The manifests are not those of revision {revision}:\n");
    for (id, difference) in differences {
        match difference {
            Difference::Missing => anstream::println!("+ {id} is missing"),
            Difference::NotWanted => anstream::println!("- {id} is not wanted any more"),
            Difference::Twice => anstream::println!("~ {id} is there more than once"),
            Difference::Other(parts) => {
                anstream::println!("~ {id}");
                parts.iter().for_each(print_part);
            }
        }
    }
}

fn print_part(part: &Part) {
    anstream::println!("    {}:", part.place);
    if let Some(is) = &part.is {
        anstream::println!("      - {is}");
    }
    if let Some(wanted) = &part.wanted {
        anstream::println!("      + {wanted}");
    }
}

fn differences(said: &Value, folder: &Path) -> anyhow::Result<Vec<(drift::Id, Difference)>> {
    let mut wanted = Vec::new();
    for file in items(said, "files") {
        wanted.extend(drift::read(text(file, "text")).context("the edge's manifests")?);
    }
    Ok(drift::compare(&wanted, &objects_in(folder)?))
}

/// What stands in the YAML and JSON files of a folder and of those below it.
fn objects_in(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let unreadable = |path: &Path| format!("{} cannot be read", path.display());
    if !folder.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    let mut objects = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| unreadable(&folder))? {
            let path = entry.with_context(|| unreadable(&folder))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            // A link could lead back.
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if matches!(extension, Some("yaml" | "yml" | "json")) {
                let text = std::fs::read_to_string(&path).with_context(|| unreadable(&path))?;
                objects.extend(drift::read(&text).with_context(|| unreadable(&path))?);
            }
        }
    }
    Ok(objects)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
