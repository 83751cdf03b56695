//! The address of Redis (one server, a server that sentinels name, or a cluster), and how a connection to it is
//! opened.
//!
//! Each dial resolves names and asks sentinels anew, so that it reaches the server that has the name now. No error
//! and no `Debug` contains the URLs, which may hold passwords.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, Pipeline, RedisError, RedisFuture, TlsMode, Value,
};
use tokio::sync::Mutex;

use super::RedisFailure;
use crate::config::{RedisKind, SharedRedis};

/// The address of Redis.
pub struct Server {
    kind: Kind,
    limit: Duration,
    /// Hosts and ports alone.
    address: String,
}

enum Kind {
    Standalone(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster {
        cluster: Box<ClusterClient>,
        nodes: Vec<Client>,
    },
    /// A server that may be a node of a cluster, which each dial finds out.
    Any {
        client: Box<Client>,
        cluster: Box<ClusterClient>,
    },
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// The server at `url`: a standalone one, or a node of a cluster. No step of a dial takes longer
    /// than `limit`. It does not connect yet.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub fn at(url: &str, limit: Duration) -> Result<Server, RedisFailure> {
        let info = url.into_connection_info()?.set_tcp_settings(tcp_settings(limit));
        let client = Box::new(Client::open(info.clone())?);
        let address = info.addr().to_string();
        let cluster = Box::new(cluster([info].into(), limit)?);
        Ok(Server { kind: Kind::Any { client, cluster }, limit, address })
    }

    /// What the config names.
    ///
    /// # Errors
    /// When a URL is invalid.
    pub fn new(redis: &SharedRedis, limit: Duration) -> Result<Server, RedisFailure> {
        let urls = redis.urls.expose().split(',').map(|url| url.trim().into_connection_info());
        let infos = urls.map(|info| Ok(info?.set_tcp_settings(tcp_settings(limit))));
        let infos: Vec<ConnectionInfo> = infos.collect::<Result<_, RedisError>>()?;
        let addresses: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        let clients = || infos.iter().cloned().map(Client::open).collect::<Result<Vec<_>, _>>();
        let kind = match redis.kind {
            RedisKind::Standalone => {
                let client = clients()?.into_iter().next().ok_or_else(no_address)?;
                Kind::Standalone(Box::new(client))
            }
            RedisKind::Sentinel => {
                Kind::Sentinel(Box::new(Mutex::new(sentinels(infos, redis, limit)?)))
            }
            RedisKind::Cluster => {
                let cluster = Box::new(cluster(infos.clone(), limit)?);
                Kind::Cluster { cluster, nodes: clients()? }
            }
        };
        Ok(Server { kind, limit, address: addresses.join(", ") })
    }

    /// How long one step of a dial may take, and one command.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Where it is, without user and password: a host and a port, or several.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection for commands.
    ///
    /// # Errors
    /// When no server answers, or it refuses.
    pub async fn dial(&self) -> Result<Socket, RedisError> {
        Ok(match &self.kind {
            Kind::Standalone(client) => self.open(client).await?,
            Kind::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                self.open(&client).await?
            }
            Kind::Cluster { cluster, .. } => Socket::Many(cluster.get_async_connection().await?),
            Kind::Any { client, cluster } => self.open_any(client, cluster).await?,
        })
    }

    /// Opens a connection for commands, and names the server to subscribe to.
    ///
    /// # Errors
    /// When no server answers, or it refuses.
    pub async fn dial_with_subscriber(&self) -> Result<(Socket, Client), RedisError> {
        Ok(match &self.kind {
            Kind::Standalone(client) => (self.open(client).await?, Client::clone(client)),
            Kind::Any { client, cluster } => {
                (self.open_any(client, cluster).await?, Client::clone(client))
            }
            Kind::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                (self.open(&client).await?, client)
            }
            Kind::Cluster { cluster, nodes } => {
                let connection = Socket::Many(cluster.get_async_connection().await?);
                // A message reaches all nodes, so any will do to listen at.
                for node in nodes {
                    if self.open(node).await.is_ok() {
                        return Ok((connection, node.clone()));
                    }
                }
                return Err((ErrorKind::Io, "no node of the cluster answers").into());
            }
        })
    }

    /// Opens a connection to a server, or to its cluster if it is a node of one.
    async fn open_any(
        &self,
        client: &Client,
        cluster: &ClusterClient,
    ) -> Result<Socket, RedisError> {
        let mut socket = self.open(client).await?;
        let mut info = redis::cmd("CLUSTER");
        info.arg("INFO");
        // Only a node of a cluster has an answer. Any other failure shows at the first call.
        match info.query_async::<String>(&mut socket).await {
            Ok(_) => Ok(Socket::Many(cluster.get_async_connection().await?)),
            Err(_) => Ok(socket),
        }
    }

    async fn open(&self, client: &Client) -> Result<Socket, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limit))
            .set_response_timeout(Some(self.limit));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Socket::One(connection.await?))
    }

    /// The number of the database, as the URL has it.
    pub(super) fn db(&self) -> i64 {
        match &self.kind {
            Kind::Standalone(client) | Kind::Any { client, .. } => {
                client.get_connection_info().redis_settings().db()
            }
            Kind::Sentinel(_) | Kind::Cluster { .. } => 0,
        }
    }
}

/// The sentinels, which take no password; the URL's password is the server's.
fn sentinels(
    infos: Vec<ConnectionInfo>,
    redis: &SharedRedis,
    limit: Duration,
) -> Result<SentinelClient, RedisFailure> {
    let first = infos.first().cloned().ok_or_else(no_address)?;
    let is_tls = matches!(first.addr(), ConnectionAddr::TcpTls { .. });
    let node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(first.redis_settings().clone())
        .set_tcp_settings(tcp_settings(limit));
    let node = if is_tls { node.set_tls_mode(TlsMode::Secure) } else { node };
    let addresses = infos.into_iter().map(|info| info.addr().clone());
    let master = SentinelServerType::Master;
    Ok(SentinelClient::build(addresses.collect(), &redis.master, Some(node), master)?)
}

fn cluster(nodes: Vec<ConnectionInfo>, limit: Duration) -> Result<ClusterClient, RedisError> {
    ClusterClient::builder(nodes)
        .retries(1)
        .connection_timeout(limit)
        .response_timeout(limit)
        .tcp_settings(tcp_settings(limit))
        .build()
}

/// How connections behave. Without the time limit, the system would deliver a command that it could not
/// deliver in time whenever the network is back, long after its caller was told that it failed.
fn tcp_settings(limit: Duration) -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_user_timeout(limit)
}

fn no_address() -> RedisFailure {
    RedisFailure::Redis((ErrorKind::InvalidClientConfig, "there is no address").into())
}

/// An open connection, which is never opened again.
#[derive(Clone)]
pub enum Socket {
    /// To one server.
    One(MultiplexedConnection),
    /// To the nodes of a cluster.
    Many(ClusterConnection),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl ConnectionLike for Socket {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Socket::One(one) => one.req_packed_command(cmd),
            Socket::Many(many) => many.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Socket::One(one) => one.req_packed_commands(cmd, offset, count),
            Socket::Many(many) => many.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Socket::One(one) => one.get_db(),
            Socket::Many(many) => many.get_db(),
        }
    }
}
