//! `wayleave kubeconfig`: tells kubectl of a cluster behind the edge.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::kubeconfig::merge::{Entries, merged};
use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::profile::{Profile, unusable, write_private};
use crate::cli::person::token_cache::Route;
use crate::cli::person::{Output, PersonArguments, wait};

mod merge;

/// Write a cluster, a user and a context for kubectl; everything else in its file stays as it is.
#[derive(Debug, clap::Args)]
pub struct KubeconfigArguments {
    /// The route's name, as `wayleave routes` has it.
    route: String,
    /// The file. Default: the first of KUBECONFIG, else ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// What cluster, user and context are called there. Default: as the route.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Make it the context that kubectl uses when none is named. Without it that is done only where there is none.
    #[arg(long = "use")]
    is_used: bool,
    #[command(flatten)]
    person: PersonArguments,
}

/// Writes them.
pub fn run(arguments: &KubeconfigArguments) -> ExitCode {
    arguments.person.end(write(arguments))
}

fn write(arguments: &KubeconfigArguments) -> Result<ExitCode, Fault> {
    let access = Access::open(&arguments.person)?;
    let route = wait(async {
        let home = Home::new(&access.profile)?;
        access.route(&home, &arguments.route).await
    })?;
    route.expect_kubernetes()?;
    let name = arguments.name.clone();
    let name = name.unwrap_or_else(|| route.name.clone());
    let file = match &arguments.kubeconfig {
        Some(file) => file.clone(),
        None => usual_file()?,
    };
    // A link stays one: what it leads to is written.
    let file = std::fs::canonicalize(&file).unwrap_or(file);
    let entries = entries(&name, &route, &access.profile)?;
    let lock = Lock::take(&file)?;
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unusable(&file, &error)),
    };
    let after = merged(&before, &entries, arguments.is_used).map_err(|fault| {
        Fault::failed(format!("{}: {fault}", file.display())).next(fault.next())
    })?;
    if after != before {
        write_private(&file, after.as_bytes())?;
    }
    drop(lock);
    let shown = file.display();
    match arguments.person.output {
        Output::Text => anstream::println!(
            "{shown} has the context {name}.\n  kubectl --context {name} get namespaces"
        ),
        Output::Json => {
            let said = json!({ "kubeconfig": file, "context": name, "server": route.url });
            anstream::println!("{said:#}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where kubectl looks.
fn usual_file() -> Result<PathBuf, Fault> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|file| file != Path::new("")) {
        return Ok(first);
    }
    let home = etcetera::home_dir()
        .map_err(|_| Fault::failed("it is not known where your home folder is").next("set HOME"))?;
    Ok(home.join(".kube").join("config"))
}

/// What is written of a route.
fn entries(name: &str, route: &Route, profile: &Profile) -> Result<Entries, Fault> {
    let server = route.url.trim_end_matches('/');
    let mut cluster = json!({ "server": server });
    if let Some(file) = &profile.ca_file {
        let roots = std::fs::read(file).map_err(|error| unusable(file, &error))?;
        cluster["certificate-authority-data"] = json!(STANDARD.encode(roots));
    }
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": own_command(),
        "args": ["kube-credential", route.name, "--profile", profile.name],
        "interactiveMode": "Never",
        "installHint": "wayleave is not installed here, or not where it was: put it on the PATH, and run `wayleave kubeconfig` again.",
    });
    Ok(Entries {
        name: name.to_owned(),
        cluster,
        user: json!({ "exec": exec }),
        context: json!({ "cluster": name, "user": name }),
    })
}

/// How kubectl finds this program: by its name where that leads here, else by where it is.
fn own_command() -> Value {
    const NAME: &str = "wayleave";
    let Ok(own) = std::env::current_exe().and_then(std::fs::canonicalize) else {
        return json!(NAME);
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(NAME));
    let found = found
        .filter_map(|file| std::fs::canonicalize(file).ok())
        .next();
    if found.as_ref() == Some(&own) {
        return json!(NAME);
    }
    json!(own)
}

/// kubectl's own lock on such a file: whoever makes it may write.
struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> Result<Self, Fault> {
        let mut lock = file.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        }
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let message = format!("another program is writing {}", file.display());
                let next = format!("if none is, remove {}", lock.display());
                Err(Fault::failed(message).next(next))
            }
            Err(error) => Err(unusable(&lock, &error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _removed = std::fs::remove_file(&self.0);
    }
}
