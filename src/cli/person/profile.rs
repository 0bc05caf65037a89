//! Profiles: the edges that somebody signs in to, by name, in `profiles.toml` in their configuration folder. No secret is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::cli::person::fault::Fault;

/// Where everything of ours is on this machine.
pub(in crate::cli) struct Folders {
    config: PathBuf,
    state: PathBuf,
}

/// A profile that was chosen.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Profile {
    pub(in crate::cli) name: String,
    /// The origin of the edge's home host, and nothing after it.
    pub(in crate::cli) edge: Url,
    /// Roots that are trusted for it beside the usual ones, PEM.
    pub(in crate::cli) ca_file: Option<PathBuf>,
    /// A program's certificate chain and its key, PEM, which are presented to the edge. Nothing that is kept has them.
    pub(in crate::cli) certificate: Option<Box<[PathBuf; 2]>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Written {
    /// The profile that counts when none is named.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, WrittenProfile>,
}

#[derive(Serialize, Deserialize)]
struct WrittenProfile {
    edge: Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
}

impl Folders {
    pub(in crate::cli) fn find() -> Result<Self, Fault> {
        let base = etcetera::choose_base_strategy().map_err(|_| {
            Fault::failed("it is not known where your home folder is").next("set HOME")
        })?;
        let state = base.state_dir().unwrap_or_else(|| base.data_dir());
        Ok(Self {
            config: base.config_dir().join("wayleave"),
            state: state.join("wayleave"),
        })
    }

    fn profiles(&self) -> PathBuf {
        self.config.join("profiles.toml")
    }

    /// A file of a profile that holds what only its owner may read.
    pub(in crate::cli) fn state(&self, profile: &str, what: &str) -> PathBuf {
        self.state.join(format!("{profile}.{what}"))
    }

    fn read(&self) -> Result<Written, Fault> {
        let file = self.profiles();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Written::default());
            }
            Err(error) => return Err(unusable(&file, &error)),
        };
        toml::from_str(&text).map_err(|error| unusable(&file, &error))
    }

    /// The profile to use: the one named, else the default.
    pub(in crate::cli) fn profile(&self, named: Option<&str>) -> Result<Profile, Fault> {
        let mut written = self.read()?;
        let Some(name) = named.map(str::to_owned).or(written.default) else {
            return Err(
                Fault::not_signed_in("you have not signed in to any edge on this machine")
                    .next("wayleave login --edge https://access.corp.example; programs give --edge, and --service-account or --subject-token-file"),
            );
        };
        let Some(found) = written.profiles.remove(&name) else {
            let known: Vec<String> = written.profiles.into_keys().collect();
            let next = match known.as_slice() {
                [] => "wayleave login --edge https://access.corp.example --profile NAME".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            return Err(Fault::usage(format!("there is no profile {name}")).next(next));
        };
        Ok(Profile {
            name,
            edge: found.edge,
            ca_file: found.ca_file,
            certificate: None,
        })
    }

    /// The profile that a sign-in is for: the one named, or that of this edge, or a new one with the edge's name.
    pub(in crate::cli) fn for_login(
        &self,
        named: Option<&str>,
        edge: Option<&str>,
    ) -> Result<Profile, Fault> {
        let Some(edge) = edge else {
            return self.profile(named);
        };
        let edge = edge_url(edge)?;
        let written = self.read()?;
        let of_edge = || {
            let mut all = written.profiles.iter();
            all.find(|(_, profile)| profile.edge == edge)
                .map(|(name, _)| name.clone())
        };
        let host = edge.host_str().unwrap_or_default().to_owned();
        let name = named.map(str::to_owned).or_else(of_edge).unwrap_or(host);
        check_name(&name)?;
        let known = written.profiles.get(&name);
        let ca_file = known
            .filter(|known| known.edge == edge)
            .and_then(|known| known.ca_file.clone());
        Ok(Profile {
            name,
            edge,
            ca_file,
            certificate: None,
        })
    }

    /// Whether somebody has signed in to it once.
    pub(in crate::cli) fn knows(&self, profile: &Profile) -> bool {
        let written = self.read();
        written.is_ok_and(|written| written.profiles.contains_key(&profile.name))
    }

    /// Keeps a profile, and makes it the default.
    pub(in crate::cli) fn keep(&self, profile: &Profile) -> Result<(), Fault> {
        let mut written = self.read()?;
        written.default = Some(profile.name.clone());
        let kept = WrittenProfile {
            edge: profile.edge.clone(),
            ca_file: profile.ca_file.clone(),
        };
        written.profiles.insert(profile.name.clone(), kept);
        let file = self.profiles();
        let text = toml::to_string(&written).map_err(|error| unusable(&file, &error))?;
        write_private(&file, text.as_bytes())
    }

    /// Keeps a copy of the roots that a profile trusts, so that it does not depend on where the file was.
    pub(in crate::cli) fn keep_ca(&self, profile: &str, from: &Path) -> Result<PathBuf, Fault> {
        let pem = std::fs::read(from).map_err(|error| unusable(from, &error))?;
        let file = self.config.join(format!("{profile}.ca.pem"));
        write_private(&file, &pem)?;
        Ok(file)
    }
}

