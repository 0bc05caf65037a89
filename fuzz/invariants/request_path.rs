//! A path that is accepted has one reading: the same segments for whoever splits it, and nothing hidden in encodings.

use wayleave::address::path::{after, check_path, reading};

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else {
        return;
    };
    if check_path(path).is_ok() {
        assert!(path.starts_with('/') && path.is_ascii());
        assert!(!path.contains(['\\', '?', '#', ';', '\0', ' ']));
        assert!(!path.contains("//"));
        assert!(
            path.split('/')
                .all(|segment| segment != "." && segment != "..")
        );
        let lower = path.to_ascii_lowercase();
        for hidden in ["%2f", "%5c", "%2e", "%25", "%00", "%3b"] {
            assert!(!lower.contains(hidden), "{path}");
        }
        let seen = reading(path);
        assert_eq!(check_path(&seen), Ok(()), "{path}");
        assert_eq!(reading(&seen), seen, "{path}");
        assert_eq!(after(path, &seen), Some(""), "{path}");
    }
}
