//! `toolgate pseudonym`: under which name the audit stream shows a user or a resource.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use toolgate_limit::Identity;
use toolgate_server::Salt;

use super::Outcome;
use crate::output::Stdout;

/// Print the pseudonym that the audit stream shows for a user or a resource
#[derive(Debug, Args)]
pub(crate) struct Pseudonym {
    /// The salt of the audit stream, as in `serve --audit-salt-file`
    #[arg(long, value_name = "FILE", env = "TOOLGATE_AUDIT_SALT_FILE")]
    salt_file: PathBuf,
    #[command(flatten)]
    of: Of,
    /// Who vouches for the user, for example the URL of an OIDC issuer
    #[arg(long, value_name = "URL", requires = "user")]
    issuer: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// The user
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// The resource
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
}

impl Pseudonym {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let path = &self.salt_file;
        let salt = Salt::read(path).with_context(|| format!("salt {}", path.display()))?;
        let pseudonym = match (self.of.user, self.of.resource) {
            (Some(user), _) => {
                let user = Identity::new(user).context("--user")?;
                let issuer = self.issuer.unwrap_or_default();
                salt.user(&user.of_issuer(issuer).context("--issuer")?)
            }
            (None, uri) => salt.resource(&uri.unwrap_or_default()),
        };
        Stdout::new().print(&format!("{pseudonym}\n"))?;
        Ok(Outcome::Done)
    }
}
