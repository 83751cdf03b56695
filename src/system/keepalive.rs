//! TCP keepalive: how soon the gateway learns that the peer of a quiet connection is
//! gone without a word, such as a machine without power or behind a network that broke.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Silence after which the other end is asked whether it is still there.
pub const IDLE: Duration = Duration::from_secs(60);

/// Time between two such probes that are not answered.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Probes without an answer after which the connection is over.
pub const PROBES: u32 = 6;

/// Turns it on for a socket. The connections that a listener accepts have it from their listener, so
/// it costs them no call of their own.
///
/// # Errors
/// When the system refuses it.
pub fn turn_on(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn accepted_connections_have_it_from_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        turn_on(&listener).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), PROBES);
        assert!(!sockopt::socket_keepalive(&client).unwrap());
    }
}
