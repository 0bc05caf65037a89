//! `wayleave svid`: an X.509-SVID of one's own as files, for tools that speak mTLS themselves; or a JWT-SVID.
//!
//! The key is made here and stays here. A key that is in the folder already is used again, so that a reader of the files never finds a certificate beside another key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::access::clock_time;
use crate::cli::client::{Refusal, complain};
use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{Call, Home};
use crate::cli::person::profile::{make_private, write_private};
use crate::cli::person::{Output, PersonArguments, wait};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::mesh::csr::OwnKey;
use crate::policy::svids::SvidKind;

/// The certificate, then those between it and the root.
const SVID: &str = "svid.pem";
/// Its private key.
const KEY: &str = "svid.key";
/// The roots of the mesh.
const BUNDLE: &str = "bundle.pem";

/// The largest key file that is read.
const LARGEST_KEY: u64 = 16 * 1024;
/// After a failure that may pass, it is tried again after this long, and after twice as long each time.
const AGAIN: Duration = Duration::from_secs(2);
/// But after no more than this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// However short an SVID's life is, the edge is not asked more often than this.
const SHORTEST_WAIT: Duration = Duration::from_secs(10);

/// Get an SVID of your own: a certificate for tools that speak mTLS themselves, or a token.
#[derive(Debug, clap::Args)]
pub struct SvidArguments {
    /// The folder for svid.pem, svid.key and bundle.pem; made if it is not there.
    #[arg(value_name = "FOLDER", required_unless_present = "jwt")]
    folder: Option<PathBuf>,
    /// Stay, and renew it at half of its life until it is not given any more.
    #[arg(long, conflicts_with = "jwt")]
    watch: bool,
    /// Make a new key, though there is one in the folder.
    #[arg(long, conflicts_with = "jwt")]
    new_key: bool,
    /// Print a JWT-SVID for this audience instead.
    #[arg(long, value_name = "AUDIENCE", conflicts_with = "folder")]
    jwt: Option<String>,
    #[command(flatten)]
    person: PersonArguments,
}

/// Gets it, and writes or prints it.
pub fn run(arguments: &SvidArguments) -> ExitCode {
    let done = match (&arguments.jwt, &arguments.folder) {
        (Some(audience), _) => token(arguments, audience),
        (None, Some(folder)) => files(arguments, folder),
        (None, None) => Err(Fault::usage("give a folder, or --jwt AUDIENCE")),
    };
    arguments.person.end(done)
}

fn token(arguments: &SvidArguments, audience: &str) -> Result<ExitCode, Fault> {
    let access = Access::open(&arguments.person)?;
    let answer = wait(async {
        let home = Home::new(&access.profile)?;
        let body = json!({ "audience": audience });
        match ask(&access, &home, SvidKind::Jwt, &body).await? {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(refused(&refusal, SvidKind::Jwt)),
        }
    })?;
    match arguments.person.output {
        Output::Text => anstream::println!("{}", text(&answer, "svid")?),
        Output::Json => anstream::println!("{answer:#}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn files(arguments: &SvidArguments, folder: &Path) -> Result<ExitCode, Fault> {
    let access = Access::open(&arguments.person)?;
    if !folder.exists() {
        make_private(folder).map_err(|error| {
            Fault::failed(format!("{} cannot be made: {error}", folder.display()))
        })?;
    }
    let kept = kept_key(folder).filter(|_| !arguments.new_key);
    let (key, is_new) = match kept {
        Some(key) => (key, false),
        None => {
            let made = OwnKey::generate();
            let made = made.ok_or_else(|| Fault::failed("no key can be made"))?;
            (made, true)
        }
    };
    let mut files = Files {
        folder,
        key,
        is_key_written: !is_new,
    };
    wait(async {
        let home = Home::new(&access.profile)?;
        let body = json!({ "csr": files.request()? });
        let mut again = AGAIN;
        let mut until = None;
        loop {
            let asked = ask(&access, &home, SvidKind::X509, &body).await;
            let given = asked.and_then(|asked| {
                let asked = asked.map_err(|refusal| refused(&refusal, SvidKind::X509));
                asked.and_then(|answer| files.write(&answer))
            });
            match given {
                Ok(given) => {
                    given.tell(folder, arguments.person.output);
                    if !arguments.watch {
                        return Ok(ExitCode::SUCCESS);
                    }
                    until = Some(given.until);
                    again = AGAIN;
                    tokio::time::sleep(given.half_life()).await;
                }
                // What is in the folder is good for a while; what fails for now is tried again until then.
                Err(fault) if arguments.watch && fault.is_passing() && is_ahead(until) => {
                    complain(&format!("the SVID is not renewed yet: {fault}"));
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(AGAIN_AT_MOST);
                }
                Err(fault) => return Err(fault),
            }
        }
    })
}

fn is_ahead(until: Option<Timestamp>) -> bool {
    until.is_some_and(|until| SystemClock.now() < until)
}

/// A key of before, if nobody else could read it.
fn kept_key(folder: &Path) -> Option<OwnKey> {
    let file = folder.join(KEY);
    let found = fs::symlink_metadata(&file).ok()?;
    let is_private = found.is_file() && found.permissions().mode() & 0o077 == 0;
    if !is_private || found.len() > LARGEST_KEY {
        return None;
    }
    let text = fs::read_to_string(&file).map(Zeroizing::new).ok()?;
    OwnKey::open(&text)
}

/// What is written.
struct Files<'a> {
    folder: &'a Path,
    key: OwnKey,
    is_key_written: bool,
}

/// What was written.
struct Written {
    spiffe_id: String,
    until: Timestamp,
    at: Timestamp,
}

impl Files<'_> {
    fn request(&self) -> Result<String, Fault> {
        let request = self.key.request();
        request.ok_or_else(|| Fault::failed("no certificate signing request can be made"))
    }

    /// Each file is replaced as a whole, the certificate last. Before the key changes, the certificate of the former one goes.
    fn write(&mut self, answer: &Value) -> Result<Written, Fault> {
        let written = Written {
            spiffe_id: text(answer, "spiffe_id")?.to_owned(),
            until: moment(text(answer, "expires_at")?)?,
            at: SystemClock.now(),
        };
        let (svid, bundle) = (text(answer, "svid")?, text(answer, "bundle")?);
        if !self.is_key_written {
            remove(&self.folder.join(SVID))?;
            let pem = self.key.pem();
            write_private(&self.folder.join(KEY), pem.as_bytes())?;
            self.is_key_written = true;
        }
        write_private(&self.folder.join(BUNDLE), bundle.as_bytes())?;
        write_private(&self.folder.join(SVID), svid.as_bytes())?;
        Ok(written)
    }
}

