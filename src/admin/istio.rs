//! A revision as Istio's manifests.

use crate::admin::revisions::{Revisions, RevisionsError};
use crate::policy::istio::{self, Edge, Export, IstioFault, Wanted};
use crate::policy::model::Revision;

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// They cannot be as wanted.
    #[error(transparent)]
    Wanted(#[from] IstioFault),
    /// The revision cannot be read.
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
}

impl Revisions {
    /// The manifests of a revision, or of the current one.
    pub async fn istio(
        &self,
        revision: Option<Revision>,
        edge: &Edge,
        wanted: &Wanted,
    ) -> Result<(Revision, Export), ExportError> {
        let policy = self.compiled(revision).await?;
        Ok((policy.revision, istio::export(&policy, edge, wanted)?))
    }
}
