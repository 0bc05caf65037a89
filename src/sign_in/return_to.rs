//! Where somebody goes after signing in: always a path of the origin they came from. Pure.

use url::Url;

use crate::address::origin::Origin;
use crate::sign_in::RESERVED_PREFIX;

/// Longest path and query that is remembered, in bytes: anybody can have one remembered.
const LIMIT: usize = 4 * 1024;

/// The path and query of `text` if a browser at `origin` would resolve it to `origin` itself; else `/`.
///
/// What counts is the *resolved* URL (WHATWG URL Standard), not how the text looks: `/\evil`, `//evil` and
/// tabs within slashes all lead elsewhere. Paths of our own lead to `/`, so that nobody goes in circles.
pub fn safe_return(origin: &Origin, text: &str) -> String {
    resolve(origin, text).unwrap_or_else(|| "/".to_owned())
}

/// Pages of the home host that send people to sign in first.
const OWN_PAGES: [&str; 1] = ["/.wayleave/oauth/"];

/// The same for a page of our own on the home host, one of those that people come back to after they signed in.
pub fn safe_own_page(origin: &Origin, text: &str) -> Option<String> {
    let resolved = within_origin(origin, text)?;
    let path = resolved.split('?').next()?;
    OWN_PAGES
        .iter()
        .any(|own| path.starts_with(own))
        .then_some(resolved)
}

fn resolve(origin: &Origin, text: &str) -> Option<String> {
    let resolved = within_origin(origin, text)?;
    let path = resolved.split('?').next()?;
    let reserved = RESERVED_PREFIX.trim_end_matches('/');
    if path == reserved || path.starts_with(RESERVED_PREFIX) {
        return None;
    }
    Some(resolved)
}

/// Path and query as a browser resolves them.
fn within_origin(origin: &Origin, text: &str) -> Option<String> {
    if text.len() > LIMIT || !text.starts_with('/') || text.contains('\\') {
        return None;
    }
    if text.chars().any(char::is_control) {
        return None;
    }
    let base = Url::parse(&origin.to_string()).ok()?;
    let resolved = base.join(text).ok()?;
    let path = resolved.path();
    // `/.//evil` resolves to a path that would itself be read as another host.
    if resolved.origin() != base.origin() || path.starts_with("//") {
        return None;
    }
    Some(match resolved.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{safe_own_page, safe_return};
    use crate::address::host::Host;
    use crate::address::origin::{Origin, Scheme};

    #[test]
    fn e5_return_addresses_stay_at_their_origin() {
        let host = Host::parse("app.example").expect("a host");
        let origin = Origin {
            scheme: Scheme::Https,
            host,
            port: 443,
        };
        for good in [
            "/",
            "/a",
            "/a/b?c=d",
            "/?next=https://evil.example",
            "/a?x=//evil",
            "/a%2Fb",
            "/.wayleavex",
            "/a@b",
            "/%5Cevil",
        ] {
            assert_eq!(safe_return(&origin, good), good);
        }
        let long = format!("/{}", "a".repeat(4095));
        assert_eq!(safe_return(&origin, &long), long);
        assert_eq!(safe_return(&origin, &format!("{long}a")), "/");
        let own = "/.wayleave/oauth/authorize?client_id=a&x=%2F";
        assert_eq!(safe_own_page(&origin, own).as_deref(), Some(own));
        for text in [
            "/",
            "/.wayleave/sign-out",
            "/.wayleave/oauth",
            "/.wayleave/oauth/../sign-out",
            "/.wayleave/oauth/%2e%2e/sign-out",
            "//evil/.wayleave/oauth/authorize",
            "https://evil/.wayleave/oauth/authorize",
            "/\\evil/.wayleave/oauth/",
        ] {
            assert_eq!(safe_own_page(&origin, text), None, "{text:?}");
        }
        let bad = [
            "",
            "evil",
            "//evil",
            "///evil",
            "////evil",
            "/\\evil",
            "\\/evil",
            "\\\\evil",
            "/\t/evil",
            "/\n/evil",
            "/\r/evil",
            "\t//evil",
            " //evil",
            "/\0",
            "https://evil",
            "https:///evil",
            "https:evil",
            "http://app.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//app.example@evil",
            "//evil/app.example",
            "/.//evil",
            "/..//evil",
            "/a/..//evil",
            "/%2e//evil",
            "//app.example.evil",
            "//[::1]/",
            "/.wayleave",
            "/.wayleave/",
            "/.wayleave/sign-out",
            "/a/../.wayleave/arrive",
            "/./.wayleave/sign-in",
            "/%2e/.wayleave/x",
            "?a",
            "#a",
            "/a\\b",
        ];
        for text in bad {
            assert_eq!(safe_return(&origin, text), "/", "{text:?}");
        }
    }
}
