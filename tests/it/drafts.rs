//! Drafts of policy and their reviews, as people use them, on SQLite and on Postgres.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use wayleave::admin::actor::Actor;
use wayleave::admin::drafts::{DraftsError, Saving, Seen};
use wayleave::admin::objects::Touch;
use wayleave::admin::policy_rules::PolicyRules;
use wayleave::admin::review::Needed;
use wayleave::admin::revisions::{Revisions, RevisionsError, Writing};
use wayleave::audit::decision::{Decided, Decision};
use wayleave::clock::{Clock, ManualClock, SharedClock, Timestamp};
use wayleave::config::checked::StoreConfig;
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::check::Known;
use wayleave::policy::draft::{DraftId, DraftState, NotNow};
use wayleave::policy::kind::Kind;
use wayleave::policy::model::Revision;
use wayleave::secret::{Sealer, Token, random};
use wayleave::session::{ProviderTokens, SessionId, SessionRecord};
use wayleave::snapshot;
use wayleave::store::Store;
use wayleave::store::audit::EventFilter;
use wayleave::store::drafts::DraftRecord;

use crate::parts::program::eventually;
use crate::parts::served::database;

const POLICY: &str = "\
# Who looks after the edge.
role_bindings:
  - { name: writers, role: admin, from: [{ groups: [admins] }] }
  - { name: reviewers, role: approver, from: [{ groups: [reviewers] }] }
  - { name: watchers, role: auditor, from: [{ groups: [watchers] }] }
rules:
  # The first.
  - { name: one, action: allow, from: [{ groups: [one] }] }
  - { name: two, action: allow, from: [{ groups: [two] }] }
";

/// The policy with a rule more.
fn with_rule(name: &str) -> String {
    format!("{POLICY}  - {{ name: {name}, action: deny, from: [{{ groups: [{name}] }}] }}\n")
}

