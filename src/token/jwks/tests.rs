use std::sync::atomic::AtomicUsize;

use axum::Json;
use axum::routing::get;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::clock::ManualClock;
use crate::token::outbound::Reach;

/// A cache, and a server that counts how often it is asked, to run beside.
async fn cache(fetches: Arc<AtomicUsize>) -> (KeyCache, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let keys = async move || {
        fetches.fetch_add(1, Ordering::SeqCst);
        Json(json!({"keys": []}))
    };
    let app = axum::Router::new().route("/jwks", get(keys));
    let outbound = Outbound::new(Reach {
        ca_file: None,
        allowed_private_networks: &[],
        insecure_allow_http_loopback: true,
    });
    let source = KeySource::Url(Url::parse(&url).unwrap());
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1000)));
    let server = async move { axum::serve(listener, app).await.unwrap() };
    (
        KeyCache::new(outbound, source, clock, Arc::default()),
        server,
    )
}

#[tokio::test]
async fn g8_those_who_wait_for_a_fetch_cause_no_other() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let (cache, server) = cache(fetches.clone()).await;
    let all = async {
        for round in [1, 2, 2] {
            for outcome in join_all((0..20).map(|_| cache.fetch())).await {
                assert_eq!(outcome, Ok(()));
            }
            assert_eq!(fetches.load(Ordering::SeqCst), round);
        }
    };
    tokio::select! {
        () = all => {}
        () = server => {}
    }
}
