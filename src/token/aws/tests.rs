use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::answer::{AnswerFault, read};
use super::signing::{RoleKey, SigningFault, subject_token};
use super::*;
use crate::clock::ManualClock;
use crate::policy::yaml;

const EDGE: &str = "https://access.corp.example";
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn key() -> RoleKey {
    // The examples of AWS's documentation; nobody has them.
    RoleKey {
        id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
        secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Zeroizing::new("AQoDYXdzEPT//////////wEXAMPLE==".to_owned())),
    }
}

fn of_region(region: Option<&str>) -> String {
    subject_token(&key(), region, EDGE, NOW)
        .unwrap()
        .to_string()
}

fn encoded(request: &Value) -> String {
    URL_SAFE_NO_PAD.encode(request.to_string())
}

fn decoded(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

/// A request for Frankfurt with a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut request = decoded(&of_region(Some("eu-central-1")));
    change(&mut request);
    encoded(&request)
}

fn refused(token: &str) -> AwsFault {
    let read = SignedRequest::parse(token).and_then(|request| request.check(EDGE, NOW));
    read.unwrap_err()
}

#[test]
fn what_we_sign_ourselves_is_read_and_is_sent_as_it_was_signed() {
    for (region, host, partition) in [
        (None, "sts.amazonaws.com", "aws"),
        (
            Some("eu-central-1"),
            "sts.eu-central-1.amazonaws.com",
            "aws",
        ),
        (
            Some("us-gov-west-1"),
            "sts.us-gov-west-1.amazonaws.com",
            "aws-us-gov",
        ),
        (
            Some("cn-north-1"),
            "sts.cn-north-1.amazonaws.com.cn",
            "aws-cn",
        ),
    ] {
        let request = SignedRequest::parse(&of_region(region)).unwrap();
        request.check(EDGE, NOW).unwrap();
        assert_eq!(request.host(), host);
        assert_eq!(request.partition().as_str(), partition);
        assert_eq!(request.made_at(), NOW);
        let mut sent: Vec<&str> = request
            .headers()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                "authorization",
                "content-type",
                "host",
                "x-amz-date",
                "x-amz-security-token",
                AUDIENCE,
                NONCE
            ]
        );
        // Whatever writes it out writes nothing that could be shown again.
        assert!(!format!("{request:?}").contains("Signature"));
        assert!(!format!("{request:?}").contains("AQoDYXdz"));
    }
    assert_ne!(
        of_region(None),
        of_region(None),
        "two of one moment are two"
    );
    for region in ["us-iso-east-1", "nowhere", "eu-central-1.evil.example/"] {
        let none = subject_token(&key(), Some(region), EDGE, NOW);
        assert_eq!(none.unwrap_err(), SigningFault::Region, "{region}");
    }
}

#[test]
fn m1_requests_go_to_sts_and_nowhere_else() {
    for url in [
        "https://sts.eu-central-1.amazonaws.com",
        "https://sts.eu-central-1.amazonaws.com/x",
        "https://sts.eu-central-1.amazonaws.com/?Action=AssumeRole",
        "https://sts.eu-central-1.amazonaws.com/#",
        "https://sts.eu-central-1.amazonaws.com:443/",
        "https://sts.eu-central-1.amazonaws.com./",
        "https://sts.eu-central-1.amazonaws.com.evil.example/",
        "https://sts.eu-central-1.amazonaws.com.cn/",
        "https://sts.cn-north-1.amazonaws.com/",
        "https://sts.eu-central-1.evil.example/",
        "https://sts.evil.amazonaws.com/",
        "https://sts..amazonaws.com/",
        "https://evil@sts.eu-central-1.amazonaws.com/",
        "https://STS.eu-central-1.amazonaws.com/",
        "https://sts.eu-central-1.amazonaws.com\\/",
        "https://iam.amazonaws.com/",
        "https://s3.eu-central-1.amazonaws.com/",
        "https://amazonaws.com/",
        "http://sts.eu-central-1.amazonaws.com/",
        "https://169.254.169.254/",
        "https:///",
        "",
    ] {
        let token = changed(|request| request["url"] = url.into());
        assert_eq!(refused(&token), AwsFault::Url, "{url}");
    }
}