/// Where people draft and review.
struct Desk {
    revisions: Revisions,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Desk {
    /// With the policy in force, which an operator wrote.
    async fn at(is_postgres: bool, approvals: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match is_postgres {
            true => database().await,
            false => format!("sqlite://{}/store.db", folder.path().display()),
        };
        let config = StoreConfig {
            url: url.into(),
            key: Arc::new(Sealer::new(&random())),
            connections: 8,
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let shared: SharedClock = clock.clone();
        let mut revisions = Revisions {
            store: Store::open(&config, shared).await.unwrap(),
            rules: PolicyRules {
                trust_domain: TrustDomain::parse("td").unwrap(),
                known: Known::default(),
            },
            follows: None,
            approvals: 0,
        };
        revisions
            .apply(POLICY, &operator(), &writing(None))
            .await
            .unwrap();
        revisions.approvals = approvals;
        Self {
            revisions,
            clock,
            _folder: folder,
        }
    }

    fn store(&self) -> &Store {
        &self.revisions.store
    }

    /// Somebody in these groups, with the roles that they have now.
    async fn person(&self, name: &str, groups: &[&str]) -> Actor {
        self.actor(principal(name, groups)).await
    }

    async fn actor(&self, principal: Principal) -> Actor {
        let trust_domain = &self.revisions.rules.trust_domain;
        let loaded = snapshot::load(self.store(), trust_domain).await.unwrap();
        Actor::person(Arc::new(principal), &loaded.policy)
    }

    async fn saved(&self, text: &str, actor: &Actor) -> DraftRecord {
        let saving = saving(None, text);
        self.revisions.save_draft(saving, actor).await.unwrap()
    }

    async fn submitted(&self, text: &str, actor: &Actor) -> DraftRecord {
        let draft = self.saved(text, actor).await;
        let submitted = self.revisions.submit_draft(draft.id, actor).await;
        submitted.unwrap()
    }

    async fn approve(&self, draft: &DraftRecord, actor: &Actor) -> Result<i64, DraftsError> {
        let approved = self.revisions.approve_draft(seen(draft), "fine", actor);
        approved.await.map(|draft| draft.approvals)
    }

    async fn apply(&self, draft: &DraftRecord, actor: &Actor) -> Result<Revision, DraftsError> {
        let applied = self.revisions.apply_draft(seen(draft), actor).await;
        applied.map(|outcome| outcome.revision)
    }

    /// Bodies of all events of a kind.
    async fn events(&self, kind: &str) -> Vec<Value> {
        let filter = EventFilter {
            kind: Some(kind.to_owned()),
            ..EventFilter::default()
        };
        let events = self.store().events_after(0, &filter, 1000).await.unwrap();
        let bodies = events.iter();
        bodies
            .map(|event| serde_json::from_str(&event.body).unwrap())
            .collect()
    }

    async fn current(&self) -> Option<Revision> {
        self.store().current_revision().await.unwrap()
    }

    /// Somebody signs in, or their provider describes them anew.
    async fn described(&self, principal: Principal, id: &str) {
        self.clock.advance(Duration::from_secs(60));
        let now = self.clock.now();
        let record = SessionRecord {
            id: SessionId(id.into()),
            principal,
            provider_sid: None,
            peer: None,
            browser: None,
            created_at: now,
            last_seen: now,
            expires_at: now.plus(Duration::from_secs(3600)),
            refresh_at: now.plus(Duration::from_secs(600)),
        };
        let tokens = ProviderTokens {
            refresh_token: None,
            id_token: None,
        };
        let cookie = Token::generate().hash();
        let store = self.store();
        store
            .create_session(&record, &tokens, cookie, "app")
            .await
            .unwrap();
    }
}

fn operator() -> Actor {
    Actor::Operator { name: None }
}

fn principal(name: &str, groups: &[&str]) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "demo".into(),
        issuer: "https://idp.example".into(),
        subject: name.into(),
        email: None,
        display_name: None,
        groups: Groups::Known(groups.iter().map(|&group| group.into()).collect()),
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

fn writing(parent: Option<i64>) -> Writing {
    Writing {
        parent: parent.map(Revision),
        message: "why".to_owned(),
        is_emergency: false,
    }
}

fn saving(draft: Option<Seen>, text: &str) -> Saving {
    Saving {
        draft,
        text: text.to_owned(),
        message: "a rule more".to_owned(),
        parent: None,
    }
}

fn seen(draft: &DraftRecord) -> Seen {
    Seen {
        draft: draft.id,
        version: draft.version,
    }
}

/// More have to approve.
fn lacks(outcome: Result<Revision, DraftsError>) -> Needed {
    match outcome {
        Err(DraftsError::Revisions(RevisionsError::NeedsApprovals(needed))) => needed,
        other => panic!("{other:?}"),
    }
}

fn is_forbidden<T>(outcome: Result<T, DraftsError>) -> bool {
    matches!(
        outcome,
        Err(DraftsError::Revisions(RevisionsError::NotPermitted(_)))
    )
}

/// Runs a test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(false).await; })* }
        mod postgres { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(true).await; })* }
    };
}
on_both!(
    a_draft_becomes_a_revision_once_two_others_approved,
    k8_nobody_approves_but_other_people_who_may,
    k8_nothing_goes_past_the_approvals_but_a_loud_emergency,
    k8_an_approval_ends_with_the_role_of_whoever_gave_it,
    what_is_done_at_once_counts_once,
    j8_whoever_stops_in_the_middle_leaves_nothing_half,
    a_draft_follows_the_policy_unless_both_changed_the_same,
    only_its_author_changes_a_draft_and_nobody_one_that_is_over,
    drafts_and_comments_have_limits,
    k8_approvals_make_nobody_owner,
    what_became_of_an_object_and_who_uses_it_is_known,
);

