//! Configs for the gateway under test, as changes to a config that works with a simulator.

use std::net::TcpListener;

use super::{Issued, MODELS, Simulator};

/// The names of the targets, in the order of [`MODELS`].
pub const TARGETS: [&str; 4] = ["sonnet-35", "sonnet-35-v2", "sonnet-3", "haiku-3"];

/// The variable that holds the secret of the simulator's key.
pub const SECRET_VARIABLE: &str = "SIM_SECRET";

/// The variable that holds the session token of that key.
pub const TOKEN_VARIABLE: &str = "SIM_SESSION_TOKEN";

/// The variable that holds the admin key.
pub const ADMIN_VARIABLE: &str = "PLANTED_ADMIN_KEY";

/// The content of a config file.
#[derive(Clone, Debug)]
pub struct Config {
    table: toml::Table,
}

impl Config {
    /// Free ports, a simulator as the upstream, no routes, and waits short enough for tests.
    pub fn without_routes(simulator: &Simulator) -> Config {
        Config { table: toml::Table::new() }
            .set("server.listen", "127.0.0.1:0")
            .set("server.admin_listen", "127.0.0.1:0")
            // Hand-written requests have any host name.
            .set("server.allowed_hosts", vec!["*"])
            .set("upstream.region", "us-east-1")
            .set("upstream.endpoint_url", simulator.url())
            .set("upstream.access_key_id", simulator.access_key_id())
            .set("upstream.secret_access_key", format!("env:{SECRET_VARIABLE}"))
            .set("upstream.session_token", format!("env:{TOKEN_VARIABLE}"))
            .set("server.admin_key", format!("env:{ADMIN_VARIABLE}"))
            .set("retry.base_delay", "20ms")
            .set("retry.max_delay", "80ms")
            .set("queue.max_wait", "5s")
            // The tests tell models apart, whatever AWS still serves.
            .set("catalogue.retired", "keep")
    }

    /// The same with the four [`MODELS`], and a route from the first to all four.
    pub fn four_models(simulator: &Simulator) -> Config {
        let mut config = Config::without_routes(simulator);
        for (target, model) in TARGETS.iter().zip(MODELS) {
            config = config.set(&format!("targets.{target}.model"), model);
        }
        config.route(MODELS[0], &TARGETS)
    }

    /// The same with the first `count` of [`MODELS`].
    pub fn models(simulator: &Simulator, count: usize) -> Config {
        let mut config = Config::without_routes(simulator);
        for (target, model) in TARGETS.iter().zip(MODELS).take(count) {
            config = config.set(&format!("targets.{target}.model"), model);
        }
        config.route(MODELS[0], &TARGETS[..count])
    }

    /// The same with ports that are chosen now, so that another process can take them over.
    pub fn on_known_ports(self) -> Config {
        let port = || {
            // Below the range of ports of outgoing connections.
            let ports = std::iter::repeat_with(|| fastrand::u16(10_000..30_000));
            let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
            format!("127.0.0.1:{}", free.next().unwrap())
        };
        self.set("server.listen", port()).set("server.admin_listen", port())
    }

    /// Sets one key, given by its dotted path.
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Config {
        let (tables, key) = key.rsplit_once('.').unwrap();
        let mut table = &mut self.table;
        for name in tables.split('.') {
            let entry = table.entry(name).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().unwrap();
        }
        table.insert(key.to_owned(), value.into());
        self
    }

    /// Sets one key of a table, whatever characters the key has.
    pub fn set_within(mut self, table: &str, key: &str, value: toml::Value) -> Config {
        let entry = self.table.entry(table).or_insert_with(|| toml::Table::new().into());
        entry.as_table_mut().unwrap().insert(key.to_owned(), value);
        self
    }

    /// Sets one key of every target.
    pub fn every_target(mut self, key: &str, value: impl Into<toml::Value>) -> Config {
        let value = value.into();
        let names: Vec<String> =
            self.table["targets"].as_table().unwrap().keys().cloned().collect();
        for name in names {
            self = self.set(&format!("targets.{name}.{key}"), value.clone());
        }
        self
    }

