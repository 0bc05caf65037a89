//! Pools against a workload that tells who is calling and over which connection.

mod stage;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local};

use crate::config::checked::Limits;
use crate::edge::body::{BoxError, EdgeBody};
use crate::edge::upstream::SendError;
use crate::policy::model::UpstreamProtocol;
use stage::{Stage, WORKLOAD, Workload, get, person, read, request, route, scene, seen, settle};

async fn c1_alternate(protocol: UpstreamProtocol, most_connections: usize) {
    let (_stage, workload, pools, route) = scene(protocol).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (pools, route) = (pools.clone(), Arc::clone(&route));
        tasks.push(spawn_local(async move {
            for turn in 0..250 {
                let identity = person(if turn % 2 == 0 { "alice" } else { "bob" });
                let svid = pools.svid(&identity).unwrap();
                let seen = seen(&pools, &svid, &route).await;
                assert_eq!(seen.spiffe_id, identity.as_str());
                assert_eq!(seen.thumbprint, svid.thumbprint);
                assert_eq!(seen.authority, "web.example.com");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let opened = workload.opened.get();
    assert!((2..=most_connections).contains(&opened), "{opened}");
}

#[tokio::test]
async fn c1_each_request_bears_its_callers_certificate_over_http1() {
    LocalSet::new()
        .run_until(c1_alternate(UpstreamProtocol::Http1, 32))
        .await;
}

#[tokio::test]
async fn c1_each_request_bears_its_callers_certificate_over_http2() {
    LocalSet::new()
        .run_until(c1_alternate(UpstreamProtocol::Http2, 2))
        .await;
}

#[tokio::test]
async fn c1_each_request_bears_its_callers_certificate_where_the_upstream_chooses() {
    LocalSet::new()
        .run_until(c1_alternate(UpstreamProtocol::Auto, 2))
        .await;
}

#[tokio::test]
async fn c2_connections_whose_exchange_did_not_end_well_are_not_used_again() {
    let test = async {
        let (_stage, workload, pools, route) = scene(UpstreamProtocol::Http1).await;
        let svid = pools.svid(&person("alice")).unwrap();

        let first = seen(&pools, &svid, &route).await.connection;
        settle().await;
        let again = seen(&pools, &svid, &route).await.connection;
        assert_eq!(first, again, "what ended well is used again");
        settle().await;

        for path in ["/endless", "/large"] {
            let sent = get(&pools, &svid, &route, path).await.unwrap();
            assert!(sent.connected.reused);
            let mut body = sent.response.into_body();
            body.frame().await.unwrap().unwrap();
            let before = workload.opened.get();
            // While it is being read nobody else gets it.
            assert_eq!(seen(&pools, &svid, &route).await.connection, before + 1);
            drop(body);
            settle().await;
            assert_eq!(
                seen(&pools, &svid, &route).await.connection,
                before + 1,
                "half-read: {path}"
            );
            settle().await;
        }

        let before = workload.opened.get();
        let waiting = get(&pools, &svid, &route, "/never");
        assert!(
            tokio::time::timeout(Duration::from_millis(50), waiting)
                .await
                .is_err()
        );
        settle().await;
        assert_eq!(
            seen(&pools, &svid, &route).await.connection,
            before + 1,
            "nobody waited for the answer"
        );
        settle().await;

        let before = workload.opened.get();
        let chunks =
            futures_util::stream::iter([Ok(Bytes::from_static(b"x")), Err("the client left")]);
        let body = EdgeBody::Own(axum::body::Body::from_stream(chunks));
        let sent = pools.exchange(&svid, &route, request("/echo", body)).await;
        assert!(matches!(sent, Err(SendError::Broken(_))), "{sent:?}");
        settle().await;
        assert_eq!(
            seen(&pools, &svid, &route).await.connection,
            before + 1,
            "the upload broke off"
        );
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn c2_an_answer_before_the_end_of_the_request_does_not_free_the_connection() {
    let test = async {
        let (_stage, _workload, pools, route) = scene(UpstreamProtocol::Http1).await;
        let svid = pools.svid(&person("alice")).unwrap();
        let chunks = futures_util::stream::iter([Ok::<_, BoxError>(Bytes::from_static(b"x"))]);
        let chunks = chunks.chain(futures_util::stream::pending());
        let body = EdgeBody::Own(axum::body::Body::from_stream(chunks));
        let sent = pools.exchange(&svid, &route, request("/large", body)).await;
        let _read = sent.unwrap().response.into_body().collect().await;
        settle().await;
        assert_eq!(seen(&pools, &svid, &route).await.connection, 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn c2_an_upgraded_connection_is_nobody_elses() {
    let test = async {
        let (_stage, _workload, pools, route) = scene(UpstreamProtocol::Auto).await;
        let svid = pools.svid(&person("alice")).unwrap();
        let mut asking = request("/upgrade", EdgeBody::Empty);
        asking
            .headers_mut()
            .insert("connection", "upgrade".parse().unwrap());
        asking
            .headers_mut()
            .insert("upgrade", "echo".parse().unwrap());
        let sent = pools.upgrade(&svid, &route, asking).await.unwrap();
        let (response, connected) = (sent.response, sent.connected);
        assert_eq!(response.status(), 101);
        assert!(!connected.http2 && !connected.reused);
        let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        tunnel.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
        assert_eq!(seen(&pools, &svid, &route).await.connection, 2);
        drop(tunnel);
        settle().await;
        assert_eq!(seen(&pools, &svid, &route).await.connection, 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn c3_no_connection_builds_on_the_handshake_of_another() {
    let test = async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (_stage, mut workload, pools, route) = scene(protocol).await;
            let alice = pools.svid(&person("alice")).unwrap();
            for connection in 1..4 {
                let seen = seen(&pools, &alice, &route).await;
                assert_eq!(seen.connection, connection);
                settle().await;
                workload.hang_up().await;
                settle().await;
            }
            let bob = pools.svid(&person("bob")).unwrap();
            assert_eq!(seen(&pools, &bob, &route).await.thumbprint, bob.thumbprint);
            assert_eq!(workload.resumed.get(), 0, "both ends are proved each time");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn c6_an_upstream_that_is_somebody_else_gets_no_request() {
    let test = async {
        let stage = Stage::new();
        let rogue = Stage::new();
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let pools = stage.pools(&Limits::default());
            let svid = pools.svid(&person("alice")).unwrap();
            let workload = stage.workload().await;
            let other = route(
                &[workload.port],
                protocol,
                "spiffe://demo.wayleave/ns/apps/sa/other",
            );
            let sent = get(&pools, &svid, &other, "/who").await;
            let Err(SendError::PeerIdentity(who)) = sent else {
                panic!("{sent:?}");
            };
            assert!(who.contains(WORKLOAD), "{who}");
            // The right name, vouched for by somebody else.
            let impostor = Workload::start(&rogue.authority, &stage.authority.mesh_bundle()).await;
            let route = route(&[impostor.port], protocol, WORKLOAD);
            let sent = get(&pools, &svid, &route, "/who").await;
            assert!(matches!(sent, Err(SendError::PeerIdentity(_))), "{sent:?}");
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_workload_that_does_not_take_the_identity_is_told_apart() {
    let test = async {
        let stage = Stage::new();
        let strangers = Stage::new().authority.mesh_bundle();
        let workload = Workload::start(&stage.authority, &strangers).await;
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let route = route(&[workload.port], protocol, WORKLOAD);
            for _ in 0..20 {
                let pools = stage.pools(&Limits::default());
                let svid = pools.svid(&person("alice")).unwrap();
                let body = EdgeBody::full(vec![b'x'; 256 * 1024]);
                let sent = pools.exchange(&svid, &route, request("/who", body)).await;
                assert!(
                    matches!(sent, Err(SendError::IdentityRefused(_))),
                    "{sent:?}"
                );
            }
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn c12_rotation_under_load_fails_no_request() {
    let test = async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (stage, _workload, pools, route) = scene(protocol).await;
            let mut tasks = Vec::new();
            let alice = person("alice");
            // How many requests each task has made, and whether they may stop.
            let made = Rc::new([const { Cell::new(0_usize) }; 6]);
            let is_over = Rc::new(Cell::new(false));
            for number in 0..made.len() {
                let (pools, route, alice) = (pools.clone(), Arc::clone(&route), alice.clone());
                let (made, is_over) = (Rc::clone(&made), Rc::clone(&is_over));
                tasks.push(spawn_local(async move {
                    let mut thumbprints = std::collections::HashSet::new();
                    while !is_over.get() {
                        let svid = pools.svid_at_hand(&alice);
                        let svid = svid.unwrap_or_else(|| pools.svid(&alice).unwrap());
                        let seen = seen(&pools, &svid, &route).await;
                        assert_eq!(seen.thumbprint, svid.thumbprint);
                        thumbprints.insert(seen.thumbprint);
                        made[number].set(made[number].get() + 1);
                    }
                    thumbprints.len()
                }));
            }
            let before = pools.svid(&alice).unwrap().thumbprint.clone();
            for turn in 0..4 {
                // Every task has used the certificate there is.
                let wanted = made.iter().map(Cell::get).max().unwrap() + 5;
                while made.iter().any(|made| made.get() < wanted) {
                    assert!(
                        !tasks.iter().any(|task| task.is_finished()),
                        "a task failed"
                    );
                    seen(&pools, &pools.svid(&alice).unwrap(), &route).await;
                }
                match turn {
                    1 => stage.renew_authority(),
                    3 => is_over.set(true),
                    _ => {
                        stage.clock.advance(Duration::from_secs(16));
                        stage.clock.advance(Duration::from_secs(15));
                    }
                }
            }
            assert_ne!(before, pools.svid(&alice).unwrap().thumbprint);
            for task in tasks {
                assert!(task.await.unwrap() >= 4, "it was rotated under way");
            }
            settle().await;
            // Only connections of the certificate in use are left.
            let newest = pools.svid(&alice).unwrap();
            pools.tidy();
            let seen = seen(&pools, &newest, &route).await;
            assert_eq!(seen.thumbprint, newest.thumbprint);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_request_is_sent_again_when_the_pooled_connection_had_ended() {
    let test = async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (stage, mut workload, pools, route) = scene(protocol).await;
            let svid = pools.svid(&person("alice")).unwrap();
            assert_eq!(seen(&pools, &svid, &route).await.connection, 1);
            settle().await;
            workload.hang_up().await;
            let body = EdgeBody::full("important");
            let sent = pools.exchange(&svid, &route, request("/who", body)).await;
            let sent = sent.unwrap();
            assert!(!sent.connected.reused);
            let seen = read(sent.response).await;
            assert_eq!(seen.connection, 2);
            assert_eq!(seen.authority, "web.example.com");
            assert_eq!(stage.counted("wayleave_upstream_retried_total"), 1);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn connections_of_an_identity_are_limited() {
    let test = async {
        let stage = Stage::new();
        let workload = stage.workload().await;
        let limits = Limits {
            upstream_connections: 2,
            response_head: Duration::from_millis(300),
            ..Limits::default()
        };
        let pools = stage.pools(&limits);
        let route = route(&[workload.port], UpstreamProtocol::Http1, WORKLOAD);
        let svid = pools.svid(&person("alice")).unwrap();
        let (first, second, third) = tokio::join!(
            get(&pools, &svid, &route, "/never"),
            get(&pools, &svid, &route, "/never"),
            get(&pools, &svid, &route, "/never"),
        );
        assert!(matches!(first, Err(SendError::HeadTimeout)), "{first:?}");
        assert!(matches!(second, Err(SendError::HeadTimeout)), "{second:?}");
        assert!(matches!(third, Err(SendError::Exhausted)), "{third:?}");
        let bob = pools.svid(&person("bob")).unwrap();
        seen(&pools, &bob, &route).await;
        settle().await;
        seen(&pools, &svid, &route).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn more_streams_than_the_upstream_takes_get_further_connections() {
    let test = async {
        for protocol in [UpstreamProtocol::Http2, UpstreamProtocol::Auto] {
            let (_stage, workload, pools, route) = scene(protocol).await;
            let svid = pools.svid(&person("alice")).unwrap();
            let long = (0..20).map(|_| get(&pools, &svid, &route, "/endless"));
            let all = futures_util::future::join_all(long);
            let all = tokio::time::timeout(Duration::from_secs(20), all).await;
            let all = all.expect("a stream waits for others to end");
            let refused: Vec<_> = all.iter().filter_map(|sent| sent.as_ref().err()).collect();
            assert!(refused.is_empty(), "{protocol:?} {refused:?}");
            assert_eq!(workload.opened.get(), 3, "8 streams on each connection");
            drop(all);
            settle().await;
            assert!(seen(&pools, &svid, &route).await.connection <= 3);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over() {
    let test = async {
        let stage = Stage::new();
        let workload = stage.workload().await;
        let nobody = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let ports = [nobody, nobody, workload.port];
        for _ in 0..10 {
            let pools = stage.pools(&Limits::default());
            let route = route(&ports, UpstreamProtocol::Auto, WORKLOAD);
            let svid = pools.svid(&person("alice")).unwrap();
            seen(&pools, &svid, &route).await;
        }
        let pools = stage.pools(&Limits::default());
        let svid = pools.svid(&person("alice")).unwrap();
        let route = route(&[nobody], UpstreamProtocol::Auto, WORKLOAD);
        let sent = get(&pools, &svid, &route, "/who").await;
        assert!(matches!(sent, Err(SendError::Connect(_))), "{sent:?}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_is_idle_for_too_long_is_closed() {
    let test = async {
        let stage = Stage::new();
        let workload = stage.workload().await;
        let limits = Limits {
            idle_connection: Duration::from_secs(10),
            ..Limits::default()
        };
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let pools = stage.pools(&limits);
            let route = route(&[workload.port], protocol, WORKLOAD);
            let svid = pools.svid(&person("alice")).unwrap();
            seen(&pools, &svid, &route).await;
            settle().await;
            pools.tidy();
            assert_eq!(pools.0.pools.borrow().len(), 1);
            stage.clock.advance(Duration::from_secs(10));
            pools.tidy();
            settle().await;
            pools.tidy();
            assert_eq!(pools.0.pools.borrow().len(), 0, "nothing is left");
            let upstreams = Rc::strong_count(&pools.0.common);
            assert_eq!(upstreams, 1);
        }
    };
    LocalSet::new().run_until(test).await;
}