async fn what_became_of_an_object_and_who_uses_it_is_known(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 0).await;
    let revisions = &desk.revisions;
    let writes = async |text: &str, parent: i64| {
        let (operator, writing) = (operator(), writing(Some(parent)));
        let written = revisions.apply(text, &operator, &writing).await;
        written.unwrap();
    };
    let changed = POLICY.replace("groups: [one]", "groups: [uno]");
    writes(&changed, 1).await;
    let without = changed.replace(
        "  # The first.\n  - { name: one, action: allow, from: [{ groups: [uno] }] }\n",
        "",
    );
    writes(&without, 2).await;
    writes(&changed, 3).await;
    let past = revisions.past(Kind::Rule, "one").await.unwrap();
    let told: Vec<(Touch, i64)> = past
        .changes
        .iter()
        .map(|(touch, record)| (*touch, record.revision.0))
        .collect();
    let expected = [
        (Touch::Made, 4),
        (Touch::Removed, 3),
        (Touch::Changed, 2),
        (Touch::Made, 1),
    ];
    assert_eq!(told, expected);
    let text = "# The first.\n{ name: one, action: allow, from: [{ groups: [uno] }] }\n";
    assert_eq!(past.text.as_deref(), Some(text));
    // Where it stands in the list is none of its own changes.
    let past = revisions.past(Kind::Rule, "two").await.unwrap();
    assert_eq!(past.changes.len(), 1, "{:?}", past.changes);
    let nothing = revisions.past(Kind::Rule, "three").await.unwrap();
    assert_eq!((nothing.text, nothing.changes.len()), (None, 0));

    // Who was seen, and what rules did.
    desk.described(principal("bob", &["one", "two"]), "first")
        .await;
    desk.described(principal("bob", &["two"]), "second").await;
    assert_eq!(revisions.names().await.unwrap().groups, ["two"]);
    let now = desk.clock.now();
    let decided = |rule: &str, id: &str| Decided {
        principal: None,
        decision: Decision {
            id: id.to_owned(),
            is_allowed: true,
            reason: "\"rule\":\"one\"".to_owned(),
            rule: Some(rule.into()),
            revision: 1,
            route: "wiki".into(),
            host: "wiki.example".to_owned(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            template: "/".to_owned(),
            peer: [192, 0, 2, 1].into(),
            session: None,
            mesh_identity: None,
        },
        count: 3,
        first_at: now.micros(),
        last_at: now.micros(),
    };
    let all = [
        decided("one", "a"),
        decided("o_e", "b"),
        decided("one-more", "c"),
    ];
    desk.store().take_in("part", &all).await.unwrap();
    let used = revisions.rule_use("one", now).await.unwrap();
    assert_eq!((used.count, used.last_at), (3, Some(now)));
    assert_eq!(revisions.rule_use("o_e", now).await.unwrap().count, 3);
    let unused = revisions.rule_use("two", now).await.unwrap();
    assert_eq!((unused.count, unused.last_at), (0, None));
}

async fn a_draft_becomes_a_revision_once_two_others_approved(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 2).await;
    let alice = desk.person("alice", &["admins"]).await;
    let (bob, carol) = (
        desk.person("bob", &["reviewers"]).await,
        desk.person("carol", &["admins"]).await,
    );
    let draft = desk.saved(&with_rule("three"), &alice).await;
    let early = desk.approve(&draft, &bob).await;
    assert!(matches!(
        early,
        Err(DraftsError::NotNow(NotNow::NotSubmitted))
    ));
    let draft = desk.revisions.submit_draft(draft.id, &alice).await.unwrap();
    assert_eq!(lacks(desk.apply(&draft, &alice).await).have, 0);
    assert_eq!(desk.approve(&draft, &bob).await.unwrap(), 1);
    let again = desk.approve(&draft, &bob).await;
    assert!(matches!(again, Err(DraftsError::Already)));
    let lacking = lacks(desk.apply(&draft, &alice).await);
    assert_eq!((lacking.needed, lacking.have), (2, 1));

    // Other words are another version, which nobody approved of.
    let other = with_rule("four");
    let other = desk
        .revisions
        .save_draft(saving(Some(seen(&draft)), &other), &alice)
        .await
        .unwrap();
    assert_eq!((other.version, other.approvals), (2, 0));
    let late = desk.approve(&draft, &carol).await;
    assert!(matches!(late, Err(DraftsError::Overtaken(2))));
    // Nor do they go over what came between, whoever wrote it.
    let stale = saving(Some(seen(&draft)), POLICY);
    let stale = desk.revisions.save_draft(stale, &alice).await;
    assert!(matches!(stale, Err(DraftsError::Overtaken(2))));
    assert_eq!(lacks(desk.apply(&other, &alice).await).have, 0);
    let draft = desk.revisions.submit_draft(other.id, &alice).await.unwrap();
    for reviewer in [&bob, &carol] {
        desk.approve(&draft, reviewer).await.unwrap();
    }
    assert!(is_forbidden(desk.apply(&draft, &bob).await));
    assert_eq!(desk.apply(&draft, &carol).await.unwrap(), Revision(2));

    let (record, changes) = desk.revisions.show(Revision(2)).await.unwrap();
    assert_eq!(
        (record.author.as_str(), record.message.as_str()),
        ("demo/alice", "a rule more")
    );
    assert_eq!((record.draft, record.is_emergency), (Some(draft.id), false));
    assert_eq!(changes.len(), 1);
    let (_, text) = desk.revisions.export(None).await.unwrap();
    assert_eq!(text, with_rule("four"));
    let shown = desk.revisions.show_draft(draft.id, desk.clock.now()).await;
    let shown = shown.unwrap().draft.record;
    assert_eq!(shown.state, DraftState::Applied(Revision(2)));

    let applied = &desk.events("draft_applied").await[0];
    let events = (
        &applied["actor"],
        &applied["author"],
        &applied["revision"],
        &applied["draft"],
    );
    let expected = (
        &"demo/carol".into(),
        &"demo/alice".into(),
        &2.into(),
        &1.into(),
    );
    assert_eq!(events, expected);
    let approvers = applied["approvers"].as_array().unwrap();
    assert_eq!(approvers.len(), 2);
    assert_eq!(approvers[0]["subject"], "bob");
    let approved = desk.events("draft_approved").await;
    assert_eq!(approved.len(), 3);
    assert_eq!(approved[2]["text_sha256"], applied["text_sha256"]);
    assert_ne!(approved[0]["text_sha256"], applied["text_sha256"]);
    for (kind, count) in [
        ("draft_saved", 2),
        ("draft_submitted", 2),
        ("policy_written", 2),
        ("policy_emergency", 0),
    ] {
        assert_eq!(desk.events(kind).await.len(), count, "{kind}");
    }
}

