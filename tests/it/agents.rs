//! Agents: programs that register themselves, are let in by a person at one route, and may what rules let agents do for that person, and no more.

mod mcp;
mod registration;

use std::sync::Arc;

use http::{Request, StatusCode};
use serde_json::{Value, json};
use url::Url;
use wayleave::clock::{Clock, ManualClock, SystemClock};

use crate::parts::browser::{Arrived, Browser, hidden};
use crate::parts::client::Page;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{
    ACCESS, EXCHANGE, Key, ProgramOf, VERIFIER, answer, ask, decide, error, exchange, hash, post,
    text, with,
};
use crate::parts::served::stores;
use crate::parts::{empty, full};

/// Where the agents of these tests wait.
const CALLBACK: &str = "https://agent.example/callback";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A rule that lets agents read at `app`, and one that lets them at `admin` by name.
const RULES: &str = r#"  - name: agents-read
    action: allow
    from: [{ groups: [staff], agents: ["*"] }]
    to: [{ routes: [app], methods: [GET] }]
"#;

/// The configuration that lets agents register, and have tokens without a key.
pub(crate) fn letting_agents_in(text: String) -> String {
    format!("{text}\n[agents]\nregistration = true\nbearer_tokens = true\n")
}

/// A house that agents may come to, with this at the end of its rules.
async fn house_on(store: &str, rules: &str) -> House {
    let house = House::start_as(store, Arc::new(SystemClock), letting_agents_in).await;
    if !rules.is_empty() {
        house.put_in_force(|text| text + rules).await;
    }
    house
}

async fn house(rules: &str) -> House {
    house_on("sqlite://wayleave.db", rules).await
}

async fn still_house() -> (House, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let store = "sqlite://wayleave.db";
    let house = House::start_as(store, clock.clone(), letting_agents_in).await;
    (house, clock)
}

/// Registers a client, as it says of itself.
async fn registering(house: &House, metadata: &Value) -> Page {
    let url = house.url("access", "/.wayleave/oauth/register");
    let request = Request::post(url).header("content-type", "application/json");
    let body = full(metadata.to_string());
    house.send(request.body(body).unwrap()).await
}

async fn registered(house: &House, redirect_uri: &str) -> String {
    let metadata = json!({ "redirect_uris": [redirect_uri], "client_name": "Helper" });
    let page = registering(house, &metadata).await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.text());
    page.json()["client_id"].as_str().unwrap().to_owned()
}

fn authorize(house: &House, client: &str, change: &[(&str, &str)]) -> String {
    let challenge = hash(VERIFIER);
    let resource = house.url("app", "");
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("resource", resource.as_str()),
        ("state", "a state"),
    ];
    fields.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
    fields.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    let mut url = Url::parse(&house.url("access", "/.wayleave/oauth/authorize")).unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.to_string()
}

async fn consent(house: &House, browser: &mut Browser, client: &str) -> Arrived {
    browser.go(&authorize(house, client, &[])).await
}

/// The code that a person lets an agent have.
pub(crate) async fn code(house: &House, browser: &mut Browser, client: &str) -> String {
    let page = consent(house, browser, client).await;
    let sent = decide(browser, &page, "allow").await;
    assert!(
        sent.page.header("location").starts_with(CALLBACK),
        "{:?}",
        sent.page
    );
    answer(&sent)["code"].clone()
}

async fn redeeming(house: &House, client: &str, code: &str, change: &[(&str, &str)]) -> Page {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    fields.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
    fields.extend(change);
    ask(house, None, &fields).await
}

async fn refreshing(house: &House, client: &str, token: &str, more: &[(&str, &str)]) -> Page {
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("client_id", client),
        ("refresh_token", token),
    ];
    fields.extend(more);
    ask(house, None, &fields).await
}

/// A browser in which somebody is signed in on the home host, whatever they may open.
async fn at_home(house: &House, person: &str) -> Browser {
    let mut browser = house.browser();
    let arrived = browser.sign_in(&house.url("access", "/"), person).await;
    assert_eq!(arrived.page.status, StatusCode::OK, "{}", arrived.url);
    browser
}

/// An agent that somebody let in.
pub(crate) struct Let {
    pub(crate) client: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    browser: Browser,
}

pub(crate) async fn let_in(house: &House, person: &str) -> Let {
    let client = registered(house, CALLBACK).await;
    let mut browser = at_home(house, person).await;
    let code = code(house, &mut browser, &client).await;
    let page = redeeming(house, &client, &code, &[]).await;
    assert_eq!(page.json()["token_type"], "Bearer");
    Let {
        access: text(&page, "access_token"),
        refresh: text(&page, "refresh_token"),
        client,
        browser,
    }
}

