//! Somebody's own machine: where they sign in from the command line.

use http::StatusCode;

use super::command::{Said, run};
use super::program::Program;
use super::served::Parties;
use super::visitor::Visitor;

/// Somebody's home folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    more: Vec<(String, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            more: Vec::new(),
        }
    }

    /// The same with more in its environment.
    pub(crate) fn with(mut self, more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        self.more.extend(more);
        self
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let at = |name: &str| self.path(name).display().to_string();
        let pairs = [
            ("HOME", at("")),
            ("XDG_CONFIG_HOME", at("config")),
            ("XDG_STATE_HOME", at("state")),
            ("WAYLEAVE_KEYRING", "off".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
        pairs.into_iter().chain(self.more.clone()).collect()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let environment = self.environment();
        let environment: Vec<_> = environment
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        Program::start_with(arguments, &environment)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        let environment = self.environment();
        let environment: Vec<_> = environment
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        run(arguments, &environment).await
    }

    /// Signs in by a browser on this machine.
    pub(crate) async fn sign_in(&self, visitor: &mut Visitor, who: &str, more: &[&str]) -> Said {
        let mut arguments = vec!["login", "--no-browser"];
        arguments.extend(more);
        let mut login = self.start(&arguments);
        login.logs("/oauth/authorize?").await;
        let url = line_with(&login.err(), "/oauth/authorize?");
        let asked = visitor.open_as(who, &url).await;
        assert_eq!(asked.status, StatusCode::OK, "{asked:?}");
        let done = visitor.submit(&asked, &[("decision", "allow")]).await;
        assert!(done.text.contains("This machine is let in"), "{done:?}");
        assert!(!done.text.contains("code"), "{done:?}");
        let policy = done.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let code = login.ended().await.code();
        Said {
            code,
            out: login.out(),
            err: login.err(),
        }
    }

    /// Signs in over TLS, with the root that it needs, by a browser that has it too.
    pub(crate) async fn sign_in_over_tls(
        &self,
        parties: &Parties,
        who: &str,
        more: &[&str],
    ) -> Visitor {
        let mut visitor = Visitor::trusting(&parties.read("front-door-root.pem"));
        let home = parties.secure_at("access");
        let root = parties.stage.path("front-door-root.pem");
        let mut arguments = vec!["--edge", &home, "--ca-file", root.to_str().unwrap()];
        arguments.extend(more);
        let said = self.sign_in(&mut visitor, who, &arguments).await;
        said.expect_done();
        visitor
    }
}

/// The line with this part.
pub(crate) fn line_with(text: &str, part: &str) -> String {
    let line = text.lines().find(|line| line.contains(part));
    line.unwrap().trim().to_owned()
}
