//! What the log tells of SVIDs in people's own hands. Nothing else is kept of them: they are not taken back, they end.

use crate::audit::event::Event;
use crate::session::{FamilyId, SessionId};
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

impl Store {
    /// Tells that somebody got an SVID; false, and nothing is told, if the session or the tokens they asked with have ended. Only what was told is given.
    pub async fn tell_of_svid(
        &self,
        session: &SessionId,
        family: &FamilyId,
        event: Event,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            // Writing the row keeps an end of the session that happens at the same time waiting.
            let live = transaction
                .execute(
                    "UPDATE sessions SET last_seen = last_seen \
                     WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 AND EXISTS \
                     (SELECT 1 FROM token_families f WHERE f.id = $3 AND f.session = sessions.id AND f.ended_at IS NULL)",
                    args![&*session.0, now, &*family.0],
                )
                .await?;
            if live == 0 {
                return Ok(false);
            }
            transaction.tell(&[event], now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Tells that somebody was refused one.
    pub async fn tell_of_refusal(&self, event: Event) -> Result<(), StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.tell(&[event], now).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }
}
