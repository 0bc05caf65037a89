//! Shared by everything that answers browsers and API clients itself: what is known of a request, problems and their pages, security headers, CSRF.

pub mod apart;
pub mod ask;
pub mod audience;
pub mod authorization;
pub mod browser;
pub mod csrf;
pub mod endpoint;
pub mod lengths;
pub mod moment;
pub mod parameters;
pub mod problem;
pub mod receive;
pub mod reply;
pub mod request_info;
pub mod resource_metadata;
pub mod security_headers;
pub mod stylesheet;
