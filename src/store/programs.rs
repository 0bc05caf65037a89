//! Programs that act for people, as those who look after the edge see them.

use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::store::audit::escaped;
use crate::store::dialect::args;
use crate::store::sessions::principal_of;
use crate::store::token_families::{GivenRow, GivenTokens, given_that};
use crate::store::{After, Store, StoreError, within};

/// A program, and for whom it acts.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it was given.
    pub given: GivenTokens,
    /// By whom.
    pub principal: Principal,
}

impl Store {
    /// What programs were given on behalf of anybody and is still good, the newest first. `contains` is looked for in what is known of the person, and in the
    /// program's name. Sessions that were not used since `used_since` are over.
    pub async fn programs(
        &self,
        contains: Option<&str>,
        after: Option<&After>,
        (used_since, limit): (Timestamp, i64),
    ) -> Result<Vec<Program>, StoreError> {
        let (at, id) = After::bounds(after);
        let contains = contains.map(|text| format!("%{}%", escaped(&text.to_lowercase())));
        let rows: Vec<ProgramRow> = within(self.database.fetch(
            given_that!(
                "AND (CAST($3 AS TEXT) IS NULL OR s.words LIKE $3 ESCAPE '\\' OR LOWER(f.client) LIKE $3 ESCAPE '\\' \
                 OR LOWER(f.acting) LIKE $3 ESCAPE '\\') \
                 AND (f.created_at, f.id) < ($4, $5) ORDER BY f.created_at DESC, f.id DESC LIMIT $6"
            ),
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
        let given = self.given.given()?;
        let principal = principal_of(&given.family.session, &self.principal)?;
        Ok(Program { given, principal })
    }
}
