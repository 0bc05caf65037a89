//! Where a route's metadata as a protected resource are (RFC 9728): asked for by programs that are told of it in a challenge.

use crate::address::origin::Origin;

/// The well-known path (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Whether a path is that of metadata, of the whole host or of a resource below it.
pub fn is_metadata(path: &str) -> bool {
    let rest = path.strip_prefix(WELL_KNOWN);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The address of the metadata of a route with this prefix.
pub fn address(origin: &Origin, prefix: &str) -> String {
    let path = if prefix == "/" { "" } else { prefix };
    format!("{origin}{WELL_KNOWN}{path}")
}

#[cfg(test)]
mod tests {
    use super::is_metadata;

    #[test]
    fn only_whole_segments_are_metadata() {
        for (path, expected) in [
            ("/.well-known/oauth-protected-resource", true),
            ("/.well-known/oauth-protected-resource/", true),
            ("/.well-known/oauth-protected-resource/a/b", true),
            ("/.well-known/oauth-protected-resources", false),
            ("/.well-known/oauth-authorization-server", false),
            ("/a/.well-known/oauth-protected-resource", false),
        ] {
            assert_eq!(is_metadata(path), expected, "{path}");
        }
    }
}
