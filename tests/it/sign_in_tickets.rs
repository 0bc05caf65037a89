//! Our own tickets and cookies: what carries a signed-in person from the home host to a route, and what must not.

use std::time::Duration;

use url::Url;

use crate::parts::browser::Browser;
use crate::parts::house::House;
use crate::parts::served::stores;

const ARRIVE: &str = "/.wayleave/arrive";
const ALICE: &str = "alice@demo.example";
const BOB: &str = "bob@demo.example";

/// A browser that is signed in at home and holds a ticket to `app`.
async fn on_the_way(house: &House, person: &str) -> (Browser, Url) {
    let mut browser = house.browser();
    browser.stops_before = Some(ARRIVE);
    let stopped = browser.sign_in(&house.url("app", "/"), person).await;
    (browser, stopped.next())
}

fn at_host(url: &Url, host: &str) -> Url {
    let mut url = url.clone();
    url.set_host(Some(&format!("{host}.localhost"))).unwrap();
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_ticket_is_good_once_for_its_browser_at_its_host_and_for_a_minute() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let (mut alice, ticket) = on_the_way(&house, "alice").await;
        let mut copy = alice.clone();
        let arrived = alice.go_on(&ticket).await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        copy.step(&ticket).await.expect_refused();
        alice.step(&ticket).await.expect_refused();

        // Shown in vain, at another host or by another browser, it is used up.
        let (mut alice, ticket) = on_the_way(&house, "alice").await;
        let pending = alice.jar["app.localhost"].clone();
        alice.jar.insert("admin.localhost".to_owned(), pending);
        alice
            .step(&at_host(&ticket, "admin"))
            .await
            .expect_refused();
        alice.step(&ticket).await.expect_refused();
        let (mut alice, ticket) = on_the_way(&house, "alice").await;
        let (mut mallory, _) = on_the_way(&house, "bob").await;
        mallory.step(&ticket).await.expect_refused();
        alice.step(&ticket).await.expect_refused();

        let (mut alice, ticket) = on_the_way(&house, "alice").await;
        clock.advance(Duration::from_secs(61));
        alice.step(&ticket).await.expect_refused();
        assert_eq!(alice.person_at(&house.url("app", "")).await, None);
    }
}

