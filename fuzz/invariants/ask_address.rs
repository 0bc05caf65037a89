//! What is read from the address of the page where access is asked for leads to the named host at our own scheme and port, as a browser resolves it, and is
//! written again as it was read. Input: a query.

use http::HeaderValue;
use url::Url;
use wayleave::address::host::Host;
use wayleave::address::origin::{Origin, Scheme};
use wayleave::web::ask::Wanted;
use wayleave::web::parameters::Parameters;

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(parameters) = Parameters::parse(bytes, 8192) else {
        return;
    };
    for (scheme, port) in [(Scheme::Https, 443), (Scheme::Http, 8080)] {
        let host = Host::parse("access.example").expect("a host");
        let home = Origin { scheme, host, port };
        if let Some(wanted) = Wanted::read(&parameters, &home) {
            stays(&home, &wanted);
        }
    }
}

fn stays(home: &Origin, wanted: &Wanted) {
    let origin = home.at_host(wanted.host.clone()).to_string();
    let location = format!("{origin}{}", wanted.target());
    assert!(HeaderValue::from_str(&location).is_ok(), "{location:?}");
    let resolved = Url::parse(&location).expect("a URL");
    let expected = Url::parse(&origin).expect("an origin is a URL");
    assert_eq!(resolved.origin(), expected.origin(), "{location:?}");
    assert_eq!(resolved.username(), "");
    assert_eq!(resolved.path(), wanted.path, "{location:?}");
    assert!(resolved.fragment().is_none(), "{location:?}");
    let written = wanted.ask_url(home);
    let (_, query) = written.split_once('?').expect("a query");
    let parameters = Parameters::parse(query.as_bytes(), usize::MAX).expect("each once");
    let again = Wanted::read(&parameters, home).expect("it was read before");
    let shortened = Wanted {
        query: again.query.clone(),
        ..wanted.clone()
    };
    assert_eq!(again, shortened);
    assert!(again.query.is_none() || again.query == wanted.query);
}
