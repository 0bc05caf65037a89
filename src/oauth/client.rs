//! The clients there are: one that is built in, and those that registered themselves. Pure.

use url::{Host, Url};

use crate::identity::principal::Agent;
use crate::identity::unseen::is_unseen;
use crate::store::oauth_clients::ClientRecord;

/// The id of the command line, a public client (RFC 6749 §2.1).
pub const COMMAND_LINE: &str = "wayleave-cli";

/// What the ids of clients begin with that registered themselves.
pub const REGISTERED: &str = "agent-";

/// Longest name that a client gives itself, in characters.
const LONGEST_NAME: usize = 60;

/// Longest redirect URI.
const LONGEST: usize = 256;

/// A client that there is.
pub enum Client {
    /// A program of the person's own, which may what they may.
    CommandLine,
    /// An agent: what it may, rules say.
    Registered(Box<ClientRecord>),
}

impl Client {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::CommandLine => COMMAND_LINE,
            Self::Registered(client) => &client.id,
        }
    }

    /// Where people are sent back to, if it may have that.
    pub fn redirect_uri(&self, text: &str) -> Option<Url> {
        match self {
            Self::CommandLine => redirect_uri(text),
            Self::Registered(client) => {
                let url = registrable(text)?;
                let is_its_own = |own: &String| own == text || differs_in_port(own, &url);
                client.redirect_uris.iter().any(is_its_own).then_some(url)
            }
        }
    }
}

/// Who a registered client is to rules: whoever reads what is sent to its redirect URI.
pub fn agent(client: &ClientRecord, redirect_uri: &Url, issuer: &str) -> Agent {
    let id = if is_loopback(redirect_uri) {
        "loopback".to_owned()
    } else {
        redirect_uri.origin().ascii_serialization()
    };
    Agent {
        id: id.into(),
        issuer: issuer.into(),
        subject: client.id.as_str().into(),
        name: client.name.as_deref().map(Into::into),
    }
}

/// What a client calls itself, in one line and bounded, without what would make a page say something else than it does.
pub fn own_name(text: &str) -> Option<String> {
    let is_shown = |c: &char| !is_unseen(*c) || (c.is_control() && c.is_whitespace());
    let shown: String = text.chars().filter(is_shown).collect();
    let words: Vec<&str> = shown.split_whitespace().collect();
    let name: String = words.join(" ").chars().take(LONGEST_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// A redirect URI that a client may register: https, or http to the person's own computer. Only as it is written when it is sent, so that texts can be compared
/// (RFC 9700 §4.1.3).
pub fn registrable(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_written_so = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_safe = match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(&url),
        _ => false,
    };
    (text.len() <= LONGEST && is_written_so && is_plain && is_safe).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

/// At a loopback address, and there alone, the port may be another one each time (RFC 8252 §7.3). A name is no address.
fn differs_in_port(own: &str, given: &Url) -> bool {
    let Ok(mut own) = Url::parse(own) else {
        return false;
    };
    let is_address = !matches!(given.host(), Some(Host::Domain(_)) | None);
    is_address
        && is_loopback(&own)
        && is_loopback(given)
        && own.set_port(given.port()).is_ok()
        && own == *given
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
    use super::{Client, agent, own_name, redirect_uri, registrable};
    use crate::clock::Timestamp;
    use crate::store::oauth_clients::ClientRecord;

    fn registered(redirect_uris: &[&str]) -> ClientRecord {
        ClientRecord {
            id: "agent-1".to_owned(),
            name: None,
            redirect_uris: redirect_uris.iter().map(ToString::to_string).collect(),
            address: "192.0.2.1".to_owned(),
            created_at: Timestamp::from_seconds(0),
            expires_at: Timestamp::from_seconds(1),
        }
    }

    #[test]
    fn i4_a_registered_client_is_answered_exactly_where_it_said() {
        let uris = [
            "https://agent.example/callback",
            "http://127.0.0.1:7/cb",
            "http://[::1]/cb",
            "http://localhost:7/cb",
        ];
        let client = Client::Registered(Box::new(registered(&uris)));
        for good in uris.iter().chain(&[
            "http://127.0.0.1:8/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:9/cb",
        ]) {
            assert!(client.redirect_uri(good).is_some(), "{good}");
        }
        for bad in [
            "https://agent.example/callback/",
            "https://agent.example/callback?x=1",
            "https://agent.example:8443/callback",
            "https://agent.example.evil.example/callback",
            "https://AGENT.example/callback",
            "https://agent.example/x/../callback",
            "http://agent.example/callback",
            "http://127.0.0.1:7/other",
            "http://127.0.0.2:7/cb",
            "https://127.0.0.1:7/cb",
            "http://localhost:8/cb",
            "http://localhost/cb",
            "",
        ] {
            assert!(client.redirect_uri(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn i4_only_https_and_loopback_are_registered() {
        for good in [
            "https://agent.example/callback",
            "https://agent.example",
            "https://agent.example:8443/a?b=c",
            "http://localhost:1/x",
        ] {
            assert!(registrable(good).is_some(), "{good}");
        }
        for bad in [
            "http://agent.example/callback",
            "http://localhost.evil.example/x",
            "http://0.0.0.0:1/x",
            "javascript:alert(1)",
            "data:text/html,x",
            "cursor://callback",
            "https://user@agent.example/",
            "https://agent.example/#x",
            "https://agent.example/#",
            "https:\\\\agent.example/",
            "https:agent.example/",
            " https://agent.example/",
            "https://agent.example/a\tb",
            "https://127.1/",
        ] {
            assert!(registrable(bad).is_none(), "{bad}");
        }
        assert!(registrable(&format!("https://agent.example/{}", "x".repeat(300))).is_none());
    }

    #[test]
    fn i2_rules_see_where_an_agent_is_and_not_what_it_calls_itself() {
        let mut client = registered(&["https://agent.example:8443/cb"]);
        client.name = Some("https://other.example".to_owned());
        let id = |uri: &str| agent(&client, &uri.parse().unwrap(), "https://home").id;
        assert_eq!(
            &*id("https://agent.example:8443/cb"),
            "https://agent.example:8443"
        );
        assert_eq!(&*id("https://agent.example/cb"), "https://agent.example");
        for own in [
            "http://localhost:1/cb",
            "http://127.0.0.1:1/cb",
            "http://[::1]:1/cb",
        ] {
            assert_eq!(&*id(own), "loopback");
        }
    }

    #[test]
    fn i2_a_name_is_one_bounded_line() {
        for (given, shown) in [
            ("Claude", Some("Claude")),
            ("  A \n B\t ", Some("A B")),
            ("a\u{202e}b\u{200b}c\u{0}", Some("abc")),
            ("\u{202e}", None),
            ("", None),
        ] {
            assert_eq!(own_name(given).as_deref(), shown, "{given:?}");
        }
        assert_eq!(own_name(&"é".repeat(500)).unwrap().chars().count(), 60);
    }

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
