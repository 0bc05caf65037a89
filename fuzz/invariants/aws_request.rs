//! A request that the edge would send for a stranger goes to AWS's STS, asks it one question, and carries nothing that is not signed; an answer names a role or
//! nobody. Input: a request (its JSON or the base64url of that), or an answer, taken for each of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wayleave::clock::Timestamp;
use wayleave::identity::aws::{AssumedRole, Partition, role_name};
use wayleave::token::aws::AUDIENCE;
use wayleave::token::aws::answer::{Told, read};
use wayleave::token::aws::request::{GOOD, LEEWAY, SignedRequest};

const EDGE: &str = "https://access.corp.example";

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    for status in [200, 400, 403, 500] {
        let Ok(Told::Caller(caller)) = read(status, bytes) else {
            continue;
        };
        assert_eq!(status, 200);
        if let Some(role) = caller.role() {
            assert_eq!(role_name(&role.role_arn()), Some(role.role.as_str()));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(role) = AssumedRole::parse(text) {
        assert!(!role.role.contains('/') && !role.session.contains('/'));
    }
    for shown in [text.to_owned(), URL_SAFE_NO_PAD.encode(text)] {
        if let Ok(request) = SignedRequest::parse(&shown) {
            check_request(&request);
        }
    }
}

fn check_request(request: &SignedRequest) {
    let host = request.host();
    let region = host.strip_prefix("sts.").expect("a host of STS");
    let region = match request.partition() {
        Partition::China => region.strip_suffix(".amazonaws.com.cn"),
        Partition::Aws if region == "amazonaws.com" => Some("us-east-1"),
        Partition::Aws | Partition::GovCloud => region.strip_suffix(".amazonaws.com"),
    };
    let region = region.expect("a host of AWS");
    assert_eq!(Partition::of_region(region), Some(request.partition()));
    let said = |name: &str| {
        let mut found = request.headers().iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.to_str().expect("plain"));
        assert!(found.next().is_none(), "{name} is sent once");
        value
    };
    let authorization = said("authorization").expect("a signature");
    let (_, signed) = authorization.split_once("SignedHeaders=").expect("a list");
    let (signed, _) = signed.split_once(',').expect("the signature");
    let signed: Vec<&str> = signed.trim().split(';').collect();
    for (name, value) in request.headers() {
        assert!(name == "authorization" || signed.contains(&name.as_str()));
        assert!(!value.as_bytes().contains(&b'\n') && !value.is_empty());
    }
    for required in ["host", "x-amz-date", AUDIENCE] {
        assert!(signed.contains(&required));
    }
    assert!(said("host").is_none_or(|sent| sent == host));
    assert!(authorization.contains(&format!("/{region}/sts/aws4_request")));
    let at = request.made_at();
    let is_ours = said(AUDIENCE) == Some(EDGE);
    assert_eq!(request.check(EDGE, at).is_ok(), is_ours);
    assert!(request.check(EDGE, at.plus(GOOD)).is_err());
    let before = at.minus(LEEWAY).micros() - 1;
    assert!(request.check(EDGE, Timestamp::from_micros(before)).is_err());
}
