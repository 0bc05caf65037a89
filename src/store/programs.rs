//! Programs that act for people, as those who look after the edge see them.

use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::session::SessionId;
use crate::store::audit::escaped;
use crate::store::dialect::args;
use crate::store::sessions::principal_of;
use crate::store::token_families::{GivenRow, GivenTokens};
use crate::store::{Store, StoreError, within};

/// A program, and for whom it acts.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it was given.
    pub given: GivenTokens,
    /// By whom.
    pub principal: Principal,
}

/// Where a list of programs goes on.
#[derive(Clone, Debug)]
pub struct ProgramsAfter {
    /// Those that were let in before this, in microseconds, or then and with a smaller id.
    pub at: i64,
    /// See above.
    pub id: String,
}

impl Store {
    /// What programs were given on behalf of anybody and is still good, the newest first. `contains` is looked for in what is known of the person, and in the
    /// program's name. Sessions that were not used since `used_since` are over.
    pub async fn programs(
        &self,
        contains: Option<&str>,
        after: Option<&ProgramsAfter>,
        (used_since, limit): (Timestamp, i64),
    ) -> Result<Vec<Program>, StoreError> {
        let (at, id) = after.map_or((i64::MAX, ""), |after| (after.at, &after.id));
        let contains = contains.map(|text| format!("%{}%", escaped(&text.to_lowercase())));
        let rows: Vec<ProgramRow> = within(self.database.fetch(
            "SELECT f.id, f.session, f.client, f.key_thumbprint, f.acting, f.how, f.peer, f.created_at, \
             (SELECT MAX(r.created_at) FROM refresh_tokens r WHERE r.family = f.id) AS renewed_at, s.principal \
             FROM token_families f JOIN sessions s ON s.id = f.session \
             WHERE f.ended_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $1 AND s.last_seen >= $2 \
             AND (CAST($3 AS TEXT) IS NULL OR s.words LIKE $3 ESCAPE '\\' OR LOWER(f.client) LIKE $3 ESCAPE '\\' \
             OR LOWER(f.acting) LIKE $3 ESCAPE '\\') \
             AND (f.created_at, f.id) < ($4, $5) ORDER BY f.created_at DESC, f.id DESC LIMIT $6",
            args![self.clock.now(), used_since, contains, at, id, limit],
        ))
        .await?;
        rows.into_iter().map(ProgramRow::program).collect()
    }
}

#[derive(sqlx::FromRow)]
struct ProgramRow {
    #[sqlx(flatten)]
    given: GivenRow,
    principal: String,
}

impl ProgramRow {
    fn program(self) -> Result<Program, StoreError> {
        let session = SessionId(self.given.session.as_str().into());
        Ok(Program {
            principal: principal_of(&session, &self.principal)?,
            given: self.given.given()?,
        })
    }
}
