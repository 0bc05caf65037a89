//! By a browser on this machine: authorization code with PKCE, answered at a port of ours (RFC 8252).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::cli::login::LoginArguments;
use crate::cli::login::loopback::Loopback;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{CLIENT, Home, TOKEN};
use crate::secret::{Token, sha256};
use crate::token::dpop::prover::Prover;

/// Opens the browser, waits for the answer, and redeems it.
pub(super) async fn let_in(
    home: &Home,
    key: &Prover,
    arguments: &LoginArguments,
) -> Result<Value, Fault> {
    let loopback = Loopback::bind(arguments.callback_port).await?;
    let redirect_uri = loopback.redirect_uri().to_owned();
    let (verifier, state) = (Token::generate(), Token::generate());
    let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.expose().as_bytes()));
    let mut url = home.url("/.wayleave/oauth/authorize");
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", CLIENT)
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", state.expose())
        .append_pair("dpop_jkt", &key.thumbprint())
        .extend_pairs(arguments.required().parameters());
    show(url.as_str(), arguments.no_browser);
    let code = loopback.answer(&state, &home.issuer()).await?;
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", verifier.expose()),
    ];
    let answer = home.post(TOKEN, key, &fields).await?;
    answer.map_err(|refusal| Fault::failed(refusal.description).next("wayleave login, once more"))
}

fn show(url: &str, no_browser: bool) {
    if !no_browser && has_browser() && webbrowser::open(url).is_ok() {
        anstream::eprintln!(
            "Your browser asks whether to let this machine in. If it does not, open:\n\n  {url}\n"
        );
        return;
    }
    anstream::eprintln!("Open this in a browser on this machine:\n\n  {url}\n");
    if !no_browser {
        anstream::eprintln!("Is the browser elsewhere? Then: wayleave login --device\n");
    }
}

/// A browser that opens on the far side of an SSH connection, or without a screen, helps nobody.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says where somebody sits"
)]
fn has_browser() -> bool {
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
    let has_screen = !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    !is_remote && has_screen
}
