//! What a URL says of where Redis is.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

/// Where Redis is, and as whom to log in there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) topology: Topology,
    /// User, password and database.
    pub(crate) settings: RedisConnectionInfo,
    pub(crate) is_tls: bool,
}

/// What there is to connect to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Topology {
    /// One server.
    Single(ConnectionAddr),
    /// The master that sentinels name.
    Sentinel {
        /// Under this name.
        master: String,
        /// `host:port` of each sentinel.
        sentinels: Vec<HostPort>,
    },
    /// Masters that have the slots among them.
    Cluster {
        /// Some of the nodes.
        seeds: Vec<HostPort>,
    },
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A URL that leads to no Redis.
#[derive(Debug, thiserror::Error)]
#[error("the Redis URL is not valid: {reason}")]
pub struct InvalidUrl {
    /// What is wrong with it, without its secrets.
    reason: String,
}

impl TryFrom<&str> for Place {
    type Error = InvalidUrl;

    fn try_from(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(invalid("it has no scheme"))?;
        let (transport, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        match kind {
            "sentinel" | "cluster" if transport != "redis" && transport != "rediss" => {
                Err(invalid("its scheme is not known"))
            }
            "sentinel" => Many::parse(transport, rest, 26_379)?.sentinel(),
            "cluster" => Many::parse(transport, rest, 6_379)?.cluster(),
            _ => {
                let info = read(url)?;
                Ok(Self {
                    is_tls: is_tls(info.addr()),
                    topology: Topology::Single(info.addr().clone()),
                    settings: info.redis_settings().clone(),
                })
            }
        }
    }
}

/// The parts of a URL with several hosts.
struct Many<'a> {
    transport: &'a str,
    /// With the `@`.
    userinfo: &'a str,
    hosts: Vec<HostPort>,
    path: Vec<&'a str>,
}

impl<'a> Many<'a> {
    fn parse(transport: &'a str, rest: &'a str, default_port: u16) -> Result<Self, InvalidUrl> {
        if rest.contains(['?', '#']) {
            return Err(invalid("it has a query or a fragment"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts_begin = authority.rfind('@').map_or(0, |at| at + 1);
        let (userinfo, hosts) = authority.split_at(hosts_begin);
        let host = |text: &str| {
            let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let has_port =
                port.parse::<u16>().is_ok() && (!name.contains(':') || name.ends_with(']'));
            let text = if has_port {
                format!("redis://{text}")
            } else {
                format!("redis://{text}:{default_port}")
            };
            match read(&text)?.addr() {
                ConnectionAddr::Tcp(host, port) => Ok(HostPort {
                    host: host.clone(),
                    port: *port,
                }),
                _ => Err(invalid("a host is none")),
            }
        };
        Ok(Self {
            transport,
            userinfo,
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            path: path.split('/').filter(|part| !part.is_empty()).collect(),
        })
    }

    fn sentinel(self) -> Result<Place, InvalidUrl> {
        let (master, database) = match self.path[..] {
            [master] => (master, "0"),
            [master, database] => (master, database),
            _ => return Err(invalid("after the sentinels comes the name of the master")),
        };
        let topology = Topology::Sentinel {
            master: master.to_owned(),
            sentinels: self.hosts.clone(),
        };
        self.place(topology, database)
    }

    fn cluster(self) -> Result<Place, InvalidUrl> {
        if !matches!(self.path[..], [] | ["0"]) {
            return Err(invalid("a cluster has no database but 0"));
        }
        let seeds = self.hosts.clone();
        self.place(Topology::Cluster { seeds }, "0")
    }

    fn place(self, topology: Topology, database: &str) -> Result<Place, InvalidUrl> {
        let (transport, userinfo) = (self.transport, self.userinfo);
        let info = read(&format!("{transport}://{userinfo}host/{database}"))?;
        Ok(Place {
            topology,
            settings: info.redis_settings().clone(),
            is_tls: is_tls(info.addr()),
        })
    }
}

impl HostPort {
    pub(crate) fn addr(&self, is_tls: bool) -> ConnectionAddr {
        let (host, port) = (self.host.clone(), self.port);
        if is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn read(url: &str) -> Result<ConnectionInfo, InvalidUrl> {
    url.into_connection_info()
        .map_err(|error| invalid(&error.to_string()))
}

fn is_tls(addr: &ConnectionAddr) -> bool {
    matches!(addr, ConnectionAddr::TcpTls { .. })
}

pub(crate) fn invalid(reason: &str) -> InvalidUrl {
    InvalidUrl {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_url_may_name_sentinels_and_their_master() {
        let url = "rediss+sentinel://us%40r:p%2Fw@s1,s2:26380,[::1]:5/main/3";
        let place = Place::try_from(url).expect("valid");
        let sentinels = vec![at("s1", 26_379), at("s2", 26_380), at("::1", 5)];
        let master = "main".to_owned();
        assert_eq!(place.topology, Topology::Sentinel { master, sentinels });
        assert_eq!(place.settings.username(), Some("us@r"));
        assert_eq!(place.settings.password(), Some("p/w"));
        assert_eq!(place.settings.db(), 3);
        assert!(place.is_tls);
    }

    #[test]
    fn a_url_may_name_nodes_of_a_cluster() {
        let place = Place::try_from("redis+cluster://n1,n2:7000").expect("valid");
        let seeds = vec![at("n1", 6_379), at("n2", 7_000)];
        assert_eq!(place.topology, Topology::Cluster { seeds });
        assert!(!place.is_tls);
    }

    #[test]
    fn one_server_is_as_ever() {
        for (url, is_tls) in [
            ("redis://h", false),
            ("rediss://h", true),
            ("redis+unix:///s", false),
        ] {
            let place = Place::try_from(url).expect("valid");
            assert!(matches!(place.topology, Topology::Single(_)), "{url}");
            assert_eq!(place.is_tls, is_tls, "{url}");
        }
    }

    #[test]
    fn what_leads_to_no_redis_is_refused_without_its_password() {
        for url in [
            "hunter2",
            "redis+sentinel://:hunter2@h",
            "redis+sentinel://:hunter2@h/main/x",
            "redis+sentinel://:hunter2@h/main/0/x",
            "redis+cluster://:hunter2@h/1",
            "redis+cluster://:hunter2@h,,i",
            "redis+cluster://:hunter2@h?x=hunter2",
            "redis+nothing://:hunter2@h",
            "http+cluster://:hunter2@h",
        ] {
            let error = Place::try_from(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
