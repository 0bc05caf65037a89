//! Writing decisions down: an allowed request goes on only when that is done.

use crate::audit::spool::{Asked, SpoolError};
use crate::config::checked::WhenFull;
use crate::edge::access_log::Entry;
use crate::edge::authenticate::Authenticated;
use crate::edge::authorize::{Denied, Permit};
use crate::edge::local::Worker;
use crate::edge::respond::Refused;
use crate::edge::upstream::Upstreams;

impl<U: Upstreams> Worker<U> {
    /// Refuses what cannot be recorded, unless the configuration wants it forwarded all the same.
    pub(in crate::edge) fn record_allowed(
        &self,
        permit: &Permit,
        entry: &Entry,
    ) -> Result<(), Refused> {
        let recorded = self.record(permit.authenticated(), entry, |asked| Asked {
            rule: Some(permit.rule()),
            mesh_identity: Some(permit.identity().as_str()),
            ..asked
        });
        match (recorded, self.edge.when_full) {
            (Ok(()), _) | (Err(_), WhenFull::Forward) => Ok(()),
            (Err(_), WhenFull::Refuse) => Err(Refused::NotRecorded),
        }
    }

    /// A denial stands whether it is recorded or not.
    pub(in crate::edge) fn record_denied(&self, denied: &Denied, entry: &Entry) {
        let _counted = self.record(denied.authenticated(), entry, |asked| Asked {
            rule: denied.rule(),
            reason: denied.reason().code(),
            ..asked
        });
    }

    fn record<'a>(
        &self,
        authenticated: &'a Authenticated,
        entry: &Entry,
        decided: impl FnOnce(Asked<'a>) -> Asked<'a>,
    ) -> Result<(), SpoolError> {
        let routed = authenticated.routed();
        let request = routed.request();
        let caller = authenticated.caller();
        let session = caller.session_label();
        let mut id = [0; 36];
        let asked = decided(Asked {
            id: "",
            at: entry.started(),
            caller: caller.number(),
            principal: authenticated.principal(),
            session: None,
            reason: "",
            rule: None,
            revision: routed.view().policy.revision.0,
            route: &routed.route().route.name,
            host: request.origin.host.as_str(),
            method: request.method.as_str(),
            path: &request.path,
            peer: request.peer,
            mesh_identity: None,
        });
        let recorded = self.recorder.record(&Asked {
            id: entry.id().text(&mut id),
            session: session.as_deref(),
            ..asked
        });
        let fails = recorded.is_err();
        let changed = self.records_fail.replace(fails) != fails;
        match &recorded {
            Ok(()) if changed => tracing::info!("decisions can be recorded again"),
            Ok(()) => {}
            Err(error) => {
                self.edge.metrics.unrecorded.inc();
                if changed {
                    tracing::error!(%error, "decisions cannot be recorded");
                }
            }
        }
        recorded
    }
}
