//! `wayleave kube-credential`: what kubectl runs to come by a token (`client.authentication.k8s.io`).

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::token_cache::{Kept, SLACK};
use crate::cli::person::{PersonArguments, wait};
use crate::clock::Timestamp;

/// Where kubectl says what it wants.
const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";
/// The versions that are understood; they say the same here. The first is what is said where nobody asks.
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// Print a credential for kubectl, which runs this by itself: `wayleave kubeconfig` sets it up.
#[derive(Debug, clap::Args)]
pub struct KubeCredentialArguments {
    /// The route's name, as `wayleave routes` has it.
    route: String,
    #[command(flatten)]
    person: PersonArguments,
}

/// Gets it, and prints it. Nothing but the credential goes to standard output.
pub fn run(arguments: &KubeCredentialArguments) -> ExitCode {
    arguments.person.end(show(arguments))
}

fn show(arguments: &KubeCredentialArguments) -> Result<ExitCode, Fault> {
    #[expect(
        clippy::disallowed_methods,
        reason = "kubectl says there what it wants"
    )]
    let wanted = std::env::var(EXEC_INFO).ok();
    let version = version(wanted.as_deref())?;
    let access = Access::open(&arguments.person)?;
    let kept = match access.cache().route(&arguments.route, false) {
        Some(kept) => kept.clone(),
        None => wait(async {
            let home = Home::new(&access.profile)?;
            let route = access.route(&home, &arguments.route).await?;
            route.expect_kubernetes()?;
            access.route_token(&home, &route, false).await
        })?,
    };
    anstream::println!("{}", credential(version, &kept));
    Ok(ExitCode::SUCCESS)
}

/// The version to answer in: the one that kubectl speaks.
fn version(asked: Option<&str>) -> Result<&'static str, Fault> {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(rename = "apiVersion")]
        version: String,
    }
    let [usual, _] = VERSIONS;
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(usual);
    };
    let asked: Asked = serde_json::from_str(asked)
        .map_err(|error| Fault::usage(format!("{EXEC_INFO} cannot be read: {error}")))?;
    let mut known = VERSIONS.into_iter();
    known.find(|known| *known == asked.version).ok_or_else(|| {
        let message = format!("kubectl asks for a credential of {}", asked.version);
        Fault::usage(message).next("write the kubeconfig anew: wayleave kubeconfig ROUTE")
    })
}

fn credential(version: &str, kept: &Kept) -> Value {
    // kubectl keeps it to the very end; what is left has to suffice for a request.
    let ends = Timestamp::from_seconds(kept.expires_at - SLACK);
    json!({
        "apiVersion": version,
        "kind": "ExecCredential",
        "status": { "token": kept.token, "expirationTimestamp": ends.rfc3339() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_answered_in_the_version_that_it_speaks() {
        let asked = |version: &str| {
            let text = json!({ "apiVersion": version, "kind": "ExecCredential", "spec": {} });
            super::version(Some(&text.to_string()))
        };
        for known in VERSIONS {
            assert_eq!(asked(known).unwrap(), known);
        }
        assert_eq!(super::version(None).unwrap(), VERSIONS[0]);
        assert_eq!(super::version(Some("")).unwrap(), VERSIONS[0]);
        assert!(asked("client.authentication.k8s.io/v1alpha1").is_err());
        assert!(super::version(Some("{")).is_err());
    }

    #[test]
    fn a_credential_ends_before_its_token_does() {
        let kept = Kept {
            token: "t".to_owned(),
            resource: "https://k.example".to_owned(),
            expires_at: 1_000_000_000 + SLACK,
        };
        let said = credential(VERSIONS[0], &kept);
        assert_eq!(said["status"]["token"], "t");
        assert_eq!(
            said["status"]["expirationTimestamp"],
            "2001-09-09T01:46:40.000Z"
        );
    }
}
