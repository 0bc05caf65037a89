//! What programs and people send to the authorization server: where a code may go to is a port of this very machine, a user code has one reading, and a proof
//! that is accepted is accepted once; nobody is taken for a service account without its key. Input: any text, taken for each of them.

use wayleave::clock::Timestamp;
use wayleave::oauth::client::redirect_uri;
use wayleave::oauth::user_code::UserCode;
use wayleave::policy::yaml;
use wayleave::token::client_assertion::ServiceAccounts;
use wayleave::token::dpop::{ProofFault, Proofs, Proven};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Of RFC 7517 appendix A.1; nobody here has its private half.
const ACCOUNT: &str = "service_accounts: [{ name: backup, jwks: { keys: [{ kty: EC, crv: P-256, x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4, y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM }] } }]";

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(url) = redirect_uri(text) {
        let port = url.port_or_known_default().expect("a port");
        let forms = ["127.0.0.1", "[::1]"].map(|host| format!("http://{host}:{port}/callback"));
        assert!(forms.iter().any(|form| form == text), "{text}");
    }
    if let Some(code) = UserCode::parse(text) {
        let shown = code.shown();
        assert_eq!(shown.len(), 9);
        assert!(UserCode::parse(&shown).is_some_and(|again| again == code));
    }
    let request = Proven {
        method: "GET",
        origin: "https://app.example",
        path: "/",
        token: None,
    };
    let proofs = Proofs::default();
    if let Ok(thumbprint) = proofs.verify(text, request, NOW) {
        assert_eq!(thumbprint.len(), 43);
        let again = proofs.verify(text, request, NOW);
        assert_eq!(again, Err(ProofFault::Replayed));
    }
    let accounts = ServiceAccounts::default();
    accounts.follow(&yaml::parse(ACCOUNT).expect("a policy").service_accounts);
    if let Some(claimed) = accounts.claimed(text) {
        assert_eq!(&*claimed, "backup");
    }
    let verified = accounts.verify(text, None, "https://access.example", NOW);
    assert!(verified.is_err(), "{text}");
}