impl Written {
    fn half_life(&self) -> Duration {
        (self.until.since(self.at) / 2).max(SHORTEST_WAIT)
    }

    fn tell(&self, folder: &Path, output: Output) {
        let until = self.until.rfc3339();
        match output {
            Output::Text => anstream::println!(
                "{} until {}: {SVID}, {KEY} and {BUNDLE} in {}",
                self.spiffe_id,
                clock_time(&until.into()),
                folder.display()
            ),
            Output::Json => {
                let said = json!({
                    "spiffe_id": self.spiffe_id, "expires_at": until,
                    "svid": folder.join(SVID), "key": folder.join(KEY), "bundle": folder.join(BUNDLE),
                });
                anstream::println!("{said}");
            }
        }
    }
}

async fn ask(
    access: &Access,
    home: &Home,
    kind: SvidKind,
    body: &Value,
) -> Result<Result<Value, Refusal>, Fault> {
    let path = match kind {
        SvidKind::X509 => "svids/x509",
        SvidKind::Jwt => "svids/jwt",
    };
    let call = Call {
        method: Method::POST,
        path,
        query: &[],
        body: Some(body),
    };
    access.call(home, &call).await
}

fn refused(refusal: &Refusal, kind: SvidKind) -> Fault {
    let problem = &refusal.problem;
    let said = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let detail = format!("there is no {}: {}", kind.name(), said("detail"));
    if refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS {
        return Fault::unreachable(detail).next("try again in a moment");
    }
    let fault = match refusal.status {
        StatusCode::FORBIDDEN => Fault::denied(detail),
        _ => Fault::failed(detail),
    };
    match said("code").as_str() {
        "approval_required" => {
            fault.next(format!("wayleave request --svid {} -m WHY", kind.as_str()))
        }
        "step_up_required" => {
            fault.next("wayleave login --acr CLASS, or --max-age DURATION, as that rule asks")
        }
        _ => fault,
    }
}

/// Reads the word of a kind.
pub(super) fn svid_kind(text: &str) -> Result<SvidKind, &'static str> {
    let mut kinds = [SvidKind::X509, SvidKind::Jwt].into_iter();
    let found = kinds.find(|kind| kind.as_str() == text);
    found.ok_or("it is x509 or jwt")
}

fn text<'a>(answer: &'a Value, name: &str) -> Result<&'a str, Fault> {
    let text = answer[name].as_str();
    text.ok_or_else(|| {
        Fault::unreachable("what the edge answers lacks something; is it of this release?")
    })
}

fn moment(text: &str) -> Result<Timestamp, Fault> {
    let moment = text.parse::<jiff::Timestamp>();
    let moment =
        moment.map_err(|_| Fault::unreachable("the edge says no moment at which it ends"))?;
    Ok(Timestamp::from_seconds(moment.as_second()))
}

fn remove(file: &Path) -> Result<(), Fault> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Fault::failed(format!(
            "{} cannot be removed: {error}",
            file.display()
        ))),
        _ => Ok(()),
    }
}
