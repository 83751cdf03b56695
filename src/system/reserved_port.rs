//! Ports for the servers that tests start.

use tokio::net::TcpSocket;

/// A loopback port that no other server of the tests gets, also before its own server listens and while that
/// is down.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    number: u16,
    /// It holds the port without listening, so connections are refused. Redis can listen beside it, since both
    /// set `SO_REUSEADDR`.
    _socket: TcpSocket,
}

impl ReservedPort {
    pub(crate) fn new() -> ReservedPort {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        ReservedPort { number: socket.local_addr().unwrap().port(), _socket: socket }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
