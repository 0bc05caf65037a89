//! The first page of everybody, through a whole edge: what they may open, where they are signed in, and ending that.

use http::{Request, StatusCode, header};

use crate::edge_streams::{events, expect_cut};
use crate::parts::browser::{Arrived, Browser, hidden, navigation};
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::{Key, code, redeem, refresh, text};
use crate::parts::served::stores;

async fn home(house: &House, browser: &mut Browser) -> Arrived {
    browser.go(&house.url("access", "/")).await
}

/// What a page shows as an app, by the address that it leads to.
fn leads_to(page: &str, host: &str) -> bool {
    page.contains(&format!(
        "class=\"card-app\" href=\"http://{host}.localhost"
    ))
}

/// The paths of the page's forms that end a sign-in of this kind.
fn ends(page: &Arrived, kind: &str) -> Vec<String> {
    let text = page.page.text();
    let actions = text.split("action=\"").skip(1);
    let actions = actions.map(|rest| rest.split('"').next().unwrap().to_owned());
    actions
        .filter(|path| path.starts_with(&format!("/access/{kind}/")))
        .collect()
}

/// Sends a form of a page of somebody's own, by their own token.
async fn send(browser: &mut Browser, page: &Arrived, path: &str) -> Arrived {
    let fields = hidden(&page.page.text());
    let csrf = fields.into_iter().find(|(name, _)| name == "csrf").unwrap();
    browser.submit(page.url.join(path).unwrap(), &[csrf]).await
}

async fn signed_in(house: &House, person: &str) -> Browser {
    let mut browser = house.browser();
    browser.sign_in(&house.url("access", "/"), person).await;
    browser
}

