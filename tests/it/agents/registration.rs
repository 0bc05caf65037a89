//! Where agents learn how to come by a token, and how they register.

use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{
    CALLBACK, RULES, at_home, authorize, code, consent, house, redeeming, registered, registering,
    still_house,
};
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program_of::{answer, decide, error};

async fn get(house: &House, url: &str) -> crate::parts::client::Page {
    house.send(Request::get(url).body(empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_refused_program_is_led_to_the_authorization_server() {
    let house = house("").await;
    house
        .put_in_force(|text| {
            text.replacen(
                "host: admin.localhost\n",
                "host: admin.localhost\n    prefix: /tools\n",
                1,
            )
        })
        .await;
    house.upstream.forget();
    for (host, path, metadata) in [
        ("app", "/x", "/.well-known/oauth-protected-resource"),
        (
            "admin",
            "/tools/x",
            "/.well-known/oauth-protected-resource/tools",
        ),
    ] {
        let refused = get(&house, &house.url(host, path)).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let address = house.url(host, metadata);
        let expected = format!("Bearer resource_metadata=\"{address}\"");
        assert_eq!(refused.header("www-authenticate"), expected);
        let bad = Request::get(house.url(host, path)).header("authorization", "Bearer x");
        let bad = house.send(bad.body(empty()).unwrap()).await;
        let expected = format!("Bearer error=\"invalid_token\", resource_metadata=\"{address}\"");
        assert_eq!(bad.header("www-authenticate"), expected);

        let said = get(&house, &address).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.text());
        let said = said.json();
        let resource = house.url(
            host,
            metadata.trim_start_matches("/.well-known/oauth-protected-resource"),
        );
        assert_eq!(said["resource"], resource);
        assert_eq!(
            said["authorization_servers"],
            json!([house.url("access", "")])
        );
    }
    // Of what lies below a route too; of nothing else; and no upstream is asked.
    let below = "/.well-known/oauth-protected-resource/tools/a/b";
    let said = get(&house, &house.url("admin", below)).await.json();
    assert_eq!(said["resource"], house.url("admin", "/tools/a/b"));
    for (host, path) in [
        ("admin", "/.well-known/oauth-protected-resource"),
        ("admin", "/.well-known/oauth-protected-resource/other"),
        ("nowhere", "/.well-known/oauth-protected-resource"),
    ] {
        let page = get(&house, &house.url(host, path)).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{host}{path}");
    }
    assert!(house.upstream.seen().is_empty());
    let address = house.url("access", "/.well-known/oauth-authorization-server");
    let server = get(&house, &address);
    let server = server.await.json();
    assert_eq!(
        server["registration_endpoint"],
        house.url("access", "/.wayleave/oauth/register")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_nobody_registers_where_the_configuration_does_not_say_so() {
    let house = House::start().await;
    let page = registering(&house, &json!({ "redirect_uris": [CALLBACK] })).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let address = house.url("access", "/.well-known/oauth-authorization-server");
    let server = get(&house, &address);
    assert!(server.await.json().get("registration_endpoint").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_only_public_clients_with_safe_redirects_register() {
    let house = house("").await;
    let good = json!({
        "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"], "client_name": " A\u{202e}b\n c ",
        "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "scope": "x", "client_uri": "https://agent.example",
    });
    let page = registering(&house, &good).await;
    assert_eq!(page.status, StatusCode::CREATED, "{}", page.text());
    assert_eq!(page.header("cache-control"), "no-store");
    let said = page.json();
    assert_eq!(said["client_name"], "Ab c");
    assert_eq!(said["token_endpoint_auth_method"], "none");
    assert!(said.get("client_secret").is_none());
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    for (metadata, code) in [
        (changed("redirect_uris", json!([])), "invalid_redirect_uri"),
        (
            changed("redirect_uris", json!(vec![CALLBACK; 11])),
            "invalid_redirect_uri",
        ),
        (
            changed("redirect_uris", json!([CALLBACK, "http://agent.example/"])),
            "invalid_redirect_uri",
        ),
        (
            changed("redirect_uris", json!(["agent://callback"])),
            "invalid_redirect_uri",
        ),
        (
            changed("redirect_uris", json!(CALLBACK)),
            "invalid_client_metadata",
        ),
        (
            changed("redirect_uris", Value::Null),
            "invalid_client_metadata",
        ),
        (changed("client_name", json!(1)), "invalid_client_metadata"),
        (
            changed("client_name", json!("x".repeat(20_000))),
            "invalid_client_metadata",
        ),
        (
            changed("token_endpoint_auth_method", json!("client_secret_basic")),
            "invalid_client_metadata",
        ),
        (
            changed("grant_types", json!(["client_credentials"])),
            "invalid_client_metadata",
        ),
        (
            changed("response_types", json!(["token"])),
            "invalid_client_metadata",
        ),
        (json!([]), "invalid_client_metadata"),
    ] {
        assert_eq!(
            error(&registering(&house, &metadata).await),
            code,
            "{metadata}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l6_a_flood_of_registrations_is_bounded_and_passes() {
    let (house, clock) = still_house().await;
    let metadata = json!({ "redirect_uris": [CALLBACK] });
    let mut kept = 0;
    let mut used = None;
    let mut browser = at_home(&house, "alice").await;
    for _ in 0..30 {
        let page = registering(&house, &metadata).await;
        if page.status == StatusCode::CREATED {
            kept += 1;
            used = Some(page.json()["client_id"].as_str().unwrap().to_owned());
        } else {
            assert_eq!(
                page.status,
                StatusCode::TOO_MANY_REQUESTS,
                "{}",
                page.text()
            );
        }
    }
    assert_eq!(kept, 20);
    let used = used.unwrap();
    let code = code(&house, &mut browser, &used).await;
    let page = redeeming(&house, &used, &code, &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    // However slowly they come, there is no more room, until those that nobody lets in are over.
    clock.advance(Duration::from_secs(50 * 60));
    let page = registering(&house, &metadata).await;
    assert_eq!(
        page.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        page.text()
    );
    clock.advance(Duration::from_secs(11 * 60));
    let unused = registered(&house, CALLBACK).await;
    let mut browser = at_home(&house, "alice").await;
    assert!(
        consent(&house, &mut browser, &used)
            .await
            .page
            .text()
            .contains("agent.example")
    );
    assert!(
        consent(&house, &mut browser, &unused)
            .await
            .page
            .status
            .is_success()
    );
    clock.advance(Duration::from_secs(61 * 60));
    let mut browser = at_home(&house, "alice").await;
    assert!(
        consent(&house, &mut browser, &unused)
            .await
            .page
            .status
            .is_client_error()
    );
    assert!(
        consent(&house, &mut browser, &used)
            .await
            .page
            .status
            .is_success()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_person_is_asked_and_only_the_registered_place_is_answered() {
    let house = house(RULES).await;
    let client = registered(&house, CALLBACK).await;
    let mut browser = at_home(&house, "alice").await;
    // What cannot be trusted is told here.
    for change in [
        ("redirect_uri", "https://agent.example/callback/"),
        ("redirect_uri", "https://agent.example/callback?x=1"),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:7/callback"),
        ("redirect_uri", ""),
        ("client_id", "agent-0"),
    ] {
        let page = browser.go(&authorize(&house, &client, &[change])).await;
        assert!(page.page.status.is_client_error(), "{change:?}");
        assert!(page.page.header("location").is_empty());
    }
    // So is the rest: whoever follows a link of ours is not led on to a place that anybody can register.
    let nowhere = house.url("nowhere", "");
    let access = house.url("access", "");
    let partner = house.url("partner", "");
    for (change, why) in [
        (("resource", ""), "resource is missing"),
        (("resource", "app"), "there is no such route"),
        (("resource", nowhere.as_str()), "there is no such route"),
        (("resource", &access), "there is no such route"),
        (("resource", &partner), "the route does not accept"),
        (("code_challenge_method", "plain"), "must be S256"),
        (("response_type", "token"), "response_type=code"),
    ] {
        let page = browser.go(&authorize(&house, &client, &[change])).await;
        assert!(page.page.status.is_client_error(), "{change:?}");
        assert!(page.page.header("location").is_empty(), "{change:?}");
        assert_eq!(page.url.host_str(), Some("access.localhost"));
        assert!(
            page.page.text().contains(why),
            "{change:?}: {}",
            page.page.text()
        );
    }
    let page = consent(&house, &mut browser, &client).await;
    let said = page.page.text();
    for shown in [
        "<q>Helper</q>, which nobody has verified",
        "<code>https://agent.example</code>",
        "alice@demo.example",
        "works for whoever has it",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    // Only a click on our own page counts.
    let refused = decide(&mut browser, &page, "deny").await;
    assert_eq!(answer(&refused)["error"], "access_denied");
    let mut fields = crate::parts::browser::hidden(&said);
    fields.retain(|(name, _)| name != "csrf");
    fields.push(("decision".to_owned(), "allow".to_owned()));
    let url = page.url.join(page.url.path()).unwrap();
    let forged = browser.submit(url, &fields).await;
    assert!(forged.page.status.is_client_error());
    assert!(forged.page.header("location").is_empty());
}
