use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMITS: GateLimits = GateLimits {
    head: HeadLimits {
        bytes: 32 * 1024,
        fields: 100,
        value: 16 * 1024,
        target: 8 * 1024,
    },
    head_deadline: Duration::from_secs(10),
    body_idle: Duration::from_secs(30),
};

fn gate(capacity: usize) -> (DuplexStream, Gate<DuplexStream>, Arc<FramingState>) {
    let (client, server) = duplex(capacity);
    let (gate, state) = Gate::new(server, LIMITS);
    (client, gate, state)
}

/// Everything the server is given of what a client sends in pieces before it ends its side, and the fault.
async fn passed(pieces: &[&[u8]]) -> (Vec<u8>, Option<(u64, FramingFault)>) {
    let (mut client, mut gate, state) = gate(1024 * 1024);
    let mut given = Vec::new();
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        read_what_is_there(&mut gate, &mut given).await;
    }
    drop(client);
    read_what_is_there(&mut gate, &mut given).await;
    let fault = (0..1000).find_map(|number| Some((number, state.fault_of(number)?)));
    (given, fault)
}

/// Reads until there is nothing for now, an end or an error.
async fn read_what_is_there(gate: &mut Gate<DuplexStream>, into: &mut Vec<u8>) {
    std::future::poll_fn(|context| {
        loop {
            let mut bytes = [0; 700];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *gate).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    into.extend_from_slice(buffer.filled());
                }
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}

const GOOD: [&[u8]; 4] = [
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"DELETE /d HTTP/1.0\r\nHost: a\r\n\r\n",
];

proptest! {
    #[test]
    fn good_messages_pass_unchanged_however_they_are_split(
        order in proptest::collection::vec(0usize..4, 1..6),
        cuts in proptest::collection::vec(0usize..500, 0..10),
    ) {
        let bytes: Vec<u8> = order.iter().flat_map(|message| GOOD[*message]).copied().collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (given, fault) = runtime.block_on(passed(&pieces));
        prop_assert_eq!(fault, None);
        prop_assert_eq!(given, bytes);
    }
}

#[tokio::test]
async fn d1_of_a_faulty_message_nothing_is_passed_on() {
    let bad: [&[u8]; 7] = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for bytes in bad {
        for before in [&b""[..], GOOD[1], GOOD[2]] {
            let whole = [before, bytes].concat();
            let (given, fault) = passed(&[&whole]).await;
            assert_eq!(given, [before, STAND_IN].concat(), "{bytes:?}");
            let number = u64::from(!before.is_empty());
            assert_eq!(fault.map(|(number, _)| number), Some(number), "{bytes:?}");
        }
    }
}

#[tokio::test]
async fn d1_sizes_are_limited_before_they_are_complete() {
    let line = format!("GET /{}", "a".repeat(40_000));
    let (_, fault) = passed(&[line.as_bytes()]).await;
    assert_eq!(fault, Some((0, FramingFault::TargetTooLong)));
    let fields = "X: y\r\n".repeat(10_000);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}");
    let (_, fault) = passed(&[head.as_bytes()]).await;
    assert_eq!(fault, Some((0, FramingFault::HeaderTooLarge)));
}

#[tokio::test]
async fn d1_a_faulty_chunk_breaks_the_stream() {
    let (mut client, mut gate, _) = gate(64 * 1024);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head).await.unwrap();
    client.write_all(b"5 \r\nhello\r\n0\r\n\r\n").await.unwrap();
    let mut given = Vec::new();
    let error = gate.read_to_end(&mut given).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(given, head);
}

#[tokio::test]
async fn d2_nothing_passes_behind_an_upgrade_until_it_is_agreed() {
    let (mut client, mut gate, state) = gate(64 * 1024);
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(head).await.unwrap();
    client
        .write_all(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut given = Vec::new();
    read_what_is_there(&mut gate, &mut given).await;
    assert_eq!(given, head);
    let reading = async {
        let mut byte = [0; 3];
        gate.read_exact(&mut byte).await.unwrap();
        byte
    };
    // The reader waits, and is woken by the agreement.
    let agreeing = async {
        tokio::task::yield_now().await;
        state.pass_through();
    };
    let (byte, ()) = tokio::join!(reading, agreeing);
    assert_eq!(&byte, b"GET");
    client.write_all(&[0, 255, b'\n']).await.unwrap();
    drop(client);
    let mut rest = Vec::new();
    gate.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&[0, 255, b'\n']));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_is_noticed() {
    let (mut client, mut gate, _) = gate(64 * 1024);
    let head = b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.unwrap();
    drop(client);
    let mut given = Vec::new();
    assert!(gate.read_to_end(&mut given).await.is_err());
    assert_eq!(given, head);
}

/// How long a gate reads on, with what it gave and how it ended.
async fn until_the_end(gate: &mut Gate<DuplexStream>) -> (Duration, io::Result<Vec<u8>>) {
    let began = Instant::now();
    let mut given = Vec::new();
    let ended = gate.read_to_end(&mut given).await;
    (began.elapsed(), ended.map(|_| given))
}

#[tokio::test(start_paused = true)]
async fn d10_a_connection_that_sends_nothing_ends() {
    let (_client, mut gate, _) = gate(1024);
    let (took, ended) = until_the_end(&mut gate).await;
    assert_eq!(ended.unwrap(), b"");
    assert_eq!(took.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn d10_a_head_has_its_time_however_it_drips() {
    let (mut client, mut gate, state) = gate(1024);
    let drip = async {
        for _ in 0..30 {
            client.write_all(b"G").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut given = vec![0; STAND_IN.len()];
    let began = Instant::now();
    let reading = async {
        gate.read_exact(&mut given).await.unwrap();
        began.elapsed().as_secs()
    };
    let (took, ()) = tokio::join!(reading, drip);
    assert_eq!(took, 10);
    assert_eq!(given, STAND_IN);
    assert_eq!(state.fault_of(0), Some(FramingFault::HeadTimeout));
}

#[tokio::test(start_paused = true)]
async fn d10_a_body_that_stands_still_breaks() {
    let (mut client, mut gate, _) = gate(1024);
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        .await
        .unwrap();
    let (took, ended) = until_the_end(&mut gate).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(took.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_deadline() {
    let (mut client, mut gate, state) = gate(1024);
    client.write_all(GOOD[0]).await.unwrap();
    let mut given = vec![0; GOOD[0].len()];
    gate.read_exact(&mut given).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    client.write_all(b"GET / HT").await.unwrap();
    let mut more = vec![0; STAND_IN.len()];
    let began = Instant::now();
    gate.read_exact(&mut more).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(state.fault_of(1), Some(FramingFault::HeadTimeout));
}

#[tokio::test]
async fn d3_what_was_not_read_is_swallowed_before_the_end() {
    let (mut client, mut gate, _) = gate(64);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let sending = async {
        client.write_all(head).await.unwrap();
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let ending = async {
        let mut given = vec![0; head.len()];
        gate.read_exact(&mut given).await.unwrap();
        gate.shutdown().await.unwrap();
    };
    tokio::join!(sending, ending);
}
