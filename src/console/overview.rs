//! The overview: what the edge does, and what needs attention.

use askama::Template;

use crate::console::answer::{Answer, page};
use crate::console::frame::Frame;
use crate::console::guard::Visit;

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
}

/// `GET /console`.
pub(super) async fn show(visit: Visit) -> Answer {
    page(&OverviewPage {
        frame: Frame::of(&visit, "Overview"),
    })
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    OverviewPage {
        frame: Frame::sample(text),
    }
}
