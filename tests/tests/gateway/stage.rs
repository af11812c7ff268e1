//! Two replicas, one limiter on a Redis whose clock is turned by hand, and callers with tokens.

use std::time::Duration;

use toolgate_limit::Timestamp;
use toolgate_tests::{Limiter, PolicyFile, RedisServer, TurnedClock};

use crate::{backend::Backend, caller::Caller, issuer::Issuer, replica::Replica};

/// All parts of a gateway in production.
pub(crate) struct Stage {
    pub(crate) replicas: [Replica; 2],
    pub(crate) backend: Backend,
    pub(crate) issuer: Issuer,
    now: Timestamp,
    clock: TurnedClock,
    _limiter: Limiter,
    _policies: PolicyFile,
    _redis: RedisServer,
}

impl Stage {
    /// Replicas of the counting backend `a`, and of `backends`, under the policy `spec`; `rest` is
    /// more YAML of their configuration.
    ///
    /// A call on which no decision was made is refused, so each that passes is one that the
    /// limiter has allowed.
    pub(crate) async fn start(spec: &str, backends: &str, rest: &str) -> Self {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let clock = TurnedClock::new(now).expect("a clock");
        let redis = RedisServer::start_on(&clock).await.expect("Redis");
        let policies = PolicyFile::of_spec(spec).expect("a policy");
        let store = redis.url();
        // Denials are remembered on the clocks of limiter and gateway, which no test turns.
        let arguments = [
            "--store",
            &store,
            "--store-timeout",
            "20s",
            "--remember-denials",
            "0s",
        ];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        let limiter = limiter.expect("a limiter");
        let (backend, issuer) = tokio::join!(Backend::start(), Issuer::start());
        let yaml = format!(
            "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: '{}'}}{backends}]
limiter: {{endpoint: '{}', timeout: 30s, rememberDenials: 0s, onUnavailable: deny}}
{rest}",
            issuer.url,
            backend.url,
            limiter.endpoint(),
        );
        let (one, other) = tokio::join!(Replica::start(&yaml), Replica::start(&yaml));
        Self {
            replicas: [one, other],
            backend,
            issuer,
            now,
            clock,
            _limiter: limiter,
            _policies: policies,
            _redis: redis,
        }
    }

    /// `user` as a client of each replica.
    pub(crate) fn callers(&self, user: &str) -> [Caller; 2] {
        let token = self.issuer.token(user);
        self.replicas
            .each_ref()
            .map(|replica| Caller::new(&replica.url, Some(token.clone())))
    }

    /// Lets time pass for the buckets.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.clock.set(self.now).expect("the clock turns");
    }
}
