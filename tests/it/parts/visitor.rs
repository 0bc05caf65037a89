//! Somebody with a browser that has cookies and follows redirects, and nothing else: fast, and able to do what browsers never would.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use reqwest::header::{ACCEPT, COOKIE, HeaderMap, LOCATION, ORIGIN, REFRESH, SET_COOKIE};
use reqwest::{Method, StatusCode, redirect};
use url::Url;

/// More than any way in takes.
const MAX_HOPS: usize = 12;

/// Somebody.
#[derive(Clone)]
pub(crate) struct Visitor {
    http: reqwest::Client,
    /// By host, then by name; loopback ports share cookies, as in browsers.
    pub(crate) jar: HashMap<String, HashMap<String, String>>,
    /// Every value that was secret on the way: cookies, codes, states.
    pub(crate) secrets: Vec<String>,
    /// A path they do not go to yet.
    pub(crate) stops_before: Option<&'static str>,
}

/// Where they have arrived.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Visitor {
    /// Nobody's cookies yet.
    pub(crate) fn new() -> Self {
        Self::with_roots(Vec::new())
    }

    /// The same, who trusts these roots (PEM).
    pub(crate) fn trusting(pem: &str) -> Self {
        Self::with_roots(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap())
    }

    fn with_roots(roots: Vec<reqwest::Certificate>) -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .tls_certs_merge(roots)
            .no_proxy();
        for host in [
            "access", "grafana", "payroll", "releases", "lines", "k8s", "nowhere",
        ] {
            builder = builder.resolve(&format!("{host}.localhost"), loopback);
        }
        Self {
            http: builder.build().unwrap(),
            jar: HashMap::new(),
            secrets: Vec::new(),
            stops_before: None,
        }
    }

    /// One request with the host's cookies, as a navigation; no redirect is followed.
    pub(crate) async fn step(&mut self, method: Method, url: Url, form: Option<String>) -> Page {
        let host = url.host_str().unwrap().to_owned();
        let mut request = self
            .http
            .request(method, url.clone())
            .header(ACCEPT, "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "same-origin");
        if let Some(cookies) = self.jar.get(&host).filter(|cookies| !cookies.is_empty()) {
            let pairs = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            request = request.header(COOKIE, pairs.collect::<Vec<_>>().join("; "));
        }
        if let Some(form) = form {
            request = request
                .header(ORIGIN, url.origin().ascii_serialization())
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form);
        }
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            self.keep(&host, cookie.to_str().unwrap());
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Page {
            url,
            status,
            headers,
            text,
        }
    }

    /// Sends a form to an edge that may end meanwhile; `None` if no answer comes.
    pub(crate) async fn try_step(&mut self, url: Url, form: String) -> Option<StatusCode> {
        let jar = self.jar.get(url.host_str().unwrap())?;
        let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
        let request = self
            .http
            .post(url.clone())
            .header(COOKIE, pairs.collect::<Vec<_>>().join("; "))
            .header(ORIGIN, url.origin().ascii_serialization())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        request.send().await.ok().map(|answer| answer.status())
    }

    /// Begins to read something long.
    pub(crate) async fn stream(&self, url: &str) -> reqwest::Response {
        let url: Url = url.parse().unwrap();
        let cookies = &self.jar[url.host_str().unwrap()];
        let pairs = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        let request = self.http.get(url).header(COOKIE, cookies);
        request.send().await.unwrap()
    }

    /// Asks as a program does, with a bearer token and no cookie.
    pub(crate) async fn bearer(&self, url: &str, token: &str) -> StatusCode {
        let request = self.http.get(url).bearer_auth(token);
        request.send().await.unwrap().status()
    }

    fn keep(&mut self, host: &str, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let jar = self.jar.entry(host.to_owned()).or_default();
        if value.is_empty() || attributes.contains("Max-Age=0") {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
            let secret = value.rsplit('.').next().unwrap();
            self.secrets.push(secret.to_owned());
        }
    }

    /// Opens a page and follows every redirect.
    pub(crate) async fn open(&mut self, url: &str) -> Page {
        let page = self.step(Method::GET, url.parse().unwrap(), None).await;
        self.follow(page).await
    }

    /// Follows every redirect from here on.
    pub(crate) async fn follow(&mut self, mut page: Page) -> Page {
        for _ in 0..MAX_HOPS {
            let Some(location) = destination(&page.headers) else {
                return page;
            };
            let next = page.url.join(location).unwrap();
            if Some(next.path()) == self.stops_before {
                return page;
            }
            let secret = ["code", "state", "attempt", "nonce", "id_token_hint"];
            let pairs = next.query_pairs();
            let told = pairs.filter(|(name, _)| secret.contains(&&**name));
            let told: Vec<String> = told.map(|(_, value)| value.into_owned()).collect();
            self.secrets.extend(told);
            page = self.step(Method::GET, next, None).await;
        }
        panic!("no end of redirects: {page:?}");
    }

    /// Sends the page's first form, with these fields beside its hidden ones.
    pub(crate) async fn submit(&mut self, page: &Page, more: &[(&str, &str)]) -> Page {
        let action = attribute(&page.text, "<form ", "action").expect("a form");
        let url = page.url.join(&action).unwrap();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let (_, first) = page.text.split_once("<form ").unwrap();
        let first = first.split("</form>").next().unwrap();
        for input in first.split("<input ").skip(1) {
            let input = format!("<input {}>", input.split_once('>').unwrap().0);
            let name = attribute(&input, "<input ", "name").unwrap();
            form.append_pair(&name, &attribute(&input, "<input ", "value").unwrap());
        }
        form.extend_pairs(more);
        let page = self.step(Method::POST, url, Some(form.finish())).await;
        self.follow(page).await
    }

    /// Opens a page, and signs in on the way if asked to.
    pub(crate) async fn open_as(&mut self, person: &str, url: &str) -> Page {
        let page = self.open(url).await;
        if page.text.contains("DEMO IDENTITY PROVIDER") {
            return self.submit(&page, &[("person", person)]).await;
        }
        page
    }

    /// Whether the session of this browser is known to the host.
    pub(crate) async fn is_signed_in(&mut self, origin: &str) -> bool {
        let url = format!("{origin}/.wayleave/session");
        self.step(Method::GET, url.parse().unwrap(), None)
            .await
            .status
            == StatusCode::OK
    }
}

/// Where an answer leads, by redirect or by `Refresh`.
fn destination(headers: &HeaderMap) -> Option<&str> {
    if let Some(location) = headers.get(LOCATION) {
        return location.to_str().ok();
    }
    let refresh = headers.get(REFRESH)?.to_str().ok()?;
    Some(refresh.split_once("url=")?.1)
}

/// An attribute of the first tag that begins so, without the five escapes of our templates.
fn attribute(text: &str, tag: &str, name: &str) -> Option<String> {
    let tag = text.split_once(tag)?.1.split_once('>')?.0;
    let value = tag.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
    let escapes = [
        ("&#38;", "&"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
    ];
    let plain = |text: String, (from, to): (&str, &str)| text.replace(from, to);
    Some(escapes.into_iter().fold(value.to_owned(), plain))
}
