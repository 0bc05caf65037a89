//! `wayleave check` as a process: it finds what `serve` would refuse, says what to do, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::Connection;
use wayleave::clock::{Clock, SystemClock};
use wayleave::demo::authority::Authority;

use crate::parts::program::{Program, free_ports};
use crate::parts::served::{CONFIGURATION, Parties, database, end, gathered_on, write_private};

/// What a check came to.
struct Checked {
    code: Option<i32>,
    said: String,
}

impl Checked {
    /// The line of an item; every item has one.
    fn line(&self, item: &str) -> &str {
        let mut lines = self.said.lines().filter(|line| line.contains(item));
        let line = lines.next();
        line.unwrap_or_else(|| panic!("no line of {item}:\n{}", self.said))
    }

    fn is_ok(&self, item: &str) {
        assert!(self.line(item).starts_with("ok "), "{}", self.said);
    }

    fn is_at_fault(&self, item: &str, words: &[&str]) {
        let line = self.line(item);
        assert!(line.starts_with("FAULT "), "{}", self.said);
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line}");
        }
    }

    /// The items at fault.
    fn faults(&self) -> Vec<&str> {
        let lines = self.said.lines();
        lines
            .filter_map(|line| line.strip_prefix("FAULT  "))
            .collect()
    }
}

async fn check(file: &Path) -> Checked {
    check_with(file, &[]).await
}

async fn check_with(file: &Path, environment: &[(&str, &str)]) -> Checked {
    let arguments = ["check", "--config", file.to_str().unwrap()];
    let mut program = Program::start_with(&arguments, environment);
    let code = program.ended().await.code();
    assert!(program.temporary_files().is_empty());
    let said = program.out() + &program.err();
    Checked { code, said }
}

/// Every file of a folder, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn what_is_in_order_is_told_item_by_item() {
    let parties = Parties::gather().await;
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said);
    for item in [
        "configuration ",
        "store: ",
        "certificate ",
        "certificate for the home host access.localhost",
        "certificate authority of the mesh",
        "identity provider demo",
        "spool ",
        "access log ",
        "policy ",
        "of route dashboards: it is spiffe://demo.wayleave/ns/apps/sa/dashboards",
        "of route payroll: it is spiffe://demo.wayleave/ns/apps/sa/payroll",
        "of route lines: it is spiffe://demo.wayleave/ns/apps/sa/",
    ] {
        checked.is_ok(item);
    }
    assert!(checked.faults().is_empty(), "{}", checked.said);
    parties.leave().await;
}

#[tokio::test]
async fn hosts_without_a_certificate_are_named() {
    let parties = Parties::gather().await;
    // A wildcard stands for one label.
    parties.edit(
        CONFIGURATION,
        "\"access.localhost\"",
        "\"access.a.localhost\"",
    );
    parties.edit(
        "policy.yaml",
        "host: payroll.localhost",
        "host: payroll.a.localhost",
    );
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    let home = "certificate for the home host access.a.localhost";
    checked.is_at_fault(home, &["nobody could sign in"]);
    checked.is_at_fault("certificate for payroll.a.localhost", &["of route payroll"]);
    assert_eq!(checked.faults().len(), 2, "{}", checked.said);
    parties.leave().await;
}

#[tokio::test]
async fn c6_a_workload_that_proves_another_identity_is_at_fault() {
    let parties = Parties::gather().await;
    let (from, to) = ("/ns/apps/sa/payroll\"", "/ns/apps/sa/ledger\"");
    parties.edit("policy.yaml", from, to);
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    checked.is_at_fault(
        "of route payroll",
        &[
            "proves spiffe://demo.wayleave/ns/apps/sa/payroll",
            "expects spiffe://demo.wayleave/ns/apps/sa/ledger",
        ],
    );
    assert_eq!(checked.faults().len(), 1, "{}", checked.said);
    // A CA that the mesh does not know.
    parties.edit("policy.yaml", to, from);
    let stranger = Authority::new(SystemClock.now()).unwrap();
    let edge = stranger.edge_authority().unwrap();
    fs::write(parties.stage.path("edge-ca.pem"), &edge.chain).unwrap();
    fs::write(parties.stage.path("edge-ca.key"), &edge.key).unwrap();
    let bundle = stranger.mesh_bundle() + &parties.read("mesh-root.pem");
    fs::write(parties.stage.path("mesh-root.pem"), bundle).unwrap();
    let checked = check(&parties.stage.configuration_file()).await;
    let why = "does not take certificates of the edge's CA";
    checked.is_at_fault("of route payroll", &[why]);
    parties.leave().await;
}

