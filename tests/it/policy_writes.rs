//! Writing policy when everything goes wrong at once, on both databases: the process is killed, fifty people write, and nobody is told what is not so.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use wayleave::admin::actor::Actor;
use wayleave::admin::ownership::{self, ClaimError, Ownership};
use wayleave::admin::policy_rules::PolicyRules;
use wayleave::admin::revisions::{Revisions, RevisionsError, Writing};
use wayleave::clock::{Clock, SharedClock, SystemClock};
use wayleave::config::checked::StoreConfig;
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::check::Known;
use wayleave::policy::document::written;
use wayleave::policy::model::Revision;
use wayleave::policy::roles::Role;
use wayleave::policy::yaml::LARGEST_DOCUMENT;
use wayleave::secret::{Sealer, random};
use wayleave::snapshot;
use wayleave::store::Store;

use crate::istio::strategies::policies;
use crate::parts::command::command;
use crate::parts::program::eventually;
use crate::parts::served::{
    CONFIGURATION, Parties, alice, database, end, gathered_on, gathered_on_both, row, status,
};
use crate::parts::visitor::Visitor;

/// An operator of an edge.
#[derive(Clone)]
struct Operator {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Operator {
    fn of(parties: &Parties) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test asks its own edge")]
        let client = reqwest::Client::new();
        Self {
            client,
            base: format!(
                "http://127.0.0.1:{}/api/v1/policy",
                parties.stage.ports.admin
            ),
            token: parties.read("operator.token"),
        }
    }

    /// `None` if there is no answer.
    async fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.client.post(format!("{}/{path}", self.base));
        let answer = request.bearer_auth(&self.token).json(body).send().await;
        let answer = answer.ok()?;
        let code = answer.status().as_u16();
        Some((code, answer.json().await.ok()?))
    }

    /// `None` if there is no answer.
    async fn try_get(&self, path: &str) -> Option<Value> {
        let request = self.client.get(format!("{}/{path}", self.base));
        let answer = request.bearer_auth(&self.token).send().await;
        answer.ok()?.json().await.ok()
    }

    async fn get(&self, path: &str) -> Value {
        self.try_get(path).await.unwrap()
    }

    async fn apply(&self, text: &str, parent: Option<i64>, message: &str) -> Option<(u16, Value)> {
        let note = json!({ "parent": parent, "author": null, "message": message });
        self.post("apply", &json!({ "text": text, "note": note }))
            .await
    }

    /// The whole history, oldest first.
    async fn history(&self) -> Vec<Value> {
        let said = self.get("revisions?limit=500").await;
        let mut revisions = said["revisions"].as_array().unwrap().clone();
        revisions.reverse();
        revisions
    }
}

/// Parties whose edge follows no file, on either database; where that is.
async fn on_both() -> [(Parties, String); 2] {
    let both = gathered_on_both().await;
    for (parties, _) in &both {
        parties.follow_no_file();
    }
    both
}

/// So many rules, each of which says the same number.
fn numbered(number: u64, rules: usize) -> String {
    let mut text = "rules:\n".to_owned();
    for rule in 0..rules {
        text.push_str(&format!(
            "  - {{ name: r{rule}, action: allow, from: [{{ groups: [g{number}] }}] }}\n"
        ));
    }
    text
}

/// What was sent under which message, and what was answered.
#[derive(Default)]
struct Sent {
    texts: BTreeMap<String, String>,
    acknowledged: BTreeMap<i64, String>,
}

fn sent_as(revision: &Value) -> &str {
    revision["message"].as_str().unwrap()
}