/// How many of four browsers with the same cookies get on when they all open this at once.
async fn winners(browser: &Browser, url: &Url) -> usize {
    let open = async || {
        let page = browser.clone().step(url).await;
        match page.status.is_redirection() {
            true => 1,
            false => {
                page.expect_refused();
                0
            }
        }
    };
    let all = tokio::join!(open(), open(), open(), open());
    all.0 + all.1 + all.2 + all.3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_e11_of_those_who_come_at_once_one_gets_on() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        for _ in 0..5 {
            let mut browser = house.browser();
            browser.stops_before = Some("/.wayleave/callback/");
            let answer = browser.go(&house.url("partner", "/")).await.next();
            assert_eq!(winners(&browser, &answer).await, 1);
            let (browser, ticket) = on_the_way(&house, "alice").await;
            assert_eq!(winners(&browser, &ticket).await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e15_sign_ins_that_are_given_up_do_not_pile_up() {
    let house = House::start().await;
    let wanted = house.url("app", "/");
    let mut browser = house.browser();
    for _ in 0..40 {
        browser.go(&wanted).await;
    }
    for host in ["access.localhost", "app.localhost"] {
        assert_eq!(browser.jar[host].len(), 5, "{:?}", browser.jar[host]);
    }
    let arrived = browser.sign_in(&wanted, "alice").await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_whatever_was_asked_for_nobody_ends_up_elsewhere() {
    let house = House::start().await;
    let origin = house.url("partner", "");
    let mut arrived_at = Vec::new();
    for path in [
        "//evil.example/",
        "///evil.example",
        "/.//evil.example",
        "/a/..//evil.example",
        "/%5Cevil.example",
        "/%2F/evil.example",
        "/@evil.example",
        "/https://evil.example",
        "/?next=https://evil.example",
        "/?//evil.example",
        "/a?b=%0D%0ALocation:%20//evil.example",
    ] {
        let mut browser = house.browser();
        let arrived = browser.go(&format!("{origin}{path}")).await;
        let stays = arrived.url.as_str().starts_with(&format!("{origin}/"));
        assert!(stays, "{path}: {}", arrived.url);
        if arrived.page.text() == "hello" {
            arrived_at.push(path);
        } else {
            assert!(
                arrived.page.status.is_client_error(),
                "{path}: {:?}",
                arrived.page
            );
        }
    }
    let good = [
        "/@evil.example",
        "/?next=https://evil.example",
        "/?//evil.example",
    ];
    assert!(
        good.iter().all(|path| arrived_at.contains(path)),
        "{arrived_at:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_an_attempt_that_is_not_as_we_sent_it_is_refused() {
    let house = House::start().await;
    let mut browser = house.browser();
    browser.stops_before = Some("/.wayleave/sign-in");
    let asked = browser.go(&house.url("partner", "/")).await.next();
    let text = asked.as_str();
    let last = if text.ends_with('A') { "E" } else { "A" };
    let cut = &text[..text.len() - 1];
    for changed in [
        cut.to_owned(),
        format!("{cut}{last}"),
        format!("{text}A"),
        format!("{text}&attempt=x"),
    ] {
        browser
            .step(&Url::parse(&changed).unwrap())
            .await
            .expect_refused();
    }
    let arrived = browser.go_on(&asked).await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_code_is_for_the_attempt_it_was_made_for() {
    let house = House::start().await;
    let (mut mallory, of_mallory) = on_the_way(&house, "bob").await;
    let (mut alice, of_alice) = on_the_way(&house, "alice").await;
    let part = |url: &Url, name: &str| {
        let found = url.query_pairs().find(|(n, _)| n == name);
        found.unwrap().1.into_owned()
    };
    let mut mixed = of_mallory.clone();
    let pairs = [
        ("attempt", part(&of_mallory, "attempt")),
        ("code", part(&of_alice, "code")),
    ];
    mixed.query_pairs_mut().clear().extend_pairs(pairs);
    mallory.step(&mixed).await.expect_refused();
    assert_eq!(mallory.person_at(&house.url("app", "")).await, None);
    alice.step(&of_alice).await.expect_refused();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_cookie_that_was_there_before_is_worth_nothing_after() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let planted = "A".repeat(43);
        let mut alice = house.browser();
        for host in ["access", "app"] {
            let jar = alice.jar.entry(format!("{host}.localhost")).or_default();
            jar.insert("wayleave".to_owned(), planted.clone());
        }
        let mut other = alice.clone();
        alice.sign_in(&house.url("app", "/"), "alice").await;
        for host in ["access", "app"] {
            let origin = house.url(host, "");
            assert_eq!(alice.person_at(&origin).await.as_deref(), Some(ALICE));
            assert_ne!(alice.jar[&format!("{host}.localhost")]["wayleave"], planted);
            assert_eq!(other.person_at(&origin).await, None);
        }

        // A session that lives, given to somebody who then signs in: they get their own, and it ends.
        let mut mallory = house.signed_in("bob").await;
        let mut victim = house.browser();
        let home = mallory.jar["access.localhost"].clone();
        victim
            .jar
            .insert("access.localhost".to_owned(), home.clone());
        let arrived = victim
            .sign_in(&house.url("access", "/.wayleave/sign-in/demo"), "alice")
            .await;
        assert!(
            arrived.page.text().contains(ALICE),
            "{}",
            arrived.page.text()
        );
        assert_ne!(victim.jar["access.localhost"]["wayleave"], home["wayleave"]);
        for host in ["access", "app"] {
            assert_eq!(
                mallory.person_at(&house.url(host, "")).await,
                None,
                "{host}"
            );
        }
        let mut bob = house.signed_in("bob").await;
        assert_eq!(
            bob.person_at(&house.url("app", "")).await.as_deref(),
            Some(BOB)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_good_for_its_host_alone() {
    let house = House::start().await;
    let alice = house.signed_in("alice").await;
    let mut tossed = house.browser();
    for (from, to) in [("access", "app"), ("app", "access"), ("app", "admin")] {
        let cookies = alice.jar[&format!("{from}.localhost")].clone();
        tossed.jar.insert(format!("{to}.localhost"), cookies);
        assert_eq!(
            tossed.person_at(&house.url(to, "")).await,
            None,
            "{from} {to}"
        );
    }
}
