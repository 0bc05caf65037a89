//! AWS as far as programs and the edge speak to it: IAM and STS (PyPI moto), which verify signatures as botocore makes them; and an STS of a few lines that fails as told.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::net::TcpListener;
use wayleave::clock::{Clock, SystemClock};
use wayleave::token::aws::signing::{RoleKey, subject_token};
use zeroize::Zeroizing;

use super::program::{eventually, free_ports};
use super::{beside, python};

/// The account that moto plays.
pub(crate) const ACCOUNT: &str = "123456789012";

/// The ARN of a role there.
pub(crate) fn arn(role: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

/// moto, as a process.
pub(crate) struct Moto {
    child: Child,
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Moto {
    pub(crate) async fn start() -> Self {
        let [port] = free_ports();
        let child = Command::new(python())
            .args([
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                &port.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        eventually("moto answers", async || {
            let data = this.http.get(format!("{}/moto-api/data.json", this.url));
            data.send()
                .await
                .is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
        this.demand_signatures(true).await;
        this
    }

    /// From the next request on: that it is signed by a key that moto gave.
    async fn demand_signatures(&self, are_demanded: bool) {
        let after = if are_demanded { "0" } else { "inf" };
        let request = self
            .http
            .post(format!("{}/moto-api/reset-auth", self.url))
            .body(after);
        assert!(request.send().await.unwrap().status().is_success());
    }

    async fn call(&self, service: &str, fields: &[(&str, &str)]) -> String {
        // moto finds the service in it; that it signs nothing is not looked at here.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20270101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = self
            .http
            .post(&self.url)
            .header("authorization", authorization)
            .form(fields);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{text}");
        text
    }

    /// Makes a role, and assumes it.
    pub(crate) async fn role(&self, name: &str, session: &str) -> RoleKey {
        self.demand_signatures(false).await;
        let anybody = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
        let create = [
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", name),
            ("AssumeRolePolicyDocument", anybody),
        ];
        self.call("iam", &create).await;
        let arn = arn(name);
        let assume = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &arn),
            ("RoleSessionName", session),
        ];
        let key = key_of(&self.call("sts", &assume).await);
        self.demand_signatures(true).await;
        key
    }

    /// Makes a user with a key.
    pub(crate) async fn user(&self, name: &str) -> RoleKey {
        self.demand_signatures(false).await;
        let create = |action| {
            [
                ("Action", action),
                ("Version", "2010-05-08"),
                ("UserName", name),
            ]
        };
        self.call("iam", &create("CreateUser")).await;
        let key = key_of(&self.call("iam", &create("CreateAccessKey")).await);
        self.demand_signatures(true).await;
        key
    }
}

fn key_of(answer: &str) -> RoleKey {
    let document = roxmltree::Document::parse(answer).unwrap();
    let text = |name: &str| {
        let mut found = document
            .descendants()
            .filter(|node| node.tag_name().name() == name);
        found.next().map(|node| node.text().unwrap().to_owned())
    };
    RoleKey {
        id: text("AccessKeyId").unwrap(),
        secret: Zeroizing::new(text("SecretAccessKey").unwrap()),
        session_token: text("SessionToken").map(Zeroizing::new),
    }
}

/// What a role shows an edge.
pub(crate) fn shown(key: &RoleKey, edge: &str) -> String {
    let token = subject_token(key, Some("eu-central-1"), edge, SystemClock.now());
    token.unwrap().to_string()
}

/// The same with a change that nobody signed.
pub(crate) fn altered(shown: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut request = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(shown).unwrap()).unwrap();
    change(&mut request);
    URL_SAFE_NO_PAD.encode(request.to_string())
}

/// What the edge's configuration says of where AWS is.
pub(crate) fn instead(url: &str) -> String {
    format!(
        "[policy_issuers]\ninsecure_allow_http_loopback = true\ninsecure_sts_endpoint = \"{url}\"\n"
    )
}

type Answer = (StatusCode, HeaderMap, String);

/// Plays STS: answers with what it is told, and keeps what it was asked with.
#[derive(Clone)]
pub(crate) struct MockSts {
    pub(crate) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
}

impl MockSts {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            answer: Arc::default(),
            asked: Arc::default(),
        };
        let playing = this.clone();
        let answers = async move |headers: HeaderMap, body: String| {
            assert_eq!(body, "Action=GetCallerIdentity&Version=2011-06-15");
            playing.asked.lock().unwrap().push(headers);
            playing.answer.lock().unwrap().clone()
        };
        let app = axum::Router::new().route("/", post(answers));
        beside(async move { axum::serve(listener, app).await.unwrap() });
        this
    }

    pub(crate) fn answer(&self, status: StatusCode, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        *self.answer.lock().unwrap() = (status, headers.collect(), body.to_owned());
    }

    /// From now on a session of this role has signed what comes, in the words of AWS's documentation.
    pub(crate) fn name(&self, role: &str, session: &str) {
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n <GetCallerIdentityResult>\n  <Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}</Arn>\n  \
             <UserId>ARO123EXAMPLE123:{session}</UserId>\n  <Account>{ACCOUNT}</Account>\n </GetCallerIdentityResult>\n <ResponseMetadata>\n  <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n \
             </ResponseMetadata>\n</GetCallerIdentityResponse>"
        );
        self.answer(StatusCode::OK, &[("content-type", "text/xml")], &body);
    }

    /// The headers of what came so far.
    pub(crate) fn asked(&self) -> Vec<HeaderMap> {
        self.asked.lock().unwrap().clone()
    }
}

/// A key that is nobody's, for whom it does not matter.
pub(crate) fn any_key() -> RoleKey {
    RoleKey {
        id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
        secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Zeroizing::new("AQoDYXdzEPT//////////wEXAMPLE==".to_owned())),
    }
}