    /// Removes the upstream's credentials.
    pub fn without_credentials(self) -> Config {
        ["access_key_id", "secret_access_key", "session_token"]
            .into_iter()
            .fold(self, |config, key| config.without_upstream(key))
    }

    /// Removes one key of the upstream.
    pub fn without_upstream(mut self, key: &str) -> Config {
        self.table["upstream"].as_table_mut().unwrap().remove(key);
        self
    }

    /// Removes the admin key.
    pub fn without_admin_key(mut self) -> Config {
        self.table["server"].as_table_mut().unwrap().remove("admin_key");
        self
    }

    /// Makes the listener use TLS with this certificate.
    pub fn tls(self, issued: &Issued) -> Config {
        self.set("server.tls.cert", issued.cert()).set("server.tls.key", issued.key())
    }

    /// Adds a client with a bearer key.
    pub fn client(self, name: &str, bearer_token: &str) -> Config {
        self.client_with(&format!("name = '{name}'\nbearer_token = '{bearer_token}'"))
    }

    /// Adds a client with a key pair whose secret is in a variable.
    pub fn client_that_signs(self, name: &str, access_key_id: &str, variable: &str) -> Config {
        self.client_with(&format!(
            "name = '{name}'\naccess_key_id = '{access_key_id}'\nsecret_access_key = 'env:{variable}'"
        ))
    }

    /// Adds a client with these keys, in TOML.
    pub fn client_with(mut self, keys: &str) -> Config {
        let client: toml::Table = keys.parse().unwrap();
        let clients = self.table.entry("clients").or_insert_with(|| toml::Value::Array(Vec::new()));
        clients.as_array_mut().unwrap().push(client.into());
        self
    }

    /// Sets one key of the last client.
    pub fn of_client(mut self, key: &str, value: impl Into<toml::Value>) -> Config {
        let clients = self.table["clients"].as_array_mut().unwrap();
        let client = clients.last_mut().unwrap().as_table_mut().unwrap();
        client.insert(key.to_owned(), value.into());
        self
    }

    /// Removes one key of the last client.
    pub fn without_of_client(mut self, key: &str) -> Config {
        let clients = self.table["clients"].as_array_mut().unwrap();
        clients.last_mut().unwrap().as_table_mut().unwrap().remove(key);
        self
    }

    /// Adds an issuer of tokens for "sluice", whose name is "corp", with these further keys, in TOML.
    pub fn issuer(mut self, issuer: &str, keys: &str) -> Config {
        let entry = format!("name = 'corp'\nissuer = '{issuer}'\naudiences = ['sluice']\n{keys}");
        let issuer: toml::Table = entry.parse().unwrap();
        let issuers = self.table.entry("issuers").or_insert_with(|| toml::Value::Array(Vec::new()));
        issuers.as_array_mut().unwrap().push(issuer.into());
        self
    }

    /// Adds a route after the existing ones.
    pub fn route(mut self, model: &str, targets: &[&str]) -> Config {
        let mut route = toml::Table::new();
        route.insert("models".to_owned(), vec![model].into());
        route.insert("targets".to_owned(), targets.to_vec().into());
        let routes = self.table.entry("routes").or_insert_with(|| toml::Value::Array(Vec::new()));
        routes.as_array_mut().unwrap().push(route.into());
        self
    }

    /// Sets the balance of the last route.
    pub fn balance(self, balance: &str) -> Config {
        self.of_route("balance", balance)
    }

    /// Sets one key of the last route.
    pub fn of_route(mut self, key: &str, value: impl Into<toml::Value>) -> Config {
        let routes = self.table["routes"].as_array_mut().unwrap();
        let route = routes.last_mut().unwrap().as_table_mut().unwrap();
        route.insert(key.to_owned(), value.into());
        self
    }

    /// The config file as text.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.table).unwrap()
    }
}
