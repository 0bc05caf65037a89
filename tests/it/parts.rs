//! What the tests share: real peers, programs as processes, and people who visit them.

pub(crate) mod envoy;
pub(crate) mod program;
pub(crate) mod served;
pub(crate) mod visitor;