#[tokio::test]
async fn without_a_policy_file_the_policy_of_the_store_is_checked() {
    let parties = Parties::gather().await;
    let file = parties.stage.configuration_file();
    let (with, without) = ("file = \"policy.yaml\"", "approvals = 0");
    parties.edit(CONFIGURATION, with, without);
    let checked = check(&file).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said);
    assert!(
        { checked.line("policy in the store") }.starts_with("NOTE "),
        "{}",
        checked.said
    );
    end(parties.serve().await).await;
    let checked = check(&file).await;
    assert!(checked.line("policy in the store").contains("none yet"));

    parties.edit(CONFIGURATION, without, with);
    end(parties.serve().await).await;
    parties.edit(CONFIGURATION, with, without);
    let checked = check(&file).await;
    checked.is_ok("policy in the store: revision 1");
    checked.is_ok("of route payroll: it is spiffe://");
    // The provider that its routes and rules count on is called something else now.
    parties.edit(CONFIGURATION, "name = \"demo\"", "name = \"other\"");
    let checked = check(&file).await;
    let names_it = parties.read("policy.yaml").contains("providers: [demo]");
    assert_eq!(!checked.faults().is_empty(), names_it, "{}", checked.said);
    parties.leave().await;
}

#[tokio::test]
async fn every_fault_of_the_configuration_has_its_file_and_key() {
    let parties = Parties::gather().await;
    parties.edit(CONFIGURATION, "scheme = \"https\"", "scheme = \"gopher\"");
    parties.edit(CONFIGURATION, "lifetime = \"15m\"", "lifetime = \"soon\"");
    parties.edit(CONFIGURATION, "store.key\"", "no-such.key\"");
    parties.edit(CONFIGURATION, "[policy]", "[policy]\nsurprise = 1");
    let file = parties.stage.configuration_file();
    let checked = check(&file).await;
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    for key in [
        "listen[1].scheme",
        "mesh.svid.lifetime",
        "store.key_file",
        "policy.surprise",
    ] {
        checked.is_at_fault(key, &[file.to_str().unwrap()]);
    }
    parties.leave().await;
}

