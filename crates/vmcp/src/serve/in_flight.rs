//! Requests in flight, which their callers may cancel (`notifications/cancelled`).
//!
//! A notification comes as a request of its own, on any connection, and names an id that its client has
//! chosen. It is looked for only among the requests of the same caller. Where callers are not told
//! apart no request is anybody's own, and only a hang-up cancels.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, value::RawValue};
use tokio_util::sync::CancellationToken;
use toolgate_limit::Identity;

/// Those of all callers. There are as many as the edge serves at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<Key, Vec<Arc<CancellationToken>>>>>);

/// Issuer and subject of the caller, and the id.
type Key = (Option<String>, Option<String>, String);

/// A request that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    all: InFlight,
    key: Key,
    token: Arc<CancellationToken>,
}

impl InFlight {
    /// Notes the request `id` of `caller`, which ends when `token` is cancelled.
    pub(super) fn enter(
        &self,
        caller: &Identity,
        id: &RawValue,
        token: CancellationToken,
    ) -> Option<Entered> {
        let (key, token) = (key(caller, id)?, Arc::new(token));
        let mut all = self.all();
        all.entry(key.clone()).or_default().push(Arc::clone(&token));
        Some(Entered {
            all: self.clone(),
            key,
            token,
        })
    }

    /// Cancels the request `id` of `caller`. If two clients of one caller have given the same id to
    /// requests, none is cancelled: it could be the wrong one.
    pub(super) fn cancel(&self, caller: &Identity, id: &RawValue) {
        let Some(key) = key(caller, id) else { return };
        if let Some([token]) = self.all().get(&key).map(Vec::as_slice) {
            token.cancel();
        }
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Vec<Arc<CancellationToken>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut all = self.all.all();
        let Some(tokens) = all.get_mut(&self.key) else {
            return;
        };
        tokens.retain(|token| !Arc::ptr_eq(token, &self.token));
        if tokens.is_empty() {
            all.remove(&self.key);
        }
    }
}

/// None if `id` cannot be one. An id is the same however its text is written.
fn key(caller: &Identity, id: &RawValue) -> Option<Key> {
    let id = serde_json::from_str::<Value>(id.get()).ok()?;
    let is_id = id.is_string() || id.is_number();
    let of = |part: Option<&str>| part.map(str::to_owned);
    is_id.then(|| (of(caller.issuer()), of(caller.subject()), id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_caller_cancels_one_request_of_its_own_and_no_other() {
        let all = InFlight::default();
        let of = |name: &str| Identity::new(name).unwrap();
        let (alice, bob) = (of("alice"), of("bob"));
        let of_issuer = of("alice").of_issuer("https://i").unwrap();
        let enter = |caller: &Identity, text: &str| {
            let token = CancellationToken::new();
            let entered = all.enter(caller, &id(text), token.clone());
            (token, entered)
        };
        let (one, one_entered) = enter(&alice, "1");
        let (text, text_entered) = enter(&alice, r#""1""#);
        let (of_bob, bob_entered) = enter(&bob, "1");
        let (same_name, same_entered) = enter(&of_issuer, "1");
        all.cancel(&alice, &id("2"));
        all.cancel(&alice, &id("null"));
        all.cancel(&of("carol"), &id("1"));
        assert!(!one.is_cancelled() && !text.is_cancelled());

        all.cancel(&alice, &id("1"));
        assert!(one.is_cancelled() && !text.is_cancelled());
        assert!(!of_bob.is_cancelled() && !same_name.is_cancelled());
        drop(one_entered);
        all.cancel(&alice, &id(r#""\u0031""#));
        assert!(text.is_cancelled(), "it is the same text");

        let (first, first_entered) = enter(&bob, "7");
        let (second, second_entered) = enter(&bob, "7");
        all.cancel(&bob, &id("7"));
        assert!(
            !first.is_cancelled() && !second.is_cancelled(),
            "which one?"
        );
        drop(first_entered);
        all.cancel(&bob, &id("7"));
        assert!(second.is_cancelled());
        drop((second_entered, text_entered, bob_entered, same_entered));
        assert!(all.all().is_empty(), "{all:?}");
    }
}
