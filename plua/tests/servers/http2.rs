//! A server of HTTP/2, which takes what it is sent.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use super::Certificate;

/// One that says how much it has had, and of a path `/slow` takes no more than the first window.
pub fn http2(certificate: &Certificate) -> SocketAddr {
    let (config, listener) = (certificate.server(&[b"h2"]), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            while let Ok((connection, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let connection = acceptor.accept(connection).await.unwrap();
                    let mut connection = h2::server::handshake(connection).await.unwrap();
                    while let Some(Ok((request, back))) = connection.accept().await {
                        tokio::spawn(answer(request, back));
                    }
                });
            }
        });
    });
    address
}

async fn answer(request: http::Request<h2::RecvStream>, mut back: h2::server::SendResponse<bytes::Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut size = 0;
    let path = head.uri.path();
    while let Some(Ok(piece)) = if path == "/no" { None } else { body.data().await } {
        size += piece.len();
        if path != "/slow" {
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
    }
    let status = if path == "/no" { 413 } else { 200 };
    let length = head.headers.get("content-length").map_or("-", |length| length.to_str().unwrap());
    let said = format!("{} {path} {length} {size}", head.method);
    let head = http::Response::builder().status(status).body(()).unwrap();
    let mut stream = back.send_response(head, false).unwrap();
    stream.send_data(said.into(), true).unwrap();
    // What is not read stays so until the other side ends it.
    let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
}
