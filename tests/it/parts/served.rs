//! `wayleave serve` as a process, between an identity provider and workloads that live in the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use sqlx::Connection;
use wayleave::clock::SystemClock;
use wayleave::demo::stage::{Ports, Stage};
use wayleave::lifecycle::Lifecycle;

use crate::parts::program::{Program, free_ports};
use crate::parts::visitor::Visitor;

/// The edge's configuration.
pub(crate) const CONFIGURATION: &str = "wayleave.toml";

/// The parties of a demonstration, without an edge.
pub(crate) struct Parties {
    pub(crate) stage: Stage,
    lifecycle: Lifecycle,
}

impl Parties {
    /// Starts them. The configuration logs at `info` and drains for ten seconds.
    pub(crate) async fn gather() -> Self {
        let lifecycle = Lifecycle::new();
        let [http, https, admin, identity_provider] = free_ports();
        let ports = Ports {
            http,
            https,
            admin,
            identity_provider,
        };
        let set_up = Stage::set_up(ports, Arc::new(SystemClock), &lifecycle);
        let stage = set_up.await.unwrap();
        let this = Self { stage, lifecycle };
        this.edit("wayleave.toml", "filter = \"warn\"", "filter = \"info\"");
        this.edit(
            "wayleave.toml",
            "[policy]",
            "[limits]\ndrain = \"10s\"\n\n[policy]",
        );
        this
    }

    /// Replaces a part of a file that is there.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let file = self.stage.path(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "no {from:?} in {text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Has the edge follow no policy file: its policy is what is written through it.
    pub(crate) fn follow_no_file(&self) {
        self.edit(CONFIGURATION, "[policy]\nfile = \"policy.yaml\"\n", "");
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.stage.path(file)).unwrap()
    }

    /// Starts an edge with this configuration, which need not be good.
    pub(crate) fn try_serve(&self) -> Program {
        start(&self.stage.configuration_file())
    }

    /// Starts an edge, and waits until it is ready.
    pub(crate) async fn serve(&self) -> Program {
        let mut program = self.try_serve();
        program.logs("the admin listener is ready").await;
        program
    }

    /// Starts an edge that may have so many files and connections open, and waits until it is ready.
    pub(crate) async fn serve_with_descriptors(&self, descriptors: usize) -> Program {
        let file = self.stage.configuration_file();
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let mut program = Program::start_with_descriptors(descriptors, &arguments);
        program.logs("the admin listener is ready").await;
        program
    }

    /// Starts a second edge on ports of its own; gives the port of its plain front door.
    pub(crate) async fn serve_second(&self) -> (Program, u16) {
        self.serve_beside(|_| String::new()).await
    }

    /// The same of one that has the first one's name, as behind a load balancer.
    pub(crate) async fn serve_replica(&self) -> (Program, u16) {
        self.serve_beside(|first| format!("\nexternal_port = {first}"))
            .await
    }

    async fn serve_beside(&self, more: impl Fn(u16) -> String) -> (Program, u16) {
        let [http, https, admin] = free_ports();
        let Ports {
            http: old_http,
            https: old_https,
            admin: old_admin,
            ..
        } = self.stage.ports;
        let mut text = self
            .read("wayleave.toml")
            .replace("access.log", "second.log")
            .replace("[log]", "[audit]\nspool = \"second-spool\"\n\n[log]");
        for (from, to, more) in [
            (old_http, http, more(old_http)),
            (old_https, https, more(old_https)),
            (old_admin, admin, String::new()),
        ] {
            let to = format!("127.0.0.1:{to}\"{more}");
            text = text.replace(&format!("127.0.0.1:{from}\""), &to);
        }
        let file = self.stage.path("second.toml");
        std::fs::write(&file, text).unwrap();
        let mut program = start(&file);
        program.logs("the admin listener is ready").await;
        (program, http)
    }

    /// The origin of a host at the plain front door.
    pub(crate) fn at(&self, host: &str) -> String {
        format!("http://{host}.localhost:{}", self.stage.ports.http)
    }

    /// The same at the front door with TLS.
    pub(crate) fn secure_at(&self, host: &str) -> String {
        format!("https://{host}.localhost:{}", self.stage.ports.https)
    }

    /// Ends the parties.
    pub(crate) async fn leave(self) {
        self.lifecycle.stop(Duration::from_secs(5)).await;
    }
}

