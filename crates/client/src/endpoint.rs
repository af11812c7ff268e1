//! Where limiters are.

use std::{fmt, path::PathBuf, str::FromStr};

use tonic::transport::Uri;

/// Where limiters are: one address, or a name with one address for each replica.
///
/// ```
/// use toolgate_client::Endpoint;
///
/// let endpoint: Endpoint = "dns:///limiter.tools.svc:7070".parse()?;
/// assert_eq!(endpoint.to_string(), "dns:///limiter.tools.svc:7070");
/// let error = "limiter:7070".parse::<Endpoint>().unwrap_err();
/// assert!(error.to_string().contains("http://limiter:7070"));
/// # Ok::<(), toolgate_client::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://host:port` or `https://host:port`: one connection, wherever the host leads. The
    /// host is looked up anew for each connection.
    Url {
        /// Whether it is `https`.
        tls: bool,
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `dns:///name:port`: one connection for each address of the name, as a Kubernetes headless
    /// Service has one for each pod. Over TLS if the client has TLS files.
    Dns {
        /// The name to look up.
        name: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:///path`: a Unix socket, as of a sidecar.
    Unix(PathBuf),
}

/// A text that is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no endpoint: {reason}; write it like {example}")]
pub struct EndpointError {
    text: String,
    reason: &'static str,
    example: String,
}

const EXAMPLES: &str = "http://limiter:7070, https://limiter:7070, dns:///limiter:7070 or \
                        unix:///run/toolgate.sock";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let invalid = |reason, example: &str| EndpointError {
            text: text.to_owned(),
            reason,
            example: example.to_owned(),
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            let reason = "it has no scheme";
            return Err(match text.split_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => {
                    let (url, dns) = (format!("http://{text}"), format!("dns:///{text}"));
                    invalid(reason, &format!("{url} or {dns}"))
                }
                _ => invalid(reason, EXAMPLES),
            });
        };
        match scheme {
            "http" | "https" => {
                let (host, port) = host_and_port(rest)
                    .map_err(|reason| invalid(reason, &format!("{scheme}://limiter:7070")))?;
                let tls = scheme == "https";
                Ok(Self::Url { tls, host, port })
            }
            "dns" => {
                let example = "dns:///limiter:7070";
                let authority = rest.strip_prefix('/');
                let authority =
                    authority.ok_or_else(|| invalid("it names a DNS server", example))?;
                let (name, port) =
                    host_and_port(authority).map_err(|reason| invalid(reason, example))?;
                Ok(Self::Dns { name, port })
            }
            "unix" if rest.len() > 1 && rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(invalid(
                "the path is not absolute",
                "unix:///run/toolgate.sock",
            )),
            _ => Err(invalid("the scheme is unknown", EXAMPLES)),
        }
    }
}

/// Reads `host:port` and nothing more, and takes the brackets off an IPv6 address.
fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    if text.contains('@') {
        return Err("it holds a user name");
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains(['/', '?', '#']) {
        return Err("it goes on after the port");
    }
    let uri: Uri = text.parse().map_err(|_| "it has no host and port")?;
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or("it has no host")?;
    let port = uri.port_u16().filter(|&port| port > 0);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((
        host.to_owned(),
        port.ok_or("it has no port from 1 to 65535")?,
    ))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Url {
                tls: false,
                host,
                port,
            } => ("http://", host, port),
            Self::Url {
                tls: true,
                host,
                port,
            } => ("https://", host, port),
            Self::Dns { name, port } => ("dns:///", name, port),
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
        };
        if host.contains(':') {
            write!(f, "{scheme}[{host}]:{port}")
        } else {
            write!(f, "{scheme}{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        for text in [
            "http://127.0.0.1:7070",
            "http://[::1]:7070",
            "https://limiter.tools.svc.cluster.local:443",
            "dns:///limiter:7070",
            "unix:///run/toolgate.sock",
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
        let with_slash: Endpoint = "http://limiter:7070/".parse().expect("harmless");
        assert_eq!(with_slash.to_string(), "http://limiter:7070");
    }

    #[test]
    fn what_is_no_endpoint_says_how_to_write_it() {
        for (text, reason, example) in [
            ("", "no scheme", "dns:///"),
            (
                "limiter:7070",
                "no scheme",
                "like http://limiter:7070 or dns:///limiter:7070",
            ),
            ("limiter", "no scheme", "http://limiter:7070"),
            ("http://limiter", "no port", "like http://limiter:7070"),
            ("https://:7070", "no host", "like https://limiter:7070"),
            ("http://limiter:0", "no port", "http://limiter:7070"),
            ("http://limiter:70700", "no port", "http://limiter:7070"),
            ("http://limiter:7070/v1", "goes on", "http://limiter:7070"),
            ("http://me@limiter:7070", "user name", "http://limiter:7070"),
            (
                "dns://limiter:7070",
                "names a DNS server",
                "like dns:///limiter:7070",
            ),
            ("dns:///limiter", "no port", "dns:///limiter:7070"),
            (
                "unix://relative",
                "not absolute",
                "unix:///run/toolgate.sock",
            ),
            ("unix:///", "not absolute", "unix:///run/toolgate.sock"),
            (
                "redis://limiter:7070",
                "unknown",
                "unix:///run/toolgate.sock",
            ),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains(example), "{text}: {error}");
        }
    }
}
