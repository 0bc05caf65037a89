//! A small browser: a cookie jar for each host, redirects, one form. It finds every `*.localhost` at 127.0.0.1.

use std::collections::BTreeMap;

use http::{HeaderMap, Request, StatusCode, header};
use url::Url;

use super::client::{Page, Sender, Version};
use super::{Body, empty, full};

/// Somebody's browser.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    /// By host, then by name.
    pub(crate) jar: BTreeMap<String, BTreeMap<String, String>>,
    root: String,
    /// Where it does not go yet: paths that begin so.
    pub(crate) stops_before: Option<&'static str>,
    /// Headers that it sends with everything.
    pub(crate) says: Vec<(&'static str, String)>,
    /// What it was told on the way, and where.
    pub(crate) trail: Vec<(Url, HeaderMap)>,
}

/// What a navigation led to.
pub(crate) struct Arrived {
    pub(crate) url: Url,
    pub(crate) page: Page,
}

impl Arrived {
    /// Where it would have gone on.
    pub(crate) fn next(&self) -> Url {
        let location = self.page.header("location");
        assert!(!location.is_empty(), "{}: {:?}", self.url, self.page);
        self.url.join(location).unwrap()
    }
}

impl Browser {
    /// Trusts the front door's root.
    pub(crate) fn new(root: &str) -> Self {
        Self {
            root: root.to_owned(),
            ..Self::default()
        }
    }

    /// The `Cookie` header for a host.
    pub(crate) fn cookies(&self, host: &str) -> String {
        let jar = self.jar.get(host).into_iter().flatten();
        let pairs: Vec<_> = jar.map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn keep(&mut self, host: &str, page: &Page) {
        for set in page.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let pair = set.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let jar = self.jar.entry(host.to_owned()).or_default();
            if value.is_empty() || set.to_ascii_lowercase().contains("max-age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// One request, no redirects.
    pub(crate) async fn fetch(&mut self, mut request: Request<Body>) -> Page {
        let url = Url::parse(&request.uri().to_string()).unwrap();
        let host = url.host_str().unwrap().to_owned();
        let cookies = self.cookies(&host);
        if !cookies.is_empty() {
            request
                .headers_mut()
                .insert("cookie", cookies.parse().unwrap());
        }
        for (name, value) in &self.says {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let address = ([127, 0, 0, 1], url.port_or_known_default().unwrap()).into();
        let mut sender = match url.scheme() {
            "https" => Sender::tls(address, &self.root, &host, Version::H1).await,
            _ => Sender::plain(address, Version::H1).await,
        };
        let page = sender.page(request).await;
        self.keep(&host, &page);
        self.trail.push((url, page.headers.clone()));
        page
    }

    /// Follows redirects of a top-level navigation to their end.
    pub(crate) async fn go(&mut self, url: &str) -> Arrived {
        let page = self.fetch(navigation("GET", url, empty())).await;
        self.follow(Url::parse(url).unwrap(), page).await
    }

    /// Goes to `url`, and chooses this provider if asked to.
    pub(crate) async fn go_by(&mut self, url: &str, provider: &str) -> Arrived {
        let arrived = self.go(url).await;
        let text = arrived.page.text();
        let link = format!("href=\"/.wayleave/sign-in/{provider}");
        let Some((_, rest)) = text.split_once(&link) else {
            return arrived;
        };
        let rest = unescaped(rest.split('"').next().unwrap());
        let link = format!("/.wayleave/sign-in/{provider}{rest}");
        let link = arrived.url.join(&link).unwrap();
        self.go(link.as_str()).await
    }

    async fn follow(&mut self, mut url: Url, mut page: Page) -> Arrived {
        for _ in 0..20 {
            if !page.status.is_redirection() {
                return Arrived { url, page };
            }
            let next = url.join(page.header("location")).unwrap();
            let is_as_far_as_it_goes = |before: &str| next.path().starts_with(before);
            if self.stops_before.is_some_and(is_as_far_as_it_goes) {
                return Arrived { url, page };
            }
            url = next;
            page = self.fetch(navigation("GET", url.as_str(), empty())).await;
        }
        panic!("redirects without end at {url}");
    }

    /// Goes on from where it stopped, to the end.
    pub(crate) async fn go_on(&mut self, url: &Url) -> Arrived {
        self.stops_before = None;
        self.go(url.as_str()).await
    }

    /// One navigation, no redirects.
    pub(crate) async fn step(&mut self, url: &Url) -> Page {
        self.fetch(navigation("GET", url.as_str(), empty())).await
    }

    /// Who it is that is signed in at an origin.
    pub(crate) async fn person_at(&mut self, origin: &str) -> Option<String> {
        let url = format!("{origin}/.wayleave/session");
        let said = self.fetch(Request::get(url).body(empty()).unwrap()).await;
        let known = said.status == StatusCode::OK;
        known.then(|| said.json()["user"].as_str().unwrap().to_owned())
    }

    /// Sends a form as the page at `url` would.
    pub(crate) async fn submit(&mut self, url: Url, fields: &[(String, String)]) -> Arrived {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = navigation("POST", url.as_str(), full(body));
        let headers = request.headers_mut();
        let kind = "application/x-www-form-urlencoded";
        headers.insert("content-type", kind.parse().unwrap());
        let origin = url.origin().ascii_serialization();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        let page = self.fetch(request).await;
        self.follow(url, page).await
    }

    /// Goes to `url` and signs in on the way, as one of the demo provider's people.
    pub(crate) async fn sign_in(&mut self, url: &str, person: &str) -> Arrived {
        let arrived = self.go_by(url, "demo").await;
        let text = arrived.page.text();
        assert_eq!(
            arrived.page.status,
            StatusCode::OK,
            "{}: {text}",
            arrived.url
        );
        assert!(
            text.contains("action=\"/sign-in\""),
            "{}: {text}",
            arrived.url
        );
        let mut fields = hidden(&text);
        fields.push(("person".to_owned(), person.to_owned()));
        let form = arrived.url.join("/sign-in").unwrap();
        self.submit(form, &fields).await
    }

    /// Signs out on the home host.
    pub(crate) async fn sign_out(&mut self, home: &str) -> Arrived {
        let asked = self.go(&format!("{home}/.wayleave/sign-out")).await;
        let text = asked.page.text();
        let fields = hidden(&text);
        assert!(!fields.is_empty(), "{}: {text}", asked.url);
        let form = asked.url.join("/.wayleave/sign-out").unwrap();
        self.submit(form, &fields).await
    }
}

/// What a browser sends when its address bar leads somewhere.
pub(crate) fn navigation(method: &str, url: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(url)
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", "none")
        .header("upgrade-insecure-requests", "1")
        .body(body)
        .unwrap()
}

/// Names and values of a page's hidden fields.
pub(crate) fn hidden(html: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for tag in html.split("<input").skip(1) {
        let tag = tag.split('>').next().unwrap();
        let value = |name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\""))?;
            Some(unescaped(rest.split('"').next()?))
        };
        if let (Some(name), Some(value)) = (value("name"), value("value")) {
            fields.push((name, value));
        }
    }
    fields
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&#38;", "&").replace("&amp;", "&");
    text.replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
}
