//! `[[kubernetes]]`: clusters that the edge has a credential for, and where that may go.

use std::collections::BTreeSet;

use crate::address::host::Host;
use crate::config::checked::ClusterConfig;
use crate::config::secrets::secret_file;
use crate::config::section::Section;

/// The longest name that a policy can say.
const LONGEST_NAME: usize = 100;

pub(super) fn read(root: &Section<'_>) -> Option<Vec<ClusterConfig>> {
    let sections = root.each("kubernetes");
    let mut names = BTreeSet::new();
    let read: Vec<_> = sections
        .iter()
        .map(|section| cluster(section, &mut names))
        .collect();
    read.into_iter().collect()
}

fn cluster(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<ClusterConfig> {
    let name = section.required_parsed("name", |text| {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if text.len() > LONGEST_NAME || !text.chars().all(is_fine) {
            return Err("a name has 1 to 100 letters, digits, `.`, `-`, `_`");
        }
        match names.insert(text.to_owned()) {
            true => Ok(text.to_owned()),
            false => Err("another cluster has this name"),
        }
    });
    let server_name = section.required_parsed("server_name", |text| {
        Host::parse(text).map(|host| host.to_string())
    });
    // The outer `None` is a fault.
    let ca_file = section.optional_file("ca_file");
    let token_file = secret_file(section, "token_file");
    let bearer_tokens = match section.has("bearer_tokens") {
        true => section.flag("bearer_tokens"),
        false => Some(false),
    };
    Some(ClusterConfig {
        name: name?,
        server_name: server_name?,
        ca_file: ca_file?,
        token_file: token_file?,
        bearer_tokens: bearer_tokens?,
    })
}
