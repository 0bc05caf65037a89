//! The way from a refusal to the page where access is asked for: what somebody wanted is written into the page's address, and read from it again.
//!
//! Anybody can write such an address, so nothing in it is believed: it says which place is meant, and the page decides anew what there is to ask for.

use url::form_urlencoded;

use crate::address::host::Host;
use crate::address::origin::Origin;
use crate::address::path::{check_query, examine_path};
use crate::identity::principal::{Agent, LONGEST_CHAIN, Principal};
use crate::web::parameters::Parameters;

/// The page on the home host.
pub const ASK_PATH: &str = "/access/ask";

/// Longest address with the query of what was wanted; without it, it is shorter.
const LONGEST: usize = 6 * 1024;

/// What somebody wanted to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Upper-case wire method.
    pub method: String,
    /// One that may be of a route, or not.
    pub host: Host,
    /// Canonical path.
    pub path: String,
    /// What follows it.
    pub query: Option<String>,
    /// Through which agents, as rules call them; empty for whoever asks themselves.
    pub agents: Vec<String>,
}

/// Longest name of an agent.
const LONGEST_AGENT: usize = 512;

impl Wanted {
    /// The address of the page on the home host at `home`, whose scheme and port are those of all our hosts.
    pub fn ask_url(&self, home: &Origin) -> String {
        let whole = self.written(home, &self.target());
        if whole.len() <= LONGEST {
            return whole;
        }
        self.written(home, &self.path)
    }

    fn written(&self, home: &Origin, target: &str) -> String {
        let to = format!("{}{target}", home.at_host(self.host.clone()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("to", &to);
        if self.method != "GET" {
            query.append_pair("method", &self.method);
        }
        if !self.agents.is_empty() {
            query.append_pair("agents", &self.agents_text());
        }
        format!("{home}{ASK_PATH}?{}", query.finish())
    }

    /// Reads what [`Self::ask_url`] wrote; `None` if it is of another scheme or port, or no request could look like that.
    pub fn read(parameters: &Parameters, home: &Origin) -> Option<Self> {
        let method = parameters.one("method").unwrap_or("GET");
        let mut wanted = Self::parse(method, parameters.one("to")?, home)?;
        wanted.agents = match parameters.one("agents") {
            None | Some("") => Vec::new(),
            Some(text) => agents(text)?,
        };
        Some(wanted)
    }

    /// The agents as one parameter: a name a line.
    pub fn agents_text(&self) -> String {
        self.agents.join("\n")
    }

    /// Somebody with these agents, of whom nothing is believed but what they would be called.
    pub fn through(&self, principal: &Principal) -> Principal {
        let agent = |id: &String| Agent {
            id: id.as_str().into(),
            issuer: "".into(),
            subject: id.as_str().into(),
            name: None,
        };
        principal.through(self.agents.iter().map(agent).collect())
    }

    /// Reads a method and an address; `None` as with [`Self::read`]. Letter for letter: nothing is repaired that others would read in another way.
    pub fn parse(method: &str, to: &str, home: &Origin) -> Option<Self> {
        let (_, rest) = to.split_once("://")?;
        let (authority, _) = rest.split_once('/')?;
        let (host, _) = Host::parse_authority(authority).ok()?;
        let target = to.strip_prefix(&home.at_host(host.clone()).to_string())?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        examine_path(path).ok()?;
        if !is_method(method) || query.is_some_and(|query| check_query(query).is_err()) {
            return None;
        }
        Some(Self {
            method: method.to_owned(),
            host,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            agents: Vec::new(),
        })
    }

    /// Path and query.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// A form's text has lines that end in two characters.
fn agents(text: &str) -> Option<Vec<String>> {
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.len() <= LONGEST_AGENT && !name.chars().any(char::is_control)
    };
    (names.len() <= LONGEST_CHAIN && names.iter().all(is_name)).then_some(names)
}

fn is_method(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    !text.is_empty() && text.len() <= 32 && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::origin::Scheme;

    fn home() -> Origin {
        Origin {
            scheme: Scheme::Https,
            host: Host::parse("access.example").unwrap(),
            port: 443,
        }
    }

    fn read(query: &str) -> Option<Wanted> {
        let parameters = Parameters::parse(query.as_bytes(), 8192).ok()?;
        Wanted::read(&parameters, &home())
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (method, path, query, agents) in [
            ("GET", "/", None, &[][..]),
            ("POST", "/a/b%20c", Some("x=1&y=%2F&z"), &["loopback"]),
            (
                "GET",
                "/d;v=1/b",
                Some("a=b?c"),
                &["robots/a b", "https://agent.example"],
            ),
        ] {
            let wanted = Wanted {
                method: method.to_owned(),
                host: Host::parse("app.example").unwrap(),
                path: path.to_owned(),
                query: query.map(str::to_owned),
                agents: agents.iter().map(ToString::to_string).collect(),
            };
            let url = wanted.ask_url(&home());
            let (page, written) = url.split_once('?').unwrap();
            assert_eq!(page, "https://access.example/access/ask");
            assert_eq!(read(written), Some(wanted), "{url}");
        }
        let long = Wanted {
            method: "GET".to_owned(),
            host: Host::parse("app.example").unwrap(),
            path: "/a".to_owned(),
            query: Some("%20".repeat(2000)),
            agents: Vec::new(),
        };
        assert!(long.ask_url(&home()).ends_with("%2Fa"));
    }

    #[test]
    fn e5_what_leads_elsewhere_is_not_read() {
        for to in [
            "",
            "app.example",
            "/a",
            "//app.example/",
            "http://app.example/",
            "https://app.example:8443/",
            "https://app.example:443/",
            "https://app.example",
            "https://APP.example/",
            "HTTPS://app.example/",
            "https://u@app.example/",
            "https://u:p@app.example/",
            "javascript:alert(1)",
            "https://app.example//evil.example",
            "https://app.example/%2e%2e/a",
            "https://app.example/%2fa",
            "https://app.example/%0D%0Ax:y",
            "https://app.example\\@evil.example/",
            "https://app.example/a#b",
        ] {
            let written: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
            assert_eq!(read(&format!("to={written}")), None, "{to}");
        }
        let good = "to=https://app.example/a";
        for agents in ["a%0A%0Ab", "a%0Ab%0Ac", "a%00", "%0A"] {
            assert_eq!(read(&format!("{good}&agents={agents}")), None, "{agents}");
        }
        assert!(read(good).is_some());
        for method in ["get", "A%20B", "G\u{c9}T", "%0d%0a"] {
            assert_eq!(read(&format!("{good}&method={method}")), None, "{method}");
        }
    }
}
