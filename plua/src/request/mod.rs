//! One request being answered: what it asks, its body and form, and what the page has said of the answer so far.
//!
//! Stands on `cache`, `error`, `exchange`, `kept`, `limits`, `network`, `reactor`, `sandbox` and `settings`. Knows no page function: those are made of it.

pub(crate) mod body;
pub(crate) mod database;
pub(crate) mod facts;
pub(crate) mod fault;
pub(crate) mod form;
pub(crate) mod keeping;
pub(crate) mod kept_answer;
pub(crate) mod locals;
pub(crate) mod multipart;
pub(crate) mod nested;
pub(crate) mod query;
pub(crate) mod timers;
pub(crate) mod visit;
pub mod waits;
