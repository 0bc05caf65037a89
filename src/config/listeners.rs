//! `[home]` and `[[listen]]`: the home host, and the addresses to listen on.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::address::host::Host;
use crate::address::origin::Scheme;
use crate::config::checked::{CertificateFiles, Listener};
use crate::config::secrets::secret_file;
use crate::config::section::Section;

/// Reads the home host.
pub(super) fn home(section: &Section<'_>) -> Option<Host> {
    section.required_parsed("host", |text| {
        Host::parse(text)
            .map_err(|fault| format!("this is no host name such as access.corp.example: {fault}"))
    })
}

/// Reads all listeners. `None` when there is any fault.
pub(super) fn read(root: &Section<'_>, home: Option<&Host>) -> Option<Vec<Listener>> {
    let sections = root.each("listen");
    if sections.is_empty() {
        root.fault(
            "listen",
            "there is no [[listen]] section; nothing would be served",
        );
        return None;
    }
    let mut seen = BTreeSet::new();
    let listeners: Vec<Option<Listener>> = sections
        .iter()
        .map(|section| {
            let listener = listener(section, home)?;
            if listener.address.port() != 0 && !seen.insert(listener.address) {
                section.fault("address", "another [[listen]] section has this address");
                return None;
            }
            Some(listener)
        })
        .collect();
    listeners.into_iter().collect()
}

fn listener(section: &Section<'_>, home: Option<&Host>) -> Option<Listener> {
    let address = section.required_parsed("address", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| "this must be an IP address and a port, like 0.0.0.0:443 or [::]:443")
    });
    let scheme = section.required_parsed("scheme", |text| match text {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err("this must be \"https\" or \"http\""),
    });
    let external_port = if section.has("external_port") {
        section.number("external_port", 0..=65535)
    } else {
        address.map(|address| u64::from(address.port()))
    };
    let certificates = certificates(section);
    let client_certificates = section.flag("client_certificates").unwrap_or(false);
    let listener = Listener {
        address: address?,
        scheme: scheme?,
        external_port: u16::try_from(external_port?).ok()?,
        certificates: certificates?,
        client_certificates,
    };
    is_safe(section, &listener, home).then_some(listener)
}

fn certificates(section: &Section<'_>) -> Option<Vec<CertificateFiles>> {
    let files = |section: &Section<'_>| {
        let (chain, key) = (section.required_file("chain"), secret_file(section, "key"));
        Some(CertificateFiles {
            chain: chain?,
            key: key?,
        })
    };
    let read: Vec<_> = section.each("certificates").iter().map(files).collect();
    read.into_iter().collect()
}

/// Plain http exists for development on one machine: cookies and tokens would travel readable anywhere else.
fn is_safe(section: &Section<'_>, listener: &Listener, home: Option<&Host>) -> bool {
    let mut safe = true;
    let mut refuse = |key, message| {
        section.fault(key, message);
        safe = false;
    };
    match listener.scheme {
        Scheme::Https if listener.certificates.is_empty() => refuse(
            "certificates",
            "https needs at least one [[listen.certificates]] with chain and key",
        ),
        Scheme::Https => {}
        Scheme::Http => {
            if !listener.address.ip().is_loopback() {
                refuse(
                    "address",
                    "plain http is accepted on a loopback address (127.0.0.1, [::1]) only; use scheme = \"https\"",
                );
            }
            if home.is_some_and(|home| !home.is_loopback()) {
                refuse(
                    "scheme",
                    "plain http is accepted only when home.host is localhost or ends in .localhost; use \"https\"",
                );
            }
            if !listener.certificates.is_empty() {
                refuse("certificates", "an http listener has no certificates");
            }
            if listener.client_certificates {
                refuse("client_certificates", "only https asks for certificates");
            }
        }
    }
    safe
}
