//! How often rules decided, by the recorded decisions.

use crate::clock::Timestamp;
use crate::store::audit::escaped;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

/// How often a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// How many requests.
    pub count: i64,
    /// When last; `None` if there was none.
    pub last_at: Option<Timestamp>,
}

impl Store {
    /// What a rule decided since a moment.
    pub async fn rule_use(&self, rule: &str, since: Timestamp) -> Result<RuleUse, StoreError> {
        // A quote within a text of the JSON has a backslash before it, so this is found nowhere else.
        let pattern = format!("%\"rule\":\"{}\"%", escaped(rule));
        let rows: Vec<(i64, Option<i64>)> = within(self.database.fetch(
            "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT), MAX(last_at) FROM decisions \
             WHERE last_at >= $1 AND body LIKE $2 ESCAPE '\\'",
            args![since, pattern],
        ))
        .await?;
        let (count, last_at) = rows.first().copied().unwrap_or_default();
        Ok(RuleUse {
            count,
            last_at: last_at.map(Timestamp::from_micros),
        })
    }
}
