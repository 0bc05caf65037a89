//! The clients there are: one, which is built in. Pure.

use url::{Host, Url};

/// The id of the command line, a public client (RFC 6749 §2.1).
pub const COMMAND_LINE: &str = "wayleave-cli";

/// Longest redirect URI.
const LONGEST: usize = 256;

/// Whether there is such a client.
pub fn is_known(id: &str) -> bool {
    id == COMMAND_LINE
}

/// What people are told that it is.
pub fn name(id: &str) -> &'static str {
    match id {
        COMMAND_LINE => "The Wayleave command line",
        _ => "An unknown program",
    }
}

/// A place of the client's own: a port of this very machine (RFC 8252 §7.3). Only literal loopback addresses: a name could be made to lead elsewhere.
pub fn redirect_uri(text: &str) -> Option<Url> {
    let rest = ["http://127.0.0.1:", "http://[::1]:"]
        .iter()
        .find_map(|start| text.strip_prefix(start))?;
    let port = rest.strip_suffix("/callback")?;
    let is_port = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
    let number: u16 = is_port.then(|| port.parse().ok())??;
    let url = Url::parse(text).ok()?;
    let is_loopback = match url.host()? {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(_) => false,
    };
    let same_port = url.port_or_known_default() == Some(number);
    (text.len() <= LONGEST && is_loopback && same_port).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::redirect_uri;

    #[test]
    fn i4_only_literal_loopback_addresses_and_the_exact_path_are_redirected_to() {
        for good in [
            "http://127.0.0.1:1/callback",
            "http://127.0.0.1:80/callback",
            "http://127.0.0.1:65535/callback",
            "http://[::1]:8080/callback",
        ] {
            assert!(redirect_uri(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "http://localhost:8080/callback",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:08/callback",
            "http://127.0.0.1:+8/callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:8080/callback/",
            "http://127.0.0.1:8080/Callback",
            "http://127.0.0.1:8080/callback?x=1",
            "http://127.0.0.1:8080/callback#x",
            "http://127.0.0.1:8080/x/../callback",
            "http://127.0.0.1:8080//callback",
            "http://127.0.0.2:8080/callback",
            "http://127.1:8080/callback",
            "http://2130706433:8080/callback",
            "http://0.0.0.0:8080/callback",
            "http://[::]:8080/callback",
            "http://[::ffff:127.0.0.1]:8080/callback",
            "http://user@127.0.0.1:8080/callback",
            "http://127.0.0.1:8080@evil.example/callback",
            "http://127.0.0.1:80.evil.example/callback",
            "http://127.0.0.1.evil.example:8080/callback",
            "https://127.0.0.1:8080/callback",
            "HTTP://127.0.0.1:8080/callback",
            "wayleave://callback",
            " http://127.0.0.1:8080/callback",
            "http://127.0.0.1:80\n80/callback",
        ] {
            assert!(redirect_uri(bad).is_none(), "{bad:?}");
        }
    }
}