/// A program that somebody lets in: its key and its refresh token.
async fn program(house: &House, browser: &mut Browser) -> (Key, String) {
    let code = code(house, browser).await;
    let key = Key::new();
    let page = redeem(house, Some(&key), &code).await;
    (key, text(&page, "refresh_token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_what_the_policy_in_force_decides_for_whoever_looks() {
    let house = House::start().await;
    let mut alice = signed_in(&house, "alice").await;
    let page = home(&house, &mut alice).await.page.text();
    for (host, is_open) in [("app", true), ("admin", true), ("public", true)] {
        assert_eq!(leads_to(&page, host), is_open, "{host}: {page}");
    }
    for part in [
        "alice@demo.example",
        "Demo identity provider",
        "spiffe://demo.wayleave/ns/people/sa/alice",
        "wayleave login --edge http://access.localhost:",
        "wayleave curl app/",
    ] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    let mut carol = signed_in(&house, "carol").await;
    let page = home(&house, &mut carol).await.page.text();
    assert!(
        !leads_to(&page, "app") && leads_to(&page, "public"),
        "{page}"
    );

    let name = "  - name: staff\n    action: allow";
    house
        .put_in_force(|text| text.replacen(name, "  - name: staff\n    action: deny", 1))
        .await;
    eventually("the page shows it", async || {
        !leads_to(&home(&house, &mut alice.clone()).await.page.text(), "app")
    })
    .await;
    // Who may open nothing reads what to do.
    house
        .put_in_force(|text| text.replace("action: allow", "action: deny"))
        .await;
    eventually("nothing is open", async || {
        let page = home(&house, &mut carol.clone()).await;
        page.page.text().contains("tell them your groups")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_route_that_opens_in_parts_the_parts_are_shown() {
    let house = House::start().await;
    let mut carol = signed_in(&house, "carol").await;
    let page = home(&house, &mut carol).await.page.text();
    assert!(!page.contains("parts of it"), "{page}");
    let rules = "  - name: public\n    action: allow";
    let parts = "  - { name: reports, action: allow, from: [{ signed_in: true }], to: [{ routes: [admin], paths: [\"/reports/*\", \"/d/{*}\"] }] }
  - { name: secrets, action: allow, from: [{ signed_in: true }], to: [{ routes: [admin], paths: [/secret] }], require: { approval: { from: [{ groups: [staff] }], at_most: 1h } } }\n";
    house
        .put_in_force(|text| text.replacen(rules, &format!("{parts}{rules}"), 1))
        .await;
    let shown = async || home(&house, &mut carol.clone()).await.page.text();
    eventually("the parts are shown", async || {
        shown().await.contains("parts of it")
    })
    .await;
    let page = shown().await;
    let admin = house.url("admin", "");
    for part in [
        format!("<a href=\"{admin}/reports/\"><code>/reports/*</code>"),
        "<code>/d/{*}</code>".to_owned(),
        "<span class=\"hidden\">Ask for </span><code>/secret</code>".to_owned(),
    ] {
        assert!(page.contains(&part), "no {part}: {page}");
    }
    // What is shown is so.
    let report = carol.clone().go(&format!("{admin}/reports/")).await;
    assert_eq!(report.page.status, StatusCode::OK);
    assert!(!leads_to(&page, "admin"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_is_a_form_and_repeats_nothing_unescaped() {
    let house = House::start().await;
    let mut alice = signed_in(&house, "alice").await;
    let found = |text: &str, host: &str| {
        let (before, _) = text
            .split_once(&format!("href=\"http://{host}.localhost"))
            .unwrap();
        !before.rsplit("<li").next().unwrap().contains(" hidden")
    };
    let page = alice.go(&house.url("access", "/?q=AdMi")).await;
    let text = page.page.text();
    assert!(found(&text, "admin") && !found(&text, "app"), "{text}");
    assert!(text.contains("1 fits"), "{text}");
    let page = alice
        .go(&house.url("access", "/?q=%22%3E%3Cscript%3E"))
        .await;
    let text = page.page.text();
    assert!(
        text.contains("Nothing fits") && !text.contains("\"><script>"),
        "k1: {text}"
    );
    let twice = alice.go(&house.url("access", "/?q=a&q=b")).await;
    assert_eq!(twice.page.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_where_they_are_signed_in_and_end_it_there() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let mut phone = house.browser();
        let agent =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1";
        phone.says.push(("user-agent", agent.to_owned()));
        phone.sign_in(&house.url("app", "/"), "alice").await;
        let mut desk = signed_in(&house, "alice").await;
        let (key, token) = program(&house, &mut desk).await;

        let page = home(&house, &mut desk).await;
        let said = page.page.text();
        for part in [
            "Safari on iPhone",
            "The command line",
            "bound to its machine",
            "127.0.0.1",
        ] {
            assert!(said.contains(part), "no {part}: {said}");
        }
        assert_eq!(said.matches("badge good\">here").count(), 1, "{said}");
        let (sessions, tokens) = (ends(&page, "sessions"), ends(&page, "tokens"));
        assert_eq!((sessions.len(), tokens.len()), (1, 1), "{said}");

        let after = send(&mut desk, &page, &sessions[0]).await;
        assert!(after.page.text().contains("That sign-in has ended"));
        assert!(ends(&after, "sessions").is_empty());
        assert!(!house.knows(&phone, "app").await, "the phone is signed out");
        assert!(house.knows(&desk, "access").await, "and nothing else");
        let again = refresh(&house, Some(&key), &token).await;
        assert_eq!(again.status, StatusCode::OK, "{again:?}");
        let token = text(&again, "refresh_token");

        let after = send(&mut desk, &after, &tokens[0]).await;
        assert!(ends(&after, "tokens").is_empty());
        let again = refresh(&house, Some(&key), &token).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
        assert!(house.knows(&desk, "access").await);
        // What has ended is not there to be ended.
        for path in [&sessions[0], &tokens[0]] {
            let twice = send(&mut desk, &page, path).await;
            assert_eq!(twice.page.status, StatusCode::NOT_FOUND, "{path}");
        }
        for kind in ["session_ended", "tokens_ended"] {
            let told = house.events(kind).await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["reason"], "signed_out");
            let actor = told[0]["actor"].as_str().unwrap();
            assert!(actor.starts_with("alice@demo.example"), "{actor}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_everywhere_but_here_ends_other_sessions_and_every_program() {
    let house = House::start().await;
    let mut other = signed_in(&house, "alice").await;
    let (others_key, others_token) = program(&house, &mut other).await;
    let mut bob = signed_in(&house, "bob").await;
    let mut desk = signed_in(&house, "alice").await;
    // Let in by this very session: a thief at this desk may have left it behind.
    let (key, token) = program(&house, &mut desk).await;
    let page = home(&house, &mut desk).await;
    let after = send(&mut desk, &page, "/access/sign-ins/others/end").await;
    let said = after.page.text();
    assert!(
        said.contains("You are signed in here and nowhere else"),
        "{said}"
    );
    assert!(ends(&after, "sessions").is_empty() && ends(&after, "tokens").is_empty());
    assert!(house.knows(&desk, "access").await && !house.knows(&other, "access").await);
    for (key, token) in [(&key, &token), (&others_key, &others_token)] {
        let again = refresh(&house, Some(key), token).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
    }
    // Bob is nobody's other session.
    assert!(
        home(&house, &mut bob)
            .await
            .page
            .text()
            .contains("bob@demo.example")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k7_nobody_ends_or_sees_the_sign_in_of_somebody_else() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let mut bob = signed_in(&house, "bob").await;
        let mut bobs_phone = signed_in(&house, "bob").await;
        let (key, token) = program(&house, &mut bob).await;
        let page = home(&house, &mut bobs_phone).await;
        let (sessions, tokens) = (ends(&page, "sessions"), ends(&page, "tokens"));
        assert_eq!((sessions.len(), tokens.len()), (1, 1));

        // Alice is owner of the edge, and that does not help her here.
        signed_in(&house, "alice").await;
        let mut alice = signed_in(&house, "alice").await;
        let own = home(&house, &mut alice).await;
        for path in sessions.iter().chain(&tokens) {
            let id = path.split('/').nth(3).unwrap();
            assert!(!own.page.text().contains(id), "she does not see it");
            let said = send(&mut alice, &own, path).await;
            assert_eq!(said.page.status, StatusCode::NOT_FOUND, "{path}");
        }
        send(&mut alice, &own, "/access/sign-ins/others/end").await;
        for browser in [&bob, &bobs_phone] {
            assert!(house.knows(browser, "access").await, "Bob is signed in");
        }
        let again = refresh(&house, Some(&key), &token).await;
        assert_eq!(again.status, StatusCode::OK, "{again:?}");
        let told = house.events("session_ended").await;
        assert_eq!(told.len(), 1, "her own: {told:?}");
        let actor = told[0]["actor"].as_str().unwrap();
        assert!(actor.starts_with("alice@demo.example"), "{actor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_sign_ins_are_ended_by_forms_of_ones_own_page_only() {
    let house = House::start().await;
    let mut phone = signed_in(&house, "alice").await;
    let mut desk = signed_in(&house, "alice").await;
    signed_in(&house, "bob").await;
    let mut bob = signed_in(&house, "bob").await;
    let page = home(&house, &mut desk).await;
    let path = ends(&page, "sessions").remove(0);
    let url = page.url.join(&path).unwrap();
    let bobs = home(&house, &mut bob).await;
    let of_bob = hidden(&bobs.page.text());
    let of_bob = of_bob.into_iter().find(|(name, _)| name == "csrf").unwrap();
    for fields in [
        vec![],
        vec![("csrf".to_owned(), "AAAA".to_owned())],
        vec![of_bob],
    ] {
        let said = desk.submit(url.clone(), &fields).await;
        assert_eq!(said.page.status, StatusCode::FORBIDDEN, "{fields:?}");
    }
    let fields = hidden(&page.page.text());
    let (_, csrf) = fields.iter().find(|(name, _)| name == "csrf").unwrap();
    let body = crate::parts::full(format!("csrf={csrf}"));
    let mut request = navigation("POST", url.as_str(), body);
    let headers = request.headers_mut();
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    headers.insert("origin", "https://evil.example".parse().unwrap());
    let form = "application/x-www-form-urlencoded".parse().unwrap();
    headers.insert(header::CONTENT_TYPE, form);
    let said = desk.clone().fetch(request).await;
    assert_eq!(said.status, StatusCode::FORBIDDEN, "{said:?}");
    // A link does nothing.
    let link = Request::get(url.as_str()).body(empty()).unwrap();
    let said = desk.clone().fetch(link).await;
    assert_eq!(said.status, StatusCode::METHOD_NOT_ALLOWED, "{said:?}");
    assert!(
        home(&house, &mut phone)
            .await
            .page
            .text()
            .contains("alice@demo.example")
    );
    assert!(house.events("session_ended").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_the_console_says_what_a_session_has_open_and_ending_it_closes_that() {
    let house = House::start().await;
    let bob = house.signed_in("bob").await;
    let stream = events(&house, &bob, "app").await;
    let another = events(&house, &bob, "app").await;
    let mut alice = signed_in(&house, "alice").await;
    let url = house.url("access", "/console/sessions?q=bob");
    let shows = async |what: &str| {
        let page = alice.clone().go(&url).await.page.text();
        page.contains(what)
    };
    eventually("it is open", async || shows("2 streams, the first").await).await;
    assert!(shows("href=\"/console/routes/app\"").await);
    let page = alice.go(&url).await;
    let text = page.page.text();
    let (_, rest) = text.split_once("/console/sessions/end?session=").unwrap();
    let label = rest.split('"').next().unwrap();
    let path = format!("/console/sessions/end?session={label}");
    let preview = alice.go(&house.url("access", &path)).await;
    assert!(preview.page.text().contains("2 streams, the first"));
    let fields = hidden(&preview.page.text());
    let to = preview.url.join("/console/sessions/end").unwrap();
    let ended = alice.submit(to, &fields).await;
    assert!(ended.page.text().contains("The sessions have ended"));
    expect_cut(stream).await;
    expect_cut(another).await;
    let own = house.url("access", "/console/sessions");
    eventually("nothing is open", async || {
        let page = alice.clone().go(&own).await.page.text();
        page.contains("alice@demo.example") && !page.contains("streams")
    })
    .await;
}
