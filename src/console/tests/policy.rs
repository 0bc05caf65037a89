//! The policy pages over a store of their own: what is shown, what is refused, and what a change goes through.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use url::form_urlencoded::Serializer;

use crate::admin::actor::Actor;
use crate::admin::revisions::Writing;
use crate::audit::decision::{Decided, Decision};
use crate::console::endpoints::ENDPOINTS;
use crate::console::tests::HOSTILE;
use crate::console::tests::stage::{Answered, POLICY, Stage, person};
use crate::identity::spiffe_id::TrustDomain;
use crate::policy::model::Revision;
use crate::secret::Token;
use crate::snapshot;

/// The policy with comments, which nobody else's edit may lose.
fn commented() -> String {
    let policy = POLICY.trim_start();
    let rule = "  # Everybody's.\n  - name: staff  # by name\n    action: allow\n    from: [{ groups: [staff] }]\n";
    policy.replace("rules:\n", &format!("# Who may.\nrules:\n{rule}"))
}

impl Stage {
    async fn writes(&self, text: &str, parent: Option<i64>) {
        let writing = Writing {
            parent: parent.map(Revision),
            message: "by hand".to_owned(),
            is_emergency: false,
        };
        let mut revisions = self.console.revisions.clone();
        (revisions.approvals, revisions.follows) = (0, None);
        let operator = Actor::Operator { name: None };
        revisions.apply(text, &operator, &writing).await.unwrap();
    }

    /// With the commented policy as revision 1.
    async fn begun(approvals: usize) -> Self {
        let stage = Self::with(&commented(), approvals, None).await;
        stage.writes(&commented(), None).await;
        stage
    }

    async fn open(&self, path: &str, who: &Token) -> Answered {
        self.ask("GET", path, Some(who), None).await
    }

    async fn post(&self, path: &str, who: &Token, fields: &[(&str, &str)]) -> Answered {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask("POST", path, Some(who), Some(&form)).await
    }

    async fn text(&self) -> String {
        self.console.revisions.export(None).await.unwrap().1
    }
}

const EDIT: [(&str, &str); 3] = [("kind", "rule"), ("name", "staff"), ("revision", "1")];
const OTHER: &str = "# Everybody's.\r\nname: staff  # by name\r\naction: allow\r\nfrom: [{ groups: [staff, sre] }]\r\n";

