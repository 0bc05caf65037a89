//! An edge with everything around it: mesh CA, upstream, identity provider, issuer of bearer tokens, configuration in a folder.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use serde_json::Value;
use tokio::net::TcpListener;
use wayleave::app::compose::{self, Running};
use wayleave::clock::{Clock, ManualClock, SharedClock, SystemClock};
use wayleave::config::Config;
use wayleave::demo::authority::Authority;
use wayleave::demo::identity_provider::{Client, IdentityProvider};
use wayleave::lifecycle::Lifecycle;
use wayleave::secret::{SecretString, random};
use wayleave::store::Store;

use super::browser::Browser;
use super::client::{Page, Sender, Version};
use super::files::{configuration, policy};
use super::issuer::Issuer;
use super::program::eventually;
use super::upstream::Upstream;
use super::{Body, beside, empty, until};

/// Names that the front door's certificate has.
const HOSTS: [&str; 4] = [
    "access.localhost",
    "app.localhost",
    "admin.localhost",
    "public.localhost",
];

/// Everything, running.
pub(crate) struct House {
    folder: tempfile::TempDir,
    pub(crate) lifecycle: Lifecycle,
    running: Running,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
    pub(crate) authority: Authority,
    door_root: String,
}

impl House {
    /// Starts everything, with the policy of these tests.
    pub(crate) async fn start() -> Self {
        Self::start_on("sqlite://wayleave.db").await
    }

    /// Starts everything on this store.
    pub(crate) async fn start_on(store: &str) -> Self {
        Self::start_as(store, Arc::new(SystemClock), |text| text).await
    }

