//! The shape of the house, kept by a test: which module may know which, who may name which library, and how large things get.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may use, beside the leaves. A module uses itself freely. Arrows go down only.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "app", "edge", "demo", "admin", "oidc", "token", "mesh", "snapshot", "store", "policy",
            "audit", "identity", "config", "address",
        ],
    ),
    (
        "app",
        &[
            "api", "console", "edge", "sign_in", "oauth", "portal", "web", "admin", "oidc",
            "token", "session", "mesh", "snapshot", "store", "policy", "audit", "identity",
            "config", "address",
        ],
    ),
    (
        "api",
        &[
            "oauth", "web", "admin", "access", "token", "session", "snapshot", "store", "policy",
            "audit", "identity", "config", "address",
        ],
    ),
    (
        "console",
        &[
            "web", "admin", "access", "session", "snapshot", "store", "policy", "audit",
            "identity", "address",
        ],
    ),
    ("demo", &["token", "identity", "address"]),
    (
        "edge",
        &[
            "sign_in", "web", "oidc", "token", "session", "mesh", "snapshot", "policy", "audit",
            "identity", "config", "address",
        ],
    ),
    (
        "sign_in",
        &[
            "web", "oidc", "token", "session", "snapshot", "store", "policy", "identity", "config",
            "address",
        ],
    ),
    (
        "portal",
        &[
            "web", "oidc", "admin", "access", "session", "snapshot", "store", "policy", "identity",
            "address",
        ],
    ),
    (
        "oauth",
        &[
            "web", "oidc", "token", "session", "mesh", "snapshot", "store", "policy", "audit",
            "identity", "config", "address",
        ],
    ),
    ("web", &["session", "policy", "identity", "address"]),
    (
        "admin",
        &[
            "token", "session", "snapshot", "store", "access", "policy", "audit", "identity",
            "config", "address",
        ],
    ),
    (
        "oidc",
        &["token", "session", "identity", "config", "address"],
    ),
    (
        "token",
        &[
            "mesh", "store", "policy", "audit", "identity", "config", "address",
        ],
    ),
    ("session", &["store", "identity", "config", "address"]),
    ("mesh", &["policy", "identity", "config", "address"]),
    (
        "snapshot",
        &["store", "access", "policy", "identity", "config"],
    ),
    // Rows become domain types: the store names the types of sessions, policy and access, and nothing of what they do.
    (
        "store",
        &["session", "access", "policy", "audit", "identity", "config"],
    ),
    ("access", &["identity"]),
    ("policy", &["identity", "address"]),
    ("config", &["identity", "address"]),
    ("audit", &["identity"]),
    ("identity", &[]),
    ("address", &[]),
];

/// Known to everybody; they know nobody.
const LEAVES: &[&str] = &["clock", "secret", "lifecycle", "telemetry", "tls"];

/// Libraries that only some modules may name.
const LIBRARY_HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("openidconnect", &["oidc"]),
    (
        "rustls",
        &["tls", "mesh", "edge/tls", "token/outbound", "demo"],
    ),
    (
        "reqwest",
        &["token/outbound", "oidc", "cli/client", "cli/person/home"],
    ),
    (
        "askama",
        &["web", "console", "sign_in", "oauth", "portal", "demo"],
    ),
];

/// Modules that must stay pure: no runtime, no HTTP stack, no store, no clock.
const PURE: &[&str] = &["policy", "identity", "address"];
const IMPURE_LIBRARIES: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "sqlx",
    "reqwest",
    "std::fs",
    "std::net::Tcp",
    "crate::clock",
];

struct Source {
    /// `edge/tls.rs`
    path: String,
    /// `edge`
    module: String,
    text: String,
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files
        .into_iter()
        .map(|file| {
            let path = file
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let module = path.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            Source { path, module, text }
        })
        .collect()
}

/// Files of tests may name what they need.
fn is_shipped(source: &Source) -> bool {
    !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/")
}