async fn k8_nobody_approves_but_other_people_who_may(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 1).await;
    let alice = desk.person("alice", &["admins"]).await;
    let draft = desk.submitted(&with_rule("three"), &alice).await;
    let own = desk.approve(&draft, &alice).await;
    assert!(matches!(own, Err(DraftsError::OwnDraft)));
    // As whatever she comes, she is who she is.
    let anew = desk.person("alice", &["reviewers"]).await;
    let own = desk.approve(&draft, &anew).await;
    assert!(matches!(own, Err(DraftsError::OwnDraft)));
    let own = desk
        .revisions
        .reject_draft(seen(&draft), "no", &alice)
        .await;
    assert!(matches!(own, Err(DraftsError::OwnDraft)));
    let token = desk.approve(&draft, &operator()).await;
    assert!(matches!(token, Err(DraftsError::NotAPerson)));
    let mut robot = principal("ci", &["reviewers"]);
    robot.kind = PrincipalKind::Workload;
    let robot = desk.approve(&draft, &desk.actor(robot).await).await;
    assert!(matches!(robot, Err(DraftsError::NotAPerson)));
    for (name, groups) in [
        ("wanda", &["watchers"][..]),
        ("eve", &["one"]),
        ("all", &[]),
    ] {
        let person = desk.person(name, groups).await;
        assert!(is_forbidden(desk.approve(&draft, &person).await), "{name}");
    }
    assert!(desk.events("draft_approved").await.is_empty());
    assert_eq!(lacks(desk.apply(&draft, &alice).await).have, 0);

    // A person is issuer and subject: at another provider it is another, as far as anybody can know.
    let mut elsewhere = principal("alice", &["reviewers"]);
    elsewhere.issuer = "https://other.example".into();
    let elsewhere = desk.actor(elsewhere).await;
    assert_eq!(desk.approve(&draft, &elsewhere).await.unwrap(), 1);

    // An operator could be whoever approves, so two have to.
    let operators = desk.submitted(&with_rule("five"), &operator()).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    desk.approve(&operators, &bob).await.unwrap();
    let lacking = lacks(desk.apply(&operators, &alice).await);
    assert_eq!((lacking.needed, lacking.have), (2, 1));
    desk.approve(&operators, &alice).await.unwrap();
    desk.apply(&operators, &operator()).await.unwrap();
}

