//! Why a use case without faults of its own came to nothing.

use crate::admin::actor::NotPermitted;
use crate::store::StoreError;

/// Either of the things that can always go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Who asks may not.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
