//! The classes, their names, and what each means for the connection and for an operator.

use super::Remedy;

/// Why Redis does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// No connection could be made.
    Unreachable,
    /// The connection broke, or was silent for too long.
    ConnectionLost,
    /// TLS was refused, by this side or by the other.
    Tls,
    /// A file with a password, key or certificate cannot be used, or a setting is wrong.
    Configuration,
    /// What came is not Redis's protocol.
    Protocol,
    /// A login is asked for, and there was none.
    NoAuth,
    /// The user or the password is wrong.
    WrongPassword,
    /// The user may not do what a check needs.
    NoPermission,
    /// The node is a replica.
    ReadOnly,
    /// The node reads its data set.
    Loading,
    /// A script of somebody's runs for too long.
    Busy,
    /// The node has reached `maxmemory`, and evicts nothing.
    OutOfMemory,
    /// The node refuses writes, as it cannot persist them.
    Misconfigured,
    /// The node refuses writes, as too few replicas follow it.
    NoReplicas,
    /// The node is a replica that has lost its master.
    MasterDown,
    /// No sentinel names a master that is one.
    NoMaster,
    /// The cluster, or a part of it, serves nobody.
    ClusterDown,
    /// Some keys of a check have moved to another node, and some have not yet.
    TryAgain,
    /// The node does not serve the key's slot.
    Moved,
    /// The node takes no more clients.
    MaxClients,
    /// A command that a check needs is renamed or disabled.
    UnknownCommand,
    /// The store is closing.
    Closed,
    /// Anything else.
    Other,
}

impl ErrorClass {
    /// All classes, in the order of their definition.
    pub const ALL: [Self; 23] = [
        Self::Unreachable,
        Self::ConnectionLost,
        Self::Tls,
        Self::Configuration,
        Self::Protocol,
        Self::NoAuth,
        Self::WrongPassword,
        Self::NoPermission,
        Self::ReadOnly,
        Self::Loading,
        Self::Busy,
        Self::OutOfMemory,
        Self::Misconfigured,
        Self::NoReplicas,
        Self::MasterDown,
        Self::NoMaster,
        Self::ClusterDown,
        Self::TryAgain,
        Self::Moved,
        Self::MaxClients,
        Self::UnknownCommand,
        Self::Closed,
        Self::Other,
    ];

    /// A name for a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection_lost",
            Self::Tls => "tls",
            Self::Configuration => "configuration",
            Self::Protocol => "protocol",
            Self::NoAuth => "noauth",
            Self::WrongPassword => "wrongpass",
            Self::NoPermission => "noperm",
            Self::ReadOnly => "readonly",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::OutOfMemory => "oom",
            Self::Misconfigured => "misconf",
            Self::NoReplicas => "noreplicas",
            Self::MasterDown => "masterdown",
            Self::NoMaster => "nomaster",
            Self::ClusterDown => "clusterdown",
            Self::TryAgain => "tryagain",
            Self::Moved => "moved",
            Self::MaxClients => "maxclients",
            Self::UnknownCommand => "nocommand",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// The class of an error that begins with `code`.
    pub(super) fn of_refusal(code: &str, details: &str) -> Self {
        // What `EXEC` itself is refused for.
        if code == "EXECABORT"
            && let Some(because) = details.strip_prefix("Transaction discarded because of: ")
        {
            let (code, details) = because.split_once(' ').unwrap_or((because, ""));
            return Self::of_refusal(code, details);
        }
        match code {
            "NOAUTH" => Self::NoAuth,
            "WRONGPASS" => Self::WrongPassword,
            "NOPERM" => Self::NoPermission,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "OOM" => Self::OutOfMemory,
            "MISCONF" => Self::Misconfigured,
            "NOREPLICAS" => Self::NoReplicas,
            "MASTERDOWN" => Self::MasterDown,
            "CLUSTERDOWN" => Self::ClusterDown,
            "TRYAGAIN" => Self::TryAgain,
            "MOVED" | "ASK" | "CROSSSLOT" => Self::Moved,
            // What a script may not do, in the words of 7.2 and of 7.0.
            "ERR" if details.starts_with("ACL failure in script") => Self::NoPermission,
            "ERR" if details.starts_with("The user executing the script can't") => {
                Self::NoPermission
            }
            "ERR" if details.starts_with("max number of clients") => Self::MaxClients,
            // Of a call, and of what a script calls.
            "ERR" if details.starts_with("unknown command") => Self::UnknownCommand,
            "ERR" if details.starts_with("Unknown Redis command") => Self::UnknownCommand,
            _ => Self::Other,
        }
    }

    /// What is to be done about the connection.
    pub(super) fn remedy(self) -> Remedy {
        match self {
            // The master may be elsewhere by now, or the password another one; and on a connection
            // that is broken what comes cannot be told from what was sent.
            Self::ReadOnly
            | Self::MasterDown
            | Self::NoAuth
            | Self::WrongPassword
            | Self::ConnectionLost
            | Self::Tls
            | Self::Protocol
            | Self::MaxClients => Remedy::Reconnect,
            _ => Remedy::Keep,
        }
    }

    /// What an operator should look at; empty where Redis says it itself.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::NoAuth => "give the store a password, by its URL or `passwordFile`",
            Self::WrongPassword => "check user and password; the user may be off",
            Self::NoPermission => "grant what docs/redis.md lists",
            Self::ReadOnly => "this is a replica; name sentinels, or the master",
            Self::OutOfMemory => "raise maxmemory; every key of Toolgate's expires by itself",
            Self::Misconfigured => "the disk of this Redis needs care",
            Self::ClusterDown => "a part of the cluster has no master",
            Self::Moved => "this is a cluster; use redis+cluster://",
            Self::UnknownCommand => {
                "do not rename or disable the commands that docs/redis.md lists"
            }
            _ => "",
        }
    }
}
