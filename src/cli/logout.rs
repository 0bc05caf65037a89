//! `wayleave logout`: gives the tokens of this machine back, and forgets them. The browser stays signed in.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::person::access::Access;
use crate::cli::person::credentials::{Credentials, Lock};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{CLIENT, Home};
use crate::cli::person::{Output, PersonArguments, wait};
use crate::token::dpop::prover::Prover;

/// Signs out.
pub fn run(arguments: &PersonArguments) -> ExitCode {
    arguments.end(sign_out(arguments))
}

fn sign_out(arguments: &PersonArguments) -> Result<ExitCode, Fault> {
    let access = Access::open(arguments)?;
    let _lock = Lock::take(&access.folders, &access.profile.name)?;
    let credentials = Credentials::load(&access.folders, &access.profile)?;
    let home = Home::new(&access.profile)?;
    let revoked = wait(revoke(&home, &credentials.key, &credentials.refresh_token));
    // Whatever the edge says, this machine keeps nothing.
    Credentials::forget(&access.folders, &access.profile.name)?;
    if let Err(fault) = revoked {
        let next =
            "they are forgotten here; sign out in the browser to end them at the edge as well";
        return Err(fault.next(next));
    }
    let edge = access.profile.edge.as_str();
    match arguments.output {
        Output::Json => anstream::println!("{:#}", json!({ "edge": edge, "signed_in": false })),
        Output::Text => anstream::println!("Signed out of {edge}."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends everything that a refresh token's family has, at the edge.
pub(super) async fn revoke(home: &Home, key: &Prover, refresh_token: &str) -> Result<(), Fault> {
    let fields = [("client_id", CLIENT), ("token", refresh_token)];
    match home.post("/.wayleave/oauth/revoke", key, &fields).await? {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Fault::failed(refusal.description)),
    }
}