async fn k8_nothing_goes_past_the_approvals_but_a_loud_emergency(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 1).await;
    let alice = desk.person("alice", &["admins"]).await;
    let text = with_rule("three");
    let emergency = Writing {
        is_emergency: true,
        ..writing(Some(1))
    };
    for actor in [&alice, &operator()] {
        let applied = desk.revisions.apply(&text, actor, &writing(Some(1))).await;
        let expected = "this needs the approval of one person who did not write it";
        assert_eq!(applied.unwrap_err().to_string(), expected);
        let to = Revision(1);
        let back = desk.revisions.rollback(to, actor, &writing(Some(1))).await;
        assert_eq!(back.unwrap_err().to_string(), expected);
    }
    let hers = desk.revisions.apply(&text, &alice, &emergency).await;
    assert!(matches!(hers, Err(RevisionsError::NotAnOperator)));
    assert_eq!(desk.current().await, Some(Revision(1)));
    assert!(desk.events("policy_emergency").await.is_empty());

    let outcome = desk.revisions.apply(&text, &operator(), &emergency).await;
    assert_eq!(outcome.unwrap().revision, Revision(2));
    let event = &desk.events("policy_emergency").await[0];
    assert_eq!(
        (&event["actor"], &event["revision"], &event["message"]),
        (&"operator".into(), &2.into(), &"why".into())
    );
    let (record, _) = desk.revisions.show(Revision(2)).await.unwrap();
    assert!(record.is_emergency);
    assert_eq!(desk.events("policy_written").await.len(), 2);

    let relaxed = Revisions {
        approvals: 0,
        ..desk.revisions.clone()
    };
    let needless = Writing {
        parent: Some(Revision(2)),
        ..emergency
    };
    let needless = relaxed.apply(POLICY, &operator(), &needless).await;
    assert!(matches!(needless, Err(RevisionsError::NoEmergency)));
    relaxed
        .apply(POLICY, &alice, &writing(Some(2)))
        .await
        .unwrap();
}

async fn k8_an_approval_ends_with_the_role_of_whoever_gave_it(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 1).await;
    let alice = desk.person("alice", &["admins"]).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    desk.described(principal("bob", &["reviewers"]), "before")
        .await;
    let draft = desk.submitted(&with_rule("three"), &alice).await;
    desk.approve(&draft, &bob).await.unwrap();
    // His provider says that he is not in that group any more.
    desk.described(principal("bob", &["one"]), "after").await;
    let lacking = lacks(desk.apply(&draft, &alice).await);
    assert_eq!(lacking.void, ["demo/bob"]);
    assert!(lacking.to_string().contains("that of demo/bob does not"));
    let shown = desk.revisions.show_draft(draft.id, desk.clock.now()).await;
    assert!(!shown.unwrap().standing[0].counts);

    // The policy takes the role from everybody who has it. What was approved before is of another parent, and approved no more.
    let dora = desk.person("dora", &["reviewers"]).await;
    desk.approve(&draft, &dora).await.unwrap();
    let without = POLICY.replace(
        "  - { name: reviewers, role: approver, from: [{ groups: [reviewers] }] }\n",
        "",
    );
    let emergency = Writing {
        is_emergency: true,
        ..writing(Some(1))
    };
    let revisions = &desk.revisions;
    revisions
        .apply(&without, &operator(), &emergency)
        .await
        .unwrap();
    assert!(matches!(
        desk.apply(&draft, &alice).await,
        Err(DraftsError::Moved { .. })
    ));
    let moved = desk.approve(&draft, &dora).await;
    assert!(matches!(moved, Err(DraftsError::Moved { .. })));
    let draft = revisions.rebase_draft(draft.id, &alice).await.unwrap();
    assert_eq!(
        (draft.version, draft.approvals, &draft.state),
        (2, 0, &DraftState::Submitted)
    );
    assert_eq!(lacks(desk.apply(&draft, &alice).await).have, 0);
    // An edge that does not know of the revision yet takes her for an approver.
    assert!(is_forbidden(desk.approve(&draft, &dora).await));
}

