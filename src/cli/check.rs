//! `wayleave check`: every fault of the configuration at once; then everything it names is tried, one line each.

mod certificates;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::timeout;

use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::config::checked::TrustedIssuerConfig;
use crate::oidc::Providers;
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::{Policy, Revision, UpstreamAddress};
use crate::policy::yaml::{self, PolicyFault};
use crate::store::Store;
use crate::token::bearer::{BearerFault, BearerVerifier};
use report::Report;

/// How long a provider or the store may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long an upstream may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Checks a configuration; the exit code is 1 when anything is at fault.
pub fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(try_everything(&config, &mut report));
    Ok(report.end())
}

async fn try_everything(config: &Config, report: &mut Report) {
    let clock: SharedClock = Arc::new(SystemClock);
    try_store(config, clock.clone(), report).await;
    for listener in &config.listeners {
        for files in &listener.certificates {
            let item = format!("certificate {}", files.chain.display());
            report.item(&item, certificates::front_door(files, clock.now()));
        }
    }
    let authority = certificates::authority(&config.mesh, clock.now());
    report.item("certificate authority of the mesh", authority);
    try_providers(config, clock.clone(), report).await;
    for issuer in &config.trusted_issuers {
        try_issuer(issuer, clock.clone(), report).await;
    }
    let item = format!("policy {}", config.policy_file.display());
    match read_policy(config) {
        Ok(policy) => {
            report.ok(&item);
            try_upstreams(&policy, report).await;
        }
        Err(faults) => {
            for fault in faults {
                report.fault(&item, &fault);
            }
        }
    }
}

async fn try_store(config: &Config, clock: SharedClock, report: &mut Report) {
    let answered = timeout(ANSWER, async {
        let store = Store::open(&config.store, clock).await?;
        let pinged = store.ping().await;
        store.close().await;
        pinged
    });
    let advice = "is the URL right, does the database run, may this user create tables there?";
    let outcome = match answered.await {
        Ok(Ok(())) => Ok(String::new()),
        // The source may quote the URL and with it a password; the error's own words do not.
        Ok(Err(error)) => Err(format!("{error}; {advice}")),
        Err(_) => Err(format!("it does not answer within {ANSWER:?}; {advice}")),
    };
    report.item("store", outcome);
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

/// Reads and compiles the policy file, as the edge would.
fn read_policy(config: &Config) -> Result<Policy, Vec<String>> {
    let text = std::fs::read_to_string(&config.policy_file)
        .map_err(|error| vec![format!("it cannot be read: {error}")])?;
    let shown = |faults: Vec<PolicyFault>| -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    };
    let policy = yaml::parse(&text).map_err(shown)?;
    let trust_domain = &config.mesh.trust_domain;
    CompiledPolicy::new(policy.clone(), Revision(0), trust_domain).map_err(shown)?;
    Ok(policy)
}

async fn try_upstreams(policy: &Policy, report: &mut Report) {
    for route in &policy.routes {
        for address in &route.upstream.addresses {
            let item = format!(
                "upstream {}:{} of route {}",
                address.host, address.port, route.name
            );
            report.item(&item, connect(address).await);
        }
    }
}

async fn connect(address: &UpstreamAddress) -> Result<String, String> {
    let target = (address.host.as_str(), address.port);
    match timeout(CONNECT, tokio::net::TcpStream::connect(target)).await {
        Ok(Ok(_)) => Ok(String::new()),
        Ok(Err(error)) => Err(format!(
            "no connection: {error}; is the address right, and may this machine reach it?"
        )),
        Err(_) => Err(format!(
            "no connection within {CONNECT:?}; is a firewall in between?"
        )),
    }
}
