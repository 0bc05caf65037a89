//! Origins (RFC 6454): scheme, host and port, as browsers compare them.

use std::fmt;

use crate::address::host::Host;

/// How a browser reaches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP; only ever for loopback names.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The port that is left out of an origin's text.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One of our own origins: a host we serve, at the scheme and port by which people reach it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// As seen from outside.
    pub scheme: Scheme,
    /// In its only spelling.
    pub host: Host,
    /// The port as seen from outside.
    pub port: u16,
}

impl Origin {
    /// The same scheme and port at another of our hosts.
    pub fn at_host(&self, host: Host) -> Self {
        Self {
            scheme: self.scheme,
            host,
            port: self.port,
        }
    }

    /// Host and, unless it is the scheme's own, port: the text of a `Host` header.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}
