//! Getting into a server: with the password, the key and the certificates of this moment.

use std::{convert::Infallible, fmt, path::Path, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection, cmd, io::tcp::TcpSettings,
};
use tokio::{sync::SetOnce, task::spawn_blocking, time::timeout};

use crate::{
    config::{Login, TlsFiles},
    connection::{Connection, Loss},
    error::{ErrorClass, Fault, is_refusal},
};

/// How to log in. Files are read at each connection, so that a change of them needs no restart.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) settings: RedisConnectionInfo,
    pub(crate) login: Login,
    pub(crate) tls: TlsFiles,
}

impl Access {
    /// A connection to `addr`, within `deadline`.
    pub(crate) async fn connect(
        &self,
        addr: &ConnectionAddr,
        deadline: Duration,
    ) -> Result<MultiplexedConnection, Fault> {
        within(deadline, addr, self.open(addr, None)).await
    }

    /// A connection to `addr`, within `deadline`, that is known to be lost as soon as the other
    /// side closes it. It speaks RESP3, in which alone the library tells.
    pub(crate) async fn connect_watched(
        &self,
        addr: &ConnectionAddr,
        deadline: Duration,
    ) -> Result<Connection, Fault> {
        let lost = Arc::new(SetOnce::new());
        let opened = self.open(addr, Some(Arc::clone(&lost)));
        let redis = within(deadline, addr, opened).await?;
        Ok(Connection::new(redis, lost))
    }

    async fn open(
        &self,
        addr: &ConnectionAddr,
        lost: Option<Arc<SetOnce<Loss>>>,
    ) -> Result<MultiplexedConnection, Fault> {
        let info = addr
            .clone()
            .into_connection_info()
            .map_err(|error| configuration(&error))?;
        let info = info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(self.login().await?.set_protocol(if lost.is_some() {
                ProtocolVersion::RESP3
            } else {
                ProtocolVersion::RESP2
            }));
        let is_tls = matches!(addr, ConnectionAddr::TcpTls { .. });
        let client = if is_tls {
            Client::build_with_tls(info, self.certificates().await?)
        } else {
            Client::open(info)
        };
        let client = client.map_err(|error| configuration(&error))?;
        // The library's own time limits are off: ours span whole operations, not single commands.
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        if let Some(lost) = lost {
            config = config.set_push_sender(tell(lost, addr.to_string()));
        }
        let connect = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connect.await.map_err(|error| unopened(&error, is_tls))?;
        if is_tls {
            // Whether the other side takes our certificate is told only after ours is sent, so a
            // first reply is waited for. Everybody may say HELLO, and any answer will do.
            let hello = cmd("HELLO").query_async::<Value>(&mut connection).await;
            if let Err(error) = hello
                && !is_refusal(&error)
            {
                return Err(unopened(&error, is_tls));
            }
        }
        Ok(connection)
    }

    async fn login(&self) -> Result<RedisConnectionInfo, Fault> {
        // An ACL user need not be allowed to name its library.
        let mut settings = self.settings.clone().set_skip_set_lib_name();
        if let Some(username) = &self.login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.login.password {
            settings = settings.set_password(password);
        }
        if let Some(file) = &self.login.password_file {
            let password = read("passwordFile", file).await?;
            let password = String::from_utf8(password)
                .map_err(|_| unusable("passwordFile", file, "it is not UTF-8"))?;
            // Editors end a file with a line break, and secrets are mounted with one.
            settings = settings.set_password(password.trim_end_matches(['\r', '\n']));
        }
        Ok(settings)
    }

    async fn certificates(&self) -> Result<TlsCertificates, Fault> {
        let root_cert = match &self.tls.ca {
            Some(file) => Some(read_pem("caFile", file).await?),
            None => None,
        };
        let client_tls = match &self.tls.identity {
            Some(identity) => Some(ClientTlsConfig {
                client_cert: read_pem("certFile", &identity.certificate).await?,
                client_key: read_pem("keyFile", &identity.key).await?,
            }),
            None => None,
        };
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }
}

async fn within<T>(
    deadline: Duration,
    addr: &ConnectionAddr,
    opened: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let opened = timeout(deadline, opened).await.unwrap_or_else(|_| {
        let late = format!("no connection within {deadline:?}");
        Err(Fault::new(ErrorClass::Unreachable, late))
    });
    opened.map_err(|fault| fault.at(addr))
}

/// Sets `lost` once the other side has closed the connection.
fn tell(
    lost: Arc<SetOnce<Loss>>,
    address: String,
) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync {
    move |push| {
        if push.kind == PushKind::Disconnection {
            let closed = Fault::new(ErrorClass::ConnectionLost, "the connection was closed");
            // Whoever gives up first says why.
            let _ = lost.set(Loss::Broken(closed.at(&address)));
        }
        Ok(())
    }
}

/// Without secrets.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("login", &self.login)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The library would take a file without certificates for an authority that signs nothing.
async fn read_pem(setting: &str, file: &Path) -> Result<Vec<u8>, Fault> {
    let bytes = read(setting, file).await?;
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        Ok(bytes)
    } else {
        Err(unusable(setting, file, "it holds no PEM"))
    }
}

async fn read(setting: &str, file: &Path) -> Result<Vec<u8>, Fault> {
    // A file system may be slow, or far away.
    let path = file.to_owned();
    let read = spawn_blocking(move || std::fs::read(path)).await;
    let read = read.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
    read.map_err(|error| unusable(setting, file, &error.to_string()))
}

fn unusable(setting: &str, file: &Path, why: &str) -> Fault {
    let text = format!("{setting} {} cannot be used: {why}", file.display());
    Fault::new(ErrorClass::Configuration, text)
}

/// Why a connection did not come to be.
fn unopened(error: &RedisError, is_tls: bool) -> Fault {
    let fault = Fault::from(error);
    if fault.class != ErrorClass::ConnectionLost {
        return fault;
    }
    // An alert may be lost when the other side closes right behind it.
    let is_cut = error.is_connection_dropped() && !error.is_connection_refusal();
    if is_tls && is_cut {
        let text =
            format!("{fault}: Redis may not accept the certificate that it was shown, or none");
        Fault::new(ErrorClass::Tls, text)
    } else {
        Fault::new(ErrorClass::Unreachable, fault.to_string())
    }
}

fn configuration(error: &RedisError) -> Fault {
    Fault::new(ErrorClass::Configuration, error.to_string())
}
