//! Secrets: from a file (`x_file`) or a variable (`x_env`), from exactly one of them, and not from the configuration's own text.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::section::Section;
use crate::secret::{ExposeSecret, Sealer, SecretString};

/// Longest secret that is read from a file.
const LONGEST: u64 = 64 * 1024;

/// Names of the keys by which one secret may be given.
#[derive(Clone, Copy)]
pub(super) struct SecretKeys {
    /// The key that would hold it literally.
    pub(super) literal: &'static str,
    pub(super) file: &'static str,
    pub(super) variable: &'static str,
}

/// Where a secret is written.
enum Source {
    Literal,
    File,
    Variable,
}

impl SecretKeys {
    /// Which of the keys is there; more than one is a fault. The outer `None` says that a fault was noted.
    fn source(self, section: &Section<'_>) -> Option<Option<Source>> {
        let mut present = [
            (self.literal, Source::Literal),
            (self.file, Source::File),
            (self.variable, Source::Variable),
        ]
        .into_iter()
        .filter(|(key, _)| section.has(key));
        let first = present.next();
        if let (Some((first, _)), Some((second, _))) = (&first, present.next()) {
            section.fault(second, format!("{first} is given too; keep one of the two"));
            return None;
        }
        Some(first.map(|(_, source)| source))
    }

    /// Reads a secret text: `Some(None)` when it is not given, `None` when a fault was noted. A literal is taken from the environment only,
    /// or where `literal_is_harmless` says that it holds no secret.
    pub(super) fn text(
        self,
        section: &Section<'_>,
        literal_is_harmless: fn(&str) -> bool,
    ) -> Option<Option<SecretString>> {
        let secret = match self.source(section)? {
            None => return Some(None),
            Some(Source::Literal) => {
                let text = section.text(self.literal)?;
                if !section.is_from_environment(self.literal) && !literal_is_harmless(&text) {
                    self.refuse_literal(section);
                    return None;
                }
                SecretString::from(text)
            }
            Some(Source::Variable) => self.variable_text(section)?,
            Some(Source::File) => {
                let path = section.path(self.file)?;
                let bytes = read_file(section, self.file, &path)?;
                let text = std::str::from_utf8(&bytes).ok();
                let text = text.filter(|text| !text.trim().is_empty());
                let Some(text) = text.map(|text| text.trim_end_matches(['\r', '\n'])) else {
                    section.fault_of_file(self.file, &path, "the file is empty or not text");
                    return None;
                };
                if !literal_is_harmless(text) {
                    refuse_open_file(section, self.file, &path)?;
                }
                SecretString::from(text)
            }
        };
        Some(Some(secret))
    }

    fn variable_text(self, section: &Section<'_>) -> Option<SecretString> {
        let name = section.text(self.variable)?;
        let value = section.reading.environment.variable(&name);
        let value = value.filter(|value| !value.expose_secret().is_empty());
        if value.is_none() {
            section.fault(
                self.variable,
                format!("the variable {name} is not set or empty"),
            );
        }
        value.cloned()
    }

    fn refuse_literal(self, section: &Section<'_>) {
        section.fault(
            self.literal,
            format!(
                "a secret must not stand in this file: write it to a file of its own and name that in {}, or put it in a variable and name that in {}",
                self.file, self.variable
            ),
        );
    }
}

/// Reads the key that seals the store: 32 bytes, raw, as 64 hexadecimal characters or as base64.
pub(super) fn store_key(section: &Section<'_>) -> Option<Sealer> {
    let keys = SecretKeys {
        literal: "key",
        file: "key_file",
        variable: "key_env",
    };
    let (key, bytes) = match keys.source(section)? {
        Some(Source::Literal) if !section.is_from_environment(keys.literal) => {
            keys.refuse_literal(section);
            return None;
        }
        Some(Source::Literal) => {
            let text = Zeroizing::new(section.text(keys.literal)?);
            (keys.literal, Zeroizing::new(text.as_bytes().to_vec()))
        }
        Some(Source::Variable) => {
            let text = keys.variable_text(section)?;
            let bytes = text.expose_secret().as_bytes().to_vec();
            (keys.variable, Zeroizing::new(bytes))
        }
        Some(Source::File) => {
            let path = section.path(keys.file)?;
            let bytes = read_file(section, keys.file, &path)?;
            refuse_open_file(section, keys.file, &path)?;
            (keys.file, bytes)
        }
        None => {
            section.fault(
                keys.file,
                "this is missing; make a key with `openssl rand -hex 32`, in a file of mode 0600",
            );
            return None;
        }
    };
    let sealer = decode_key(&bytes).map(|key| Sealer::new(&key));
    if sealer.is_none() {
        section.fault(
            key,
            "the key must be 32 bytes: raw, as 64 hexadecimal characters, or as base64",
        );
    }
    sealer
}

fn decode_key(bytes: &[u8]) -> Option<Zeroizing<[u8; Sealer::KEY_LENGTH]>> {
    let mut key = Zeroizing::new([0; Sealer::KEY_LENGTH]);
    if bytes.len() == Sealer::KEY_LENGTH {
        key.copy_from_slice(bytes);
        return Some(key);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if hex::decode_to_slice(text, key.as_mut()).is_ok() {
        return Some(key);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    if decoded.len() != Sealer::KEY_LENGTH {
        return None;
    }
    key.copy_from_slice(&decoded);
    Some(key)
}

fn read_file(section: &Section<'_>, key: &str, path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let read = || {
        if std::fs::metadata(path)?.len() > LONGEST {
            return Err(std::io::Error::other("it is too large for a secret"));
        }
        std::fs::read(path)
    };
    match read() {
        Ok(bytes) => Some(Zeroizing::new(bytes)),
        Err(error) => {
            section.fault(key, format!("{} cannot be read: {error}", path.display()));
            None
        }
    }
}

/// The path of a file with a secret, which must be there and be nobody else's to read.
pub(super) fn secret_file(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = section.required_file(key)?;
    refuse_open_file(section, key, &path)?;
    Some(path)
}

/// A secret that others may read is none. Two exceptions reach as far as they must, to the group: the folder that systemd keeps credentials in, where
/// the owner's rights are an access control list, whose mask shows as the group's; and files of root for an edge that is not root, which could not
/// read them otherwise (as a cluster mounts them).
#[cfg(unix)]
fn refuse_open_file(section: &Section<'_>, key: &'static str, path: &Path) -> Option<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let credentials = section
        .reading
        .environment
        .variable("CREDENTIALS_DIRECTORY");
    let is_credential = credentials.is_some_and(|folder| path.starts_with(folder.expose_secret()));
    let metadata = std::fs::metadata(path).ok()?;
    let is_of_root = metadata.uid() == 0 && !rustix::process::geteuid().is_root();
    let refused = if is_credential || is_of_root {
        0o037
    } else {
        0o077
    };
    let mode = metadata.permissions().mode();
    if mode & refused == 0 {
        return Some(());
    }
    let mode = mode & 0o777;
    let path = path.display();
    section.fault(
        key,
        format!("{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}"),
    );
    None
}

#[cfg(not(unix))]
fn refuse_open_file(_section: &Section<'_>, _key: &'static str, _path: &Path) -> Option<()> {
    Some(())
}
