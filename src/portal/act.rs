//! Forms that decide: each is read only after it is known to be of our own page and this session, and goes back to the page it came from.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, Response};

use crate::access::AccessId;
use crate::portal::{Portal, PortalError, Visitor, reply};
use crate::web;
use crate::web::csrf::Protected;
use crate::web::lengths;
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;

const REQUESTS: &str = "/access/requests";
const MINE: &str = "/access/mine";
/// Forms of the first page lead back to it.
const HOME: &str = "/?done=over#access";

type Form = (
    State<Arc<Portal>>,
    Extension<RequestInfo>,
    Path<String>,
    Request<Body>,
);

/// What a form says, once it was opened, and who sent it.
struct Sent {
    visitor: Visitor,
    id: AccessId,
    fields: Parameters,
}

impl Portal {
    async fn receive(
        &self,
        info: &RequestInfo,
        id: String,
        request: Request<Body>,
        page: &str,
    ) -> Result<Sent, PortalError> {
        let visitor = self.visitor(info, request.headers(), page).await?;
        let form = Protected::receive(request).await?;
        let fields = form.open(&info.origin, visitor.cookie)?;
        Ok(Sent {
            visitor,
            id: AccessId(id.into()),
            fields,
        })
    }
}

/// Reads a form, does what it asks for, and shows the page again.
async fn follow<F>(
    (State(portal), Extension(info), Path(id), request): Form,
    page: &'static str,
    act: impl FnOnce(Arc<Portal>, Sent) -> F,
) -> Response<Body>
where
    F: Future<Output = Result<(), PortalError>>,
{
    let headers = request.headers().clone();
    let result = async {
        let sent = portal.receive(&info, id, request, page).await?;
        let back = match sent.fields.one("back") {
            Some("home") => HOME,
            _ => page,
        };
        act(Arc::clone(&portal), sent).await?;
        Ok(web::reply::redirect(&info, back, None)?)
    };
    reply::answer(&info, &headers, result.await)
}

/// `POST /access/requests/{id}/approve`.
pub(super) async fn approve(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let lasting = match sent.fields.one("lasting") {
            Some(text) => Some(lengths::parse(text).ok_or(PortalError::Request)?),
            None => None,
        };
        let actor = sent.visitor.actor();
        Ok(portal.access.approve(actor, &sent.id, lasting).await?)
    };
    follow((state, info, id, request), REQUESTS, act).await
}

/// `POST /access/requests/{id}/refuse`.
pub(super) async fn refuse(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let why = sent.fields.one("why").unwrap_or("");
        let actor = sent.visitor.actor();
        Ok(portal.access.refuse(actor, &sent.id, why).await?)
    };
    follow((state, info, id, request), REQUESTS, act).await
}

/// `POST /access/requests/{id}/withdraw`.
pub(super) async fn withdraw(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let actor = sent.visitor.actor();
        Ok(portal.access.withdraw(actor, &sent.id).await?)
    };
    follow((state, info, id, request), MINE, act).await
}

/// `POST /access/grants/{id}/revoke`.
pub(super) async fn revoke(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let actor = sent.visitor.actor();
        Ok(portal.access.revoke(actor, &sent.id).await?)
    };
    follow((state, info, id, request), REQUESTS, act).await
}

/// `POST /access/grants/{id}/give-back`.
pub(super) async fn give_back(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let actor = sent.visitor.actor();
        Ok(portal.access.give_back(actor, &sent.id).await?)
    };
    follow((state, info, id, request), MINE, act).await
}

/// `POST /access/grants/{id}/review`.
pub(super) async fn review(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    id: Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let act = async |portal: Arc<Portal>, sent: Sent| {
        let note = sent.fields.one("note").unwrap_or("");
        let actor = sent.visitor.actor();
        Ok(portal.access.review(actor, &sent.id, note).await?)
    };
    follow((state, info, id, request), REQUESTS, act).await
}
