//! Where somebody is sent after signing in stays at the origin where they began, as a browser resolves it, and outside of our own paths.

use http::HeaderValue;
use url::Url;
use wayleave::address::host::Host;
use wayleave::address::origin::{Origin, Scheme};
use wayleave::sign_in::RESERVED_PREFIX;
use wayleave::sign_in::return_to::safe_return;

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for (scheme, port) in [(Scheme::Https, 443), (Scheme::Http, 8080)] {
        let host = Host::parse("app.example").expect("a host");
        stays(&Origin { scheme, host, port }, text);
    }
}

fn stays(origin: &Origin, text: &str) {
    let back = safe_return(origin, text);
    assert_eq!(safe_return(origin, &back), back, "{text:?}");
    assert!(HeaderValue::from_str(&back).is_ok(), "{back:?}");
    let home = Url::parse(&origin.to_string()).expect("an origin is a URL");
    // Whatever page the browser resolves it on, and whether it takes it alone or behind the origin.
    let deep = home.join("/a/b/c?d").expect("a path");
    let behind = Url::parse(&format!("{origin}{back}")).expect("a URL");
    for resolved in [home.join(&back), deep.join(&back), Ok(behind)] {
        let resolved = resolved.expect("it resolves");
        assert_eq!(resolved.origin(), home.origin(), "{back:?}");
        assert_eq!(resolved.username(), "");
        assert!(resolved.fragment().is_none(), "{back:?}");
        let path = resolved.path();
        assert!(!path.starts_with("//"), "{back:?}");
        assert!(!format!("{path}/").starts_with(RESERVED_PREFIX), "{back:?}");
    }
}
