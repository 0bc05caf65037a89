//! The system's keyring. One that waits for a password in a window that nobody sees must not hold anybody up: it is asked from a thread of its own, and
//! not waited for longer than [`PATIENCE`].

use std::sync::mpsc;
use std::time::Duration;

use keyring::v1::{Entry, Error};
use zeroize::Zeroizing;

/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(3);
/// What our entries are filed under; the profile is the user.
const SERVICE: &str = "wayleave";

/// Why nothing is known of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Silence {
    /// There is no keyring, or none is wanted.
    Absent,
    /// There is one, and it did not answer in time.
    Late,
}

/// What is kept for a profile.
pub(in crate::cli) fn find(profile: &str) -> Result<Option<Zeroizing<String>>, Silence> {
    asked(profile, |entry| match entry.get_password() {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(error),
    })
}

/// Keeps it; whether that is done.
pub(in crate::cli) fn keep(profile: &str, text: &str) -> bool {
    let text = Zeroizing::new(text.to_owned());
    asked(profile, move |entry| entry.set_password(&text)).is_ok()
}

/// Forgets it.
pub(in crate::cli) fn forget(profile: &str) {
    let _absent = asked(profile, |entry| entry.delete_credential());
}

fn asked<T: Send + 'static>(
    profile: &str,
    ask: impl FnOnce(Entry) -> Result<T, Error> + Send + 'static,
) -> Result<T, Silence> {
    if !is_wanted() {
        return Err(Silence::Absent);
    }
    let profile = profile.to_owned();
    let (sender, receiver) = mpsc::channel();
    // It ends with the process at the latest.
    std::thread::spawn(move || {
        let answer = Entry::new(SERVICE, &profile).and_then(ask);
        let _nobody_waits = sender.send(answer);
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Silence::Absent),
        Err(_) => Err(Silence::Late),
    }
}

/// Not without a session bus, and not against the user's will.
fn is_wanted() -> bool {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let refused = of("WAYLEAVE_KEYRING").is_some_and(|value| value == "off");
    let bus = || {
        let socket =
            of("XDG_RUNTIME_DIR").map(|folder| std::path::PathBuf::from(folder).join("bus"));
        of("DBUS_SESSION_BUS_ADDRESS").is_some() || socket.is_some_and(|socket| socket.exists())
    };
    !refused && (!cfg!(target_os = "linux") || bus())
}
