//! Sets the demonstration up: a folder with everything a real edge would be given, and the parties around it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::clock::SharedClock;
use crate::demo::DemoError;
use crate::demo::authority::{Authority, Issued};
use crate::demo::identity_provider::{Client, IdentityProvider};
use crate::demo::workload::{Workload, lines};
use crate::lifecycle::Lifecycle;
use crate::secret::{SecretString, Token, random};
use crate::telemetry::causes::Causes;

/// The hosts of the front door: the home host and the four routes.
pub const HOSTS: [&str; 5] = [
    "access.localhost",
    "grafana.localhost",
    "payroll.localhost",
    "releases.localhost",
    "lines.localhost",
];

/// How the policy is changed, where it is followed.
const FOLLOWED: &str = "Edit it while the demo runs: it is followed.";
/// The policy, before its ports are filled in.
const POLICY: &str = include_str!("../../demo/policy.yaml");

/// Ports of the demonstration; 0 takes any that is free.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The plain front door.
    pub http: u16,
    /// The front door with TLS.
    pub https: u16,
    /// The edge's admin listener.
    pub admin: u16,
    /// The demo identity provider.
    pub identity_provider: u16,
}

/// A demonstration that is set up. Dropping it removes its folder.
pub struct Stage {
    folder: TempDir,
    /// The ports as they really are.
    pub ports: Ports,
    /// Who signs every certificate here.
    pub authority: Authority,
}

