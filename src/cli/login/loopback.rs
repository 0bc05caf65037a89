//! The port at which the browser brings the answer. The page that it sees is always the same two, with nothing of the request in them (security.md I6).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::form_urlencoded;

use crate::cli::person::fault::Fault;
use crate::secret::Token;

/// Longest wait for somebody to sign in.
const PATIENCE: Duration = Duration::from_secs(300);

const DONE: &str = "<!doctype html><html lang=\"en\"><title>Signed in</title><h1>This machine is let in</h1><p>Go back to the terminal. You can close this page.</html>";
const NOT_DONE: &str = "<!doctype html><html lang=\"en\"><title>Not signed in</title><h1>This machine is not let in</h1><p>The terminal says why. You can close this page.</html>";

/// A port that waits.
pub(super) struct Loopback {
    listener: TcpListener,
    redirect_uri: String,
}

/// What the browser brought.
enum Brought {
    Code(String),
    Error(String),
}

struct Waiting {
    state: String,
    issuer: String,
    found: Mutex<Option<oneshot::Sender<Brought>>>,
}

impl Loopback {
    pub(super) async fn bind(port: Option<u16>) -> Result<Self, Fault> {
        let port = port.unwrap_or(0);
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let listener = match TcpListener::bind(v4).await {
            Ok(listener) => Ok(listener),
            Err(error) => TcpListener::bind(v6).await.map_err(|_| error),
        };
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| {
            let message = format!("port {port} of this machine cannot be waited at: {error}");
            Fault::failed(message).next("choose another with --callback-port, or use --device")
        })?;
        Ok(Self {
            listener,
            redirect_uri: format!("http://{address}/callback"),
        })
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The code, once a browser brings one with our state from this issuer (RFC 9207). What comes with another state is not for us.
    pub(super) async fn answer(self, state: &Token, issuer: &str) -> Result<String, Fault> {
        let (sender, receiver) = oneshot::channel();
        let waiting = Arc::new(Waiting {
            state: state.expose().to_owned(),
            issuer: issuer.to_owned(),
            found: Mutex::new(Some(sender)),
        });
        let not_head = async || StatusCode::METHOD_NOT_ALLOWED;
        let router = Router::new()
            .route("/callback", get(callback).head(not_head))
            .with_state(waiting);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(async {
            let _dropped = stopped.await;
        });
        let brought = async {
            let brought = tokio::time::timeout(PATIENCE, receiver).await;
            // The page is sent to its end before the port is closed.
            drop(stop);
            brought
        };
        let (brought, _closed) = tokio::join!(brought, async {
            let serving = std::future::IntoFuture::into_future(serving);
            tokio::time::timeout(PATIENCE + Duration::from_secs(5), serving).await
        });
        match brought {
            Ok(Ok(Brought::Code(code))) => Ok(code),
            Ok(Ok(Brought::Error(error))) if error == "access_denied" => {
                Err(Fault::denied("it was not allowed in the browser")
                    .next("wayleave login, once more"))
            }
            Ok(Ok(Brought::Error(error))) => Err(Fault::failed(format!(
                "the edge did not let this machine in: {error}"
            ))),
            Ok(Err(_)) => Err(Fault::failed("the port was closed")),
            Err(_) => {
                let message = "nobody signed in within five minutes";
                Err(Fault::not_signed_in(message).next("wayleave login, once more"))
            }
        }
    }
}

async fn callback(State(waiting): State<Arc<Waiting>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let one = |name: &str| {
        let mut all = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name);
        match (all.next(), all.next()) {
            (Some((_, value)), None) => Some(value.into_owned()),
            _ => None,
        }
    };
    if one("state").as_ref() != Some(&waiting.state) {
        return page(StatusCode::BAD_REQUEST, NOT_DONE);
    }
    let brought = match (one("iss"), one("code"), one("error")) {
        (Some(issuer), ..) if issuer != waiting.issuer => None,
        (Some(_), Some(code), None) => Some(Brought::Code(code)),
        (Some(_), None, Some(error)) => Some(Brought::Error(shown(&error))),
        _ => None,
    };
    let brought = brought.unwrap_or_else(|| {
        Brought::Error("what the browser brought is not from the edge that was asked".to_owned())
    });
    let is_code = matches!(brought, Brought::Code(_));
    let sender = waiting
        .found
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let is_first = sender.is_some_and(|sender| sender.send(brought).is_ok());
    match (is_first, is_code) {
        (true, true) => page(StatusCode::OK, DONE),
        _ => page(StatusCode::BAD_REQUEST, NOT_DONE),
    }
}

/// What goes to a terminal has no control characters.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(200).collect()
}

fn page(status: StatusCode, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, text).into_response()
}