/// Applies and rolls back, one after the other, until there is no answer.
async fn write_until_cut(operator: Operator, sent: Arc<Mutex<Sent>>, round: u64) {
    let mut parent = operator
        .history()
        .await
        .last()
        .map(|last| last["revision"].as_i64().unwrap());
    for number in 0.. {
        let message = format!("round {round}, write {number}");
        let back = parent
            .filter(|_| number % 4 == 3)
            .map(|newest| 1 + newest / 2);
        let text = match back {
            None => numbered(round * 1000 + number, 60),
            Some(revision) => {
                let document = format!("document?revision={revision}");
                let Some(said) = operator.try_get(&document).await else {
                    return;
                };
                said["text"].as_str().unwrap().to_owned()
            }
        };
        sent.lock()
            .unwrap()
            .texts
            .insert(message.clone(), text.clone());
        let answer = match back {
            None => operator.apply(&text, parent, &message).await,
            Some(to) => {
                let note = json!({ "parent": parent, "author": null, "message": message });
                operator
                    .post("rollback", &json!({ "to": to, "note": note }))
                    .await
            }
        };
        let Some((code, said)) = answer else { return };
        assert_eq!(code, 200, "{said}");
        let revision = said["revision"].as_i64().unwrap();
        if said["is_new"] == true {
            sent.lock().unwrap().acknowledged.insert(revision, message);
        }
        parent = Some(revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j8_no_kill_leaves_half_a_revision_or_loses_one_that_was_acknowledged() {
    for (parties, _) in on_both().await {
        let sent = Arc::new(Mutex::new(Sent::default()));
        let operator = Operator::of(&parties);
        for round in 0..6 {
            let mut edge = parties.serve().await;
            let before = sent.lock().unwrap().acknowledged.len();
            let writer = write_until_cut(operator.clone(), Arc::clone(&sent), round);
            #[expect(
                clippy::disallowed_methods,
                reason = "it ends with the edge that it writes to"
            )]
            let writer = tokio::spawn(writer);
            // Some writes go well, then it happens anywhere in the next ones.
            let begun = async || sent.lock().unwrap().acknowledged.len() > before + 4;
            eventually("some writes", begun).await;
            let [a, b] = random::<2>();
            tokio::time::sleep(Duration::from_micros(u64::from(a) * 256 + u64::from(b))).await;
            edge.signal("KILL");
            edge.ended().await;
            // It finds nobody, and ends.
            writer.await.unwrap();
        }
        let edge = parties.serve().await;
        let history = operator.history().await;
        let (texts, acknowledged) = {
            let sent = sent.lock().unwrap();
            (sent.texts.clone(), sent.acknowledged.clone())
        };
        for (at, revision) in history.iter().enumerate() {
            let number = revision["revision"].as_i64().unwrap();
            assert_eq!(number, i64::try_from(at).unwrap() + 1, "no gap");
            let said = operator.get(&format!("document?revision={number}")).await;
            let text = &texts[sent_as(revision)];
            assert_eq!(said["text"], **text, "revision {number} is whole");
        }
        for (number, message) in &acknowledged {
            let at = usize::try_from(*number).unwrap() - 1;
            assert_eq!(sent_as(&history[at]), message, "revision {number} is kept");
        }
        assert!(acknowledged.len() >= 30, "{}", acknowledged.len());
        let listed = [
            "list",
            "--kind",
            "policy_written",
            "--limit",
            "1000",
            "--json",
        ];
        let listed = command(&parties, "audit", &listed)
            .await
            .expect_done()
            .json();
        let events = listed["events"].as_array().unwrap();
        assert_eq!(
            events.len(),
            history.len(),
            "an event for each and no other"
        );
        command(&parties, "audit", &["verify"]).await.expect_done();
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn j8_of_fifty_who_write_onto_one_revision_one_wins_and_the_rest_are_told() {
    for (parties, _) in on_both().await {
        let edge = parties.serve().await;
        let operator = Operator::of(&parties);
        let (code, said) = operator
            .apply(&numbered(0, 3), None, "the first")
            .await
            .unwrap();
        assert_eq!(code, 200, "{said}");
        let writes = (1..=50).map(|number| {
            let operator = operator.clone();
            async move {
                let message = format!("by {number}");
                let text = numbered(number, 3);
                operator.apply(&text, Some(1), &message).await.unwrap()
            }
        });
        let answers = futures_util::future::join_all(writes).await;
        let won: Vec<_> = answers.iter().filter(|(code, _)| *code == 200).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(won[0].1, json!({ "revision": 2, "is_new": true }));
        for (_, said) in answers.iter().filter(|(code, _)| *code != 200) {
            assert_eq!(
                (&said["status"], &said["code"]),
                (&json!(409), &json!("conflict"))
            );
            assert_eq!(said["current"]["revision"], 2, "{said}");
        }
        assert_eq!(operator.history().await.len(), 2);
        end(edge).await;
        parties.leave().await;
    }
}

/// How many objects begin and end with a revision.
async fn touched(url: &str, revision: i64) -> (i64, i64) {
    let sum = |column| {
        format!(
            "CAST(COALESCE(SUM(CASE WHEN {column} = {revision} THEN 1 ELSE 0 END), 0) AS BIGINT)"
        )
    };
    let (began, ended) = (sum("valid_from"), sum("valid_until"));
    row(url, &format!("SELECT {began}, {ended} FROM policy_objects")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_hundreds_is_changed_by_touching_its_row_and_is_in_force_at_once() {
    for (parties, url) in on_both().await {
        let text = parties.read("policy.yaml");
        let (head, _) = text.split_once("\nrules:").unwrap();
        let many = |freeze: &str| {
            let rules = numbered(1, 600);
            format!(
                "{head}\n{rules}  - {{ name: all, action: allow, from: [{{ signed_in: true }}] }}\n  - {{ name: freeze, action: deny, from: {freeze} }}\n"
            )
        };
        let edge = parties.serve().await;
        let operator = Operator::of(&parties);
        let first = operator
            .apply(&many("[]"), None, "the first")
            .await
            .unwrap();
        assert_eq!(first.0, 200, "{}", first.1);
        let home = parties.at("grafana");
        let is_there = async || status(&mut Visitor::new(), &home).await != StatusCode::NOT_FOUND;
        eventually("the first revision", is_there).await;
        let alice = alice(&parties).await;
        let frozen = many("[{ anyone: true }]");
        let answered = operator.apply(&frozen, Some(1), "frozen").await;
        assert_eq!(answered.unwrap().0, 200);
        let shut = async || status(&mut alice.clone(), &home).await == StatusCode::FORBIDDEN;
        let took = eventually("the freeze", shut).await;
        println!("in force after {took:?}");
        assert_eq!(touched(&url, 2).await, (1, 1));
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j2_a_revision_reaches_another_replica_within_two_seconds() {
    let parties = gathered_on(&database().await).await;
    parties.follow_no_file();
    let edge = parties.serve().await;
    let operator = Operator::of(&parties);
    let open = parties.read("policy.yaml");
    let closed =
        format!("{open}\n  - name: freeze\n    action: deny\n    from: [{{ anyone: true }}]\n");
    let first = operator.apply(&open, None, "the first").await.unwrap();
    assert_eq!(first.0, 200, "{}", first.1);
    let (second, port) = parties.serve_second().await;
    let there = format!("http://grafana.localhost:{port}");
    for (parent, text, is_shut) in [(1, &closed, true), (2, &open, false), (3, &closed, true)] {
        let answer = operator.apply(text, Some(parent), "another").await.unwrap();
        assert_eq!(answer.0, 200, "{}", answer.1);
        let is_so = async || {
            let found = status(&mut Visitor::new(), &there).await;
            (found == StatusCode::FORBIDDEN) == is_shut
        };
        let took = eventually("the other replica", is_so).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    end(second).await;
    end(edge).await;
    parties.leave().await;
}

/// The use cases themselves, on a store of their own.
async fn revisions(url: &str) -> Revisions {
    let config = StoreConfig {
        url: url.into(),
        key: Arc::new(Sealer::new(&random())),
        connections: 4,
    };
    let clock = Arc::new(SystemClock);
    Revisions {
        store: Store::open(&config, clock).await.unwrap(),
        rules: PolicyRules {
            trust_domain: TrustDomain::parse("td").unwrap(),
            known: Known {
                providers: ["okta", "entra"]
                    .map(|name| (name.to_owned(), format!("https://{name}.example")))
                    .into(),
                claims: vec!["team".to_owned(), "unknown".to_owned()],
                ..Known::default()
            },
        },
        follows: None,
        approvals: 0,
    }
}

fn ada() -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: "ada".into(),
        email: None,
        display_name: None,
        groups: Groups::Missing,
        claims: BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_the_first_owner_is_claimed_also_where_others_approve_of_changes() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/store.db", folder.path().display());
    for url in [sqlite, database().await] {
        let revisions = Revisions {
            approvals: 1,
            ..revisions(&url).await
        };
        let clock: SharedClock = Arc::new(SystemClock);
        let code = ownership::offer(&revisions.store, clock.now()).await;
        let code = code.unwrap();
        let claiming = Ownership::new(revisions.clone(), clock);
        let person = Arc::new(ada());
        assert!(
            claiming
                .claim(&person, "00000-00000-00000-00000")
                .await
                .is_err()
        );
        assert!(claiming.claim(&person, &code).await.unwrap().is_new);
        let (_, text) = revisions.export(None).await.unwrap();
        assert!(text.contains("role: owner"), "{text}");
        let again = claiming.claim(&person, &code).await;
        assert!(matches!(again, Err(ClaimError::Owned)));
        let plan = revisions.plan("{}", SystemClock.now()).await.unwrap();
        let mut findings = plan.findings.iter();
        assert!(findings.any(|finding| finding.message.starts_with("nobody would be owner")));
        // What comes after needs others.
        let (roles, policy) = (BTreeSet::from([Role::Owner]), text + "\nrules: []\n");
        let owner = Actor::Person {
            principal: person,
            roles,
        };
        let note = Writing {
            parent: revisions.store.current_revision().await.unwrap(),
            message: "more".to_owned(),
            is_emergency: false,
        };
        let refused = revisions.apply(&policy, &owner, &note).await;
        assert!(
            matches!(refused, Err(RevisionsError::NeedsApprovals(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j6_an_export_applies_to_nothing_and_a_rollback_is_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/store.db", folder.path().display());
    for url in [sqlite, database().await] {
        let revisions = revisions(&url).await;
        let mut runner = TestRunner::default();
        let mut known: Vec<(String, Vec<_>)> = Vec::new();
        let newest = async || revisions.store.current_revision().await.unwrap();
        let writing = async |message: &str| Writing {
            parent: newest().await,
            message: message.to_owned(),
            is_emergency: false,
        };
        let operator = Actor::Operator { name: None };
        while known.len() < 12 {
            let policy = policies().new_tree(&mut runner).unwrap().current();
            let text = written(&policy);
            let note = writing("a random one").await;
            let outcome = revisions.apply(&text, &operator, &note).await.unwrap();
            if outcome.is_new {
                let objects = revisions.store.policy_objects(outcome.revision).await;
                known.push((text.clone(), objects.unwrap()));
            }
            let (_, exported) = revisions.export(None).await.unwrap();
            assert_eq!(exported, text);
            let plan = revisions.plan(&exported, SystemClock.now()).await.unwrap();
            assert!(plan.is_empty(), "{plan:?}");
            let again = writing("the same").await;
            let again = revisions.apply(&exported, &operator, &again).await.unwrap();
            assert!(!again.is_new);
        }
        for (number, (text, objects)) in (1..).zip(&known) {
            let note = writing("back").await;
            let outcome = revisions
                .rollback(Revision(number), &operator, &note)
                .await
                .unwrap();
            let (_, exported) = revisions.export(Some(outcome.revision)).await.unwrap();
            assert_eq!(exported, *text, "revision {number}");
            let now = revisions
                .store
                .policy_objects(outcome.revision)
                .await
                .unwrap();
            let order = |objects: &[wayleave::store::policy::PolicyObject]| -> Vec<_> {
                let each = objects.iter();
                each.map(|one| (one.kind, one.name.clone(), one.body.clone()))
                    .collect()
            };
            assert_eq!(order(&now), order(objects), "revision {number}");
        }
    }
}

/// Random rules come, change, move and go; now and then so does everything else. Some revisions are passed over, as by an edge that was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_loaded_from_an_earlier_one_is_that_revision() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/store.db", folder.path().display());
    for url in [sqlite, database().await] {
        let revisions = revisions(&url).await;
        let own = &revisions.rules.trust_domain;
        let store = &revisions.store;
        let operator = Actor::Operator { name: None };
        let mut runner = TestRunner::default();
        let mut random = || policies().new_tree(&mut runner).unwrap().current();
        let mut policy = random();
        let mut in_force = snapshot::load(store, own).await.unwrap();
        for turn in 0..40 {
            let other = random();
            match turn % 8 {
                7 => policy = other,
                step => {
                    // Names are unique: r0, r1 … are the random ones.
                    let known: HashSet<_> = policy.rules.iter().map(|rule| &rule.name).collect();
                    let news = other
                        .rules
                        .iter()
                        .filter(|rule| !known.contains(&rule.name));
                    let news: Vec<_> = news.cloned().collect();
                    let at = step.min(policy.rules.len());
                    let gone = policy.rules.len().min(at + step % 2);
                    policy.rules.splice(at..gone, news);
                    for (mine, others) in policy.rules.iter_mut().zip(&other.rules).skip(step) {
                        if mine.name == others.name {
                            *mine = Arc::clone(others);
                        }
                    }
                }
            }
            let writing = Writing {
                parent: store.current_revision().await.unwrap(),
                message: "m".to_owned(),
                is_emergency: false,
            };
            let text = written(&policy);
            let applied = revisions.apply(&text, &operator, &writing).await;
            applied.unwrap();
            if turn % 3 == 0 {
                continue;
            }
            let whole = snapshot::load(store, own).await.unwrap();
            let newer = snapshot::load_newer(store, &in_force.policy, &in_force.positions).await;
            if let Some(newer) = newer.unwrap() {
                in_force = newer;
            }
            assert_eq!(in_force.policy.revision, whole.policy.revision);
            assert_eq!(in_force.policy.policy(), whole.policy.policy());
            assert_eq!(in_force.positions, whole.positions);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j5_a_document_that_is_too_large_is_refused_at_file_api_and_command() {
    let [(parties, _), (other, _)] = on_both().await;
    other.leave().await;
    let edge = parties.serve().await;
    let operator = Operator::of(&parties);
    let comment = |bytes: usize| format!("# {}\n", "é".repeat(bytes / 2));
    for (bytes, code, words) in [
        (LARGEST_DOCUMENT, 422, "larger than 32 MiB"),
        (2 * LARGEST_DOCUMENT, 413, "at most 32 MiB"),
    ] {
        // A server that has said no may not read on.
        let Some((found, said)) = operator
            .post("plan", &json!({ "text": comment(bytes) }))
            .await
        else {
            assert_eq!(code, 413);
            continue;
        };
        assert_eq!(found, code, "{said}");
        assert!(said.to_string().contains(words), "{said}");
    }
    let file = parties.stage.path("large.yaml");
    for bytes in [LARGEST_DOCUMENT, 2 * LARGEST_DOCUMENT] {
        std::fs::write(&file, comment(bytes)).unwrap();
        let file = file.to_str().unwrap();
        for arguments in [&["plan", file][..], &["apply", file, "-m", "x", "--yes"]] {
            let refused = command(&parties, "policy", arguments).await;
            assert_eq!(refused.code, Some(1));
            assert!(
                refused.err.contains("larger than 32 MiB"),
                "{}",
                refused.err
            );
        }
    }
    end(edge).await;

    // The followed file, from the start and later.
    parties.edit(
        CONFIGURATION,
        "[log]",
        "[policy]\nfile = \"policy.yaml\"\n\n[log]",
    );
    let good = parties.read("policy.yaml");
    let large = format!("{good}\n{}", comment(LARGEST_DOCUMENT));
    std::fs::write(parties.stage.path("policy.yaml"), &large).unwrap();
    let mut refused = parties.try_serve();
    assert_ne!(refused.ended().await.code(), Some(0));
    assert!(
        refused.err().contains("larger than 32 MiB"),
        "{}",
        refused.err()
    );
    std::fs::write(parties.stage.path("policy.yaml"), &good).unwrap();
    let mut edge = parties.serve().await;
    std::fs::write(parties.stage.path("policy.yaml"), &large).unwrap();
    edge.logs("larger than 32 MiB").await;
    end(edge).await;
    parties.leave().await;
}