async fn what_is_done_at_once_counts_once(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 2).await;
    let alice = desk.person("alice", &["admins"]).await;
    let draft = desk.submitted(&with_rule("three"), &alice).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    let approvals = join_all((0..20).map(|_| desk.approve(&draft, &bob))).await;
    let kept = approvals.iter().filter(|outcome| outcome.is_ok());
    assert_eq!(kept.count(), 1);
    let already = |outcome: &&Result<_, _>| matches!(outcome, Err(DraftsError::Already));
    assert_eq!(approvals.iter().filter(already).count(), 19);
    assert_eq!(desk.events("draft_approved").await.len(), 1);
    assert_eq!(lacks(desk.apply(&draft, &alice).await).have, 1);

    // Her words change while others approve: no approval is of what they did not see.
    let others = join_all(["d", "e", "f", "g"].map(|name| desk.person(name, &["reviewers"]))).await;
    let edit = desk
        .revisions
        .save_draft(saving(Some(seen(&draft)), &with_rule("four")), &alice);
    let approve = join_all(others.iter().map(|person| desk.approve(&draft, person)));
    let (edited, _) = tokio::join!(edit, approve);
    assert_eq!(edited.unwrap().approvals, 0);
    let draft = desk.revisions.submit_draft(draft.id, &alice).await.unwrap();
    assert_eq!(draft.approvals, 0);

    let approved = join_all(others.iter().map(|person| desk.approve(&draft, person))).await;
    assert!(approved.iter().all(Result::is_ok));
    let applied = join_all((0..20).map(|_| desk.apply(&draft, &alice))).await;
    assert_eq!(applied.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(desk.current().await, Some(Revision(2)));
    assert_eq!(desk.events("draft_applied").await.len(), 1);

    let saves = join_all((0..20).map(|_| desk.saved(POLICY, &alice))).await;
    let mut numbers: Vec<i64> = saves.iter().map(|draft| draft.id.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=21).collect::<Vec<_>>());
}

