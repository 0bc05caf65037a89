//! Tests of the configuration as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::config::environment::Environment;
use crate::config::{Config, ConfigFault, EXAMPLE};
use crate::secret::ExposeSecret;

/// A folder with the files that the example names.
struct Folder(TempDir);

/// A secret that must show nowhere.
const CANARY: &str = "canary-3f9a1c";
const STORE_KEY: &str = "8f0e2d4c6b8a90718253a4b5c6d7e8f90112233445566778899aabbccddeeff0";

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for file in [
            "tls/chain.pem",
            "tls/key.pem",
            "mesh/root.pem",
            "mesh/edge-ca.pem",
            "mesh/edge-ca.key",
            "policy.yaml",
        ] {
            folder.write(file, "file");
        }
        for key in ["tls/key.pem", "mesh/edge-ca.key", "okta.secret"] {
            folder.write(key, "file");
            folder.mode(key, 0o600);
        }
        folder.write("okta.secret", &format!("{CANARY}-client\n"));
        folder.write("store.key", STORE_KEY);
        folder.mode("store.key", 0o600);
        folder.write("operator.token", &format!("{CANARY}-operator-0123456789"));
        folder.mode("operator.token", 0o600);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, text: &str) -> Result<Config, Vec<ConfigFault>> {
        self.load_with(text, &[])
    }

    fn load_with(
        &self,
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<Config, Vec<ConfigFault>> {
        self.write("wayleave.toml", text);
        Config::load_with(&self.path("wayleave.toml"), &environment(variables))
    }

    /// Loads the example with one text in it replaced by another.
    fn changed(&self, from: &str, to: &str) -> Result<Config, Vec<ConfigFault>> {
        assert!(EXAMPLE.contains(from), "the example has no {from}");
        self.load(&EXAMPLE.replacen(from, to, 1))
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment::new(variables.iter().map(owned))
}

fn shown(faults: &[ConfigFault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

/// The example with every key that is commented out written out, alternatives left out.
fn example_in_full() -> String {
    let alternatives = [
        "url_file",
        "url_env",
        "key_env",
        "client_secret_env",
        "operator_token_env",
        "insecure_sts_endpoint",
    ];
    let uncommented = EXAMPLE.lines().map(|line| {
        let inner = line.strip_prefix("# ").unwrap_or(line);
        let key = inner.split(" = ").next().unwrap_or("");
        let is_key = inner.contains(" = ")
            && key
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c == b'_' || c.is_ascii_digit());
        let is_key = is_key && !alternatives.contains(&key);
        if is_key || inner.starts_with('[') {
            inner
        } else {
            line
        }
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_loads() {
    let folder = Folder::new();
    let config = folder
        .load(EXAMPLE)
        .map_err(|faults| shown(&faults))
        .unwrap();
    assert_eq!(config.home_host.as_str(), "access.corp.example");
    assert_eq!(config.listeners[0].external_port, 443);
    assert_eq!(
        config.listeners[0].certificates[0].chain,
        folder.path("tls/chain.pem")
    );
    assert_eq!(config.session.absolute, Duration::from_secs(12 * 3600));
    let secret = config.identity_providers[0].client_secret.as_ref().unwrap();
    assert_eq!(secret.expose_secret(), format!("{CANARY}-client"));
    let url = format!("sqlite://{}", folder.path("wayleave.db").display());
    assert_eq!(config.store.url.expose_secret(), url);
}

#[test]
fn the_example_in_full_loads_and_says_the_defaults() {
    let folder = Folder::new();
    folder.write("okta-ca.pem", "file");
    folder.write("ci-ca.pem", "file");
    folder.write("cluster-ca.pem", "file");
    folder.write("cluster.token", "file");
    folder.mode("cluster.token", 0o600);
    let full = folder
        .load(&example_in_full())
        .map_err(|faults| shown(&faults))
        .unwrap();
    let short = folder
        .load(EXAMPLE)
        .map_err(|faults| shown(&faults))
        .unwrap();
    assert_eq!(format!("{:?}", full.limits), format!("{:?}", short.limits));
    assert_eq!(
        format!("{:?}", full.session),
        format!("{:?}", short.session)
    );
    assert_eq!(full.trusted_issuers.len(), 1);
    assert_eq!(
        full.trusted_issuers[0].required_claims["repository_owner"],
        "corp"
    );
    let [cluster] = full.kubernetes.as_slice() else {
        panic!("{:?}", full.kubernetes);
    };
    assert_eq!(cluster.token_file, folder.path("cluster.token"));
    assert!(!cluster.bearer_tokens && short.kubernetes.is_empty());
}

#[test]
fn the_token_of_a_cluster_is_nobody_elses_to_read_and_clusters_have_names_of_their_own() {
    let folder = Folder::new();
    folder.write("cluster.token", "token");
    folder.mode("cluster.token", 0o600);
    let cluster = "[[kubernetes]]\nname = \"prod\"\nserver_name = \"k.example\"\ntoken_file = \"cluster.token\"\n";
    folder.load(&format!("{EXAMPLE}\n{cluster}")).unwrap();
    let told = |text: &str| shown(&folder.load(&format!("{EXAMPLE}\n{text}")).unwrap_err());
    let twice = told(&format!("{cluster}{cluster}"));
    assert!(twice.contains("kubernetes[1].name"), "{twice}");
    let odd = told(&cluster.replace("prod", "a b"));
    assert!(odd.contains("kubernetes[0].name"), "{odd}");
    let nowhere = told(&cluster.replace("server_name", "# server_name"));
    assert!(nowhere.contains("kubernetes[0].server_name"), "{nowhere}");
    folder.mode("cluster.token", 0o644);
    let open = told(cluster);
    assert!(open.contains("can be read by others"), "{open}");
}

#[test]
fn every_key_is_in_the_example() {
    let folder = Folder::new();
    folder.write("wayleave.toml", &example_in_full());
    let asked = super::load::keys_asked_for(&folder.path("wayleave.toml"));
    assert!(asked.len() > 70, "{asked:?}");
    for key in asked {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        // Never accepted in the file, hence in no example.
        if ["client_secret", "key", "operator_token"].contains(&name)
            && section != "listen.certificates"
        {
            continue;
        }
        let heading =
            |line: &&str| line.trim_start_matches("# ").trim_matches(['[', ']']) == section;
        let mut lines = EXAMPLE.lines();
        let found = section.is_empty()
            || lines.any(|line| heading(&line) && line.contains('['))
                && lines
                    .take_while(|line| !line.trim_start_matches("# ").starts_with('['))
                    .any(|line| {
                        line.trim_start_matches("# ")
                            .starts_with(&format!("{name} = "))
                    });
        let is_section = EXAMPLE.contains(&format!("[{key}]"));
        assert!(
            found || is_section,
            "deploy/wayleave.example.toml does not name {key}"
        );
    }
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let folder = Folder::new();
    let text = EXAMPLE
        .replacen("host = \"access.corp.example\"", "host = \"not a host\"", 1)
        .replacen("scheme = \"https\"", "scheme = \"gopher\"", 1)
        .replacen("# idle = \"1h\"", "idle = \"soon\"", 1)
        .replacen("[admin]", "[admin]\ncolour = \"red\"", 1)
        .replacen("issuer = \"https://corp.okta.com\"", "issuer = 7", 1)
        .replacen(
            "trust_domain = \"cluster.local\"",
            "trust_domain = \"Bad/Domain\"",
            1,
        );
    let faults = folder.load(&text).unwrap_err();
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    for key in [
        "home.host",
        "listen[0].scheme",
        "session.idle",
        "admin.colour",
        "identity_providers[0].issuer",
        "mesh.trust_domain",
    ] {
        assert!(keys.contains(&key), "{key} is not in {}", shown(&faults));
    }
    for fault in &faults {
        let line = fault.line.unwrap();
        let name = fault.key.rsplit('.').next().unwrap();
        assert!(
            text.lines().nth(line - 1).unwrap().starts_with(name),
            "{fault}"
        );
        assert_eq!(fault.file, folder.path("wayleave.toml"));
    }
    assert_eq!(faults.len(), 6, "{}", shown(&faults));
}

#[test]
fn what_does_not_parse_names_the_place() {
    let folder = Folder::new();
    let faults = folder
        .load("[home]\nhost = \"a.example\"\n[store\nurl = 1\n")
        .unwrap_err();
    assert_eq!(faults[0].line, Some(3), "{}", shown(&faults));
    let missing = Config::load_with(Path::new("/nowhere/wayleave.toml"), &environment(&[]));
    assert!(shown(&missing.unwrap_err()).contains("/nowhere/wayleave.toml"));
}

const ISSUER: &str = "issuer = \"https://corp.okta.com\"";
const PRESET: &str = "preset = \"okta\"\n";

/// What stands in the example, what is put there instead, and the key that must be at fault then.
const UNSAFE: &[(&str, &str, &str)] = &[
    (
        "scheme = \"https\"",
        "scheme = \"http\"",
        "listen[0].scheme",
    ),
    (
        "scheme = \"https\"",
        "scheme = \"http\"",
        "listen[0].address",
    ),
    (
        "scheme = \"https\"",
        "scheme = \"http\"",
        "listen[0].certificates",
    ),
    (
        ISSUER,
        "issuer = \"http://corp.okta.com\"",
        "identity_providers[0].issuer",
    ),
    (
        ISSUER,
        "issuer = \"http://corp.okta.com\"\ninsecure_allow_http_loopback = true",
        "identity_providers[0].issuer",
    ),
    (
        ISSUER,
        "issuer = \"https://u:p@corp.okta.com\"",
        "identity_providers[0].issuer",
    ),
    (
        ISSUER,
        "issuer = \"https://corp.okta.com?x=1\"",
        "identity_providers[0].issuer",
    ),
    (
        "client_secret_file = \"okta.secret\"",
        "client_secret = \"x\"",
        "identity_providers[0].client_secret",
    ),
    (
        "client_secret_file = \"okta.secret\"",
        "client_secret_file = \"okta.secret\"\nclient_secret_env = \"X\"",
        "identity_providers[0].client_secret_env",
    ),
    (
        "client_secret_file = \"okta.secret\"",
        "client_secret_env = \"NOT_SET\"",
        "identity_providers[0].client_secret_env",
    ),
    ("key_file = \"store.key\"", "key = \"00\"", "store.key"),
    (
        "url = \"sqlite://wayleave.db\"",
        "url = \"postgres://u:secret@db/w\"",
        "store.url",
    ),
    (
        "url = \"sqlite://wayleave.db\"",
        "url = \"postgres://u@db/w?password=secret\"",
        "store.url",
    ),
    (
        "url = \"sqlite://wayleave.db\"",
        "url = \"mysql://u@db/w\"",
        "store",
    ),
    ("url = \"sqlite://wayleave.db\"", "", "store.url"),
    (
        "# absolute = \"12h\"",
        "absolute = \"10m\"",
        "session.absolute",
    ),
    (
        "# lifetime = \"1h\"",
        "lifetime = \"30s\"",
        "mesh.svid.lifetime",
    ),
    (
        "# lifetime = \"1h\"",
        "lifetime = \"25h\"",
        "mesh.svid.lifetime",
    ),
    (
        "namespaces = [\"people\", \"teams\"]",
        "namespaces = []",
        "mesh.svid.namespaces",
    ),
    (
        "namespaces = [\"people\", \"teams\"]",
        "namespaces = [\"a/b\"]",
        "mesh.svid.namespaces",
    ),
    (
        "trust_domain = \"cluster.local\"",
        "trust_domain = \"Cluster\"",
        "mesh.trust_domain",
    ),
    (
        "# header_bytes = \"32KiB\"",
        "header_bytes = \"0B\"",
        "limits.header_bytes",
    ),
    ("# drain = \"30s\"", "drain = \"0s\"", "limits.drain"),
    ("# workers = 2", "workers = 0", "data_plane.workers"),
    (
        PRESET,
        "preset = \"okta\"\nallowed_tenants = []\n",
        "identity_providers[0].allowed_tenants",
    ),
    (
        "[[listen.certificates]]\nchain = \"tls/chain.pem\"\nkey = \"tls/key.pem\"",
        "",
        "listen[0].certificates",
    ),
    (
        "operator_token_file = \"operator.token\"",
        "operator_token_file = \"policy.yaml\"",
        "admin.operator_token_file",
    ),
    (
        "operator_token_file = \"operator.token\"",
        "operator_token = \"0123456789012345678901234567890123456789\"",
        "admin.operator_token",
    ),
    (
        "file = \"policy.yaml\"",
        "file = \"gone.yaml\"",
        "policy.file",
    ),
    ("# approvals = 0", "approvals = 1", "policy.approvals"),
    (
        "file = \"policy.yaml\"",
        "approvals = 10",
        "policy.approvals",
    ),
    (
        "file = \"policy.yaml\"",
        "approvals = -1",
        "policy.approvals",
    ),
];

#[test]
fn unsafe_settings_are_refused() {
    let folder = Folder::new();
    for (from, to, key) in UNSAFE {
        let faults = folder.changed(from, to).expect_err(to);
        assert!(
            faults.iter().any(|fault| fault.key == *key),
            "{to}: {}",
            shown(&faults)
        );
        assert!(
            !shown(&faults).contains("secret@"),
            "a fault quotes a secret"
        );
    }
}

#[test]
fn trusted_issuers_are_pinned() {
    let issuer = |replace: (&str, &str)| {
        let full = "[[trusted_issuers]]\nname = \"ci\"\nissuer = \"https://ci.example\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\nkind = \"workload\"\n";
        format!("{EXAMPLE}\n{}", full.replacen(replace.0, replace.1, 1))
    };
    let folder = Folder::new();
    folder
        .load(&issuer(("", "")))
        .map_err(|faults| shown(&faults))
        .unwrap();
    for (from, to, key) in [
        ("audiences = [\"a\"]\n", "", "audiences"),
        ("[\"a\"]", "[]", "audiences"),
        ("[\"a\"]", "[\"\"]", "audiences"),
        ("algorithms = [\"ES256\"]\n", "", "algorithms"),
        ("[\"ES256\"]", "[]", "algorithms"),
        ("[\"ES256\"]", "[\"HS256\"]", "algorithms"),
        ("[\"ES256\"]", "[\"ES256\", \"none\"]", "algorithms"),
        ("\"ci\"", "\"okta\"", "name"),
        ("\"ci\"", "\"C I\"", "name"),
        ("\"workload\"", "\"robot\"", "kind"),
        ("https://ci.example", "http://ci.example", "issuer"),
    ] {
        let faults = folder.load(&issuer((from, to))).expect_err(to);
        let key = format!("trusted_issuers[0].{key}");
        assert!(
            faults.iter().any(|fault| fault.key == key),
            "{to}: {}",
            shown(&faults)
        );
    }
}

#[test]
fn m2_nothing_is_asked_in_the_place_of_aws_but_on_this_machine() {
    let folder = Folder::new();
    let load = |rest: &str| folder.load(&format!("{EXAMPLE}\n[policy_issuers]\n{rest}\n"));
    let insecure = "insecure_allow_http_loopback = true";
    let at = |url: &str| format!("insecure_sts_endpoint = \"{url}\"");
    let plain = load("").map_err(|faults| shown(&faults)).unwrap();
    assert_eq!(plain.policy_issuers.insecure_sts_endpoint, None);
    let endpoint = at("http://127.0.0.1:5000");
    let set = load(&format!("{insecure}\n{endpoint}"));
    let set = set.map_err(|faults| shown(&faults)).unwrap();
    assert!(set.policy_issuers.insecure_sts_endpoint.is_some());
    load(&endpoint).expect_err("without the flag");
    for bad in [
        "https://sts.example",
        "http://sts.example",
        "http://10.0.0.1:5000",
        "http://127.0.0.1:5000/path",
        "http://127.0.0.1:5000/?a=b",
        "x",
    ] {
        let faults = load(&format!("{insecure}\n{}", at(bad))).expect_err(bad);
        assert_eq!(faults[0].key, "policy_issuers.insecure_sts_endpoint");
    }
}

#[test]
fn entras_shared_tenants_need_a_list() {
    let folder = Folder::new();
    let entra = |tail: &str| {
        EXAMPLE
            .replacen("preset = \"okta\"", "preset = \"entra\"", 1)
            .replacen(
                "https://corp.okta.com\"",
                &format!("https://login.microsoftonline.com/common/v2.0\"{tail}"),
                1,
            )
    };
    let faults = folder.load(&entra("")).unwrap_err();
    assert_eq!(faults[0].key, "identity_providers[0].issuer");
    folder
        .load(&entra("\nallowed_tenants = [\"4b5e\"]"))
        .map_err(|faults| shown(&faults))
        .unwrap();
}

#[test]
fn plain_http_issuers_are_on_this_machine_and_asked_for() {
    let folder = Folder::new();
    let load = |issuer: &str, more: &str| {
        folder.changed(ISSUER, &format!("issuer = \"{issuer}\"\n{more}"))
    };
    let insecure = "insecure_allow_http_loopback = true";
    for issuer in [
        "http://localhost:8081",
        "http://127.0.0.1:8081",
        "http://[::1]:8081",
    ] {
        assert!(load(issuer, insecure).is_ok(), "{issuer}");
        assert!(load(issuer, "").is_err(), "{issuer}");
    }
    for issuer in [
        "http://localhost.example",
        "http://10.0.0.1",
        "http://idp.localhost",
    ] {
        assert!(load(issuer, insecure).is_err(), "{issuer}");
    }
}

#[test]
fn nobody_to_know_is_a_fault() {
    let folder = Folder::new();
    let start = EXAMPLE.find("[[identity_providers]]").unwrap();
    let end = EXAMPLE.find("\n[mesh]").unwrap();
    let faults = folder
        .load(&format!("{}{}", &EXAMPLE[..start], &EXAMPLE[end..]))
        .unwrap_err();
    assert_eq!(faults[0].key, "identity_providers", "{}", shown(&faults));
    assert!(folder.load("").is_err());
}

#[test]
fn every_file_with_a_secret_must_be_private() {
    let folder = Folder::new();
    for (file, key) in [
        ("tls/key.pem", "listen[0].certificates[0].key"),
        ("mesh/edge-ca.key", "mesh.svid.key_file"),
        ("okta.secret", "identity_providers[0].client_secret_file"),
        ("operator.token", "admin.operator_token_file"),
        ("store.key", "store.key_file"),
    ] {
        for mode in [0o604, 0o644, 0o660] {
            folder.mode(file, mode);
            let faults = folder.load(EXAMPLE).unwrap_err();
            assert_eq!(faults.len(), 1, "{file}: {}", shown(&faults));
            assert_eq!(faults[0].key, key);
            assert!(shown(&faults).contains("chmod 600"), "{}", shown(&faults));
        }
        folder.mode(file, 0o400);
        assert!(folder.load(EXAMPLE).is_ok(), "{file}");
    }
    // A URL without a password is no secret.
    let text = EXAMPLE.replacen("url = \"sqlite://wayleave.db\"", "url_file = \"url\"", 1);
    folder.write("url", "postgres://wayleave@db/wayleave");
    folder.mode("url", 0o644);
    assert!(folder.load(&text).is_ok());
    folder.write("url", "postgres://wayleave:word@db/wayleave");
    assert!(folder.load(&text).is_err());
}

#[test]
fn the_store_key_must_be_private_and_whole() {
    let folder = Folder::new();
    folder.mode("store.key", 0o644);
    let faults = folder.load(EXAMPLE).unwrap_err();
    assert!(shown(&faults).contains("chmod 600"), "{}", shown(&faults));
    folder.mode("store.key", 0o440);
    assert!(folder.load(EXAMPLE).is_err());
    let credentials = folder.0.path().display().to_string();
    let credentials = [("CREDENTIALS_DIRECTORY", credentials.as_str())];
    assert!(
        folder.load_with(EXAMPLE, &credentials).is_ok(),
        "systemd's own folder"
    );
    folder.mode("store.key", 0o600);
    for (key, good) in [
        ("0123456789abcdef0123456789abcdef", true),
        ("jw4tTGuKkHGCU6S1xtfo+QESIzRFVmd4iZqrvM3e7/A=\n", true),
        ("0123456789abcdef", false),
        ("", false),
    ] {
        folder.write("store.key", key);
        assert_eq!(folder.load(EXAMPLE).is_ok(), good, "{key}");
    }
}

#[test]
fn variables_override_the_file() {
    let folder = Folder::new();
    let config = folder
        .load_with(
            EXAMPLE,
            &[
                ("WAYLEAVE_HOME__HOST", "other.example"),
                ("WAYLEAVE_STORE__CONNECTIONS", "3"),
                ("WAYLEAVE_STORE__URL", "postgres://u:p@db/w"),
                ("WAYLEAVE_MESH__SVID__NAMESPACES", "people,agents"),
                ("WAYLEAVE_IDENTITY_PROVIDERS__OKTA__CLIENT_ID", "7"),
                ("WAYLEAVE_LISTEN__0__EXTERNAL_PORT", "8443"),
                ("WAYLEAVE_CONFIG", "ignored"),
            ],
        )
        .map_err(|faults| shown(&faults))
        .unwrap();
    assert_eq!(config.home_host.as_str(), "other.example");
    assert_eq!(config.store.connections, 3);
    assert_eq!(config.store.url.expose_secret(), "postgres://u:p@db/w");
    assert_eq!(config.identity_providers[0].client_id, "7");
    assert_eq!(config.listeners[0].external_port, 8443);
    for (name, value) in [
        ("WAYLEAVE_HOME__HOTS", "x"),
        ("WAYLEAVE_IDENTITY_PROVIDERS__GOOGLE__CLIENT_ID", "x"),
        ("WAYLEAVE_STORE__CONNECTIONS", "many"),
        ("WAYLEAVE_HOME__HOST__DEEPER", "x"),
    ] {
        let faults = folder.load_with(EXAMPLE, &[(name, value)]).expect_err(name);
        assert!(shown(&faults).contains(name), "{name}: {}", shown(&faults));
    }
}

#[test]
fn k11_no_secret_shows_in_debug_or_in_faults() {
    let folder = Folder::new();
    let url = format!("postgres://u:{CANARY}-url@db/w");
    let text = EXAMPLE
        .replacen(
            "client_secret_file = \"okta.secret\"",
            "client_secret_env = \"SECRET\"",
            1,
        )
        .replacen("url = \"sqlite://wayleave.db\"", "url_env = \"URL\"", 1);
    let secret = format!("{CANARY}-client");
    let variables = [("SECRET", secret.as_str()), ("URL", url.as_str())];
    let config = folder
        .load_with(&text, &variables)
        .map_err(|faults| shown(&faults))
        .unwrap();
    let debug = format!("{config:?} {config:#?}");
    assert!(
        !debug.contains(CANARY) && !debug.contains(STORE_KEY),
        "{debug}"
    );
    // The same with faults all around, and with a secret where none may stand.
    let literal = text
        .replacen(
            "client_secret_env = \"SECRET\"",
            &format!("client_secret = \"{CANARY}\""),
            1,
        )
        .replacen("[admin]", "[admin]\naddress = 1", 1)
        .replacen("address = \"127.0.0.1:9901\"", "", 1);
    let broken = [("URL", "canary-3f9a1c://[")];
    let faults = folder.load_with(&literal, &broken).unwrap_err();
    assert!(!shown(&faults).contains(CANARY) && !format!("{faults:?}").contains(CANARY));
    assert!(faults.len() >= 3, "{}", shown(&faults));
}