fn edit<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    EDIT.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn lists_and_objects_say_in_plain_words_what_is_in_force() {
    let stage = Stage::begun(0).await;
    let auditor = stage.sign_in("auditor").await;
    let list = stage.open("/console/rules", &auditor).await;
    assert_eq!(list.status, 200);
    for part in [
        "everyone who is signed in",
        "wiki",
        "1–2 of 2",
        "group staff",
    ] {
        assert!(list.text.contains(part), "no {part}: {}", list.text);
    }
    assert!(!list.text.contains("New rule"), "an auditor writes nothing");
    let none = stage.open("/console/rules?action=deny", &auditor).await;
    assert!(none.text.contains("Nothing matches"));
    let found = stage
        .open("/console/rules?q=STAFF&route=wiki", &auditor)
        .await;
    assert!(
        found.text.contains("1–1 of 1 that match, 2 in all"),
        "{}",
        found.text
    );
    for path in [
        "/console/routes/wiki",
        "/console/mappings/people",
        "/console/roles/owners",
        "/console/rules/staff",
    ] {
        let object = stage.open(path, &auditor).await;
        assert_eq!(object.status, 200, "{path}");
        assert!(object.text.contains("revision 1"), "{path}");
        assert!(object.text.contains("by hand"), "{path}");
    }
    let route = stage.open("/console/routes/wiki", &auditor).await;
    assert!(
        route.text.contains("auditor@corp.example"),
        "who may reach it: {}",
        route.text
    );
    let approver = stage.sign_in("approver").await;
    let route = stage.open("/console/routes/wiki", &approver).await;
    assert!(
        !route.text.contains("auditor@corp.example"),
        "{}",
        route.text
    );
    let rule = stage.open("/console/rules/staff", &auditor).await;
    assert!(
        rule.text
            .contains("# Everybody&#39;s.\nname: staff  # by name\n"),
        "{}",
        rule.text
    );
    let gone = stage.open("/console/rules/nobody", &auditor).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn k5_k7_senseless_places_and_names_lead_nowhere() {
    let stage = Stage::begun(0).await;
    let owner = stage.sign_in("owner").await;
    for (path, status) in [
        ("/console/rules?from=1'", 400),
        ("/console/rules?from=-1", 400),
        ("/console/rules?from=99999", 200),
        (
            "/console/rules?q=';DROP TABLE rules;--&action=';&mode=%01",
            200,
        ),
        ("/console/rules?q=%00", 400),
        ("/console/revisions?before=1;", 400),
        ("/console/revisions/1'", 404),
        ("/console/revisions/99", 404),
        ("/console/revisions/compare?from=1'", 400),
        ("/console/revisions/compare?from=7&to=8", 404),
        ("/console/drafts?before=a", 400),
        ("/console/drafts/7", 404),
        ("/console/drafts/7'", 404),
        ("/console/edit?kind=nothing", 404),
        ("/console/edit?kind=rule&name=nobody", 404),
        ("/console/edit?kind=rule&draft=1", 400),
        ("/console/edit?kind=rule&draft=9&version=1", 404),
        ("/console/simulator?url=x&revision=1'", 400),
    ] {
        let path = path.replace(' ', "%20");
        let answered = stage.open(&path, &owner).await;
        assert_eq!(answered.status, status, "{path}: {}", answered.text);
    }
    let hostile: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    for path in [
        "rules?q=",
        "simulator?url=",
        "simulator?url=x&who=",
        "edit?kind=rule&copy=",
    ] {
        let answered = stage
            .open(&format!("/console/{path}{hostile}"), &owner)
            .await;
        assert!(!answered.text.contains("<svg"), "{path}");
    }
}

#[tokio::test]
async fn k2_no_form_is_followed_without_its_token() {
    let stage = Stage::begun(0).await;
    let owner = stage.sign_in("owner").await;
    for endpoint in ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.method == "POST")
    {
        let path = endpoint.path.replace(['{', '}'], "");
        let bare = stage.ask("POST", &path, Some(&owner), None).await;
        assert_eq!(bare.status, 403, "{path}");
        assert!(
            bare.text.contains("This form was not sent from here"),
            "{path}"
        );
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn one_object_is_edited_and_everything_else_stays() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    let editor = stage
        .open("/console/edit?kind=rule&name=staff", &admin)
        .await;
    assert!(
        editor.text.contains("name=\"f.from.0.groups\""),
        "{}",
        editor.text
    );

    let yaml = stage
        .post(
            "/console/edit",
            &admin,
            &edit(&[("side", "yaml"), ("yaml", OTHER)]),
        )
        .await;
    assert_eq!(yaml.status, 200);
    for part in [
        "<ins>+",
        "Nobody</span> would notice",
        ">staff\nsre</textarea>",
        "Apply now",
    ] {
        assert!(yaml.text.contains(part), "no {part}: {}", yaml.text);
    }
    let (_, text) = commented()
        .split_once("# Everybody")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(text.contains("by name"));
    // The form changes a field; comments of the object stay.
    let form = edit(&[
        ("side", "form"),
        ("yaml", OTHER),
        ("f.name", "staff"),
        ("f.action", "deny"),
        ("f.from.0.groups", "staff\r\nsre"),
    ]);
    let form = stage.post("/console/edit", &admin, &form).await;
    assert!(
        form.text
            .contains("# Everybody&#39;s.\nname: staff  # by name\naction: deny\n"),
        "{}",
        form.text
    );

    let save = edit(&[
        ("side", "yaml"),
        ("yaml", OTHER),
        ("do", "apply"),
        ("message", "sre too"),
    ]);
    let saved = stage.post("/console/edit/save", &admin, &save).await;
    assert_eq!(
        saved.header("location"),
        "/console/revisions/2?done=written",
        "{}",
        saved.text
    );
    let expected = commented().replace("[staff] }]", "[staff, sre] }]");
    assert_eq!(stage.text().await, expected);
    let revision = stage
        .open("/console/revisions/2?done=written", &admin)
        .await;
    for part in [
        "sre too",
        "admin@corp.example",
        "+ ",
        "edges decide",
        "This is the current revision now",
    ] {
        let found = revision.text.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "no {part}: {}", revision.text);
    }

    // Somebody was faster: nothing is written, and who it was is said.
    let late = stage.post("/console/edit/save", &admin, &save).await;
    assert_eq!(late.status, 409);
    for part in [
        "Nothing was written",
        "It changed the same rule",
        "sre too",
        "name=\"revision\" value=\"2\"",
    ] {
        assert!(late.text.contains(part), "no {part}: {}", late.text);
    }
    // Removing shows what it would come to, and does nothing yet.
    let remove = stage
        .open("/console/edit?kind=rule&name=staff&remove=1", &admin)
        .await;
    assert!(
        remove.text.contains("removed</span> rule"),
        "{}",
        remove.text
    );
    let gone = [
        ("kind", "rule"),
        ("name", "staff"),
        ("revision", "2"),
        ("remove", "1"),
        ("do", "apply"),
        ("message", "no"),
    ];
    let gone = stage.post("/console/edit/save", &admin, &gone).await;
    assert_eq!(gone.status, 303, "{}", gone.text);
    assert!(!stage.text().await.contains("staff"));
}

