//! `[store]`: where state rests, and the key that seals it.

use std::sync::Arc;

use url::Url;

use crate::config::checked::StoreConfig;
use crate::config::secrets::{SecretKeys, store_key};
use crate::config::section::Section;
use crate::secret::{ExposeSecret, SecretString};

pub(super) fn read(section: &Section<'_>) -> Option<StoreConfig> {
    let url = url(section);
    let key = store_key(section);
    let connections = section.has("connections");
    let connections = if connections {
        section.number("connections", 1..=1000)
    } else {
        Some(10)
    };
    Some(StoreConfig {
        url: url?,
        key: Arc::new(key?),
        connections: u32::try_from(connections?).ok()?,
    })
}

fn url(section: &Section<'_>) -> Option<SecretString> {
    let keys = SecretKeys {
        literal: "url",
        file: "url_file",
        variable: "url_env",
    };
    let Some(written) = keys.text(section, has_no_password)? else {
        section.fault(
            keys.literal,
            "this is missing; write sqlite://wayleave.db for one machine, or name a file with a postgres:// URL in url_file",
        );
        return None;
    };
    let text = written.expose_secret();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        if Url::parse(text).is_ok() {
            return Some(written);
        }
        section.fault_here("the store's URL is not a URL");
        return None;
    }
    let Some(path) = text.strip_prefix("sqlite://") else {
        section.fault_here("the store's URL must begin with sqlite:// or postgres://");
        return None;
    };
    if path.is_empty() || path.contains(":memory:") {
        section.fault_here("an SQLite store needs a file: sqlite://wayleave.db");
        return None;
    }
    let path = section.reading.resolve(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    Some(SecretString::from(format!("sqlite://{}", path.display())))
}

/// A URL may stand in the file when it has no password, neither before the host nor among its parameters.
fn has_no_password(text: &str) -> bool {
    if text.starts_with("sqlite:") {
        return true;
    }
    // What is no URL holds nobody knows what.
    Url::parse(text).is_ok_and(|url| no_password(&url))
}

fn no_password(url: &Url) -> bool {
    url.password().is_none() && !url.query_pairs().any(|(name, _)| name == "password")
}
