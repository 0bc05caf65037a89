//! What a browser calls itself, in words that its owner recognises. Anybody can claim anything here, so it is for people to read and for nothing else.

use http::{HeaderMap, header};

/// The longest that is looked at, in bytes.
const LOOKED_AT: usize = 512;

/// The first that is found counts: many claim to be others besides.
const BROWSERS: [(&str, &str); 8] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// Like `Firefox on Linux`; made of our own words only, and `None` if none of them fits.
pub fn name(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    let agent = agent.get(..LOOKED_AT).unwrap_or(agent);
    let find = |words: &[(&str, &'static str)]| {
        let found = words.iter().find(|(sign, _)| agent.contains(sign));
        found.map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(agent: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(agent).unwrap();
        headers.insert(header::USER_AGENT, value);
        name(&headers)
    }

    #[test]
    fn browsers_are_told_by_what_they_are_and_not_by_what_they_claim_besides() {
        for (agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Samsung Internet on Android",
            ),
        ] {
            assert_eq!(of(agent).as_deref(), Some(expected));
        }
    }

    #[test]
    fn k1_nothing_of_what_a_client_wrote_is_repeated() {
        for agent in [
            "",
            "<script>alert(1)</script>",
            "curl/8.5.0",
            &"x".repeat(9000),
            "\u{e9}",
        ] {
            assert_eq!(of(agent), None, "{agent}");
        }
        let said = of("<b>Firefox/1</b> Linux").unwrap();
        assert_eq!(said, "Firefox on Linux");
        let long = format!("{}Firefox/1", "x".repeat(LOOKED_AT));
        assert_eq!(of(&long), None);
    }
}