/// The text without inline tests and comments: what the rules are about.
fn shipped(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn uses(text: &str) -> BTreeSet<String> {
    text.split("crate::")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn arrows_go_down_only() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(is_shipped) {
        if matches!(source.module.as_str(), "lib" | "main") {
            continue;
        }
        for used in uses(&shipped(&source.text)) {
            let fine = used == source.module
                || LEAVES.contains(&used.as_str())
                || allowed
                    .get(source.module.as_str())
                    .is_some_and(|list| list.contains(&used.as_str()));
            if !fine {
                wrong.push(format!("{} uses crate::{used}", source.path));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that the table in this file does not allow:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_is_in_the_table() {
    for source in sources() {
        let known = matches!(source.module.as_str(), "lib" | "main")
            || LEAVES.contains(&source.module.as_str())
            || MAY_USE.iter().any(|(module, _)| *module == source.module);
        assert!(known, "{} belongs to no module of the table", source.path);
    }
}

#[test]
fn the_table_has_no_cycle() {
    // The one exception is named in the table: the store speaks in the types of sessions.
    let exempt = [("store", "session")];
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    for (start, _) in MAY_USE {
        let mut reached = BTreeSet::new();
        let mut open = vec![*start];
        while let Some(module) = open.pop() {
            for next in allowed.get(module).copied().unwrap_or_default() {
                if !exempt.contains(&(module, next)) && reached.insert(*next) {
                    open.push(next);
                }
            }
        }
        assert!(!reached.contains(start), "{start} reaches itself");
    }
}

#[test]
fn libraries_stay_at_home() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(is_shipped) {
        let code = shipped(&source.text);
        for (library, homes) in LIBRARY_HOMES {
            let named = code.contains(&format!("{library}::")) && {
                // `tokio_rustls::` is not `rustls::`.
                code.match_indices(&format!("{library}::"))
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let at_home = homes.iter().any(|home| {
                source.path == format!("{home}.rs") || source.path.starts_with(&format!("{home}/"))
            });
            if named && !at_home {
                wrong.push(format!("{} names {library}", source.path));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "libraries named outside their homes:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn pure_modules_are_pure() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&source.module.as_str()))
    {
        let code = shipped(&source.text);
        for library in IMPURE_LIBRARIES {
            if code.contains(&format!("{library}::")) {
                wrong.push(format!("{} names {library}", source.path));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "pure modules name what they must not know:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_stay_readable() {
    for source in sources() {
        let code = source
            .text
            .split("\n#[cfg(test)]")
            .next()
            .unwrap_or_default();
        let lines = code.lines().count();
        assert!(
            lines <= 800,
            "{} has {lines} lines without its tests; 800 is the limit",
            source.path
        );
        assert!(
            !source.path.ends_with("mod.rs"),
            "{}: modules are named foo.rs beside foo/",
            source.path
        );
    }
}

#[test]
fn dynamic_sql_is_not_written() {
    for source in sources() {
        assert!(
            !source.text.contains("AssertSqlSafe"),
            "{} builds SQL from strings",
            source.path
        );
    }
}

#[test]
fn templates_never_switch_escaping_off() {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                !text.contains("|safe") && !text.contains("| safe"),
                "{} switches escaping off",
                path.display()
            );
        }
    }
}

#[test]
fn banned_crates_are_not_locked() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    for banned in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "serde_yaml",
        "rustls-pemfile",
    ] {
        assert!(
            !lock.contains(&format!("name = \"{banned}\"\n")),
            "{banned} must not be in the graph (see deny.toml)"
        );
    }
}

/// Two keys that are glued together can be one: `a` and `bc` are `ab` and `c`. Keys are structs or tuples.
#[test]
fn j1_keys_are_not_glued_together() {
    let decides = |source: &Source| {
        let module = source.module.as_str();
        is_shipped(source)
            && [
                "edge", "identity", "mesh", "policy", "session", "snapshot", "token",
            ]
            .contains(&module)
    };
    for source in sources().into_iter().filter(decides) {
        let text: String = shipped(&source.text).split_whitespace().collect();
        for verb in [
            "get",
            "get_mut",
            "entry",
            "insert",
            "contains",
            "contains_key",
            "remove",
        ] {
            for lead in ["", "&"] {
                let glued = format!(".{verb}({lead}format!(");
                assert!(!text.contains(&glued), "{}: {glued}", source.path);
            }
        }
    }
}

/// Everything unpredictable comes from the cryptographic library, whose generator the system seeds.
#[test]
fn e12_chance_has_one_source() {
    for source in sources() {
        let text = shipped(&source.text).replace("aws_lc_rs::rand::", "");
        for other in ["rand::", "fastrand", "thread_rng", "getrandom"] {
            let path = &source.path;
            assert!(!text.contains(other), "{path} names {other}");
        }
    }
}
