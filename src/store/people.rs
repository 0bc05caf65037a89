//! Everybody who was ever seen, as they were last.

use crate::clock::Timestamp;
use crate::identity::principal::{Groups, Principal};
use crate::secret::sha256;
use crate::store::audit::escaped;
use crate::store::dialect::{Transaction, args};
use crate::store::{After, Store, StoreError, within};

/// Identifies a person, who is (issuer, subject), in addresses and rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonId(String);

impl PersonId {
    /// The id of somebody.
    pub fn of(principal: &Principal) -> Self {
        let (issuer, subject) = (&principal.issuer, &principal.subject);
        // No URL has a zero byte, so no two pairs have the same bytes.
        let key = format!("{issuer}\0{subject}");
        Self(hex::encode(sha256(key.as_bytes())))
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What somebody is found by: names, groups and provider, in lower case.
pub(in crate::store) fn words_of(principal: &Principal) -> String {
    let mut words = vec![principal.label(), &principal.subject, &principal.provider];
    words.extend(principal.display_name.as_deref());
    if let Groups::Known(groups) = &principal.groups {
        words.extend(groups.iter().map(|group| &**group));
    }
    words.join("\n").to_lowercase()
}

/// Somebody who was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonRecord {
    /// Theirs.
    pub id: PersonId,
    /// As they were last.
    pub principal: Principal,
    /// When first.
    pub first_seen: Timestamp,
    /// When last.
    pub last_seen: Timestamp,
}

#[derive(sqlx::FromRow)]
struct PersonRow {
    id: String,
    principal: String,
    first_seen: i64,
    last_seen: i64,
}

impl TryFrom<PersonRow> for PersonRecord {
    type Error = StoreError;

    fn try_from(row: PersonRow) -> Result<Self, StoreError> {
        let principal = serde_json::from_str(&row.principal);
        let senseless = |fault: serde_json::Error| StoreError::Inconsistent {
            table: "people",
            id: row.id.clone(),
            what: format!("principal: {:?}", fault.classify()),
        };
        Ok(Self {
            principal: principal.map_err(senseless)?,
            id: PersonId(row.id),
            first_seen: Timestamp::from_micros(row.first_seen),
            last_seen: Timestamp::from_micros(row.last_seen),
        })
    }
}

impl Store {
    /// People whose names, groups or provider contain a text, those seen last first.
    pub async fn people(
        &self,
        contains: Option<&str>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        let pattern = contains.map(|text| format!("%{}%", escaped(&text.to_lowercase())));
        let (at, id) = After::bounds(after);
        let rows: Vec<PersonRow> = within(self.database.fetch(
            "SELECT id, principal, first_seen, last_seen FROM people \
             WHERE (last_seen, id) < ($1, $2) \
             AND (CAST($3 AS TEXT) IS NULL OR words LIKE $3 ESCAPE '\\') \
             ORDER BY last_seen DESC, id DESC LIMIT $4",
            args![at, id, pattern, limit],
        ))
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Somebody.
    pub async fn person(&self, id: &PersonId) -> Result<Option<PersonRecord>, StoreError> {
        let rows: Vec<PersonRow> = within(self.database.fetch(
            "SELECT id, principal, first_seen, last_seen FROM people WHERE id = $1",
            args![id.as_str()],
        ))
        .await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }
}

impl Transaction {
    /// Notes that somebody was seen. What is older than what is known changes nothing.
    pub(in crate::store) async fn see(
        &mut self,
        id: &PersonId,
        words: &str,
        principal: &str,
        at: i64,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO people (id, words, principal, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4) \
             ON CONFLICT (id) DO UPDATE SET words = excluded.words, principal = excluded.principal, \
             last_seen = excluded.last_seen WHERE people.last_seen <= excluded.last_seen",
            args![id.as_str(), words, principal, at],
        )
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::PersonId;

    #[test]
    fn k7_ids_of_people_are_digits_and_nothing_else() {
        let good = "0a".repeat(32);
        assert_eq!(PersonId::parse(&good).unwrap().as_str(), good);
        for bad in [
            "",
            "0a",
            &"0A".repeat(32),
            &"0'".repeat(32),
            &"0a".repeat(33),
        ] {
            assert_eq!(PersonId::parse(bad), None, "{bad}");
        }
    }
}