    /// Starts everything on this store, at the present time, which then stands still.
    pub(crate) async fn start_still(store: &str) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let house = Self::start_as(store, clock.clone(), |text| text).await;
        (house, clock)
    }

    /// Starts everything on this store, at a time that the test may move, with a change to the configuration.
    pub(crate) async fn start_as(
        store: &str,
        clock: SharedClock,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let authority = Authority::new(clock.now()).unwrap();
        let upstream = Upstream::start(&authority).await;
        let issuer = Issuer::start(clock.clone()).await;
        let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider_url = format!("http://localhost:{}", provider.local_addr().unwrap().port());

        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| write_private(folder.path().join(name), text);
        write("mesh-root.pem", &authority.mesh_bundle());
        let edge = authority.edge_authority().unwrap();
        write("edge-ca.pem", &edge.chain);
        write("edge-ca.key", &edge.key);
        let door = authority.front_door(&HOSTS).unwrap();
        write("front-door.pem", &door.chain);
        write("front-door.key", &door.key);
        write("provider.secret", "a secret of this test alone, 0123456789");
        write("store.key", &hex::encode(random::<32>()));
        write("store.url", store);
        write("policy.yaml", &policy(upstream.address));
        write(
            "wayleave.toml",
            &change(configuration(&provider_url, &issuer.url)),
        );

        let config = Config::load(&folder.path().join("wayleave.toml"));
        let config = config.unwrap_or_else(|faults| {
            panic!(
                "{:?}",
                faults.iter().map(ToString::to_string).collect::<Vec<_>>()
            )
        });
        let lifecycle = Lifecycle::new();
        let running = compose::start(config, clock.clone(), &lifecycle)
            .await
            .unwrap();
        let (http, https) = (running.addresses[0], running.addresses[1]);
        let client = Client {
            id: "wayleave".to_owned(),
            secret: SecretString::from("a secret of this test alone, 0123456789"),
            origins: vec![
                format!("http://access.localhost:{}", http.port()),
                format!("https://access.localhost:{}", https.port()),
            ],
        };
        let idp = IdentityProvider::new(provider_url, client, clock).unwrap();
        beside(async move { drop(idp.serve(provider).await) });
        Self {
            folder,
            lifecycle,
            running,
            http,
            https,
            upstream,
            issuer,
            door_root: authority.door_bundle(),
            authority,
        }
    }

    /// What the edge keeps its state in.
    pub(crate) fn store(&self) -> &Store {
        &self.running.store
    }

    /// The configuration as it is written now.
    pub(crate) fn config(&self) -> Config {
        Config::load(&self.folder.path().join("wayleave.toml")).unwrap()
    }

    /// Changes the configuration, and has the edge read it again.
    pub(crate) fn reload(&mut self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("wayleave.toml");
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "the change changes nothing");
        write_private(path.clone(), &changed);
        self.running.reloading.configuration(&path);
    }

    /// The admin listener's address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.running.admin
    }

    /// A URL of the plain front door.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}.localhost:{}{path}", self.http.port())
    }

    /// A URL of the front door with TLS.
    pub(crate) fn secure_url(&self, host: &str, path: &str) -> String {
        format!("https://{host}.localhost:{}{path}", self.https.port())
    }

    /// What clients of the front door with TLS trust.
    pub(crate) fn door_root(&self) -> &str {
        &self.door_root
    }

    /// A new browser.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.door_root)
    }

    /// A browser in which somebody is signed in on `app.localhost`, at the plain front door. The upstream has forgotten it.
    pub(crate) async fn signed_in(&self, person: &str) -> Browser {
        let mut browser = self.browser();
        let arrived = browser.sign_in(&self.url("app", "/"), person).await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        self.upstream.forget();
        browser
    }

    /// A browser in which somebody is signed in on `partner.localhost`, at the partner.
    pub(crate) async fn at_partner(&self) -> Browser {
        let mut browser = self.browser();
        let arrived = browser.go(&self.url("partner", "/")).await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        browser
    }

    /// Whether a browser's cookies lead to a session at a host of the plain front door.
    pub(crate) async fn knows(&self, browser: &Browser, host: &str) -> bool {
        let mut browser = browser.clone();
        browser.person_at(&self.url(host, "")).await.is_some()
    }

    /// A connection to the plain front door.
    pub(crate) async fn connect(&self, version: Version) -> Sender {
        Sender::plain(self.http, version).await
    }

    /// A connection to the front door with TLS, by the name of `host`.
    pub(crate) async fn connect_tls(&self, host: &str, version: Version) -> Sender {
        let host = format!("{host}.localhost");
        Sender::tls(self.https, &self.door_root, &host, version).await
    }

    /// Sends one request to the plain front door, by HTTP/1.1.
    pub(crate) async fn send(&self, request: Request<Body>) -> Page {
        self.connect(Version::H1).await.page(request).await
    }

    /// Replaces the policy file's text, whole.
    pub(crate) fn change_policy(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("policy.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "the change changes nothing");
        let new = self.folder.path().join("policy.new");
        write_private(new.clone(), &changed);
        fs::rename(new, path).unwrap();
    }

    /// Replaces the policy file's text, and waits until the edge decides by it.
    pub(crate) async fn put_in_force(&self, change: impl FnOnce(String) -> String) {
        let newest = async || self.running.store.current_revision().await.unwrap();
        let before = newest().await;
        self.change_policy(change);
        eventually("a new revision", async || newest().await != before).await;
        let wanted = newest().await.unwrap().0;
        let decides = async || {
            let path = format!("/{}", hex::encode(random::<8>()));
            let request = Request::get(self.url("public", &path)).body(empty());
            self.send(request.unwrap()).await;
            let lines = self.lines(1, |line| line["path"] == path.as_str()).await;
            lines[0]["revision"] == wanted
        };
        eventually("the new revision in force", decides).await;
    }

    /// The audit log's events whose kind begins so, oldest first.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let filter = wayleave::store::audit::EventFilter::default();
        let all = self.running.store.events_after(0, &filter, 1000).await;
        let bodies = all.unwrap().into_iter();
        let bodies = bodies.map(|entry| serde_json::from_str::<Value>(&entry.body).unwrap());
        bodies
            .filter(|body| body["kind"].as_str().unwrap().starts_with(kind))
            .collect()
    }

    /// A signed checkpoint of the audit log, by the key that signs for this edge.
    pub(crate) async fn checkpoint(&self) -> String {
        let clock: SharedClock = Arc::new(SystemClock);
        let issuer = self.secure_url("access", "");
        let store = &self.running.store;
        let minter = wayleave::token::assertion::Minter::load(store, clock, issuer);
        let (seq, link) = store.audit_head().await.unwrap();
        minter.await.unwrap().checkpoint(seq, link)
    }

    /// The access log's lines of the requests that fit, as soon as there are so many.
    pub(crate) async fn lines(&self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let path = self.folder.path().join("access.log");
        let look = || {
            let text = fs::read_to_string(&path).unwrap();
            // The last line may be half written.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines = whole
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            let fitting: Vec<Value> = lines.filter(|line| fits(line)).collect();
            (fitting.len() >= count).then_some(fitting)
        };
        let (lines, _) = until("lines in the access log", look).await;
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.lifecycle.begin_drain();
        // Left open, its listener would be dropped by the last worker, away from any runtime, which ends the whole process.
        let closing = tokio::time::timeout(Duration::from_secs(5), self.running.store.close());
        let runtime = tokio::runtime::Handle::current();
        let _closed = tokio::task::block_in_place(|| runtime.block_on(closing));
    }
}

fn write_private(path: PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