impl Profile {
    /// An edge that nobody has to have signed in to.
    pub(in crate::cli) fn of_edge(edge: &str) -> Result<Self, Fault> {
        let edge = edge_url(edge)?;
        Ok(Self {
            name: edge.host_str().unwrap_or_default().to_owned(),
            edge,
            ca_file: None,
            certificate: None,
        })
    }
}

/// A file that cannot be read or written, or is not what it should be.
pub(in crate::cli) fn unusable(file: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::failed(format!("{} cannot be used: {error}", file.display()))
}

/// Names stand in file names.
fn check_name(name: &str) -> Result<(), Fault> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(is_fine) {
        let message = format!("{name:?} is no name for a profile");
        return Err(
            Fault::usage(message).next("use letters, digits, hyphens, dots and underscores")
        );
    }
    Ok(())
}

/// The origin of an edge; tokens go over https, or stay on this machine.
fn edge_url(text: &str) -> Result<Url, Fault> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let refused = |why: &str| {
        Fault::usage(format!("{text} is no edge: {why}"))
            .next("give the address of its home host, like https://access.corp.example")
    };
    let url = Url::parse(&with_scheme).map_err(|_| refused("it is no URL"))?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("only a host, and perhaps a port, can be given"));
    }
    match url.scheme() {
        "https" if url.host_str().is_some() => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(refused("it has to be https")),
        _ => Err(refused("it has to be https")),
    }
}

/// Whether a URL leads to this machine (RFC 6761 §6.3 for names).
pub(in crate::cli) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(in crate::cli) fn write_private(file: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let written = || -> std::io::Result<()> {
        use std::io::Write;
        let folder = file.parent().unwrap_or(Path::new("."));
        make_private(folder)?;
        // Made with mode 0600.
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(bytes)?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        Ok(())
    };
    written().map_err(|error| unusable(file, &error))
}

/// Makes a folder that only its owner can look into, unless it is there.
pub(in crate::cli) fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_an_edge_is_an_https_origin_or_on_this_machine() {
        for (text, expected) in [
            ("access.corp.example", "https://access.corp.example/"),
            (
                "https://access.corp.example",
                "https://access.corp.example/",
            ),
            (
                "https://access.corp.example:8443/",
                "https://access.corp.example:8443/",
            ),
            (
                "http://access.localhost:8080",
                "http://access.localhost:8080/",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ] {
            assert_eq!(edge_url(text).unwrap().as_str(), expected);
        }
        for bad in [
            "",
            "http://access.corp.example",
            "http://localhost.evil.example",
            "ftp://access.corp.example",
            "https://user@access.corp.example",
            "https://access.corp.example/x",
            "https://access.corp.example?x",
            "javascript://x",
        ] {
            assert!(edge_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn profiles_are_found_by_name_by_edge_and_by_default() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            config: folder.path().join("config"),
            state: folder.path().join("state"),
        };
        assert_eq!(
            folders.profile(None).unwrap_err().kind(),
            crate::cli::person::fault::Kind::NotSignedIn
        );
        let first = folders.for_login(None, Some("access.one.example")).unwrap();
        assert_eq!(first.name, "access.one.example");
        folders.keep(&first).unwrap();
        let second = folders
            .for_login(Some("two"), Some("access.two.example"))
            .unwrap();
        folders.keep(&second).unwrap();
        assert_eq!(folders.profile(None).unwrap().name, "two");
        assert_eq!(
            folders.profile(Some("access.one.example")).unwrap().edge,
            first.edge
        );
        let again = folders
            .for_login(None, Some("https://access.two.example"))
            .unwrap();
        assert_eq!(again.name, "two");
        assert!(folders.profile(Some("three")).is_err());
        for bad in ["../x", ".x", "", "a/b"] {
            assert!(
                folders
                    .for_login(Some(bad), Some("access.two.example"))
                    .is_err(),
                "{bad}"
            );
        }
    }
}
