//! `wayleave check`: every fault of the configuration at once; then everything it names is tried, one line each.

mod certificates;
mod report;
mod upstreams;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::timeout;

use crate::admin::policy_file;
use crate::app::compose::policy_rules;
use crate::cli::person::Output;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::config::checked::TrustedIssuerConfig;
use crate::oidc::Providers;
use crate::policy::check::unknown_names;
use crate::policy::model::{Policy, Revision};
use crate::snapshot::{self, NOTHING};
use crate::store::schema::Schema;
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;
use crate::token::bearer::{BearerFault, BearerVerifier};
use certificates::FrontDoors;
use report::Report;

/// How long a provider may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Checks a configuration; the exit code is 1 when anything is at fault.
pub fn run(path: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(output);
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults {
                report.fault(&format!("configuration {fault}"), "");
            }
            return Ok(report.end());
        }
    };
    report.ok(&format!("configuration {}", path.display()));
    let runtime = crate::cli::runtime()?;
    runtime.block_on(try_everything(&config, &mut report));
    Ok(report.end())
}

async fn try_everything(config: &Config, report: &mut Report) {
    let clock: SharedClock = Arc::new(SystemClock);
    let schema = try_store(config, report).await;
    let doors = FrontDoors::tried(config, clock.now(), report);
    let authority = certificates::authority(&config.mesh, clock.now(), report);
    try_providers(config, clock.clone(), report).await;
    for issuer in &config.trusted_issuers {
        try_issuer(issuer, clock.clone(), report).await;
    }
    let spool = &config.audit.spool;
    let item = format!("spool {}", spool.display());
    report.item(&item, may_write_in(spool));
    if let Some(file) = &config.log.access_log {
        let item = format!("access log {}", file.display());
        report.item(&item, may_append(file));
    }
    let policy = match &config.policy.file {
        Some(file) => try_policy_file(config, file, report).await,
        None => try_policy_of_store(config, schema, clock.clone(), report).await,
    };
    let Some(policy) = policy else {
        report.note(
            "certificates and upstreams of routes",
            "there is no policy to look for them in",
        );
        return;
    };
    doors.try_routes(&policy, report);
    let caller = upstreams::Caller::new(config, authority.as_ref(), clock);
    caller.try_all(&policy, report).await;
}

async fn try_policy_file(config: &Config, file: &Path, report: &mut Report) -> Option<Policy> {
    let item = format!("policy {}", file.display());
    match read_policy(config, file).await {
        Ok(policy) => {
            report.ok(&item);
            Some(policy)
        }
        Err(faults) => {
            for fault in faults {
                report.fault(&item, &fault);
            }
            None
        }
    }
}

/// The policy in force, where the store has the schema already and opening it changes nothing.
async fn try_policy_of_store(
    config: &Config,
    schema: Option<Schema>,
    clock: SharedClock,
    report: &mut Report,
) -> Option<Policy> {
    let item = "policy in the store";
    match schema? {
        Schema::Current { .. } | Schema::Newer { .. } => {}
        Schema::Empty { .. } | Schema::Older { .. } => {
            report.note(
                item,
                "not read before `wayleave serve` has migrated the store",
            );
            return None;
        }
    }
    match read_store(config, clock).await {
        Ok((revision, _)) if revision == NOTHING => {
            let text =
                "there is none yet, so nothing is allowed; apply one with `wayleave policy apply`";
            report.note(item, text);
            None
        }
        Ok((revision, policy)) => {
            report.item(item, Ok(format!("revision {}", revision.0)));
            Some(policy)
        }
        Err(faults) => {
            for fault in faults {
                report.fault(item, &fault);
            }
            None
        }
    }
}

async fn read_store(
    config: &Config,
    clock: SharedClock,
) -> Result<(Revision, Policy), Vec<String>> {
    let store = Store::open(&config.store, clock).await;
    let store = store.map_err(|error| vec![error.to_string()])?;
    let loaded = snapshot::load(&store, &config.mesh.trust_domain).await;
    store.close().await;
    let compiled = loaded
        .map_err(|error| vec![Causes(&error).to_string()])?
        .policy;
    // What it names may be gone from the configuration since it was applied.
    let known = policy_rules(config).known;
    let mut faults = unknown_names(compiled.policy(), &known);
    faults.extend(compiled.try_out(&known));
    if faults.is_empty() {
        return Ok((compiled.revision, compiled.policy().clone()));
    }
    Err(faults.iter().map(ToString::to_string).collect())
}

