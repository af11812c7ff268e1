//! A Redis Cluster: masters that have the slots among them.

use anyhow::{Context, Result, bail};
use redis::{Value, aio::MultiplexedConnection, cmd};
use tokio::time::{Duration, Instant, sleep};
use toolgate_limit::Timestamp;

use crate::{PATIENCE, RedisServer, TurnedClock, connect, port};

const SLOTS: u16 = 16_384;

/// Masters of the test's own, on free ports, each with as many slots as the others.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    bus: u16,
    id: String,
    server: RedisServer,
}

impl RedisCluster {
    /// Three masters that serve all slots.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments of each node.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        let cluster = Self::launch::<6>(arguments, None).await?;
        cluster.is_whole().await?;
        Ok(cluster)
    }

    /// One master that serves all slots and sees `clock`, which then shows `now`.
    pub async fn of_one(clock: &TurnedClock, now: Timestamp) -> Result<Self> {
        // A node serves nobody in its first two seconds.
        clock.set(Timestamp::from_micros(now.as_micros() - 10_000_000))?;
        let cluster = Self::launch::<2>(&[], Some(clock)).await?;
        clock.set(now)?;
        cluster.is_whole().await?;
        Ok(cluster)
    }

    /// Nodes on so many ports; each needs two.
    async fn launch<const PORTS: usize>(
        arguments: &[&str],
        clock: Option<&TurnedClock>,
    ) -> Result<Self> {
        let mut last = None;
        // A port that is free now may be taken a moment later.
        for _attempt in 0..5 {
            match Self::attempt::<PORTS>(arguments, clock).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("no attempt was made"), Err)
    }

    async fn attempt<const PORTS: usize>(
        more: &[&str],
        clock: Option<&TurnedClock>,
    ) -> Result<Self> {
        let ports: [u16; PORTS] = port::free()?;
        let mut nodes = Vec::new();
        for pair in ports.chunks_exact(2) {
            let (port, bus) = (pair[0].to_string(), pair[1].to_string());
            let is_tls = more.contains(&"--tls-cluster");
            let port_flag = if is_tls { "--tls-port" } else { "--port" };
            let mut arguments = vec![port_flag, &port, "--cluster-port", &bus];
            arguments.extend(["--bind", "127.0.0.1", "--cluster-enabled", "yes"]);
            // A node that is gone is noticed after a second.
            arguments.extend(["--cluster-node-timeout", "1000"]);
            arguments.extend(more);
            let server = RedisServer::start_with(&arguments, clock).await?;
            let id = cmd("CLUSTER")
                .arg("MYID")
                .query_async(&mut connect(&server.url()).await?)
                .await?;
            nodes.push(Node {
                port: pair[0],
                bus: pair[1],
                id,
                server,
            });
        }
        let cluster = Self { nodes };
        cluster.join().await?;
        Ok(cluster)
    }

    async fn join(&self) -> Result<()> {
        let share = SLOTS.div_ceil(u16::try_from(self.nodes.len())?);
        for (node, first) in self.nodes.iter().zip((0..SLOTS).step_by(share.into())) {
            let last = (first + share).min(SLOTS) - 1;
            let mut connection = connect(&node.server.url()).await?;
            let mut command = cmd("CLUSTER");
            command.arg("ADDSLOTSRANGE").arg(first).arg(last);
            command.exec_async(&mut connection).await?;
        }
        let mut first = self.connection(0).await?;
        for other in &self.nodes[1..] {
            let mut meet = cmd("CLUSTER");
            meet.arg("MEET")
                .arg("127.0.0.1")
                .arg(other.port)
                .arg(other.bus);
            meet.exec_async(&mut first).await?;
        }
        Ok(())
    }

    /// Waits until every node says that all is served.
    pub async fn is_whole(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for node in &self.nodes {
            loop {
                let mut connection = connect(&node.server.url()).await?;
                let mut command = cmd("CLUSTER");
                let state = command.arg("INFO").query_async(&mut connection).await;
                let state: String = state?;
                let known = format!("cluster_known_nodes:{}", self.nodes.len());
                if state.contains("cluster_state:ok") && state.contains(&known) {
                    break;
                }
                if Instant::now() > until {
                    bail!("the cluster does not come together: {state}");
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// The URL for `--store`; one node is named, which knows the others.
    pub fn url(&self) -> String {
        self.url_of("redis", "")
    }

    /// The URL with another transport (`rediss`) and `user:password@`.
    pub fn url_of(&self, transport: &str, userinfo: &str) -> String {
        let port = self.nodes[0].port;
        format!("{transport}+cluster://{userinfo}127.0.0.1:{port}")
    }

    /// The URL of one node, as if it were a server of its own.
    pub fn url_of_node(&self, node: usize) -> String {
        format!("redis://127.0.0.1:{}", self.nodes[node].port)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none, which never is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The server of a node.
    pub fn server(&mut self, node: usize) -> &mut RedisServer {
        &mut self.nodes[node].server
    }

    /// A connection to a node, past Toolgate.
    pub async fn connection(&self, node: usize) -> Result<MultiplexedConnection> {
        connect(&self.nodes[node].server.url()).await
    }

    /// The slot of `key`.
    pub async fn slot(&self, key: &str) -> Result<u16> {
        let mut command = cmd("CLUSTER");
        command.arg("KEYSLOT").arg(key);
        Ok(command.query_async(&mut self.connection(0).await?).await?)
    }

    /// The node that serves `slot`, by what the first node knows.
    pub async fn owner(&self, slot: u16) -> Result<usize> {
        // Host, port, id, and what else is known of it.
        type Master = (String, u16, String, Value);
        let mut command = cmd("CLUSTER");
        let mut first = self.connection(0).await?;
        let ranges = command.arg("SLOTS").query_async(&mut first).await?;
        let ranges: Vec<(u16, u16, Master)> = ranges;
        let range = ranges
            .iter()
            .find(|(first, last, ..)| (*first..=*last).contains(&slot));
        let (.., (_, port, ..)) = range.context("nobody serves the slot")?;
        let node = self.nodes.iter().position(|node| node.port == *port);
        node.context("the node is unknown")
    }

    /// From now on `from` sends to `to` who asks for keys that it does not have.
    pub async fn begin_migration(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        self.set_slot(to, slot, "IMPORTING", from).await?;
        self.set_slot(from, slot, "MIGRATING", to).await
    }

    /// Moves up to `count` keys of `slot`, and returns how many there were.
    pub async fn migrate_some(
        &self,
        slot: u16,
        from: usize,
        to: usize,
        count: usize,
    ) -> Result<usize> {
        let mut source = self.connection(from).await?;
        let mut command = cmd("CLUSTER");
        command.arg("GETKEYSINSLOT").arg(slot).arg(count);
        let keys: Vec<String> = command.query_async(&mut source).await?;
        if !keys.is_empty() {
            let mut migrate = cmd("MIGRATE");
            migrate
                .arg("127.0.0.1")
                .arg(self.nodes[to].port)
                .arg("")
                .arg(0)
                .arg(60_000);
            migrate.arg("KEYS").arg(&keys);
            migrate.exec_async(&mut source).await?;
        }
        Ok(keys.len())
    }

    /// `slot` is at `to` from now on.
    pub async fn end_migration(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        // The new owner first, so that at no time nobody serves the slot.
        self.set_slot(to, slot, "NODE", to).await?;
        self.set_slot(from, slot, "NODE", to).await?;
        for other in 0..self.nodes.len() {
            if other != to && other != from {
                self.set_slot(other, slot, "NODE", to).await?;
            }
        }
        Ok(())
    }

    async fn set_slot(&self, at: usize, slot: u16, how: &str, node: usize) -> Result<()> {
        let mut command = cmd("CLUSTER");
        command
            .arg("SETSLOT")
            .arg(slot)
            .arg(how)
            .arg(&self.nodes[node].id);
        Ok(command.exec_async(&mut self.connection(at).await?).await?)
    }
}
