//! Keeps a request away from every connection on which it timed out.
//!
//! An HTTP/2 connection can stay open although its server is dead: then every retry would go out on it. The connections of
//! a `reqwest::Client` form a pool, and HTTP/2 uses one connection per pool. Most requests share one pool. After a time-out
//! without any response, all later requests go to a new shared pool. If the shared pool had responses in the meantime,
//! only that request is moved, to a pool of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use h2::Reason;
use reqwest::{Client, Request, Response};

use super::errors::{is_tunnel_rejected, rejection, request_error};
use super::{ClientSettings, HttpClientError};
use forgewatch_core::verdict::PollError;

/// The number of requests with a pool of their own at which the shared pool counts as dead.
const MAX_SEPARATE: usize = 16;

/// An HTTP client for one server. `K` identifies a request across its retries.
pub struct HttpClient<K> {
    state: RefCell<State<K>>,
}

struct State<K> {
    settings: ClientSettings,
    shared: Client,
    /// The number of shared pools before this one.
    generation: u64,
    /// The number of responses through the shared pool.
    responses: u64,
    /// Pools of requests that timed out in the shared pool while others did not.
    separate: HashMap<K, Client>,
}

/// The pool for one attempt of a request.
pub struct Lease {
    pool: Client,
    is_separate: bool,
    generation: u64,
    responses: u64,
}

impl<K: Clone + Eq + Hash> HttpClient<K> {
    /// Opens no connection.
    pub fn new(settings: ClientSettings) -> Result<Self, HttpClientError> {
        let state = State {
            shared: settings.client().map_err(HttpClientError::Setup)?,
            settings,
            generation: 0,
            responses: 0,
            separate: HashMap::new(),
        };
        Ok(Self {
            state: RefCell::new(state),
        })
    }

    /// A pool whose connections this request has not timed out on.
    pub fn lease(&self, key: &K) -> Lease {
        let state = self.state.borrow();
        let separate = state.separate.get(key);
        Lease {
            is_separate: separate.is_some(),
            pool: separate.unwrap_or(&state.shared).clone(),
            generation: state.generation,
            responses: state.responses,
        }
    }

    /// Sends a request, once more if the server did not process it: over HTTP/1.1 if it requires that.
    pub async fn send(
        &self,
        key: &K,
        lease: &mut Lease,
        request: impl Fn() -> Request,
    ) -> Result<Response, PollError> {
        let mut result = lease.pool.execute(request()).await;
        if let Some(reason) = result.as_ref().err().and_then(rejection) {
            if reason == Reason::HTTP_1_1_REQUIRED {
                self.switch_to_http1();
                *lease = self.lease(key);
            }
            result = lease.pool.execute(request()).await;
        }
        match result {
            Ok(response) => Ok(response),
            // Boxed, since it is rare and would enlarge the future of every poll.
            Err(error) => Err(Box::pin(self.explain(error)).await),
        }
    }

    async fn explain(&self, error: reqwest::Error) -> PollError {
        let (proxy, server) = {
            let state = self.state.borrow();
            (state.settings.proxy.clone(), state.settings.url.clone())
        };
        // reqwest does not pass on the status.
        let status = match &proxy {
            Some(proxy) if is_tunnel_rejected(&error) => proxy.tunnel_status(&server).await,
            _ => None,
        };
        request_error(&error, proxy.as_ref(), status)
    }

    /// Takes note that the server responded.
    pub fn responded(&self, lease: &Lease) {
        let mut state = self.state.borrow_mut();
        if !lease.is_separate && lease.generation == state.generation {
            state.responses += 1;
        }
    }

    /// Takes note that a request timed out.
    pub fn timed_out(&self, key: K, lease: &Lease) {
        let mut state = self.state.borrow_mut();
        // With the settings of a client that exists, a new one can be created.
        let (true, Ok(pool)) = (
            lease.generation == state.generation,
            state.settings.client(),
        ) else {
            return;
        };
        let others_work = lease.is_separate || lease.responses != state.responses;
        if others_work && state.separate.len() < MAX_SEPARATE {
            state.separate.insert(key, pool);
        } else {
            state.renew(pool);
        }
    }

    fn switch_to_http1(&self) {
        let mut state = self.state.borrow_mut();
        let http1 = vec![b"http/1.1".to_vec()];
        if state.settings.tls.alpn_protocols != http1 {
            state.settings.tls.alpn_protocols = http1;
            if let Ok(pool) = state.settings.client() {
                state.renew(pool);
            }
        }
    }
}

impl<K> State<K> {
    /// Requests in flight finish in their old pools, which close then.
    fn renew(&mut self, pool: Client) {
        self.shared = pool;
        self.generation += 1;
        self.separate.clear();
    }
}