#[tokio::test]
async fn a_service_account_is_written_and_shown() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    let editor = stage
        .open("/console/edit?kind=service_account", &admin)
        .await;
    assert_eq!(editor.status, 200, "{}", editor.text);
    let object = "name: backup\ngroups: [ops]\njwks: { keys: [{ kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo }] }\n";
    let new = [
        ("kind", "service_account"),
        ("revision", "1"),
        ("side", "yaml"),
        ("yaml", object),
        ("do", "apply"),
        ("message", "a host of its own"),
    ];
    let saved = stage.post("/console/edit/save", &admin, &new).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    // The change feed does so elsewhere.
    let own = TrustDomain::parse("td").unwrap();
    let loaded = snapshot::load(&stage.console.store, &own).await.unwrap();
    stage.console.snapshots.publish(loaded.policy);
    let list = stage.open("/console/service-accounts", &admin).await;
    let page = stage.open("/console/service-accounts/backup", &admin).await;
    for shown in [list, page] {
        // RFC 8037 appendix A.3.
        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        for part in ["backup", thumbprint, "in the groups ops"] {
            assert!(shown.text.contains(part), "no {part}: {}", shown.text);
        }
    }
}

#[tokio::test]
async fn roles_of_aws_are_written_and_shown() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    let role = "arn:aws:iam::123456789012:role/deploy";
    let object = format!("name: aws\naws_roles: ['{role}', 'arn:aws:iam::123456789012:role/*']\n");
    let new = [
        ("kind", "trusted_issuer"),
        ("revision", "1"),
        ("side", "yaml"),
        ("yaml", &object),
        ("do", "apply"),
        ("message", "the cloud"),
    ];
    let saved = stage.post("/console/edit/save", &admin, &new).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    // The change feed does so elsewhere.
    let own = TrustDomain::parse("td").unwrap();
    let loaded = snapshot::load(&stage.console.store, &own).await.unwrap();
    stage.console.snapshots.publish(loaded.policy);
    let list = stage.open("/console/issuers?q=deploy", &admin).await;
    let page = stage.open("/console/issuers/aws", &admin).await;
    assert!(page.text.contains("AWSReservedSSO_"), "{}", page.text);
    for shown in [list, page] {
        for part in ["AWS, by STS", role] {
            assert!(shown.text.contains(part), "no {part}: {}", shown.text);
        }
    }
}

