//! Workloads of other trust domains: a client certificate with a SPIFFE ID (RFC 8705 §2.1, client authentication by mutual TLS) gets a token for one route (RFC 6749 §4.4).

use std::sync::Arc;

use serde_json::Value;

use crate::oauth::accounts::Lasting;
use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth};

/// Where the session of a workload is kept.
const SESSION_OF: &str = "x509_svid";

impl OAuth {
    /// A token for whoever has presented a certificate. It is judged with each request: against the policy in force and the present time, however old the connection is.
    pub(super) async fn by_certificate(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        if asked.form.one("client_secret").is_some() {
            return Err(OAuthFault::InvalidClient);
        }
        let presented = asked.info.presented.as_deref().unwrap_or_default();
        let client_id = asked.form.one("client_id");
        let workload = self
            .programs
            .trust_domains
            .verify(presented, client_id, self.clock.now())
            .map_err(OAuthFault::ClientCertificate)?;
        let _first = asked.verified.set(Arc::new(workload.principal.clone()));
        let lasting = Lasting {
            kind: SESSION_OF,
            principal: workload.principal,
            until: workload.until,
        };
        self.by_credentials(asked, lasting).await
    }
}
