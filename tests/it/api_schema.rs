//! The API held against the document that it publishes, by a program that knows nothing else: what it makes up of the document is sent, valid or not,
//! and what is answered has to be as the document says.

use tokio::process::Command;

use crate::parts::python;
use crate::parts::served::{Parties, end, gathered_on_both};

/// What is in words of ours (a policy, an address, a version) may be refused although the document cannot say so.
const EXCLUDED: &str = "positive_data_acceptance";

/// A document of the API, as an operator gets it.
async fn document(parties: &Parties, name: &str, token: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test asks its own edge")]
    let client = reqwest::Client::new();
    let url = format!("{}/{name}", base(parties));
    let answer = client.get(url).bearer_auth(token).send().await.unwrap();
    answer.error_for_status().unwrap().text().await.unwrap()
}

fn base(parties: &Parties) -> String {
    format!("http://127.0.0.1:{}/api/v1", parties.stage.ports.admin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_takes_and_answers_what_its_document_says() {
    for (parties, _) in gathered_on_both().await {
        parties.follow_no_file();
        let edge = parties.serve().await;
        let token = parties.read("operator.token");
        let folder = tempfile::tempdir().unwrap();
        for name in ["openapi.json", "policy.schema.json"] {
            let text = document(&parties, name, &token).await;
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let ran = Command::new(python().with_file_name("schemathesis"))
            .args(["run", "openapi.json"])
            .args(["--url", &base(&parties)])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--checks", "all", "--exclude-checks", EXCLUDED])
            .args([
                "--max-examples",
                "15",
                "--seed",
                "1",
                "--continue-on-failure",
            ])
            .args(["--warnings", "off", "--no-color"])
            .current_dir(folder.path())
            .env("no_proxy", "*")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}{told}");
        assert!(
            said.contains("Fuzzing") && said.contains("generated"),
            "{said}"
        );
        end(edge).await;
        parties.leave().await;
    }
}
