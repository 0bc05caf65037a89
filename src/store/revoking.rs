//! Sessions as those who look after the edge see them: who is signed in, and ending what they choose.

use crate::clock::Timestamp;
use crate::session::{EndReason, SessionId, SessionRecord};
use crate::store::audit::escaped;
use crate::store::changes::Change;
use crate::store::dialect::args;
use crate::store::people::PersonId;
use crate::store::sessions::{SessionRow, sessions_that};
use crate::store::{After, Store, StoreError, within};

/// Which live sessions are wanted; all that is present must fit.
#[derive(Clone, Debug)]
pub struct SessionFilter {
    /// Used since then; those that were not are over, if nobody has noted it yet.
    pub used_since: Timestamp,
    /// With this text in what is known of the person.
    pub contains: Option<String>,
    /// Of this issuer and subject.
    pub person: Option<(String, String)>,
    /// What logs and pages call it.
    pub label: Option<String>,
}

impl SessionFilter {
    /// All that were used since then.
    pub fn since(used_since: Timestamp) -> Self {
        Self {
            used_since,
            contains: None,
            person: None,
            label: None,
        }
    }
}

/// The filter's conditions, from the third placeholder on.
macro_rules! live_that {
    ($rest:literal) => {
        concat!(
            "WHERE ended_at IS NULL AND expires_at > $1 AND last_seen >= $2 ",
            "AND (CAST($3 AS TEXT) IS NULL OR words LIKE $3 ESCAPE '\\') ",
            "AND (CAST($4 AS TEXT) IS NULL OR issuer = $4) AND (CAST($5 AS TEXT) IS NULL OR subject = $5) ",
            "AND (CAST($6 AS TEXT) IS NULL OR label = $6) ",
            $rest
        )
    };
}

impl Store {
    /// Live sessions, those used last first.
    pub async fn live_sessions(
        &self,
        filter: &SessionFilter,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let (at, id) = After::bounds(after);
        let [contains, issuer, subject, label] = conditions(filter);
        let rows: Vec<SessionRow> = within(self.database.fetch(
            sessions_that!(live_that!(
                "AND (last_seen, id) < ($7, $8) ORDER BY last_seen DESC, id DESC LIMIT $9"
            )),
            args![
                self.clock.now(),
                filter.used_since,
                contains,
                issuer,
                subject,
                label,
                at,
                id,
                limit
            ],
        ))
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// How many live sessions there are, and of how many people.
    pub async fn count_sessions(&self, filter: &SessionFilter) -> Result<(i64, i64), StoreError> {
        let [contains, issuer, subject, label] = conditions(filter);
        let rows: Vec<(i64, i64)> = within(self.database.fetch(
            concat!(
                "SELECT COUNT(*), COUNT(DISTINCT issuer || ' ' || subject) FROM sessions ",
                live_that!("")
            ),
            args![
                self.clock.now(),
                filter.used_since,
                contains,
                issuer,
                subject,
                label
            ],
        ))
        .await?;
        Ok(rows.first().copied().unwrap_or((0, 0)))
    }

    /// Ends these sessions, with their events and changes, in one transaction; returns those that had not ended before.
    pub async fn end_sessions(
        &self,
        ids: &[SessionId],
        reason: &EndReason,
    ) -> Result<Vec<SessionId>, StoreError> {
        let now = self.clock.now();
        // In the order of ids, as everybody who writes several rows, so that nobody deadlocks.
        let mut ids = ids.to_vec();
        ids.sort();
        within(async {
            let mut transaction = self.database.begin().await?;
            let (mut ended, mut events) = (Vec::new(), Vec::new());
            for id in ids {
                if let Some(event) = transaction.end_row(&id, reason, now).await? {
                    ended.push(id);
                    events.push(event);
                }
            }
            transaction.tell(&events, now).await?;
            let changes: Vec<_> = ended.iter().cloned().map(Change::SessionEnded).collect();
            transaction.append(&changes, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    /// What was last decided about somebody, newest first.
    pub async fn decisions_about(
        &self,
        person: &PersonId,
        limit: i64,
    ) -> Result<Vec<crate::audit::decision::Decided>, StoreError> {
        let rows = within(self.database.fetch(
            "SELECT key, principal, body, count, first_at, last_at FROM decisions \
             WHERE principal IN (SELECT id FROM decided_principals WHERE person = $1) \
             ORDER BY last_at DESC, key DESC LIMIT $2",
            args![person.as_str(), limit],
        ))
        .await?;
        self.read_decisions(rows, &mut Default::default()).await
    }
}

fn conditions(filter: &SessionFilter) -> [Option<String>; 4] {
    let contains = filter.contains.as_ref();
    let (issuer, subject) = filter.person.clone().unzip();
    [
        contains.map(|text| format!("%{}%", escaped(&text.to_lowercase()))),
        issuer,
        subject,
        filter.label.clone(),
    ]
}