fn start(configuration: &std::path::Path) -> Program {
    Program::start(&["serve", "--config", configuration.to_str().unwrap()])
}

/// A Postgres server for one test alone, which may stop it. It ends with its standard input, so with the test at the latest.
pub(crate) struct OwnPostgres {
    child: Option<std::process::Child>,
    pub(crate) url: String,
    control: PathBuf,
}

impl OwnPostgres {
    pub(crate) fn start() -> Self {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parts/with-postgres.sh");
        let shell = "echo $WAYLEAVE_TEST_POSTGRES; echo $WAYLEAVE_TEST_POSTGRES_CTL; exec cat";
        let mut child = Command::new(script)
            .args(["sh", "-c", shell])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("PostgreSQL starts").unwrap();
        let (url, control) = (line(), line().into());
        Self {
            child: Some(child),
            url,
            control,
        }
    }

    /// `stop` or `start`.
    pub(crate) fn tell(&self, what: &str) {
        let status = std::process::Command::new(&self.control)
            .arg(what)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }
}

/// Ends an edge in good order.
pub(crate) async fn end(mut edge: Program) {
    edge.signal("TERM");
    assert_eq!(edge.ended().await.code(), Some(0), "{}", edge.err());
}

/// Alice, who is signed in.
pub(crate) async fn alice(parties: &Parties) -> Visitor {
    let mut alice = Visitor::new();
    let page = alice.open_as("alice", &parties.at("grafana")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    alice
}

/// What one request is answered.
pub(crate) async fn status(visitor: &mut Visitor, url: &str) -> StatusCode {
    visitor
        .step(Method::GET, url.parse().unwrap(), None)
        .await
        .status
}

/// Parties whose edge keeps its state in this store.
pub(crate) async fn gathered_on(url: &str) -> Parties {
    let parties = Parties::gather().await;
    write_private(&parties.stage.path("store.url"), url);
    let (from, to) = ("url = \"sqlite://wayleave.db\"", "url_file = \"store.url\"");
    parties.edit(CONFIGURATION, from, to);
    parties
}

/// Parties on either database, and where that is.
pub(crate) async fn gathered_on_both() -> [(Parties, String); 2] {
    let gathered = Parties::gather().await;
    let sqlite = format!("sqlite://{}", gathered.stage.path("wayleave.db").display());
    let postgres = database().await;
    let other = gathered_on(&postgres).await;
    [(gathered, sqlite), (other, postgres)]
}

/// The one row that a store gives, asked past the edge.
pub(crate) async fn row<T>(url: &str, sql: &str) -> T
where
    T: Send + Unpin,
    T: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
    T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
{
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite") {
        let mut own = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_one(&mut own).await.unwrap()
    } else {
        let mut own = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_as(sql).fetch_one(&mut own).await.unwrap()
    }
}

/// Writes a file that nobody else may read, as files with secrets have to be.
pub(crate) fn write_private(file: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A store of either kind, each its own.
pub(crate) async fn stores() -> [String; 2] {
    ["sqlite://wayleave.db".to_owned(), database().await]
}

/// A database of its own on the server all tests share.
pub(crate) async fn database() -> String {
    #[expect(clippy::disallowed_methods, reason = "where the test's server is")]
    let server = std::env::var("WAYLEAVE_TEST_POSTGRES")
        .expect("WAYLEAVE_TEST_POSTGRES is not set; run under tests/parts/with-postgres.sh");
    let name = format!("t{}", hex::encode(wayleave::secret::random::<8>()));
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&server)
        .await
        .unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}
