//! By a browser on another machine (RFC 8628).

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::person::Output;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{CLIENT, Home, TOKEN};
use crate::token::dpop::prover::Prover;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How much longer to wait each time that the edge says so.
const SLOWER: Duration = Duration::from_secs(5);

/// Shows the code, and asks until somebody has decided.
pub(super) async fn let_in(home: &Home, key: &Prover, output: Output) -> Result<Value, Fault> {
    let fields = [("client_id", CLIENT)];
    let begun = home
        .post("/.wayleave/oauth/device_authorization", key, &fields)
        .await?
        .map_err(|refusal| Fault::failed(refusal.description))?;
    let text = |name: &str| begun[name].as_str().unwrap_or_default();
    show(text("verification_uri"), text("user_code"), output);
    let mut interval = Duration::from_secs(begun["interval"].as_u64().unwrap_or(5));
    let fields = [
        ("grant_type", GRANT),
        ("client_id", CLIENT),
        ("device_code", text("device_code")),
    ];
    let again = "wayleave login --device, once more";
    loop {
        tokio::time::sleep(interval).await;
        let refusal = match home.post(TOKEN, key, &fields).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(refusal)) => refusal,
            Err(fault) if fault.is_passing() => continue,
            Err(fault) => return Err(fault),
        };
        match refusal.code.as_str() {
            "authorization_pending" => {}
            "slow_down" => interval += SLOWER,
            "access_denied" => {
                return Err(Fault::denied("it was not allowed in the browser").next(again));
            }
            "expired_token" => {
                return Err(Fault::not_signed_in("nobody typed the code in time").next(again));
            }
            _ => return Err(Fault::failed(refusal.description).next(again)),
        }
    }
}

fn show(url: &str, code: &str, output: Output) {
    match output {
        Output::Text => anstream::eprintln!(
            "Open this in a browser, on any machine:\n\n  {url}\n\nand type the code:\n\n  {code}\n\nWaiting for ten minutes at most …"
        ),
        Output::Json => {
            anstream::eprintln!("{}", json!({ "verification_uri": url, "user_code": code }));
        }
    }
}