impl Stage {
    /// Makes keys, certificates and files, and starts identity provider and workloads under `lifecycle`.
    pub async fn set_up(
        ports: Ports,
        clock: SharedClock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, DemoError> {
        let (ports, provider) = reserve(ports).await?;
        let dashboards = bind(0, "a demo workload", "--port").await?;
        let payroll = bind(0, "a demo workload", "--port").await?;
        let releases = bind(0, "a demo workload", "--port").await?;
        let lines_listener = bind(0, "a demo workload", "--port").await?;

        let folder = private_folder()?;
        let authority = Authority::new(clock.now())?;
        let secret = Token::generate();
        let stage = Self {
            folder,
            ports,
            authority,
        };
        stage.write_certificates()?;
        stage.write("provider.secret", secret.expose())?;
        stage.write("store.key", &hex::encode(random::<32>()))?;
        stage.write("operator.token", &hex::encode(random::<32>()))?;
        stage.write("wayleave.toml", &stage.configuration())?;
        let policy = POLICY
            .replace("@DASHBOARDS_PORT@", &port_of(&dashboards).to_string())
            .replace("@PAYROLL_PORT@", &port_of(&payroll).to_string())
            .replace("@RELEASES_PORT@", &port_of(&releases).to_string())
            .replace("@LINES_PORT@", &port_of(&lines_listener).to_string());
        stage.write("policy.yaml", &policy)?;

        let client = Client {
            id: "wayleave".to_owned(),
            secret: SecretString::from(secret.expose()),
            origins: vec![
                format!("http://access.localhost:{}", ports.http),
                format!("https://access.localhost:{}", ports.https),
            ],
        };
        let idp = IdentityProvider::new(stage.issuer(), client, clock)?;
        lifecycle.spawn("demo identity provider", async move {
            report(idp.serve(provider).await);
        });
        let workloads = [
            (DASHBOARDS, dashboards),
            (PAYROLL, payroll),
            (RELEASES, releases),
        ];
        for (workload, listener) in workloads {
            let issued = stage.authority.workload(workload.spiffe_id)?;
            let bundle = stage.authority.mesh_bundle();
            lifecycle.spawn("demo workload", async move {
                report(workload.serve(listener, &issued, &bundle).await);
            });
        }
        let issued = stage.authority.workload(lines::SPIFFE_ID)?;
        let bundle = stage.authority.mesh_bundle();
        lifecycle.spawn("demo workload", async move {
            report(lines::serve(lines_listener, &issued, &bundle).await);
        });
        Ok(stage)
    }

    /// The edge's configuration file.
    pub fn configuration_file(&self) -> PathBuf {
        self.path("wayleave.toml")
    }

    /// A file of the demonstration's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The demo identity provider's issuer URL. `localhost` itself, since the edge resolves it like any program and many
    /// systems know no names under it; browsers keep its cookies apart from those of `*.localhost` all the same.
    pub fn issuer(&self) -> String {
        format!("http://localhost:{}", self.ports.identity_provider)
    }

    /// Takes the policy file out of the configuration: the store's policy is changed by commands from then on.
    pub fn follow_no_file(&self) -> std::io::Result<()> {
        let file = self.configuration_file();
        let text = fs::read_to_string(&file)?;
        fs::write(&file, text.replace("file = \"policy.yaml\"\n", ""))?;
        // The document says how it is changed.
        let file = self.path("policy.yaml");
        let text = fs::read_to_string(&file)?;
        let command =
            "Edit it, and `wayleave policy apply policy.yaml -m WHY --config wayleave.toml`.";
        fs::write(&file, text.replacen(FOLLOWED, command, 1))
    }

    /// Removes the folder, and says if that fails.
    pub fn close(self) -> std::io::Result<()> {
        self.folder.close()
    }

    fn write_certificates(&self) -> Result<(), DemoError> {
        let authority = &self.authority;
        self.write("mesh-root.pem", &authority.mesh_bundle())?;
        self.write("front-door-root.pem", &authority.door_bundle())?;
        let pair = |name: &str, issued: Issued| {
            self.write(&format!("{name}.pem"), &issued.chain)?;
            self.write(&format!("{name}.key"), &issued.key)
        };
        pair("edge-ca", authority.edge_authority()?)?;
        pair("front-door", authority.front_door(&HOSTS)?)
    }

    fn configuration(&self) -> String {
        let Ports {
            http, https, admin, ..
        } = self.ports;
        let issuer = self.issuer();
        format!(
            r#"# Made by `wayleave demo`; gone when it ends.
[home]
host = "access.localhost"

[[listen]]
address = "127.0.0.1:{http}"
scheme = "http"

[[listen]]
address = "127.0.0.1:{https}"
scheme = "https"
[[listen.certificates]]
chain = "front-door.pem"
key = "front-door.key"

[admin]
address = "127.0.0.1:{admin}"
operator_token_file = "operator.token"

[store]
url = "sqlite://wayleave.db"
key_file = "store.key"

[[identity_providers]]
name = "demo"
label = "Demo identity provider"
preset = "oidc"
issuer = "{issuer}"
client_id = "wayleave"
client_secret_file = "provider.secret"
scopes = ["groups"]
groups_claim = "groups"
insecure_allow_http_loopback = true

[mesh]
trust_domain = "demo.wayleave"
bundle_file = "mesh-root.pem"

[mesh.svid]
source = "ca"
chain_file = "edge-ca.pem"
key_file = "edge-ca.key"
namespaces = ["people"]
lifetime = "15m"

[policy]
file = "policy.yaml"

[log]
access = "access.log"
filter = "warn"
"#
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let file = self.path(name);
        write_private(&file, text).map_err(|source| DemoError::File { file, source })
    }
}

/// Open to staff; every identity of the mesh is welcome.
const DASHBOARDS: Workload = Workload {
    title: "Dashboards",
    spiffe_id: "spiffe://demo.wayleave/ns/apps/sa/dashboards",
    admits: None,
};

/// Has a policy of its own beside the edge's.
const PAYROLL: Workload = Workload {
    title: "Payroll",
    spiffe_id: "spiffe://demo.wayleave/ns/apps/sa/payroll",
    admits: Some("spiffe://demo.wayleave/ns/people/sa/alice"),
};

/// Open to some, and to others for a time.
const RELEASES: Workload = Workload {
    title: "Releases",
    spiffe_id: "spiffe://demo.wayleave/ns/apps/sa/releases",
    admits: None,
};

fn report(ended: Result<(), DemoError>) {
    if let Err(error) = ended {
        tracing::error!(error = %Causes(&error), "a part of the demonstration ended");
    }
}

async fn bind(
    port: u16,
    what: &'static str,
    option: &'static str,
) -> Result<TcpListener, DemoError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| DemoError::Port {
        port,
        what,
        option,
        source,
    })
}

/// Makes sure that all ports can be had, before anything starts; keeps the identity provider's. The edge binds the others itself, later.
async fn reserve(ports: Ports) -> Result<(Ports, TcpListener), DemoError> {
    let http = bind(ports.http, "the http front door", "--port").await?;
    let https = bind(ports.https, "the https front door", "--https-port").await?;
    let admin = bind(ports.admin, "the admin listener", "--admin-port").await?;
    let option = "--identity-provider-port";
    let provider = bind(
        ports.identity_provider,
        "the demo identity provider",
        option,
    )
    .await?;
    let ports = Ports {
        http: port_of(&http),
        https: port_of(&https),
        admin: port_of(&admin),
        identity_provider: port_of(&provider),
    };
    Ok((ports, provider))
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

fn private_folder() -> Result<TempDir, DemoError> {
    tempfile::Builder::new()
        .prefix("wayleave-demo-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|source| DemoError::File {
            file: std::env::temp_dir(),
            source,
        })
}

/// Makes a file of mode 0600 that must not exist yet.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
}
