//! The policies under which checks are measured: never denied, and never forgotten while they are.

use std::{fmt::Write as _, num::NonZeroU32, time::Duration};

use toolgate_limit::{Check, Identity, Mode, Operation, OperationKind, Policy, Quota, Quotas};
use toolgate_tests::{PolicyFile, manifest};

/// The server that is asked.
pub(crate) const SERVER: &str = "test/server";
pub(crate) const TOOLS: usize = 100;
pub(crate) const USERS: usize = 10_000;

/// More than all users take, in any run.
const GLOBAL: (u32, &str, u64) = (2_147_483_647, "1s", 1);
/// The longest there is.
const PER_USER_PERIOD: (&str, u64) = ("8784h", 8_784 * 3_600);

/// What the policy of [`SERVER`] looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many buckets a check touches. One: per user. Two: and global. Three: and per user of the
    /// tool. Four: and global of the tool.
    pub(crate) buckets: usize,
    pub(crate) tools: usize,
    /// Tokens of each user, in [`PER_USER_PERIOD`]: more than one user takes, and few enough that
    /// a bucket is not full again, and forgotten, while its user is active.
    pub(crate) per_user: u32,
}

/// A token comes back after three seconds.
pub(crate) const FOUR_BUCKETS: Shape = Shape {
    buckets: 4,
    tools: TOOLS,
    per_user: 10_000_000,
};

impl Shape {
    fn quotas(self, global: bool) -> String {
        let (tokens, period, _) = GLOBAL;
        let global =
            global.then(|| format!("global: {{maxTokens: {tokens}, refillPeriod: {period}}}, "));
        let (tokens, (period, _)) = (self.per_user, PER_USER_PERIOD);
        let per_user = format!("perUser: {{maxTokens: {tokens}, refillPeriod: {period}}}");
        global.unwrap_or_default() + &per_user
    }

    /// As YAML inside `spec: {}`.
    fn spec(self) -> String {
        let mut spec = self.quotas(self.buckets >= 2);
        if self.buckets >= 3 {
            let quotas = self.quotas(self.buckets >= 4);
            let tools = (0..self.tools).map(|tool| format!("{{name: tool-{tool}, {quotas}}}"));
            let tools: Vec<_> = tools.collect();
            write!(spec, ", tools: [{}]", tools.join(", ")).expect("a string");
        }
        spec
    }

    /// A file with this policy.
    pub(crate) fn file(self) -> PolicyFile {
        PolicyFile::of_spec(&self.spec()).expect("a file")
    }
}

/// A file with that many policies; one is that of [`SERVER`], with [`TOOLS`] tools.
pub(crate) fn file_of_many(policies: usize) -> PolicyFile {
    let mut text = manifest("server", &FOUR_BUCKETS.spec());
    for number in 1..policies {
        let other = Shape {
            tools: 2,
            ..FOUR_BUCKETS
        };
        let other = manifest(&format!("other-{number}"), &other.spec());
        write!(text, "---\n{other}").expect("a string");
    }
    PolicyFile::new(&text).expect("a file")
}

/// [`FOUR_BUCKETS`] as a value.
pub(crate) fn policy() -> Policy {
    let quota = |tokens, seconds| Quota::new(tokens, Duration::from_secs(seconds)).expect("valid");
    let both = Quotas {
        global: Some(quota(GLOBAL.0, GLOBAL.2)),
        per_user: Some(quota(FOUR_BUCKETS.per_user, PER_USER_PERIOD.1)),
    };
    let tools = (0..TOOLS).map(|tool| (operation(tool), both));
    let server = SERVER.parse().expect("valid");
    Policy::new(server, Mode::Enforce, both, tools).expect("valid")
}

fn operation(number: usize) -> Operation {
    Operation::new(OperationKind::Tool, &format!("tool-{number}")).expect("valid")
}

/// The same users and tools in every run, spread as by chance.
pub(crate) fn check(number: usize) -> Check {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let (user, tool) = (mixed % USERS, mixed / USERS % TOOLS);
    Check {
        server: SERVER.parse().expect("valid"),
        identity: Identity::new(format!("user-{user}")).expect("valid"),
        operation: Some(operation(tool)),
        cost: NonZeroU32::MIN,
        trace: None,
    }
}
