//! `wayleave service-account`: keys of programs that no issuer vouches for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::person::Output;
use crate::cli::person::fault::Fault;
use crate::policy::yaml;
use crate::token::dpop::prover::Prover;

/// Longest line of a PEM file (RFC 7468 §3).
const LINE: usize = 64;

/// Keys of programs that no issuer vouches for.
#[derive(Debug, clap::Args)]
pub struct ServiceAccountArguments {
    #[command(subcommand)]
    command: Command,
    /// Text for people, or JSON for programs.
    #[arg(long, value_enum, default_value_t, value_name = "FORM", global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key on this machine, and print what the policy has to say of it.
    New {
        /// The service account's name.
        name: String,
        /// The file to write the private key to; it must not be there. Default: NAME.pem.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// Does what is asked.
pub fn run(arguments: &ServiceAccountArguments) -> ExitCode {
    let Command::New { name, key } = &arguments.command;
    let file = key
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.pem")));
    let made = make(name, &file, arguments.output);
    made.unwrap_or_else(|fault| fault.tell(arguments.output))
}

fn make(name: &str, file: &Path, output: Output) -> Result<ExitCode, Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::failed(error.to_string());
    let key = Prover::generate().map_err(|error| failed(&error))?;
    let mut jwk = key.key().document();
    jwk["kid"] = key.thumbprint().into();
    jwk["use"] = "sig".into();
    let stanza = stanza(name, &jwk);
    // The name is judged where the policy's names are.
    if let Err(faults) = yaml::parse(&stanza) {
        let why = faults.first().map(ToString::to_string);
        let message = format!("{name:?} is no name: {}", why.unwrap_or_default());
        return Err(Fault::usage(message));
    }
    write_new(file, pem(key.pkcs8()).as_bytes())?;
    match output {
        Output::Text => {
            let told = file.display();
            anstream::eprintln!(
                "The private key is in {told}; it stays with the program. Put this into the policy:"
            );
            anstream::print!("{stanza}");
        }
        Output::Json => {
            let said = json!({ "name": name, "key_file": file, "jwks": { "keys": [jwk] } });
            anstream::println!("{said:#}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stanza(name: &str, jwk: &Value) -> String {
    let text = |member: &str| jwk[member].as_str().unwrap_or_default();
    let [kid, x, y] = ["kid", "x", "y"].map(text);
    format!(
        "service_accounts:\n  - name: {name}\n    jwks:\n      keys:\n        - {{ kty: EC, crv: P-256, use: sig, kid: \"{kid}\", x: \"{x}\", y: \"{y}\" }}\n"
    )
}

/// PKCS#8 as RFC 7468 §10 has it.
fn pem(pkcs8: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(pkcs8));
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + 100));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_at_checked(LINE) {
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// Never over a key that is there: somebody may still need that one.
fn write_new(file: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut new| {
        new.write_all(bytes)?;
        new.sync_all()
    });
    written.map_err(|error| {
        let fault = Fault::failed(format!("{} cannot be written: {error}", file.display()));
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => fault.next("name another with --key FILE"),
            _ => fault,
        }
    })
}

/// The key of a service account, from a file.
pub(super) fn read_key(file: &Path) -> Result<Prover, Fault> {
    let refused = |why: &dyn std::fmt::Display| {
        Fault::usage(format!("{} is no key to use: {why}", file.display()))
            .next("wayleave service-account new NAME makes one; `openssl pkcs8 -topk8 -nocrypt` turns other P-256 keys into PKCS#8")
    };
    let text = std::fs::read(file).map(Zeroizing::new);
    let text = text.map_err(|error| refused(&error))?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|error| refused(&error))?;
    Prover::open(der.secret_pkcs8_der()).map_err(|error| refused(&error))
}
