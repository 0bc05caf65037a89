//! The real binary as a process: started, signalled, waited for. Whatever happens to the test, the process does not outlive it.

use std::fmt::Write as _;
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

/// Long for anything that is waited for; whoever waits goes on as soon as it is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running `wayleave`, in a process group and with a temporary folder of its own.
pub(crate) struct Program {
    child: Child,
    group: u32,
    /// Its `TMPDIR`, with `out` and `err` beside it.
    folder: tempfile::TempDir,
}

impl Program {
    /// Starts `wayleave` with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayleave"));
        command.envs(environment.iter().copied());
        Self::run(command, arguments)
    }

    /// Starts `wayleave`, which may have so many files and connections open.
    pub(crate) fn start_with_descriptors(descriptors: usize, arguments: &[&str]) -> Self {
        // It becomes the program that it starts.
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}"));
        command.arg(env!("CARGO_BIN_EXE_wayleave"));
        Self::run(command, arguments)
    }

    fn run(mut command: Command, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let child = command
            .args(arguments)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let group = child.id().expect("a process that was not waited for");
        Self {
            child,
            group,
            folder,
        }
    }

    /// What it has written to standard output so far.
    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    /// What it has written to standard error so far.
    pub(crate) fn err(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap()
    }

    /// Everything in its temporary folder.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Sends it a signal by name (`TERM`).
    pub(crate) fn signal(&self, name: &str) {
        assert!(kill(&format!("-{name}"), &self.group.to_string()));
    }

    /// Whether any process of its group lives.
    pub(crate) fn lives(&self) -> bool {
        kill("-0", &format!("-{}", self.group))
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status
            .unwrap_or_else(|_| panic!("the process goes on:\n{}", self.err()))
            .unwrap()
    }

    /// Waits until its standard output holds `text`.
    pub(crate) async fn says(&mut self, text: &str) {
        self.until(text, |program| program.out().contains(text))
            .await;
    }

    /// Waits until its standard error holds `text`.
    pub(crate) async fn logs(&mut self, text: &str) {
        self.until(text, |program| program.err().contains(text))
            .await;
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = tokio::time::Instant::now();
        while !is_so(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {what:?}:\n{}", self.err());
            }
            assert!(begun.elapsed() < PATIENCE, "no {what:?}:\n{}", self.err());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The standard `kill`, quiet: to be told that nobody is there is an answer too.
fn kill(signal: &str, whom: &str) -> bool {
    let mut command = std::process::Command::new("kill");
    let status = command
        .args([signal, "--", whom])
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// Asks again and again until it is so, and says how long that took.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Duration {
    let begun = tokio::time::Instant::now();
    while !ask().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Ports for a process to listen on later, each given out once. They are below those that the system gives to connections and to whoever asks for any,
/// so that nobody takes one in between.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    [(); N].map(|()| {
        loop {
            let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
            if is_free(port) {
                return port;
            }
        }
    })
}

/// Whether a port can be had again. It is not tried by listening: a process that another test starts just then would have a copy of the
/// listener for a moment, and whoever wants the port would not get it.
pub(crate) fn is_free(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// A whole demonstration on ports of its own.
pub(crate) struct Demo {
    pub(crate) program: Program,
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) admin: u16,
    pub(crate) provider: u16,
}

impl Demo {
    /// Starts it and waits until it says so.
    pub(crate) async fn start() -> Self {
        Self::start_as("demo").await
    }

    /// The same, started with these arguments and ports of its own.
    pub(crate) async fn start_as(command: &str) -> Self {
        let [http, https, admin, provider] = free_ports();
        let mut arguments = String::from(command);
        for (option, port) in [
            ("port", http),
            ("https-port", https),
            ("admin-port", admin),
            ("identity-provider-port", provider),
        ] {
            write!(arguments, " --{option} {port}").unwrap();
        }
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut program = Program::start(&arguments);
        program.says("Ctrl-C ends it").await;
        Self {
            program,
            http,
            https,
            admin,
            provider,
        }
    }

    /// The demonstration's own folder.
    pub(crate) fn folder(&self) -> PathBuf {
        let files = self.program.temporary_files();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    pub(crate) fn ports(&self) -> [u16; 4] {
        [self.http, self.https, self.admin, self.provider]
    }
}
