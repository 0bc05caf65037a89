//! The composition root's parts: health, the admin listener, and what a process follows while it runs.

pub mod admin_listener;
pub mod follow;
pub mod health;