type Row = (&'static str, String, AwsFault);

fn assert_refused(rows: impl IntoIterator<Item = Row>) {
    for (what, token, fault) in rows {
        assert_eq!(refused(&token), fault, "{what}");
    }
}

fn header(name: &'static str, value: &str) -> String {
    changed(move |request| request["headers"][name] = value.into())
}

fn authorization(from: &str, to: &str) -> String {
    changed(move |request| {
        let text = request["headers"]["authorization"].as_str().unwrap();
        assert!(text.contains(from), "{text}");
        request["headers"]["authorization"] = text.replacen(from, to, 1).into();
    })
}

#[test]
fn i2_a_request_can_do_nothing_but_ask_who_signed_it() {
    let body = |text: &'static str| changed(move |request| request["body"] = text.into());
    let bodies = [
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15",
        "Action=GetCallerIdentity&Version=2011-06-15&x=1",
        "Version=2011-06-15&Action=GetCallerIdentity",
        "",
    ];
    assert_refused(bodies.map(|text| (text, body(text), AwsFault::Body)));
    let headers = [
        ("x-amz-target", "X"),
        ("accept", "application/json"),
        ("host", "iam.amazonaws.com"),
        ("content-type", "application/json"),
        ("content-length", "1"),
        ("x-amz-date", "a\r\nb: c"),
        (AUDIENCE, " https://access.corp.example"),
        (AUDIENCE, ""),
    ];
    assert_refused(headers.map(|(name, value)| (name, header(name, value), AwsFault::Header)));
    // A length is what the client says by itself.
    let fine = changed(|request| {
        let headers = &mut request["headers"];
        let text = headers["authorization"].as_str().unwrap();
        let text = text.replacen("=content-type", "=content-length;content-type", 1);
        headers["authorization"] = text.into();
        headers["content-length"] = "43".into();
    });
    let request = SignedRequest::parse(&fine).unwrap();
    let mut sent = request.headers().iter();
    assert!(!sent.any(|(name, _)| name == "content-length"));
}

#[test]
fn i2_a_request_is_for_one_edge_and_a_few_minutes() {
    assert_refused([
        (
            "another audience",
            header(AUDIENCE, "https://access.evil.example"),
            AwsFault::Audience,
        ),
        (
            "old",
            header("x-amz-date", "20270115T075400Z"),
            AwsFault::Time,
        ),
        (
            "ahead",
            header("x-amz-date", "20270115T080100Z"),
            AwsFault::Time,
        ),
        (
            "no moment",
            header("x-amz-date", "2027-01-15T08:0Z"),
            AwsFault::Time,
        ),
    ]);
    for fine in ["20270115T080025Z", "20270115T075530Z"] {
        let request = SignedRequest::parse(&header("x-amz-date", fine)).unwrap();
        request.check(EDGE, NOW).unwrap();
    }
}

#[test]
fn i2_a_signature_is_over_everything_that_is_sent() {
    let forms = [
        ("/20270115/", "/20270114/"),
        ("/eu-central-1/", "/us-east-1/"),
        ("/sts/", "/iam/"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("Signature=", "Signature=0"),
        ("ASIAIOSFODNN7EXAMPLE", ""),
        ("Signature=", "Signature=0,Signature="),
    ];
    assert_refused(
        forms.map(|(from, to)| (from, authorization(from, to), AwsFault::Authorization)),
    );
    let lists = [
        (";x-wayleave-audience", ""),
        (";x-wayleave-nonce", ""),
        ("x-amz-date;", ""),
        ("host;", ""),
        ("x-amz-security-token;", ""),
        ("host;", "host;x-amz-meta;"),
    ];
    assert_refused(lists.map(|(from, to)| (from, authorization(from, to), AwsFault::Unsigned)));
    for (name, fault) in [
        ("x-amz-date", AwsFault::Unsigned),
        (AUDIENCE, AwsFault::Unsigned),
        ("authorization", AwsFault::Authorization),
    ] {
        let without = changed(|request| {
            request["headers"].as_object_mut().unwrap().remove(name);
        });
        assert_eq!(refused(&without), fault, "{name}");
    }
}

#[test]
fn i2_what_is_no_request_in_one_spelling_is_refused() {
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(changed(|_| ())).unwrap()).unwrap();
    let respelt = |from: &str, to: &str| {
        assert!(json.contains(from), "{json}");
        URL_SAFE_NO_PAD.encode(json.replacen(from, to, 1))
    };
    for token in [
        respelt("\"host\":", "\"host\":\"iam.amazonaws.com\",\"host\":"),
        respelt("\"host\":", "\"Host\":\"iam.amazonaws.com\",\"host\":"),
        respelt("\"body\":", "\"body\":\"x\",\"body\":"),
        respelt("\"20270115T080000Z\"", "1"),
        changed(|request| request["method"] = "POST".into()),
        encoded(&json!([])),
        URL_SAFE_NO_PAD.encode("x"),
        "{}".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
        "A".repeat(20_000),
    ] {
        assert_eq!(refused(&token), AwsFault::Malformed, "{token}");
    }
}

proptest! {
    #[test]
    fn a_request_with_one_byte_changed_is_another_or_none(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let token = of_region(Some("eu-central-1"));
        let original = SignedRequest::parse(&token).unwrap();
        let mut json = URL_SAFE_NO_PAD.decode(&token).unwrap();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(request) = SignedRequest::parse(&URL_SAFE_NO_PAD.encode(&json)) {
            // Wherever it goes, it is STS; and what AWS gets is what was signed, or differs and so is not.
            prop_assert!(request.host().starts_with("sts.") && request.host().ends_with(".amazonaws.com"));
            let is_same = request == original;
            let was: Value = decoded(&token);
            let is: Value = serde_json::from_slice(&json).unwrap();
            // Names of headers have no case, and no order.
            let lower = |value: &Value| -> Value { serde_json::from_str(&value.to_string().to_ascii_lowercase()).unwrap() };
            prop_assert_eq!(is_same, lower(&was) == lower(&is) && request.headers() == original.headers());
        }
    }

    #[test]
    fn no_answer_is_misread(arn in "[a-z0-9:/<>&-]{0,60}", status in prop::sample::select(vec![200_u16, 400, 403, 500])) {
        let body = format!("<a>{arn}</a>");
        prop_assert!(!matches!(read(status, body.as_bytes()), Ok(Told::Caller(_))));
    }
}

/// As AWS documents it (API reference of GetCallerIdentity, example 3).
const DOCUMENTED: &str =
    "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <GetCallerIdentityResult>
    <Arn>arn:aws:sts::123456789012:assumed-role/my-role-name/my-role-session-name</Arn>
    <UserId>ARO123EXAMPLE123:my-role-session-name</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
";

fn documented_error(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>The security token included in the request is expired</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

#[test]
fn answers_are_read_as_aws_documents_them() {
    let Ok(Told::Caller(caller)) = read(200, DOCUMENTED.as_bytes()) else {
        panic!("it is an answer");
    };
    let role = caller.role().unwrap();
    assert_eq!(
        role.role_arn(),
        "arn:aws:iam::123456789012:role/my-role-name"
    );
    assert_eq!(role.session, "my-role-session-name");
    for code in [
        "ExpiredToken",
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
    ] {
        for status in [400, 403] {
            assert_eq!(
                read(status, documented_error(code).as_bytes()),
                Ok(Told::Refused(code))
            );
        }
    }
    // What is not plainly a refusal may be another time.
    for status in [400, 429, 500, 503, 302] {
        assert_eq!(
            read(status, documented_error("Throttling").as_bytes()),
            Err(AnswerFault::Failed)
        );
        assert_eq!(read(status, b""), Err(AnswerFault::Failed));
    }
    let told = read(403, documented_error("<b>x</b>").as_bytes());
    assert_eq!(
        told,
        Ok(Told::Refused("it says no more")),
        "nothing of theirs is repeated"
    );
}

#[test]
fn i2_what_only_contains_an_answer_is_none() {
    let inside = |before: &str, after: &str| format!("{before}{DOCUMENTED}{after}");
    let json = json!({ "AssumeRoleWithWebIdentityResponse": { "SubjectFromWebIdentityToken": DOCUMENTED } });
    let mut bad = vec![
        ("JSON", json.to_string()),
        (
            "in another",
            inside(
                "<AssumeRoleWithWebIdentityResponse>",
                "</AssumeRoleWithWebIdentityResponse>",
            ),
        ),
        ("text before", inside("x", "")),
        ("text after", inside("", "x")),
        ("two", inside(DOCUMENTED, "")),
        (
            "definitions",
            inside("<!DOCTYPE a [<!ENTITY b \"c\">]>", ""),
        ),
        ("empty", String::new()),
        ("cut off", DOCUMENTED[..DOCUMENTED.len() - 10].to_owned()),
    ];
    for (what, from, to) in [
        (
            "another namespace",
            "https://sts.amazonaws.com/doc/2011-06-15/",
            "https://evil.example/",
        ),
        (
            "another root",
            "GetCallerIdentityResponse",
            "AssumeRoleResponse",
        ),
        (
            "two ARNs",
            "<Account>",
            "<Arn>arn:aws:sts::1:assumed-role/a/b</Arn><Account>",
        ),
        (
            "an element in the ARN",
            "my-role-name/",
            "<b/>my-role-name/",
        ),
        ("no account", "<Account>123456789012</Account>", ""),
        (
            "two results",
            "</GetCallerIdentityResult>",
            "</GetCallerIdentityResult><GetCallerIdentityResult/>",
        ),
    ] {
        bad.push((what, DOCUMENTED.replace(from, to)));
    }
    bad.push((
        "many nodes",
        DOCUMENTED.replace("<Account>", &format!("{}<Account>", "<x/>".repeat(200))),
    ));
    bad.push(("long", inside("", &" ".repeat(70_000))));
    for (what, body) in &bad {
        assert_eq!(read(200, body.as_bytes()), Err(AnswerFault::Form), "{what}");
    }
    assert_eq!(read(200, b"\xff"), Err(AnswerFault::Form));
    // Accounts that differ, and callers that are no roles.
    for (from, to) in [
        ("<Account>123456789012", "<Account>210987654321"),
        (
            "sts::123456789012:assumed-role/my-role-name/my-role-session-name",
            "iam::123456789012:user/alice",
        ),
    ] {
        let Ok(Told::Caller(caller)) = read(200, DOCUMENTED.replace(from, to).as_bytes()) else {
            panic!("it is an answer");
        };
        assert_eq!(caller.role(), None, "{to}");
    }
}

fn role(name: &str, session: &str) -> AssumedRole {
    AssumedRole::parse(&format!(
        "arn:aws:sts::123456789012:assumed-role/{name}/{session}"
    ))
    .unwrap()
}

#[test]
fn f8_a_role_is_vouched_for_while_the_policy_trusts_it_under_its_name() {
    let clock = Arc::new(ManualClock::new(NOW));
    let roles = AwsRoles::new(&PolicyIssuers::default(), vec!["taken".to_owned()], clock);
    let of = |name: &str, role: &str| {
        let text = format!(
            "trusted_issuers: [{{ name: {name}, aws_roles: ['arn:aws:iam::123456789012:role/{role}'] }}]"
        );
        yaml::parse(&text).unwrap().trusted_issuers
    };
    let deploy = principal(&"aws".into(), &role("deploy", "run"));
    assert!(!roles.vouch_for(&deploy));
    assert!(roles.follow(&of("aws", "deploy")));
    assert!(!roles.follow(&of("aws", "deploy")), "nothing is new");
    assert!(roles.vouch_for(&deploy));
    assert!(!roles.vouch_for(&principal(&"aws".into(), &role("deploy-2", "run"))));
    assert!(!roles.vouch_for(&principal(&"other".into(), &role("deploy", "run"))));
    let mut posing = deploy.clone();
    posing.issuer = "https://ci.example".into();
    assert!(!roles.vouch_for(&posing));
    assert!(roles.follow(&of("aws", "dep*")));
    assert!(roles.vouch_for(&deploy));
    for (name, role) in [("aws", "ci-*"), ("other", "deploy"), ("taken", "deploy")] {
        roles.follow(&of(name, role));
        assert!(!roles.vouch_for(&deploy), "{name} {role}");
        let taken = principal(&"taken".into(), &self::role("deploy", "run"));
        assert!(!roles.vouch_for(&taken), "the configuration has the name");
    }
    roles.follow(&of("aws", "deploy"));
    assert!(roles.follow(&[]));
    assert!(!roles.vouch_for(&deploy));
}

#[tokio::test]
async fn nothing_is_asked_of_aws_where_nobody_is_trusted() {
    let roles = AwsRoles::new(
        &PolicyIssuers::default(),
        Vec::new(),
        Arc::new(ManualClock::new(NOW)),
    );
    let told = roles.verify(&of_region(None), EDGE).await;
    assert_eq!(told, Err(AwsFault::NobodyTrusted));
}
