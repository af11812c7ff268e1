//! A limiter that speaks TLS, and ways to reach it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use toolgate_client::{ClientConfig, TlsFiles, TlsIdentity};
use toolgate_proto::pb::{
    BucketStatus, CheckRequest, CheckResponse, PeekRequest,
    limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{
    Authority, Credentials, Limiter, PATIENCE, PolicyFile, client_config, manifest,
};

pub(crate) const TEN_A_DAY: &str = "perUser: {maxTokens: 10, refillPeriod: 24h}";

/// A limiter whose certificate is for `localhost`, and that knows callers of the same authority.
pub(crate) struct Stage {
    pub(crate) authority: Authority,
    pub(crate) limiter: Limiter,
    _policies: PolicyFile,
}

impl Stage {
    /// With `config` as lines of its file of settings, and more arguments.
    pub(crate) async fn start(config: &str, arguments: &[&str]) -> Self {
        Self::start_with(config, arguments, &manifest("server", TEN_A_DAY)).await
    }

    pub(crate) async fn start_with(config: &str, arguments: &[&str], policies: &str) -> Self {
        let server = |authority: &Authority| authority.credentials(&["localhost"]);
        Self::start_as(server, config, arguments, policies).await
    }

    /// The same, with a certificate that `server` makes.
    pub(crate) async fn start_as(
        server: impl FnOnce(&Authority) -> Credentials,
        config: &str,
        arguments: &[&str],
        policies: &str,
    ) -> Self {
        let authority = Authority::new();
        let server = server(&authority);
        let (certificate, key) = authority.write_credentials("server", &server);
        let config = format!(
            "grpcTls: {{certificate: {}, key: {}, clientCa: {}}}\n{config}",
            certificate.display(),
            key.display(),
            authority.ca().display(),
        );
        let config = authority.write("config.yaml", &config);
        let policies = PolicyFile::new(policies).expect("policies");
        let config = ["--config", config.to_str().expect("UTF-8")];
        let arguments = config.iter().chain(arguments);
        let limiter = Limiter::start(&policies.path(), arguments).await;
        Self {
            authority,
            limiter: limiter.expect("a limiter"),
            _policies: policies,
        }
    }

    /// As `localhost:port`.
    pub(crate) fn authority_of_url(&self) -> String {
        let (_, port) = self.limiter.endpoint().rsplit_once(':').expect("a port");
        format!("localhost:{port}")
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.authority_of_url())
    }

    /// A connection, as whoever `identity` is.
    pub(crate) async fn channel(&self, identity: Option<&Credentials>) -> Result<Channel> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(tonic::transport::Identity::from_pem(
                &identity.certificate,
                &identity.key,
            ));
        }
        let endpoint = Endpoint::from_shared(self.url())?.tls_config(tls)?;
        Ok(tokio::time::timeout(PATIENCE, endpoint.connect()).await??)
    }

    /// A check by a caller who is known as `names`.
    pub(crate) async fn client(&self, names: &[&str]) -> LimiterServiceClient<Channel> {
        let identity = self.authority.credentials(names);
        LimiterServiceClient::new(self.channel(Some(&identity)).await.expect("a connection"))
    }

    /// Settings of a gateway that is known as `names`.
    pub(crate) fn gateway(&self, names: &[&str]) -> ClientConfig {
        let identity = self.authority.credentials(names);
        let (certificate, key) = self.authority.write_credentials("gateway", &identity);
        self.gateway_with(Some(TlsIdentity { certificate, key }), self.authority.ca())
    }

    pub(crate) fn gateway_with(&self, identity: Option<TlsIdentity>, ca: PathBuf) -> ClientConfig {
        ClientConfig {
            tls: Some(TlsFiles {
                ca,
                identity,
                server_name: None,
            }),
            // The first connection on a busy machine, with a handshake.
            connect_timeout: Duration::from_secs(10),
            ..client_config(&self.url())
        }
    }
}

pub(crate) async fn check(
    client: &LimiterServiceClient<Channel>,
    request: CheckRequest,
) -> Result<CheckResponse, Status> {
    let reply = client.clone().check(request).await;
    reply.map(tonic::Response::into_inner)
}

/// Tokens left in the only bucket of a check.
pub(crate) async fn remaining(
    client: &LimiterServiceClient<Channel>,
    request: CheckRequest,
) -> Option<u32> {
    let request = PeekRequest {
        check: Some(request),
    };
    let reply = client.clone().peek(request).await.expect("a peek");
    let check = reply.into_inner().check.expect("an answer");
    check
        .buckets
        .first()
        .map(|bucket: &BucketStatus| bucket.remaining)
}
