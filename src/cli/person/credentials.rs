//! What somebody is known by at an edge: a refresh token and the key that it is bound to. In the system's keyring where there is one, else in a file that
//! only they can read.

use std::fs::File;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use crate::cli::person::fault::Fault;
use crate::cli::person::keyring::{self, Silence};
use crate::cli::person::profile::{Folders, Profile, make_private, write_private};
use crate::token::dpop::prover::Prover;

/// Longest wait for another process that has the lock: it asks the edge, which may take as long as its own deadlines.
const LOCK: Duration = Duration::from_secs(30);
/// How often a lock that another process has is tried.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const FILE: &str = "credentials.json";

/// The credentials of a profile.
pub(in crate::cli) struct Credentials {
    /// The only edge that they are ever shown to (security.md I8).
    pub(in crate::cli) edge: Url,
    pub(in crate::cli) refresh_token: Zeroizing<String>,
    pub(in crate::cli) key: Prover,
}

#[derive(Serialize, Deserialize, Zeroize)]
struct Written {
    edge: String,
    refresh_token: String,
    key: String,
}

/// Held while credentials are used up and replaced: two processes must not use one refresh token.
pub(in crate::cli) struct Lock(#[expect(dead_code, reason = "closing it unlocks")] File);

impl Lock {
    pub(in crate::cli) fn take(folders: &Folders, profile: &str) -> Result<Self, Fault> {
        let path = folders.state(profile, "lock");
        let failed = |error: std::io::Error| {
            Fault::failed(format!("{} cannot be locked: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            make_private(folder).map_err(failed)?;
        }
        let file = File::create(&path).map_err(failed)?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
                Err(std::fs::TryLockError::WouldBlock) if waited >= LOCK => {
                    let message =
                        "another wayleave process holds your credentials and does not let go";
                    return Err(Fault::failed(message).next("look for it with `ps`, and end it"));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    std::thread::sleep(LOOK_AGAIN);
                    waited += LOOK_AGAIN;
                }
            }
        }
    }
}

impl Credentials {
    pub(in crate::cli) fn load(folders: &Folders, profile: &Profile) -> Result<Self, Fault> {
        let nobody = || {
            let next = format!("wayleave login --profile {}", profile.name);
            Fault::not_signed_in(format!("you are not signed in to {}", profile.edge)).next(next)
        };
        // A file that is there is newer: it is removed once the keyring has what it held.
        let file = folders.state(&profile.name, FILE);
        let text = match std::fs::read_to_string(file).map(Zeroizing::new) {
            Ok(text) => text,
            Err(_) => match keyring::find(&profile.name) {
                Ok(Some(text)) => text,
                Ok(None) | Err(Silence::Absent) => return Err(nobody()),
                Err(Silence::Late) => {
                    let next = "unlock it; or set WAYLEAVE_KEYRING=off and sign in once more";
                    return Err(Fault::failed("the system's keyring does not answer").next(next));
                }
            },
        };
        let written: Written = serde_json::from_str(&text).map_err(|_| nobody())?;
        let written = Zeroizing::new(written);
        let edge = Url::parse(&written.edge).map_err(|_| nobody())?;
        if edge != profile.edge {
            let message = format!(
                "profile {} leads to {} now, and its credentials are for {edge}",
                profile.name, profile.edge
            );
            let next = format!("wayleave login --profile {}", profile.name);
            return Err(Fault::not_signed_in(message).next(next));
        }
        let key = Zeroizing::new(STANDARD.decode(&written.key).map_err(|_| nobody())?);
        Ok(Self {
            edge,
            refresh_token: Zeroizing::new(written.refresh_token.clone()),
            key: Prover::open(&key).map_err(|_| nobody())?,
        })
    }

    /// Keeps them in place of what was there.
    pub(in crate::cli) fn keep(&self, folders: &Folders, profile: &str) -> Result<(), Fault> {
        let written = Zeroizing::new(Written {
            edge: self.edge.to_string(),
            refresh_token: self.refresh_token.to_string(),
            key: STANDARD.encode(self.key.pkcs8()),
        });
        let text = serde_json::to_string(&*written);
        let text = Zeroizing::new(text.map_err(|error| Fault::failed(error.to_string()))?);
        let file = folders.state(profile, FILE);
        if keyring::keep(profile, &text) {
            // What an earlier sign-in may have left.
            let _absent = std::fs::remove_file(file);
            return Ok(());
        }
        write_private(&file, text.as_bytes())
    }

    /// Forgets everything that is kept for a profile.
    pub(in crate::cli) fn forget(folders: &Folders, profile: &str) -> Result<(), Fault> {
        keyring::forget(profile);
        for what in [FILE, crate::cli::person::token_cache::FILE] {
            let file = folders.state(profile, what);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let message = format!("{} cannot be removed: {error}", file.display());
                    return Err(Fault::failed(message).next("remove it yourself"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
