//! Where a node sends a call that it has not run.

use crate::{
    error::{Failure, refusals},
    place::HostPort,
};

/// What to do with a call that was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot is at another node now.
    Moved(HostPort),
    /// The slot is on its way to another node, and so are all keys of the call.
    Ask(HostPort),
    /// Some keys of the call are at one node and some at another.
    Later,
}

impl Redirect {
    /// What `failure`, which `node` has answered, tells to do; none if the call may have been run,
    /// or if it is an error.
    pub(crate) fn of(failure: &Failure, node: &HostPort) -> Option<Self> {
        let Failure::Refused(error) = failure else {
            return None;
        };
        // Of a transaction the command that is redirected comes first; then none of it has run.
        refusals(error).iter().find_map(|(_, refusal)| {
            let to = || address(refusal.details()?, node);
            match refusal.code() {
                "MOVED" => to().map(Self::Moved),
                "ASK" => to().map(Self::Ask),
                "TRYAGAIN" => Some(Self::Later),
                _ => None,
            }
        })
    }
}

/// The node in `3999 127.0.0.1:6381`. Without a host it is that of the node which has said so.
fn address(details: &str, node: &HostPort) -> Option<HostPort> {
    let (host, port) = details.split(' ').nth(1)?.rsplit_once(':')?;
    let host = match host {
        "?" => return None,
        "" => &node.host,
        host => host,
    };
    Some(HostPort {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;
    use crate::error::Fault;

    fn redirect(reply: &str) -> Option<Redirect> {
        let value = parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        let error = value.extract_error().expect_err("an error");
        Redirect::of(&Failure::Refused(error), &at("here", 1))
    }

    fn at(host: &str, port: u16) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_redirection_leads_to_the_node_that_it_names() {
        for (reply, to) in [
            (
                "MOVED 3999 127.0.0.1:6381",
                Some(Redirect::Moved(at("127.0.0.1", 6_381))),
            ),
            (
                "ASK 3999 node.test:6381",
                Some(Redirect::Ask(at("node.test", 6_381))),
            ),
            ("ASK 3999 ::1:6381", Some(Redirect::Ask(at("::1", 6_381)))),
            ("MOVED 3999 :6381", Some(Redirect::Moved(at("here", 6_381)))),
            ("MOVED 3999 ?:6381", None),
            ("MOVED", None),
            ("TRYAGAIN Multiple keys", Some(Redirect::Later)),
            ("CLUSTERDOWN The cluster is down", None),
        ] {
            assert_eq!(redirect(reply), to, "{reply}");
        }
    }

    /// It may have been paid.
    #[test]
    fn a_call_without_a_reply_is_sent_nowhere() {
        let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let fault = Fault::from(&redis::RedisError::from(cut));
        let failure = Failure::NoReply(fault.into());
        assert_eq!(Redirect::of(&failure, &at("here", 1)), None);
    }
}