async fn open(house: &House, token: &str, url: &str) -> Page {
    with(house, url, &format!("Bearer {token}"), None).await
}

async fn sent(house: &House, method: &str, token: &str, url: &str) -> Page {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {token}"));
    house.send(request.body(empty()).unwrap()).await
}

fn claims(token: &str) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_agent_acts_for_its_person_at_one_route_and_everybody_is_told() {
    for store in stores().await {
        let house = house_on(&store, RULES).await;
        let agent = let_in(&house, "alice").await;
        let said = claims(&agent.access);
        assert_eq!(said["act"]["sub"], agent.client, "{said}");
        assert_eq!(said["act"]["agent"], "https://agent.example");
        assert_eq!(said["aud"], house.url("app", ""));

        house.upstream.forget();
        let page = open(&house, &agent.access, &house.url("app", "/x")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let seen = house.upstream.only();
        assert!(seen.peer.contains("/sa/alice"), "{seen:?}");
        assert_eq!(seen.headers["wayleave-agent"], "https://agent.example");
        assert!(!seen.headers.contains_key("authorization"));
        let assertion = claims(seen.headers["wayleave-jwt-assertion"].to_str().unwrap());
        assert_eq!(assertion["email"], "alice@demo.example");
        assert_eq!(assertion["act"]["agent"], "https://agent.example");
        assert_eq!(assertion["act"]["client_name"], "Helper");
        let lines = house.lines(1, |line| line["agent"].is_string()).await;
        assert_eq!(lines[0]["agent"], "https://agent.example");
        assert_eq!(lines[0]["rule"], "agents-read");

        // What the rule does not name, what the person may not, and what is denied them: nothing of it.
        for (method, path, code) in [
            ("POST", "/x", "agent_not_allowed"),
            ("GET", "/admin", "denied_by_rule"),
        ] {
            let url = house.url("app", path);
            let page = sent(&house, method, &agent.access, &url).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(page.json()["code"], code, "{}", page.text());
        }
        let granted = house.events("tokens_granted").await;
        let granted = granted.last().unwrap();
        assert_eq!(granted["agent"]["id"], "https://agent.example", "{granted}");
        assert_eq!(granted["route"], "app");
        // Decisions about agents are told apart from the person's own.
        let denied = async || {
            let events = house.events("denied").await;
            let by_agent =
                |event: &&Value| event["person"]["agents"][0]["id"] == "https://agent.example";
            events.iter().filter(by_agent).count() == 2
        };
        eventually("the denials in the audit log", denied).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_agent_without_a_rule_may_nothing_even_where_anyone_may() {
    let house = house("").await;
    let mut agent = let_in(&house, "alice").await;
    let url = house.url("app", "/x");
    let page = open(&house, &agent.access, &url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(page.json()["code"], "agent_not_allowed", "{}", page.text());
    assert!(
        page.text().contains("https://agent.example"),
        "{}",
        page.text()
    );
    // Where strangers may, too: it would act in somebody's name.
    let resource = house.url("public", "");
    let to_public = authorize(&house, &agent.client, &[("resource", &resource)]);
    let shown = agent.browser.go(&to_public).await;
    let sent = decide(&mut agent.browser, &shown, "allow").await;
    let page = redeeming(&house, &agent.client, &answer(&sent)["code"], &[]).await;
    let token = text(&page, "access_token");
    let page = open(&house, &token, &house.url("public", "/x")).await;
    assert_eq!(page.json()["code"], "agent_not_allowed", "{}", page.text());
    assert!(house.upstream.seen().is_empty());
    // Nor does a rule for agents give what the person does not have.
    house
        .put_in_force(|text| {
            text + "  - { name: all, action: allow, from: [{ signed_in: true, agents: [\"https://agent.example\"] }] }\n"
        })
        .await;
    assert_eq!(
        open(&house, &agent.access, &url).await.status,
        StatusCode::OK
    );
    let carol = let_in(&house, "carol").await;
    let page = open(&house, &carol.access, &url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(page.json()["code"], "not_allowed", "{}", page.text());
    // And a rule about agents denies them alone.
    house
        .put_in_force(|text| {
            text + "  - { name: no-agents, action: deny, from: [{ agents: [\"https://*\"], not_agents: [\"https://other.example\"] }] }\n"
        })
        .await;
    let page = open(&house, &agent.access, &url).await;
    assert_eq!(page.json()["code"], "denied_by_rule", "{}", page.text());
    let own = agent.browser.go(&url).await;
    assert_eq!(own.page.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_an_agents_token_is_good_at_its_route_alone() {
    let house = house("").await;
    // Another route of the same host, as of another host, is another route.
    house
        .put_in_force(|text| {
            let mut parts = text.splitn(2, "  - name: admin\n");
            let before = parts.next().unwrap();
            let app = before.split("  - name: app\n").nth(1).unwrap().to_owned();
            let deep = format!("  - name: deep\n{app}").replace("host: app.localhost", "host: app.localhost\n    prefix: /deep");
            format!("{before}{deep}  - name: admin\n{}", parts.next().unwrap())
                + "  - { name: all, action: allow, from: [{ signed_in: true }, { signed_in: true, agents: [\"*\"] }] }\n"
        })
        .await;
    let agent = let_in(&house, "alice").await;
    let app = house.url("app", "/x");
    for _ in 0..2 {
        assert_eq!(
            open(&house, &agent.access, &app).await.status,
            StatusCode::OK
        );
        for url in [
            house.url("app", "/deep/x"),
            house.url("admin", "/x"),
            house.url("public", "/x"),
            house.url("access", "/.wayleave/api/v1/me"),
            house.url("access", "/.wayleave/api/v1/routes"),
        ] {
            let page = open(&house, &agent.access, &url).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{url}");
        }
    }
    // It is exchanged for nothing, and renewed for nothing else.
    let page = exchange(&house, None, &agent.access, "admin").await;
    assert_eq!(error(&page), "invalid_request");
    let admin = house.url("admin", "");
    let deep = house.url("app", "/deep");
    for other in [
        ("resource", admin.as_str()),
        ("resource", &deep),
        ("audience", "app"),
        ("resource", "app"),
    ] {
        let page = refreshing(&house, &agent.client, &agent.refresh, &[other]).await;
        assert_eq!(error(&page), "invalid_target", "{other:?}");
    }
    let resource = house.url("app", "/anything");
    let same = [("resource", resource.as_str())];
    let page = refreshing(&house, &agent.client, &agent.refresh, &same).await;
    let again = text(&page, "access_token");
    assert_eq!(claims(&again)["act"], claims(&agent.access)["act"]);
    assert_eq!(open(&house, &again, &app).await.status, StatusCode::OK);
    let elsewhere = open(&house, &again, &house.url("app", "/deep/x")).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_code_or_refresh_token_is_good_for_its_own_client_alone() {
    let house = house(RULES).await;
    let agent = let_in(&house, "alice").await;
    let other = registered(&house, CALLBACK).await;
    let mut browser = agent.browser.clone();
    let admin = house.url("admin", "");
    for change in [
        ("client_id", other.as_str()),
        ("client_id", "wayleave-cli"),
        ("client_id", "agent-0"),
        ("redirect_uri", "https://agent.example/callback/"),
        (
            "code_verifier",
            "another-verifier-of-this-test-0123456789-abcdef",
        ),
        ("resource", &admin),
        ("client_secret", "x"),
    ] {
        let code = code(&house, &mut browser, &agent.client).await;
        let page = redeeming(&house, &agent.client, &code, &[change]).await;
        assert!(page.status.is_client_error(), "{change:?}: {}", page.text());
        assert!(page.json().get("access_token").is_none());
    }
    for client in [other.as_str(), "wayleave-cli", "agent-0"] {
        let page = refreshing(&house, client, &agent.refresh, &[]).await;
        assert!(page.status.is_client_error(), "{client}");
    }
    // The person's own program gets none of it, and an agent none of theirs.
    let own = ProgramOf::let_in(&house, "alice").await;
    let page = refreshing(&house, &agent.client, &own.refresh_token, &[]).await;
    assert_eq!(error(&page), "invalid_grant");
    // A refresh token that comes twice ends everything.
    let page = refreshing(&house, &agent.client, &agent.refresh, &[]).await;
    let (next, refresh) = (text(&page, "access_token"), text(&page, "refresh_token"));
    let page = refreshing(&house, &agent.client, &agent.refresh, &[]).await;
    assert_eq!(error(&page), "invalid_grant");
    let page = refreshing(&house, &agent.client, &refresh, &[]).await;
    assert_eq!(error(&page), "invalid_grant");
    for token in [&agent.access, &next] {
        let page = open(&house, token, &house.url("app", "/x")).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    // Agents do not wait for codes that people type.
    let fields = [("client_id", agent.client.as_str())];
    let page = post(&house, "device_authorization", &[], &fields).await;
    assert_eq!(error(&page), "invalid_client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_what_an_agent_got_ends_with_the_persons_session() {
    for store in stores().await {
        let house = house_on(&store, RULES).await;
        let mut agent = let_in(&house, "alice").await;
        let url = house.url("app", "/x");
        assert_eq!(
            open(&house, &agent.access, &url).await.status,
            StatusCode::OK
        );
        agent.browser.sign_out(&house.url("access", "")).await;
        let refused = async || open(&house, &agent.access, &url).await.status;
        eventually("the agent is let in no more", async || {
            refused().await == StatusCode::UNAUTHORIZED
        })
        .await;
        let page = refreshing(&house, &agent.client, &agent.refresh, &[]).await;
        assert_eq!(error(&page), "invalid_grant");

        // By its person alone, while their session goes on.
        let mut agent = let_in(&house, "alice").await;
        let mut bob = at_home(&house, "bob").await;
        let page = house.url("access", "/.wayleave/oauth/agents");
        assert!(
            bob.go(&page)
                .await
                .page
                .text()
                .contains("Nothing acts for you")
        );
        let shown = agent.browser.go(&page).await;
        let said = shown.page.text();
        assert!(
            said.contains("<code>https://agent.example</code>"),
            "{said}"
        );
        let theirs = hidden(&said);
        let mut forged = theirs.clone();
        forged.retain(|(name, _)| name != "csrf");
        let sent = agent.browser.submit(shown.url.clone(), &forged).await;
        assert!(sent.page.status.is_client_error());
        bob.submit(shown.url.clone(), &theirs).await;
        assert_eq!(
            open(&house, &agent.access, &url).await.status,
            StatusCode::OK
        );
        let sent = agent.browser.submit(shown.url.clone(), &theirs).await;
        assert!(
            sent.page.text().contains("Nothing acts for you"),
            "{}",
            sent.page.text()
        );
        let page = open(&house, &agent.access, &url).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        assert_eq!(agent.browser.go(&url).await.page.status, StatusCode::OK);

        // And with what it gives back itself, while the session goes on.
        let agent = let_in(&house, "alice").await;
        let fields = [
            ("client_id", agent.client.as_str()),
            ("token", &agent.refresh),
        ];
        let page = post(&house, "revoke", &[], &fields).await;
        assert_eq!(page.status, StatusCode::OK);
        let page = open(&house, &agent.access, &url).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        let mut browser = agent.browser.clone();
        assert_eq!(browser.go(&url).await.page.status, StatusCode::OK);
    }
}

/// What a person's program asks for whoever is to act.
fn delegation<'a>(person: &'a ProgramOf, actor: &'a str) -> [(&'static str, &'a str); 6] {
    [
        ("grant_type", EXCHANGE),
        ("subject_token", &person.home_token),
        ("subject_token_type", ACCESS),
        ("actor_token", actor),
        ("actor_token_type", JWT),
        ("resource", "app"),
    ]
}

async fn acting(
    house: &House,
    key: &Key,
    fields: &[(&str, &str)],
    change: &[(&str, &str)],
) -> Page {
    let mut fields = fields.to_vec();
    fields.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
    fields.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    ask(house, Some(key), &fields).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_workload_acts_for_a_person_who_gives_it_their_token() {
    let house = house(
        "  - { name: robot, action: allow, from: [{ groups: [staff], agents: [\"robots/robot-1\"] }], to: [{ routes: [app], methods: [GET] }] }\n",
    )
    .await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    house.upstream.forget();
    let actor = house.issuer.token(|_| ());
    let usual = delegation(&alice, &actor);
    let page = acting(&house, &alice.key, &usual, &[]).await;
    let token = text(&page, "access_token");
    let act = &claims(&token)["act"];
    assert_eq!(
        (&act["sub"], &act["agent"]),
        (&"robot-1".into(), &"robots/robot-1".into())
    );
    assert_eq!(act["iss"], house.issuer.url);
    let url = house.url("app", "/x");
    let there = alice.open(&house, &token, &url).await;
    assert_eq!(there.status, StatusCode::OK, "{}", there.text());
    let seen = house.upstream.only();
    assert_eq!(seen.headers["wayleave-agent"], "robots/robot-1");
    assert!(seen.peer.contains("/sa/alice"), "{seen:?}");
    let granted = house.events("agent_delegated").await;
    assert_eq!(
        granted.last().unwrap()["agents"][0]["id"],
        "robots/robot-1",
        "{granted:?}"
    );

    // The same program hands it on, one for the next, and no further than it may be followed.
    let mut last = token;
    for length in 2..=3 {
        let change = [("subject_token", last.as_str())];
        let page = acting(&house, &alice.key, &usual, &change).await;
        if length > 2 {
            assert_eq!(error(&page), "invalid_request", "{}", page.text());
            assert!(page.text().contains("too long"), "{}", page.text());
            break;
        }
        let elsewhere = [("subject_token", last.as_str()), ("resource", "admin")];
        let elsewhere = acting(&house, &alice.key, &usual, &elsewhere).await;
        assert_eq!(error(&elsewhere), "invalid_request");
        last = text(&page, "access_token");
        let mut depth = &claims(&last)["act"];
        for _ in 1..length {
            depth = &depth["act"];
        }
        assert_eq!(depth["agent"], "robots/robot-1", "{length}");
        assert!(depth.get("act").is_none());
        let there = alice.open(&house, &last, &url).await;
        assert_eq!(there.status, StatusCode::OK, "{}", there.text());
    }
    // And it ends with the person's program.
    let fields = [
        ("client_id", "wayleave-cli"),
        ("token", alice.refresh_token.as_str()),
    ];
    post(&house, "revoke", &[], &fields).await;
    let page = alice.open(&house, &last, &url).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_acting_takes_both_tokens_and_each_as_it_has_to_be() {
    let house = house(RULES).await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let actor = house.issuer.token(|_| ());
    let usual = delegation(&alice, &actor);
    // It takes both, and each as it has to be.
    let now = jiff::Timestamp::now().as_second();
    let expired = house
        .issuer
        .token(|claims| claims["exp"] = (now - 5).into());
    let acting_itself = house
        .issuer
        .token(|claims| claims["act"] = json!({ "sub": "x" }));
    for change in [
        &[("subject_token", ""), ("subject_token_type", "")][..],
        &[
            ("subject_token", actor.as_str()),
            ("subject_token_type", JWT),
        ],
        &[("actor_token_type", "")],
        &[("actor_token_type", ACCESS)],
        &[("actor_token", "")],
        &[("actor_token", alice.home_token.as_str())],
        &[("actor_token", "x")],
        &[("actor_token", expired.as_str())],
        &[("actor_token", acting_itself.as_str())],
    ] {
        let page = acting(&house, &alice.key, &usual, change).await;
        assert_eq!(
            error(&page),
            "invalid_request",
            "{change:?}: {}",
            page.text()
        );
    }
    // Nor does a token of somebody who acts pass for whom it names (G5).
    let page = open(&house, &acting_itself, &house.url("app", "/x")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    // It needs the person's key.
    let page = acting(&house, &Key::new(), &usual, &[]).await;
    assert_eq!(error(&page), "invalid_dpop_proof");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_somebody_else_approves_of_what_an_agent_may_do_for_its_person() {
    let house = house(
        "  - name: agents-write\n    action: allow\n    from: [{ groups: [staff], agents: [\"https://agent.example\"] }]\n    to: [{ routes: [app], methods: [POST] }]\n    require: { approval: { from: [{ groups: [staff] }], at_most: 1h } }\n",
    )
    .await;
    let mut agent = let_in(&house, "alice").await;
    let url = house.url("app", "/x");
    let page = sent(&house, "POST", &agent.access, &url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(page.json()["code"], "approval_required", "{}", page.text());
    let link = page.json()["ask_for_access"].as_str().unwrap().to_owned();
    let form = agent.browser.go(&link).await;
    let said = form.page.text();
    assert!(
        said.contains("agents-write") && said.contains("https://agent.example"),
        "{said}"
    );
    let mut fields = hidden(&said);
    for (name, value) in [
        ("reason", "it has to write"),
        ("lasting", "1h"),
        ("act", "ask"),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    let waiting = agent
        .browser
        .submit(form.url.join("/access/ask").unwrap(), &fields)
        .await;
    let path = waiting.url.path().to_owned();
    let id = path
        .strip_prefix("/access/waiting/")
        .unwrap_or_else(|| panic!("{}", waiting.page.text()));
    let mut bob = at_home(&house, "bob").await;
    let shown = bob.go(&house.url("access", "/access/requests")).await;
    let mut fields = hidden(&shown.page.text());
    fields.retain(|(name, _)| name == "csrf");
    fields.truncate(1);
    fields.push(("lasting".to_owned(), "1h".to_owned()));
    let approve = house.url("access", &format!("/access/requests/{id}/approve"));
    bob.submit(approve.parse().unwrap(), &fields).await;
    eventually("the agent may write", async || {
        sent(&house, "POST", &agent.access, &url).await.status == StatusCode::OK
    })
    .await;
    // That, and through that agent alone.
    let page = open(&house, &agent.access, &url).await;
    assert_eq!(page.json()["code"], "agent_not_allowed", "{}", page.text());
}
