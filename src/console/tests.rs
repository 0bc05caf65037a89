//! What holds for every page: who may open it (K4), and that nothing anybody wrote becomes markup (K1).

use std::collections::BTreeSet;
use std::path::Path;

use askama::Template;

use crate::console::endpoints::ENDPOINTS;
use crate::console::frame::Frame;
use crate::console::guard::ProblemPage;
use crate::console::tests::stage::{Answered, PEOPLE, Stage};
use crate::console::{
    audit, claim, decision, drafts, edit, keys, object, objects, overview, people, person,
    programs, requests, revisions, sessions, settings, simulator,
};

mod deciding;
mod pages;
mod policy;

mod stage;

const HOSTILE: &str =
    "</script></title><svg onload=alert(1)>\"' onmouseover='alert(2) javascript:alert(3) {{7*7}}";

/// Every template of the console with each of its texts replaced.
fn samples(text: &str) -> Vec<(&'static str, String)> {
    let problem = ProblemPage {
        frame: Frame::sample(text),
        detail: text.to_owned(),
        permission: Some("read_policy"),
        has_no_role: true,
    };
    let mut all = vec![
        ("problem", problem.render().unwrap()),
        ("overview", overview::sample(text).render().unwrap()),
        ("people", people::sample(text).render().unwrap()),
        ("programs", programs::sample(text).render().unwrap()),
        ("person", person::sample(text).render().unwrap()),
        ("audit", audit::sample(text).render().unwrap()),
        ("decision", decision::sample(text).render().unwrap()),
        ("keys_rotate", keys::samples(text).remove(0)),
        ("keys_revoke", keys::samples(text).remove(1)),
        ("settings", settings::sample(text).render().unwrap()),
        ("claim", claim::sample(text).render().unwrap()),
        ("objects", objects::sample(text).render().unwrap()),
        ("object", object::sample(text).render().unwrap()),
        ("simulator", simulator::sample(text).render().unwrap()),
    ];
    all.extend(sessions::samples(text));
    all.extend(requests::samples(text));
    all.extend(revisions::samples(text));
    all.extend(drafts::samples(text));
    all.extend(edit::samples(text));
    all
}

#[test]
fn k1_nothing_anybody_wrote_becomes_markup() {
    let plain = samples("plain");
    for ((name, hostile), (_, plain)) in samples(HOSTILE).iter().zip(&plain) {
        for sign in ["<", "\"", "'"] {
            assert_eq!(
                hostile.matches(sign).count(),
                plain.matches(sign).count(),
                "{name} has more {sign} than it should: {hostile}"
            );
        }
        for bad in [
            "href=\"javascript:",
            "src=\"javascript:",
            " style=",
            " onclick=",
        ] {
            assert!(!hostile.contains(bad), "{name} has {bad}");
        }
        assert!(
            plain.contains("plain"),
            "{name} shows nothing of its sample"
        );
    }
}

#[test]
fn k1_every_template_has_a_sample() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/console");
    let mut there: BTreeSet<String> = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        there.insert(name.trim_end_matches(".html").to_owned());
    }
    let named = samples("x").into_iter().map(|(name, _)| name.to_owned());
    // These are within the others.
    let surrounding = [
        "base",
        "parts",
        "chart",
        "edges",
        "expiries",
        "session_rows",
    ]
    .map(str::to_owned);
    assert_eq!(there, named.chain(surrounding).collect());
}

/// Whether somebody may: `yes`, `no`, or they are sent to `sign in`. A form without its token is refused to whoever may as well, in other words.
fn outcome(answered: &Answered) -> &'static str {
    match answered.status {
        303 if answered
            .header("location")
            .starts_with("/.wayleave/sign-in?") =>
        {
            "sign in"
        }
        401 => "no",
        403 if answered.text.contains("Permission needed") => "no",
        _ => "yes",
    }
}

#[tokio::test]
async fn k4_every_endpoint_is_for_the_roles_that_the_table_says() {
    let stage = Stage::new().await;
    let mut found = String::new();
    let mut cookies = vec![("anonymous", None)];
    for name in PEOPLE {
        cookies.push((name, Some(stage.sign_in(name).await)));
    }
    for endpoint in ENDPOINTS {
        let path = endpoint.path.replace(['{', '}'], "");
        let mut line = format!("{} {}:", endpoint.method, endpoint.path);
        for (name, cookie) in &cookies {
            let answered = stage
                .ask(endpoint.method, &path, cookie.as_ref(), None)
                .await;
            line.push_str(&format!(" {name} {},", outcome(&answered)));
            assert_eq!(answered.header("x-frame-options"), "DENY", "{line}");
        }
        found.push_str(line.trim_end_matches(','));
        found.push('\n');
    }
    assert_eq!(found, include_str!("tests/endpoints.txt"), "\n{found}");
}

#[tokio::test]
async fn k4_what_there_is_not_is_told_only_to_those_who_are_signed_in() {
    let stage = Stage::new().await;
    let member = stage.sign_in("member").await;
    for path in ["/console/nothing", "/console/", "/console/a/b?c=d"] {
        let nobody = stage.ask("GET", path, None, None).await;
        assert_eq!(nobody.status, 303, "{path}");
        let known = stage.ask("GET", path, Some(&member), None).await;
        assert_eq!(known.status, 404, "{path}");
        assert!(known.text.contains("There is nothing here"));
    }
    let wrong = stage.ask("DELETE", "/console", Some(&member), None).await;
    assert_eq!(wrong.status, 405);
    assert!(wrong.text.contains("This cannot be done here"), "{wrong:?}");
    let back = stage.ask("GET", "/console/a?b=%2F&c", None, None).await;
    let location = "/.wayleave/sign-in?to=%2Fconsole%2Fa%3Fb%3D%252F%26c";
    assert_eq!(back.header("location"), location);
}

#[tokio::test]
async fn k3_every_answer_has_the_headers() {
    let stage = Stage::new().await;
    let owner = stage.sign_in("owner").await;
    for (path, cookie) in [
        ("/console", Some(&owner)),
        ("/console/nothing", Some(&owner)),
        ("/console", None),
    ] {
        let answered = stage.ask("GET", path, cookie, None).await;
        let policy = answered.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answered.header("cache-control"), "no-store");
        assert_eq!(answered.header("x-content-type-options"), "nosniff");
        assert!(
            answered
                .header("strict-transport-security")
                .starts_with("max-age")
        );
    }
}