#[tokio::test]
async fn a_preview_says_who_would_lose_access() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    let at = stage.now().minus(Duration::from_secs(2 * 3600)).micros();
    let decided = Decided {
        principal: Some(Arc::new(person("auditor"))),
        decision: Decision {
            id: "d1".to_owned(),
            is_allowed: true,
            reason: String::new(),
            rule: Some("staff".into()),
            revision: 1,
            route: "wiki".into(),
            host: "wiki.example".to_owned(),
            method: "GET".to_owned(),
            path: "/page".to_owned(),
            template: "/page".to_owned(),
            peer: [192, 0, 2, 1].into(),
            session: None,
            mesh_identity: None,
        },
        count: 5,
        first_at: at,
        last_at: at,
    };
    stage
        .console
        .store
        .take_in("part", &[decided])
        .await
        .unwrap();
    let deny = "name: staff\naction: deny\nfrom: [{ groups: [staff] }]\n";
    let fields = edit(&[("side", "yaml"), ("yaml", deny)]);
    let preview = stage.post("/console/edit", &admin, &fields).await;
    for part in [
        "<span class=\"badge bad\">1 person</span> would lose access",
        "2 h ago",
        "GET wiki.example/page",
        "auditor@corp.example",
    ] {
        assert!(preview.text.contains(part), "no {part}: {}", preview.text);
    }
    let rule = stage.open("/console/rules/staff", &admin).await;
    assert!(rule.text.contains("decided 5 requests"), "{}", rule.text);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_line_and_not_saved() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    for (yaml, said) in [
        (
            "name: staff\naction: allow\nfrom: [{ groups: [staff] }]\nto: [{ routes: [nowhere] }]\n",
            "<strong>line 4</strong>",
        ),
        (
            "name: staff\naction: perhaps\nfrom: []",
            "<strong>line 2</strong>",
        ),
        ("name: \"staff", "<strong>line"),
        ("- a\n- b", "This cannot be written"),
    ] {
        let fields = edit(&[
            ("side", "yaml"),
            ("yaml", yaml),
            ("do", "apply"),
            ("message", "x"),
        ]);
        for path in ["/console/edit", "/console/edit/save"] {
            let answered = stage.post(path, &admin, &fields).await;
            assert!(answered.text.contains(said), "{yaml}: {}", answered.text);
            assert!(!answered.text.contains("name=\"do\""), "{yaml}");
        }
    }
    let no_reason = edit(&[
        ("side", "yaml"),
        ("yaml", OTHER),
        ("do", "draft"),
        ("message", ""),
    ]);
    let no_reason = stage.post("/console/edit/save", &admin, &no_reason).await;
    assert!(
        no_reason.text.contains("The message must be one line"),
        "{}",
        no_reason.text
    );
    assert_eq!(stage.text().await, commented());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_draft_is_reviewed_by_a_second_person_and_applied() {
    let stage = Stage::begun(1).await;
    let (admin, owner) = (stage.sign_in("admin").await, stage.sign_in("owner").await);
    let preview = stage
        .post(
            "/console/edit",
            &admin,
            &edit(&[("side", "yaml"), ("yaml", OTHER)]),
        )
        .await;
    assert!(!preview.text.contains("Apply now"));
    assert!(
        preview
            .text
            .contains("This needs the approval of one person who did not write it.")
    );
    let save = |step| {
        edit(&[
            ("side", "yaml"),
            ("yaml", OTHER),
            ("message", "sre too"),
            ("do", step),
        ])
    };
    let past = stage
        .post("/console/edit/save", &admin, &save("apply"))
        .await;
    assert!(
        past.text.contains("needs the approval of one person"),
        "{}",
        past.text
    );
    let saved = stage
        .post("/console/edit/save", &admin, &save("review"))
        .await;
    assert_eq!(saved.header("location"), "/console/drafts/1?done=submitted");

    let own = stage.open("/console/drafts/1", &admin).await;
    assert!(
        own.text
            .contains("Somebody else has to review what you wrote."),
        "{}",
        own.text
    );
    assert!(!own.text.contains("Approve version"));
    let auditor = stage.sign_in("auditor").await;
    let watched = stage.open("/console/drafts/1", &auditor).await;
    assert!(
        watched
            .text
            .contains("This needs the permission review_policy"),
        "{}",
        watched.text
    );

    let said = stage
        .post(
            "/console/drafts/1/comment",
            &owner,
            &[("message", "why\r\nso?")],
        )
        .await;
    assert_eq!(said.status, 303);
    let early = stage
        .post("/console/drafts/1/apply", &owner, &[("version", "1")])
        .await;
    assert_eq!(early.status, 409);
    let seen = [("version", "1"), ("message", "fine")];
    let other = stage
        .post(
            "/console/drafts/1/approve",
            &owner,
            &[("version", "9"), ("message", "x")],
        )
        .await;
    assert!(other.text.contains("changed meanwhile"), "{}", other.text);
    let own = stage.post("/console/drafts/1/approve", &admin, &seen).await;
    assert_eq!(own.status, 409);
    let approved = stage.post("/console/drafts/1/approve", &owner, &seen).await;
    assert_eq!(approved.status, 303, "{}", approved.text);
    let shown = stage.open("/console/drafts/1", &owner).await;
    for part in [
        "why\nso?",
        "fine",
        "You approved of this version already.",
        "<button class=\"button\">Apply</button>",
    ] {
        assert!(shown.text.contains(part), "no {part}: {}", shown.text);
    }
    let applied = stage
        .post("/console/drafts/1/apply", &owner, &[("version", "1")])
        .await;
    assert_eq!(
        applied.header("location"),
        "/console/revisions/2?done=written",
        "{}",
        applied.text
    );
    let list = stage.open("/console/drafts?all=1", &owner).await;
    assert!(list.text.contains("applied"));

    // Going back needs another's approval as well; it is shown what it would come to.
    let back = stage.open("/console/revisions/1/rollback", &owner).await;
    for part in ["<del>\u{2212}", "Save as draft", "needs the approval"] {
        assert!(back.text.contains(part), "no {part}: {}", back.text);
    }
    let fields = [("parent", "2"), ("message", "not yet"), ("do", "draft")];
    let drafted = stage
        .post("/console/revisions/1/rollback", &owner, &fields)
        .await;
    assert_eq!(
        drafted.header("location"),
        "/console/drafts/2?done=saved",
        "{}",
        drafted.text
    );
    let fields = [("parent", "2"), ("message", "not yet"), ("do", "write")];
    let refused = stage
        .post("/console/revisions/1/rollback", &owner, &fields)
        .await;
    assert_eq!(refused.status, 409);

    // A draft is edited on by its author alone, on the version that was seen.
    let on = stage
        .open(
            "/console/edit?kind=rule&name=staff&draft=2&version=1",
            &owner,
        )
        .await;
    assert_eq!(on.status, 200, "{}", on.text);
    let stale = stage
        .open(
            "/console/edit?kind=rule&name=staff&draft=2&version=7",
            &owner,
        )
        .await;
    assert_eq!(stale.status, 409);
}

