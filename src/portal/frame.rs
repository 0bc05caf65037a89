//! What surrounds a page of somebody's own: where they may go, who they are, and word of what was just done.

use crate::portal::{Portal, Visitor};
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

/// Word of what a form did, by its code in the query.
const DONE: &[(&str, &str)] = &[
    (
        "signed-out",
        "Done. That sign-in has ended, and what was open in it is closed.",
    ),
    ("others", "Done. You are signed in here and nowhere else."),
    ("over", "Done. It is taken back, on every edge."),
];

/// The page that a navigation leads to.
pub(super) struct Place {
    pub(super) label: &'static str,
    pub(super) path: &'static str,
    pub(super) is_here: bool,
    /// How much waits there; nothing is not shown.
    pub(super) count: usize,
}

/// What `portal/frame.html` needs.
pub(super) struct Frame {
    pub(super) title: &'static str,
    pub(super) stylesheet: &'static str,
    pub(super) console_stylesheet: &'static str,
    pub(super) portal_stylesheet: &'static str,
    pub(super) console_script: &'static str,
    pub(super) portal_script: &'static str,
    pub(super) places: Vec<Place>,
    pub(super) label: String,
    pub(super) done: Option<&'static str>,
    pub(super) csrf: String,
    pub(super) request_id: String,
}

impl Portal {
    /// Surrounds the page at `here`.
    pub(super) async fn frame(
        &self,
        info: &RequestInfo,
        visitor: &Visitor,
        (here, title): (&str, &'static str),
    ) -> Frame {
        let principal = visitor.principal();
        let policy = self.access.snapshots.current();
        let place = |label, path, count| Place {
            label,
            path,
            is_here: path == here,
            count,
        };
        let mut places = vec![
            place("Apps", "/", 0),
            place("Your requests", "/access/mine", 0),
        ];
        if policy.approves_anything(principal) {
            // The page says more than the number, and is worth having without it.
            let waiting = self.access.waiting(principal).await.unwrap_or_default();
            places.push(place("To decide", "/access/requests", waiting.all()));
        }
        if !policy.roles_of(principal).is_empty() {
            places.push(place("Console", "/console", 0));
        }
        Frame {
            title,
            places,
            label: principal.label().to_owned(),
            done: None,
            csrf: visitor.form_token(),
            request_id: info.request_id.to_string(),
            ..Frame::empty()
        }
    }
}

impl Frame {
    fn empty() -> Self {
        Self {
            title: "",
            stylesheet: &stylesheet::PATH,
            console_stylesheet: &stylesheet::CONSOLE_PATH,
            portal_stylesheet: &stylesheet::PORTAL_PATH,
            console_script: &stylesheet::SCRIPT_PATH,
            portal_script: &stylesheet::PORTAL_SCRIPT_PATH,
            places: Vec::new(),
            label: String::new(),
            done: None,
            csrf: String::new(),
            request_id: String::new(),
        }
    }

    /// Says what was done, if the code is one of ours.
    pub(super) fn with_done(mut self, code: Option<&str>) -> Self {
        let said = DONE.iter().find(|(known, _)| Some(*known) == code);
        self.done = said.map(|(_, text)| *text);
        self
    }
}