/// Goes on with some work for so many turns, and then drops it wherever it is.
async fn for_turns<T>(turns: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut taken = 0;
    std::future::poll_fn(move |context| {
        if taken >= turns {
            return Poll::Ready(None);
        }
        taken += 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

async fn j8_whoever_stops_in_the_middle_leaves_nothing_half(is_postgres: bool) {
    // On a busy machine a database can answer before its client looks whether it has, so that there is no middle to stop in.
    for _ in 0..20 {
        if stopped_in_the_middle(is_postgres).await {
            return;
        }
    }
    panic!("it was never in the middle");
}

/// Stops an approval and an application later and later, until they are done; says whether both were stopped at all.
async fn stopped_in_the_middle(is_postgres: bool) -> bool {
    let desk = Desk::at(is_postgres, 1).await;
    let alice = desk.person("alice", &["admins"]).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    let draft = desk.submitted(&with_rule("three"), &alice).await;
    let approvals = async || desk.store().draft_approvals(&draft).await.unwrap().len();
    let mut stopped = [false; 2];
    for turns in 1.. {
        let done = for_turns(turns, desk.approve(&draft, &bob)).await;
        // A commit under way when it was dropped may still arrive.
        let whole = async || desk.events("draft_approved").await.len() == approvals().await;
        eventually("an approval with its event, or none", whole).await;
        if done.is_some() {
            stopped[0] = turns > 1;
            break;
        }
    }
    assert_eq!(approvals().await, 1);
    for turns in 1.. {
        let done = for_turns(turns, desk.apply(&draft, &alice)).await;
        let whole = async || {
            let is_new = desk.current().await == Some(Revision(2));
            let state = desk.store().draft(draft.id).await.unwrap().unwrap();
            let is_applied = state.record.state == DraftState::Applied(Revision(2));
            let events = desk.events("draft_applied").await.len();
            is_new == is_applied && events == usize::from(is_new)
        };
        eventually("a revision with draft and event, or nothing", whole).await;
        if done.is_some() {
            stopped[1] = turns > 1;
            break;
        }
    }
    assert_eq!(desk.current().await, Some(Revision(2)));
    stopped == [true; 2]
}

async fn a_draft_follows_the_policy_unless_both_changed_the_same(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 0).await;
    let alice = desk.person("alice", &["admins"]).await;
    let hers = with_rule("three").replace("groups: [one]", "groups: [uno]");
    let draft = desk.submitted(&hers, &alice).await;
    let others = POLICY.replace("groups: [two]", "groups: [due]");
    let others = others.replace("# Who looks", "# Who really looks");
    let revisions = &desk.revisions;
    revisions
        .apply(&others, &operator(), &writing(Some(1)))
        .await
        .unwrap();

    let refused = desk.apply(&draft, &alice).await;
    assert!(matches!(
        refused,
        Err(DraftsError::Moved {
            parent: Some(Revision(1)),
            current: Some(Revision(2))
        })
    ));
    let shown = revisions.show_draft(draft.id, desk.clock.now()).await;
    let shown = shown.unwrap();
    let effect = shown.effect.unwrap();
    assert!(effect.is_behind(&shown.draft.record));
    assert_eq!((effect.changes.len(), effect.plan.changes.len()), (2, 3));

    let rebased = revisions.rebase_draft(draft.id, &alice).await.unwrap();
    assert_eq!(rebased.parent, Some(Revision(2)));
    let shown = revisions.show_draft(draft.id, desk.clock.now()).await;
    let shown = shown.unwrap();
    let expected = hers
        .replace("groups: [two]", "groups: [due]")
        .replace("# Who looks", "# Who really looks");
    assert_eq!(shown.draft.text, expected);
    assert_eq!(shown.effect.unwrap().changes.len(), 2);
    assert_eq!(desk.events("draft_rebased").await.len(), 1);
    assert_eq!(desk.apply(&rebased, &alice).await.unwrap(), Revision(3));
    assert_eq!(revisions.export(None).await.unwrap().1, expected);

    // Both change the same rule, in their own ways.
    let mine = expected.replace("groups: [uno]", "groups: [un]");
    let draft = desk.saved(&mine, &alice).await;
    let theirs = expected.replace("groups: [uno]", "groups: [eins]");
    revisions
        .apply(&theirs, &operator(), &writing(Some(3)))
        .await
        .unwrap();
    match revisions.rebase_draft(draft.id, &alice).await {
        Err(DraftsError::Conflicts(objects)) => assert_eq!(objects, ["rule one"]),
        other => panic!("{other:?}"),
    }
    // By hand, against the revision that she has seen by now.
    let by_hand = Saving {
        parent: Some(Revision(4)),
        ..saving(Some(seen(&draft)), &mine)
    };
    let draft = revisions.save_draft(by_hand, &alice).await.unwrap();
    assert_eq!(desk.apply(&draft, &alice).await.unwrap(), Revision(5));
    let nothing = desk.saved(&mine, &alice).await;
    let nothing = desk.apply(&nothing, &alice).await;
    assert!(matches!(nothing, Err(DraftsError::ChangesNothing)));
}

async fn only_its_author_changes_a_draft_and_nobody_one_that_is_over(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 0).await;
    let revisions = &desk.revisions;
    let alice = desk.person("alice", &["admins"]).await;
    let carol = desk.person("carol", &["admins"]).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    let draft = desk.saved(&with_rule("three"), &alice).await;
    for other in [&carol, &operator()] {
        let saved = revisions.save_draft(saving(Some(seen(&draft)), POLICY), other);
        assert!(matches!(saved.await, Err(DraftsError::NotAuthor(_))));
        let submitted = revisions.submit_draft(draft.id, other).await;
        assert!(matches!(submitted, Err(DraftsError::NotAuthor(_))));
    }
    let saved = revisions.save_draft(saving(None, POLICY), &bob).await;
    assert!(is_forbidden(saved));
    for refused in [
        revisions.submit_draft(draft.id, &bob).await,
        revisions.discard_draft(draft.id, &bob).await,
        revisions.rebase_draft(draft.id, &bob).await,
    ] {
        assert!(is_forbidden(refused));
    }

    revisions.submit_draft(draft.id, &alice).await.unwrap();
    let rejected = revisions.reject_draft(seen(&draft), "not so", &bob).await;
    assert_eq!(rejected.unwrap().state, DraftState::Rejected);
    assert_eq!(desk.events("draft_rejected").await[0]["message"], "not so");
    let said = desk.revisions.store.draft_comments(draft.id).await.unwrap();
    let said = said.last().unwrap();
    assert_eq!(
        (&*said.author, &*said.text),
        ("demo/bob", "Rejected: not so")
    );
    let applied = desk.apply(&draft, &alice).await;
    assert!(matches!(
        applied,
        Err(DraftsError::NotNow(NotNow::Rejected))
    ));
    let comment = revisions.comment_draft(draft.id, "because\nof this", &bob);
    assert_eq!(comment.await.unwrap(), 2);
    let watcher = desk.person("wanda", &["watchers"]).await;
    assert!(is_forbidden(
        revisions.comment_draft(draft.id, "x", &watcher).await
    ));
    let shown = revisions.show_draft(draft.id, desk.clock.now()).await;
    let comments = shown.unwrap().comments;
    assert_eq!(
        (comments[1].author.as_str(), comments[1].version),
        ("demo/bob", 1)
    );
    // She changes it, and takes it back after all.
    let again = revisions.save_draft(saving(Some(seen(&draft)), &with_rule("x")), &alice);
    assert_eq!(again.await.unwrap().state, DraftState::Open);
    let discarded = revisions.discard_draft(draft.id, &carol).await.unwrap();
    assert_eq!(discarded.state, DraftState::Discarded);
    assert_eq!(
        desk.events("draft_discarded").await[0]["actor"],
        "demo/carol"
    );
    assert_eq!(desk.events("draft_commented").await.len(), 1);
    let over = |outcome| matches!(outcome, Err(DraftsError::NotNow(NotNow::Discarded)));
    assert!(over(revisions.submit_draft(draft.id, &alice).await));
    assert!(over(
        revisions
            .save_draft(saving(Some(seen(&draft)), POLICY), &alice)
            .await
    ));
    assert!(revisions.drafts(false, None, 10).await.unwrap().is_empty());
    assert_eq!(revisions.drafts(true, None, 10).await.unwrap().len(), 1);
    let nowhere = revisions.submit_draft(DraftId(9), &alice).await;
    assert!(matches!(nowhere, Err(DraftsError::Unknown(DraftId(9)))));
}

async fn drafts_and_comments_have_limits(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 0).await;
    let revisions = &desk.revisions;
    let alice = desk.person("alice", &["admins"]).await;
    let saves = (0..25).map(|_| revisions.save_draft(saving(None, POLICY), &alice));
    let saves = join_all(saves).await;
    let kept: Vec<_> = saves.iter().filter_map(|save| save.as_ref().ok()).collect();
    assert_eq!(kept.len(), 20, "the limit holds for those who come at once");
    let carol = desk.person("carol", &["admins"]).await;
    desk.saved(POLICY, &carol).await;
    revisions.discard_draft(kept[0].id, &alice).await.unwrap();
    let draft = desk.saved(POLICY, &alice).await;

    for (text, is_fine) in [
        ("x".repeat(4000), true),
        ("é".repeat(4000), true),
        ("x".repeat(4001), false),
        (" \n".to_owned(), false),
        ("\u{1b}[2J".to_owned(), false),
    ] {
        let comment = revisions.comment_draft(draft.id, &text, &alice).await;
        assert_eq!(comment.is_ok(), is_fine, "{}", text.len());
    }
    let large = format!(
        "{POLICY}# {}\n",
        "x".repeat(wayleave::policy::yaml::LARGEST_DOCUMENT)
    );
    let large = revisions.save_draft(saving(None, &large), &carol).await;
    assert!(matches!(
        large,
        Err(DraftsError::Revisions(RevisionsError::Faults(_)))
    ));
    let two_lines = Saving {
        message: "two\nlines".to_owned(),
        ..saving(None, POLICY)
    };
    let two_lines = revisions.save_draft(two_lines, &carol).await;
    assert!(matches!(
        two_lines,
        Err(DraftsError::Revisions(RevisionsError::Note(_)))
    ));
    let no_parent = Saving {
        parent: Some(Revision(7)),
        ..saving(None, POLICY)
    };
    let no_parent = revisions.save_draft(no_parent, &carol).await;
    assert!(matches!(
        no_parent,
        Err(DraftsError::Revisions(RevisionsError::Unknown(Revision(7))))
    ));
}

async fn k8_approvals_make_nobody_owner(is_postgres: bool) {
    let desk = Desk::at(is_postgres, 1).await;
    let alice = desk.person("alice", &["admins"]).await;
    let bob = desk.person("bob", &["reviewers"]).await;
    let owners =
        "role_bindings:\n  - { name: owners, role: owner, from: [{ groups: [admins] }] }\n";
    let text = POLICY.replace("role_bindings:\n", owners);
    let draft = desk.submitted(&text, &alice).await;
    desk.approve(&draft, &bob).await.unwrap();
    assert!(is_forbidden(desk.apply(&draft, &alice).await));
    assert_eq!(desk.current().await, Some(Revision(1)));
    desk.apply(&draft, &operator()).await.unwrap();
    let applied = &desk.events("draft_applied").await[0];
    assert_eq!(applied["actor"], "operator");
    assert_eq!(applied["person"], Value::Null);
}