#[tokio::test]
async fn rollback_writes_the_earlier_policy_as_a_new_revision() {
    let stage = Stage::begun(0).await;
    let owner = stage.sign_in("owner").await;
    let other = commented().replace("[staff] }]", "[sre] }]");
    stage.writes(&other, Some(1)).await;
    let compared = stage
        .open("/console/revisions/compare?from=1&to=2", &owner)
        .await;
    assert!(compared.text.contains("<ins>+"), "{}", compared.text);
    let late = [("parent", "1"), ("message", "back"), ("do", "write")];
    let late = stage
        .post("/console/revisions/1/rollback", &owner, &late)
        .await;
    assert_eq!(late.status, 409);
    assert!(
        late.text.contains("The policy was changed meanwhile."),
        "{}",
        late.text
    );
    let back = [("parent", "2"), ("message", "back"), ("do", "write")];
    let back = stage
        .post("/console/revisions/1/rollback", &owner, &back)
        .await;
    assert_eq!(
        back.header("location"),
        "/console/revisions/3?done=written",
        "{}",
        back.text
    );
    assert_eq!(stage.text().await, commented());
}

#[tokio::test]
async fn a_followed_file_makes_everything_read_only_and_says_so() {
    let stage = Stage::with(&commented(), 0, Some("/etc/wayleave/policy.yaml".into())).await;
    stage.writes(&commented(), None).await;
    let owner = stage.sign_in("owner").await;
    for path in [
        "/console/rules",
        "/console/rules/staff",
        "/console/revisions/1",
    ] {
        let shown = stage.open(path, &owner).await;
        assert_eq!(shown.status, 200);
        assert!(!shown.text.contains("/console/edit?"), "{path}");
    }
    let rule = stage.open("/console/rules/staff", &owner).await;
    assert!(rule.text.contains("/etc/wayleave/policy.yaml"));
    let editor = stage
        .open("/console/edit?kind=rule&name=staff", &owner)
        .await;
    assert_eq!(editor.status, 409);
    assert!(
        editor
            .text
            .contains("This edge follows /etc/wayleave/policy.yaml."),
        "{}",
        editor.text
    );
    for step in ["apply", "draft", "review"] {
        let fields = edit(&[
            ("side", "yaml"),
            ("yaml", OTHER),
            ("message", "x"),
            ("do", step),
        ]);
        let refused = stage.post("/console/edit/save", &owner, &fields).await;
        assert_eq!(refused.status, 409, "{step}");
    }
    assert_eq!(stage.text().await, commented());
}

