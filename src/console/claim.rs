//! Becoming the first owner, with the code that the server printed.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::admin::ownership::{ClaimError, Standing};
use crate::console::answer::{Answer, Refused, html, page, see_other};
use crate::console::frame::Frame;
use crate::console::guard::{Submitted, Visit};
use crate::console::{Console, Shared};
use crate::policy::model::Revision;

/// Longest wait for a revision to come into force before going on.
const IN_FORCE: Duration = Duration::from_secs(3);

impl From<ClaimError> for Refused {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::TooMany => Self::TooMany,
            ClaimError::Owned | ClaimError::Code | ClaimError::Subject => {
                Self::Conflict(format!("{error}."))
            }
            ClaimError::Revisions(error) => error.into(),
            ClaimError::Store(error) => error.into(),
        }
    }
}

#[derive(Template)]
#[template(path = "console/claim.html")]
struct ClaimPage {
    frame: Frame,
    is_owned: bool,
    file: Option<(String, String)>,
    fault: bool,
}

impl ClaimPage {
    async fn of(console: &Console, visit: &Visit, fault: bool) -> Result<Self, Refused> {
        let standing = console.ownership.standing(&visit.principal).await?;
        let file = match &standing {
            Standing::File(file, lines) => Some((
                file.display().to_string(),
                format!("role_bindings:\n{lines}"),
            )),
            Standing::Owned | Standing::Free => None,
        };
        Ok(Self {
            frame: Frame::of(visit, "The first owner"),
            is_owned: standing == Standing::Owned,
            file,
            fault,
        })
    }
}

/// `GET /console/claim`.
pub(super) async fn ask(State(console): Shared, visit: Visit) -> Answer {
    page(&ClaimPage::of(&console, &visit, false).await?)
}

/// `POST /console/claim`.
pub(super) async fn submit(
    State(console): Shared,
    visit: Visit,
    Submitted(form): Submitted,
) -> Answer {
    let code = form.one("code").unwrap_or_default();
    let claimed = console.ownership.claim(&visit.principal, code).await;
    if let Err(ClaimError::Code) = claimed {
        let again = ClaimPage::of(&console, &visit, true).await?;
        return html(StatusCode::BAD_REQUEST, &again);
    }
    in_force(&console, claimed?.revision).await;
    see_other("/console?done=owner")
}

/// The next page is refused by the policy of before; a moment later it is not.
async fn in_force(console: &Console, revision: Revision) {
    let mut changes = console.snapshots.subscribe();
    let new = changes.wait_for(|current| *current >= revision);
    let _new_or_late = tokio::time::timeout(IN_FORCE, new).await;
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    ClaimPage {
        frame: Frame::sample(text),
        is_owned: false,
        file: Some((text.to_owned(), text.to_owned())),
        fault: true,
    }
}
