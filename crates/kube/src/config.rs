//! What to watch, and who says what became of it.

use std::{collections::BTreeSet, fmt};

/// How a replica takes part in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose objects are policies.
    pub namespaces: Namespaces,
    /// Whether this replica takes part in the election of the one that writes status and Events.
    pub status: bool,
    /// Where the Leases are. None: the namespace of the pod, or of the kubeconfig.
    pub lease_namespace: Option<String>,
    /// The name of the Lease of the election, with which the names of the others begin.
    pub lease_name: String,
    /// The name of this replica, unlike all others: that of its pod.
    pub replica: String,
    /// The uid of its pod. If there is one, the pod owns the Lease of its replica, and Kubernetes
    /// deletes both together.
    pub pod_uid: Option<String>,
}

/// The namespaces that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All, those to come too. This takes a `ClusterRole`.
    All,
    /// These, at least one. A `Role` in each is enough.
    Only(BTreeSet<String>),
}

/// Why texts name no namespaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespacesError {
    /// None is named.
    #[error("at least one namespace must be given, or `*` for all")]
    None,
    /// All, and some of them.
    #[error("`*` stands for all namespaces and does not go with others")]
    AllAndSome,
    /// Kubernetes knows no such name (RFC 1123, section 2.1: a label).
    #[error("{0:?} is no name of a namespace: 1 to 63 characters of a-z 0-9 -, no - at either end")]
    Name(String),
}

impl Namespaces {
    /// Of their names; `*` alone stands for all.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NamespacesError> {
        let names: BTreeSet<_> = names.into_iter().collect();
        match (names.contains("*"), names.len()) {
            (_, 0) => return Err(NamespacesError::None),
            (true, 1) => return Ok(Self::All),
            (true, _) => return Err(NamespacesError::AllAndSome),
            (false, _) => {}
        }
        match names.iter().find(|name| !is_label(name)) {
            Some(wrong) => Err(NamespacesError::Name((*wrong).to_owned())),
            None => Ok(Self::Only(names.into_iter().map(str::to_owned).collect())),
        }
    }

    /// One watch for each of these; none stands for all namespaces at once.
    pub(crate) fn to_watch(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Only(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let noun = if names.len() == 1 {
                    "namespace"
                } else {
                    "namespaces"
                };
                write!(f, "{noun} {}", names.join(", "))
            }
        }
    }
}

fn is_label(name: &str) -> bool {
    let of_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(of_label)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_all_namespaces_and_names_are_those() {
        assert_eq!(Namespaces::of(["*"]), Ok(Namespaces::All));
        let two = Namespaces::of(["team-b", "team-a", "team-b"]).expect("names");
        assert_eq!(two.to_string(), "namespaces team-a, team-b");
        assert_eq!(two.to_watch().len(), 2);
        assert_eq!(Namespaces::All.to_watch(), [None]);
    }

    #[test]
    fn what_names_no_namespace_is_an_error() {
        let name = |name: &str| NamespacesError::Name(name.to_owned());
        for (names, error) in [
            (&[][..], NamespacesError::None),
            (&["*", "team"], NamespacesError::AllAndSome),
            (&["Team"], name("Team")),
            (&["-team"], name("-team")),
            (&["team/research"], name("team/research")),
        ] {
            assert_eq!(
                Namespaces::of(names.iter().copied()),
                Err(error),
                "{names:?}"
            );
        }
    }
}