#[tokio::test]
async fn every_fault_of_the_policy_has_its_file_line_and_key() {
    let parties = Parties::gather().await;
    let policy = "\
routes:
  - name: app
    host: app.localhost
    providers: [nobody]
    upstream:
      addresses: [\"127.0.0.1:1\"]
      mtls: { spiffe_ids: [\"spiffe://demo.wayleave/ns/a/sa/b\"] }
mappings:
  - name: people
    from: [{ signed_in: true, providers: [nobody] }]
    spiffe_id: spiffe://another.domain/ns/people/sa/{user}
rules: []
";
    fs::write(parties.stage.path("policy.yaml"), policy).unwrap();
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    for (line, key) in [
        (4, "routes[0].providers[0]"),
        (10, "mappings[0].from[0].providers[0]"),
        (11, "mappings[0].spiffe_id"),
    ] {
        checked.is_at_fault(key, &["policy.yaml", &format!("line {line}, column ")]);
    }
    assert!(checked.said.contains("3 faults"), "{}", checked.said);
    // It is the rule by which `serve` goes.
    let mut edge = parties.try_serve();
    assert_eq!(edge.ended().await.code(), Some(1));
    assert!(edge.err().contains("routes[0].providers[0]"));
    parties.leave().await;
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_said_before_and_while_the_edge_runs() {
    let parties = Parties::gather().await;
    let policy = "\
routes:
  - name: app
    host: app.localhost
    upstream:
      addresses: [\"127.0.0.1:1\"]
      tls: { server_name: app.example, ca_file: nofile.pem }
rules: []
";
    fs::write(parties.stage.path("policy.yaml"), policy).unwrap();
    let file = parties.stage.configuration_file();
    let checked = check(&file).await;
    checked.is_at_fault("roots nofile.pem of route app", &["nofile.pem"]);
    let arguments = [
        "check",
        "--output",
        "json",
        "--config",
        file.to_str().unwrap(),
    ];
    let mut program = Program::start_with(&arguments, &[]);
    assert_eq!(program.ended().await.code(), Some(1));
    let said: serde_json::Value = serde_json::from_str(&program.out()).unwrap();
    let items = said["items"].as_array().unwrap();
    let is_roots = |item: &&serde_json::Value| item["item"] == "roots nofile.pem of route app";
    assert_eq!(items.iter().find(is_roots).unwrap()["outcome"], "fault");
    assert!(items.iter().any(|item| item["outcome"] == "ok"), "{said}");
    let mut edge = parties.serve().await;
    edge.logs("the roots of a route cannot be used").await;
    assert!(edge.err().contains("nofile.pem"), "{}", edge.err());
    end(edge).await;
    parties.leave().await;
}

/// The schema version that this release knows.
fn newest_migration() -> u32 {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let numbers = names.filter_map(|name| name.split('_').next()?.parse().ok());
    numbers.max().unwrap()
}

/// The store holds what was sealed with the key that the edge had.
async fn another_key_is_told(parties: &Parties) {
    let key = parties.stage.path("store.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, "00".repeat(32)).unwrap();
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(1));
    checked.is_at_fault("store: ", &["another key", "store.key_file", "put back"]);
    fs::write(&key, right).unwrap();
}

#[tokio::test]
async fn a_check_leaves_a_store_in_a_file_as_it_is() {
    let known = newest_migration();
    let parties = Parties::gather().await;
    let file = parties.stage.configuration_file();
    let folder = parties.stage.path("");
    let before = files(&folder);
    check(&file).await.is_ok(&format!(
        "store: empty; `wayleave serve` will make schema version {known}"
    ));
    assert_eq!(files(&folder), before);

    let edge = parties.serve().await;
    // Beside an edge that runs: it sees what is there, and the edge goes on.
    check(&file)
        .await
        .is_ok(&format!("store: schema version {known}"));
    end(edge).await;
    another_key_is_told(&parties).await;
    let before = files(&folder);
    assert!(before.contains_key(&parties.stage.path("wayleave.db")));
    check(&file)
        .await
        .is_ok(&format!("store: schema version {known}"));
    assert_eq!(files(&folder), before);

    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let mut own = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let unfinished = "UPDATE _sqlx_migrations SET success = FALSE";
    sqlx::raw_sql(unfinished).execute(&mut own).await.unwrap();
    own.close().await.unwrap();
    let checked = check(&file).await;
    assert_eq!(checked.code, Some(1));
    checked.is_at_fault("store: ", &["migration 1", "is this the right database"]);
    parties.leave().await;
}

#[tokio::test]
async fn a_check_leaves_a_database_as_it_is() {
    let known = newest_migration();
    let url = database().await;
    let parties = gathered_on(&url).await;
    let file = parties.stage.configuration_file();
    check(&file).await.is_ok("store: empty; ");
    let mut own = sqlx::PgConnection::connect(&url).await.unwrap();
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let tables: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut own)
        .await
        .unwrap();
    assert_eq!(tables, 0);

    end(parties.serve().await).await;
    check(&file)
        .await
        .is_ok(&format!("store: schema version {known}"));
    another_key_is_told(&parties).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of a later release', TRUE, '\\x00', 0)";
    sqlx::raw_sql(newer).execute(&mut own).await.unwrap();
    check(&file)
        .await
        .is_ok(&format!("store: schema version 9999, newer than {known}"));
    let other = "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1";
    sqlx::raw_sql(other).execute(&mut own).await.unwrap();
    check(&file)
        .await
        .is_at_fault("store: ", &["migration 1", "is this the right database"]);
    parties.leave().await;
}

#[tokio::test]
async fn a_user_who_may_not_migrate_is_told_before_serve_tries() {
    let url = database().await;
    let mut own = sqlx::PgConnection::connect(&url).await.unwrap();
    let name = format!("u{}", hex::encode(wayleave::secret::random::<8>()));
    let user = sqlx::AssertSqlSafe(format!("CREATE USER {name}"));
    sqlx::raw_sql(user).execute(&mut own).await.unwrap();
    let parties = gathered_on(&url.replace("postgres@", &format!("{name}@"))).await;
    let checked = check(&parties.stage.configuration_file()).await;
    checked.is_at_fault("store: ", &["may not create tables", "grant it CREATE"]);
    parties.leave().await;
}

#[tokio::test]
async fn whatever_cannot_be_reached_is_named_with_what_to_do() {
    let [nobody] = free_ports();
    let url = format!("postgres://someone:database-canary@127.0.0.1:{nobody}/none");
    let parties = gathered_on(&url).await;
    let issuer = format!("issuer = \"http://localhost:{nobody}\"");
    let real = format!("issuer = \"{}\"", parties.stage.issuer());
    parties.edit(CONFIGURATION, &real, &issuer);
    parties.edit(CONFIGURATION, "\"access.log\"", "\"no-such/access.log\"");
    let policy = parties.read("policy.yaml");
    let address = policy.split("\"127.0.0.1:").nth(1).unwrap();
    let address = format!("127.0.0.1:{}", address.split('"').next().unwrap());
    parties.edit("policy.yaml", &address, &format!("127.0.0.1:{nobody}"));
    let checked = check(&parties.stage.configuration_file()).await;
    assert_eq!(checked.code, Some(1), "{}", checked.said);
    checked.is_at_fault("store: ", &["is the URL right, does the database run"]);
    checked.is_at_fault("identity provider demo", &["is http://localhost", "issuer"]);
    checked.is_at_fault("access log ", &["its folder must exist"]);
    let upstream = format!("upstream 127.0.0.1:{nobody} of route ");
    checked.is_at_fault(&upstream, &["is the address right"]);
    assert!(checked.said.contains("4 faults"), "{}", checked.said);
    assert!(!checked.said.contains("canary"), "{}", checked.said);
    parties.leave().await;
}

/// A folder with the secrets and certificates that the examples name.
fn example_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(SystemClock.now()).unwrap();
    let edge = authority.edge_authority().unwrap();
    let hosts = ["access.corp.example", "grafana.corp.example"];
    let door = authority.front_door(&hosts).unwrap();
    let bundle = authority.mesh_bundle();
    fs::create_dir(folder.path().join("tls")).unwrap();
    fs::create_dir(folder.path().join("mesh")).unwrap();
    let key = hex::encode([7; 32]);
    for (name, text) in [
        ("tls/tls.crt", &door.chain),
        ("tls/chain.pem", &door.chain),
        ("tls/tls.key", &door.key),
        ("tls/key.pem", &door.key),
        ("mesh/root-cert.pem", &bundle),
        ("mesh/root.pem", &bundle),
        ("mesh/wayleave-ca.pem", &edge.chain),
        ("mesh/edge-ca.pem", &edge.chain),
        ("mesh/wayleave-ca.key", &edge.key),
        ("mesh/edge-ca.key", &edge.key),
        ("okta.secret", &"a secret of this test alone".to_owned()),
        ("store.key", &key),
        ("operator.token", &key),
    ] {
        write_private(&folder.path().join(name), text);
    }
    folder
}

#[tokio::test]
async fn the_examples_lack_nothing_but_the_parties_they_name() {
    for (configuration, policy) in [
        ("wayleave.example.toml", "policy.example.yaml"),
        (
            "examples/okta-istio/wayleave.toml",
            "examples/okta-istio/policy.yaml",
        ),
    ] {
        let folder = example_folder();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        // Names that exist nowhere (RFC 6761 §6.4), so that nobody is asked.
        let copy = |from: &str, to: &str| {
            let text = fs::read_to_string(deploy.join(from)).unwrap();
            let text = text.replace("corp.okta.com", "corp.okta.invalid");
            let text = text.replace(".svc.cluster.local:", ".svc.invalid:");
            fs::write(folder.path().join(to), text).unwrap();
        };
        copy(configuration, "wayleave.toml");
        copy(policy, "policy.yaml");
        let database = format!("sqlite://{}", folder.path().join("own.db").display());
        let key = hex::encode([7; 32]);
        let environment = [
            ("WAYLEAVE_DATABASE_URL", database.as_str()),
            ("WAYLEAVE_STORE_KEY", &key),
            ("OKTA_CLIENT_SECRET", "a secret of this test alone"),
        ];
        let checked = check_with(&folder.path().join("wayleave.toml"), &environment).await;
        let faults = checked.faults();
        assert_eq!(faults.len(), 2, "{configuration}: {}", checked.said);
        assert!(faults[0].starts_with("identity provider okta: "));
        assert!(faults[1].starts_with("upstream grafana.monitoring"));
        checked.is_ok("policy ");
    }
}
