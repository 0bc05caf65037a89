//! Reading requests and grants: rows in, domain types out.

use std::time::Duration;

use crate::access::{AccessId, Asked, Closed, GrantRecord, OpenRequest, Place, Request};
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

/// How many rows one read returns at most.
const PAGE: i64 = 500;

/// A query for [`RequestRow`]s: what follows their table's name.
macro_rules! requests_that {
    ($rest:literal) => {
        concat!(
            "SELECT id, principal, rule, route, method, host, target, reason, lasting, asked_at, expires_at, state, \
             decided_at, decided_by, why FROM access_requests ",
            $rest
        )
    };
}

/// A query for [`GrantRow`]s: what follows their table's name.
macro_rules! grants_that {
    ($rest:literal) => {
        concat!(
            "SELECT id, principal, rule, reason, granted_by, granted_at, until, ended_at, break_glass, reviewed_by FROM grants ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct RequestRow {
    id: String,
    principal: String,
    rule: String,
    route: String,
    method: String,
    host: String,
    target: String,
    reason: String,
    lasting: i64,
    asked_at: i64,
    expires_at: i64,
    state: String,
    decided_at: Option<i64>,
    decided_by: Option<String>,
    why: Option<String>,
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    id: String,
    principal: String,
    rule: String,
    reason: String,
    granted_by: String,
    granted_at: i64,
    until: i64,
    ended_at: Option<i64>,
    break_glass: i64,
    reviewed_by: Option<String>,
}

pub(super) fn senseless(table: &'static str, id: &str, what: &str) -> StoreError {
    StoreError::Inconsistent {
        table,
        id: id.to_owned(),
        what: what.to_owned(),
    }
}

pub(super) fn principal_of(
    table: &'static str,
    id: &str,
    json: &str,
) -> Result<Principal, StoreError> {
    let read = serde_json::from_str(json);
    read.map_err(|fault| senseless(table, id, &format!("principal: {:?}", fault.classify())))
}

impl RequestRow {
    /// `now` decides whether an open one still is.
    fn read(self, now: Timestamp) -> Result<Request, StoreError> {
        let asked = Asked {
            principal: principal_of("access_requests", &self.id, &self.principal)?,
            id: AccessId(self.id.as_str().into()),
            rule: self.rule.into(),
            place: Place {
                route: self.route.into(),
                method: self.method,
                host: self.host,
                target: self.target,
            },
            reason: self.reason,
            lasting: Duration::from_secs(u64::try_from(self.lasting).unwrap_or(0)),
            at: Timestamp::from_micros(self.asked_at),
            expires_at: Timestamp::from_micros(self.expires_at),
        };
        Ok(match self.state.as_str() {
            "open" if now < asked.expires_at => Request::Open(OpenRequest::new(asked)),
            "open" | "expired" => Request::Expired(asked),
            "granted" => Request::Granted(asked),
            "refused" => Request::Refused {
                asked,
                by: self.decided_by.unwrap_or_default(),
                why: self.why.unwrap_or_default(),
            },
            "withdrawn" => Request::Withdrawn(asked),
            _ => return Err(senseless("access_requests", &self.id, "unknown state")),
        })
    }
}

impl TryFrom<GrantRow> for GrantRecord {
    type Error = StoreError;

    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        Ok(Self {
            principal: principal_of("grants", &row.id, &row.principal)?,
            id: AccessId(row.id.into()),
            rule: row.rule.into(),
            reason: row.reason,
            by: row.granted_by,
            at: Timestamp::from_micros(row.granted_at),
            until: Timestamp::from_micros(row.until),
            ended_at: row.ended_at.map(Timestamp::from_micros),
            break_glass: row.break_glass != 0,
            reviewed_by: row.reviewed_by,
        })
    }
}

impl Store {
    /// A request, whatever became of it.
    pub async fn access_request(&self, id: &AccessId) -> Result<Option<Request>, StoreError> {
        let rows: Vec<RequestRow> = within(
            self.database
                .fetch(requests_that!("WHERE id = $1"), args![&*id.0]),
        )
        .await?;
        Ok(self.requests(rows)?.pop())
    }

    /// Open requests, those that wait longest first; 500 at most.
    pub async fn open_access_requests(&self) -> Result<Vec<Request>, StoreError> {
        let rows = within(self.database.fetch(
            requests_that!(
                "WHERE state = 'open' AND expires_at > $1 ORDER BY asked_at, id LIMIT $2"
            ),
            args![self.clock.now(), PAGE],
        ));
        self.requests(rows.await?)
    }

    /// Somebody's requests, the newest first; so many at most.
    pub async fn access_requests_of(
        &self,
        principal: &Principal,
        limit: i64,
    ) -> Result<Vec<Request>, StoreError> {
        let rows = within(self.database.fetch(
            requests_that!(
                "WHERE issuer = $1 AND subject = $2 ORDER BY asked_at DESC, id LIMIT $3"
            ),
            args![&*principal.issuer, &*principal.subject, limit],
        ));
        self.requests(rows.await?)
    }

    /// Requests that are not open any more, those closed last first; so many at most.
    pub async fn closed_access_requests(&self, limit: i64) -> Result<Vec<Closed>, StoreError> {
        let rows: Vec<RequestRow> = within(self.database.fetch(
            requests_that!("WHERE state <> 'open' ORDER BY decided_at DESC, id LIMIT $1"),
            args![limit],
        ))
        .await?;
        let now = self.clock.now();
        let closed = rows.into_iter().map(|row| {
            let (by, at) = (row.decided_by.clone(), row.decided_at);
            let request = row.read(now)?;
            let at = at.map_or(request.asked().expires_at, Timestamp::from_micros);
            Ok(Closed { request, by, at })
        });
        closed.collect()
    }

    fn requests(&self, rows: Vec<RequestRow>) -> Result<Vec<Request>, StoreError> {
        let now = self.clock.now();
        rows.into_iter().map(|row| row.read(now)).collect()
    }

    /// A grant, live or over.
    pub async fn grant(&self, id: &AccessId) -> Result<Option<GrantRecord>, StoreError> {
        let rows: Vec<GrantRow> = within(
            self.database
                .fetch(grants_that!("WHERE id = $1"), args![&*id.0]),
        )
        .await?;
        rows.into_iter().next().map(TryInto::try_into).transpose()
    }

    /// Every grant that holds now.
    pub async fn live_grants(&self) -> Result<Vec<GrantRecord>, StoreError> {
        grants(
            within(self.database.fetch(
                grants_that!("WHERE ended_at IS NULL AND until > $1 ORDER BY until, id"),
                args![self.clock.now()],
            ))
            .await?,
        )
    }

    /// Grants that held at any time between these moments.
    pub async fn grants_between(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<GrantRecord>, StoreError> {
        grants(
            within(self.database.fetch(
                grants_that!("WHERE granted_at < $2 AND until > $1 ORDER BY until, id"),
                args![since, until],
            ))
            .await?,
        )
    }

    /// Grants that nobody was asked for and nobody has looked at since, the oldest first; 500 at most.
    pub async fn grants_to_review(&self) -> Result<Vec<GrantRecord>, StoreError> {
        grants(
            within(self.database.fetch(
                grants_that!(
                    "WHERE break_glass = 1 AND reviewed_at IS NULL ORDER BY granted_at, id LIMIT $1"
                ),
                args![PAGE],
            ))
            .await?,
        )
    }

    /// Somebody's grants, the newest first; so many at most.
    pub async fn grants_of(
        &self,
        principal: &Principal,
        limit: i64,
    ) -> Result<Vec<GrantRecord>, StoreError> {
        grants(
            within(self.database.fetch(
                grants_that!(
                    "WHERE issuer = $1 AND subject = $2 ORDER BY granted_at DESC, id LIMIT $3"
                ),
                args![&*principal.issuer, &*principal.subject, limit],
            ))
            .await?,
        )
    }
}

fn grants(rows: Vec<GrantRow>) -> Result<Vec<GrantRecord>, StoreError> {
    rows.into_iter().map(TryInto::try_into).collect()
}
