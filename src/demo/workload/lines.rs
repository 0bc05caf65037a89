//! A mesh workload that speaks no HTTP: it greets its caller by the mesh identity, and gives back every line it is sent.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::demo::DemoError;
use crate::demo::authority::Issued;
use crate::demo::workload::caller::Caller;
use crate::demo::workload::{HANDSHAKE, accept, server_config};

/// The SPIFFE ID it proves.
pub const SPIFFE_ID: &str = "spiffe://demo.wayleave/ns/apps/sa/lines";

/// Longest line.
const LONGEST: u64 = 64 * 1024;

/// Serves until dropped, with this certificate, to clients whose certificates lead to `bundle` (PEM).
/// Refuses a listener that is not on a loopback address.
pub async fn serve(listener: TcpListener, issued: &Issued, bundle: &str) -> Result<(), DemoError> {
    let mut config = server_config(issued, bundle)?;
    // What sidecars agree on where no HTTP is spoken.
    config.alpn_protocols = vec![b"istio".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accept(listener, |stream| connection(stream, acceptor.clone())).await
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let Some(caller) = Caller::on(&stream) else {
        return;
    };
    let (reader, mut writer) = split(stream);
    // A connection that breaks is the client's affair.
    let _ended = async {
        let greeting = format!("You are {}. Say something.\n", caller.spiffe_id);
        writer.write_all(greeting.as_bytes()).await?;
        writer.flush().await?;
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while (&mut reader)
            .take(LONGEST)
            .read_until(b'\n', &mut line)
            .await?
            > 0
        {
            writer.write_all(&line).await?;
            writer.flush().await?;
            line.clear();
        }
        writer.write_all(b"Goodbye.\n").await?;
        writer.shutdown().await
    }
    .await;
}
