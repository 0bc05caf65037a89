//! Every seed of the fuzz targets keeps what the target asserts. `make fuzz` looks for others.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, what must not fail is the test's own footing"
)]

use std::fs;
use std::path::Path;

macro_rules! targets {
    ($($name:ident: $path:literal),* $(,)?) => {
        $(#[path = $path]
        mod $name;)*

        /// Each target and what it asserts.
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),*];
    };
}

targets! {
    ask_address: "../fuzz/invariants/ask_address.rs",
    aws_request: "../fuzz/invariants/aws_request.rs",
    claim_mapping: "../fuzz/invariants/claim_mapping.rs",
    cookies: "../fuzz/invariants/cookies.rs",
    framing: "../fuzz/invariants/framing.rs",
    jwt_claims: "../fuzz/invariants/jwt_claims.rs",
    oauth_inputs: "../fuzz/invariants/oauth_inputs.rs",
    policy_decide: "../fuzz/invariants/policy_decide.rs",
    policy_naive: "../fuzz/invariants/policy_naive.rs",
    policy_yaml: "../fuzz/invariants/policy_yaml.rs",
    request_path: "../fuzz/invariants/request_path.rs",
    return_url: "../fuzz/invariants/return_url.rs",
    spiffe_id_slug: "../fuzz/invariants/spiffe_id_slug.rs",
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_target_has_seeds_that_are_run_here() {
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    for folder in ["fuzz/fuzz_targets", "fuzz/invariants", "fuzz/seeds"] {
        assert_eq!(names_in(folder), known, "{folder}");
    }
}

#[test]
fn seeds_keep_what_their_target_asserts() {
    for (name, check) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(name);
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let seed = fs::read(&file).unwrap();
            let kept = std::panic::catch_unwind(|| check(&seed));
            assert!(kept.is_ok(), "{}", file.display());
            // What begins like a seed, as a connection that was cut would have it.
            for end in 0..seed.len().min(256) {
                check(&seed[..end]);
            }
            count += 1;
        }
        assert!(count >= 2, "{name} has {count} seeds");
    }
}