#[tokio::test]
async fn k8_only_owners_say_who_is_owner() {
    let stage = Stage::begun(0).await;
    let admin = stage.sign_in("admin").await;
    let owners = "{ name: owners, role: owner, from: [{ subjects: [admin] }] }";
    let fields = [
        ("kind", "role_binding"),
        ("name", "owners"),
        ("revision", "1"),
        ("side", "yaml"),
        ("yaml", owners),
        ("message", "me"),
        ("do", "apply"),
    ];
    let refused = stage.post("/console/edit/save", &admin, &fields).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("appoint_owners"), "{}", refused.text);
    assert_eq!(stage.text().await, commented());
}

#[tokio::test]
async fn what_is_known_of_people_is_not_for_approvers() {
    let stage = Stage::begun(0).await;
    let approver = stage.sign_in("approver").await;
    stage.sign_in("auditor").await;
    let asks = async |who: &str| {
        let query = format!("url=wiki.example/x&{who}");
        let path = format!("/console/simulator?{query}");
        stage.open(&path, &approver).await.text
    };
    let refused = asks("who=auditor%40corp.example").await;
    assert!(refused.contains("This needs the permission read_sessions"));
    assert!(!refused.contains("<dt>Groups"), "{refused}");
    let described = asks("provider=okta&groups=staff").await;
    assert!(described.contains("Allowed"), "{described}");
}

#[tokio::test]
async fn the_simulator_says_what_and_why_and_what_would_change_it() {
    let stage = Stage::begun(0).await;
    let auditor = stage.sign_in("auditor").await;
    for (query, parts) in [
        ("", &["Ask something"][..]),
        (
            "url=wiki.example/x&who=auditor%40corp.example",
            &[
                "Allowed",
                "/console/rules/staff",
                "spiffe://td/ns/people/sa/",
                "revision 1",
            ],
        ),
        (
            "url=wiki.example",
            &["Asked to sign in", "nobody signed in"],
        ),
        (
            "url=wiki.example&who=nobody%40corp.example",
            &["Nobody who is nobody@corp.example has a session"],
        ),
        (
            "url=wiki.example&provider=okta&groups=a%0D%0Ab&revision=1",
            &["Allowed", "a, b", "and you are in a, b"],
        ),
        (
            "url=wiki.example&provider=okta&groups=staff&agents=loopback",
            &[
                "Refused",
                "Through",
                "no rule lets the agent do it for them",
            ],
        ),
        ("url=other.example", &["No route"]),
        ("url=wiki.example&method=GET&source_ip=x", &["source_ip"]),
        ("url=wiki.example&revision=9", &["There is no revision 9."]),
        ("url=wiki.example&draft=9", &["There is no draft 9."]),
    ] {
        let asked = stage
            .open(&format!("/console/simulator?{query}"), &auditor)
            .await;
        assert_eq!(asked.status, 200, "{query}");
        for part in parts {
            assert!(
                asked.text.contains(part),
                "{query}: no {part}: {}",
                asked.text
            );
        }
    }
}

#[tokio::test]
async fn ten_thousand_rules_are_a_page_at_a_time() {
    let mut policy = commented();
    let place = policy.find("  # Everybody").unwrap();
    let mut rules = String::new();
    for number in 0..10_000 {
        let who = format!("[{{ groups: [g{number}] }}]");
        let rule = format!("{{ name: r{number}, action: allow, from: {who} }}");
        writeln!(rules, "  - {rule}").unwrap();
    }
    policy.insert_str(place, &rules);
    let stage = Stage::with_policy(&policy).await;
    let owner = stage.sign_in("owner").await;
    let begun = std::time::Instant::now();
    for (path, found) in [
        ("/console/rules", "1–50 of 10002"),
        ("/console/rules?from=9950", "9951–10000 of 10002"),
        ("/console/rules?q=g99&route=wiki", "1–50 of 111 that match"),
    ] {
        let list = stage.open(path, &owner).await;
        assert!(list.text.contains(found), "{path}: {}", list.text.len());
        assert!(list.text.matches("<tr>").count() <= 51, "{path}");
        assert!(
            list.text.len() < 60_000,
            "{path}: {} bytes",
            list.text.len()
        );
    }
    eprintln!("three lists of 10,000 rules: {:?}", begun.elapsed());
}