/// Looks at the store only: migrating it is for `serve`, which may be another release than the one that runs.
async fn try_store(config: &Config, report: &mut Report) -> Option<Schema> {
    let looked = Store::look(&config.store).await;
    let schema = looked.as_ref().ok().copied();
    let outcome = match looked {
        Ok(schema) => Ok(shown(schema)),
        // The cause of the others may quote the URL and with it a password; the error's own words do not.
        Err(StoreError::Unavailable(_)) => Err(
            "it does not answer; is the URL right, does the database run, does it admit this user?"
                .to_owned(),
        ),
        Err(error @ StoreError::File { .. }) => Err(Causes(&error).to_string()),
        Err(error @ StoreError::Migration(_)) => Err(format!(
            "its schema is not one of ours: {}; is this the right database, and did its last migration end?",
            Causes(&error)
        )),
        Err(StoreError::Sealed) => Err(
            "what it holds was sealed with another key than the one in store.key_file; put back the key that it was first opened with, the same \
             for every edge (without it nothing of it can be read, and an empty store is the only other way)"
                .to_owned(),
        ),
        Err(error @ StoreError::MayNotCreate) => Err(format!(
            "{error}; grant it CREATE there, for migrations need it"
        )),
        Err(error) => Err(error.to_string()),
    };
    report.item("store", outcome);
    schema
}

fn shown(schema: Schema) -> String {
    match schema {
        Schema::Empty { known } => {
            format!("empty; `wayleave serve` will make schema version {known}")
        }
        Schema::Older { version, known } => {
            format!("schema version {version}; `wayleave serve` will migrate it to {known}")
        }
        Schema::Current { version } => format!("schema version {version}"),
        Schema::Newer { version, known } => {
            format!(
                "schema version {version}, newer than {known} of this release, which leaves it alone"
            )
        }
    }
}

/// Whether files can be made in a folder, or in the nearest one above it that there is.
fn may_write_in(folder: &Path) -> Result<String, String> {
    // A path of one word alone has no folder above it until it is made absolute.
    let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
    let mut above = folder.ancestors();
    let present = above.find(|folder| folder.exists());
    let present = present.ok_or("no folder above it exists")?;
    let made = tempfile::tempfile_in(present);
    made.map(|_made| String::new())
        .map_err(|error| format!("{} cannot be written: {error}", present.display()))
}

/// Whether the log can be opened, without making it.
fn may_append(file: &Path) -> Result<String, String> {
    let file = std::path::absolute(file).map_err(|error| error.to_string())?;
    let opened = match OpenOptions::new().append(true).open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = file.parent().unwrap_or(Path::new("/"));
            // A file without a name, which nobody sees.
            tempfile::tempfile_in(folder)
        }
        opened => opened,
    };
    match opened {
        Ok(_) => Ok(String::new()),
        Err(error) => Err(format!(
            "it cannot be written: {error}; its folder must exist and be writable"
        )),
    }
}

async fn try_providers(config: &Config, clock: SharedClock, report: &mut Report) {
    let providers = Providers::new(config.identity_providers.clone(), clock);
    for provider in &config.identity_providers {
        let outcome = match timeout(ANSWER, providers.probe(&provider.name)).await {
            Ok(Ok(())) => Ok(String::new()),
            Ok(Err(error)) => Err(format!(
                "{error}; is {} the issuer exactly as the provider has it?",
                provider.issuer_text
            )),
            Err(_) => Err(format!("it does not answer within {ANSWER:?}")),
        };
        report.item(&format!("identity provider {}", provider.name), outcome);
    }
}

/// Presents a token that cannot be genuine: it is refused for its signature only after the issuer's keys were fetched.
async fn try_issuer(issuer: &TrustedIssuerConfig, clock: SharedClock, report: &mut Report) {
    let verifier = BearerVerifier::new(vec![issuer.clone()], clock.clone());
    let now = clock.now().seconds();
    let header = serde_json::json!({
        "alg": issuer.algorithms.first().copied(), "typ": "JWT", "kid": "wayleave-check",
    });
    let claims = serde_json::json!({
        "iss": issuer.issuer, "aud": issuer.audiences.first(), "sub": "wayleave-check",
        "iat": now, "nbf": now, "exp": now + 60,
    });
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode([0; 64]);
    let token = format!("{}.{}.{signature}", encoded(&header), encoded(&claims));
    let outcome = match timeout(ANSWER, verifier.verify(&token)).await {
        Ok(Err(BearerFault::KeysUnavailable)) => Err(
            "its keys cannot be had; is jwks_url right, and may this machine reach it (ca_file, allowed_private_networks)?"
                .to_owned(),
        ),
        Ok(Err(_)) => Ok(String::new()),
        Ok(Ok(_)) => Err("it vouches for a token that nobody signed".to_owned()),
        Err(_) => Err(format!("it does not answer within {ANSWER:?}")),
    };
    report.item(&format!("trusted issuer {}", issuer.name), outcome);
}

/// Reads the policy file and checks it, as the edge does before it puts it in force.
async fn read_policy(config: &Config, file: &Path) -> Result<Policy, Vec<String>> {
    let text = policy_file::read(file).await;
    let text = text.map_err(|error| vec![Causes(&error).to_string()])?;
    policy_rules(config)
        .check(&text)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_working_folder_need_no_dot() {
        may_write_in(Path::new("no-such-folder")).unwrap();
        may_append(Path::new("no-such.log")).unwrap();
        assert!(!Path::new("no-such.log").exists());
        assert!(may_append(Path::new("no-such-folder/a.log")).is_err());
    }
}
