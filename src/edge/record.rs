//! Writing decisions down: an allowed request goes on only when that is done.

use std::sync::Arc;

use crate::audit::spool::{Asked, SpoolError};
use crate::config::checked::WhenFull;
use crate::edge::access_log::Entry;
use crate::edge::authenticate::Authenticated;
use crate::edge::authorize::{Denied, Permit};
use crate::edge::local::Worker;
use crate::edge::respond::Refused;
use crate::edge::upstream::Upstreams;
use crate::telemetry::causes::Causes;

/// What was decided; the reason is empty where the request goes on.
struct Outcome<'a> {
    reason: &'static str,
    rule: Option<&'a Arc<str>>,
    mesh_identity: Option<&'a str>,
}

impl<U: Upstreams> Worker<U> {
    /// Refuses what cannot be recorded, unless the configuration wants it forwarded all the same.
    pub(in crate::edge) fn record_allowed(
        &self,
        permit: &Permit,
        entry: &Entry,
    ) -> Result<(), Refused> {
        let outcome = Outcome {
            reason: "",
            rule: Some(permit.rule()),
            mesh_identity: Some(permit.identity().as_str()),
        };
        let recorded = self.record(permit.authenticated(), entry, &outcome);
        match (recorded, self.edge.when_full) {
            (Ok(()), _) | (Err(_), WhenFull::Forward) => Ok(()),
            (Err(_), WhenFull::Refuse) => Err(Refused::NotRecorded),
        }
    }

    /// A denial stands whether it is recorded or not.
    pub(in crate::edge) fn record_denied(&self, denied: &Denied, entry: &Entry) {
        let outcome = Outcome {
            reason: denied.reason().code(),
            rule: denied.rule(),
            mesh_identity: None,
        };
        let _counted = self.record(denied.authenticated(), entry, &outcome);
    }

    fn record(
        &self,
        authenticated: &Authenticated,
        entry: &Entry,
        outcome: &Outcome<'_>,
    ) -> Result<(), SpoolError> {
        let routed = authenticated.routed();
        let request = routed.request();
        let caller = authenticated.caller();
        let recorded = self.recorder.record(&Asked {
            id: entry.id().text(&mut [0; 36]),
            at: entry.started(),
            caller: caller.number(),
            principal: authenticated.principal(),
            session: caller.session_label().as_deref(),
            reason: outcome.reason,
            rule: outcome.rule,
            revision: routed.view().policy.revision.0,
            route: &routed.route().route.name,
            host: request.origin.host.as_str(),
            method: routed.method_for_rules(),
            path: &request.path,
            peer: request.peer,
            mesh_identity: outcome.mesh_identity,
        });
        let fails = recorded.is_err();
        let changed = self.records_fail.replace(fails) != fails;
        match &recorded {
            Ok(()) if changed => tracing::info!("decisions can be recorded again"),
            Ok(()) => {}
            Err(error) => {
                self.edge.metrics.unrecorded.inc();
                if changed {
                    tracing::error!(
                        error = %Causes(&error),
                        "decisions cannot be recorded"
                    );
                }
            }
        }
        recorded
    }
}
