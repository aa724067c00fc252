//! Keeps a request away from every connection on which it timed out.
//!
//! An HTTP/2 connection can stay open although its server is dead: then every retry would go out on it. The connections of
//! a client form pools, and HTTP/2 uses one connection per pool. Most requests share one pool. After a time-out without any
//! response, all later requests go to a new shared pool. If the shared pool had responses in the meantime, only that
//! request is moved, to a pool of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use h2::Reason;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::{Builder, Client, Error};

use super::connector::Connector;
use super::errors::rejection;
use super::{ClientSettings, HttpClientError, HttpRequest, HttpResponse, builder};
use std::sync::Arc;

type Pool = Client<Connector, Full<Bytes>>;

/// The number of requests with a pool of their own at which the shared pool counts as dead.
const MAX_SEPARATE: usize = 16;

/// An HTTP client for one server. `K` identifies a request across its retries.
pub struct HttpClient<K> {
    builder: Builder,
    state: RefCell<State<K>>,
}

struct State<K> {
    connector: Connector,
    shared: Rc<Pool>,
    /// The number of shared pools before this one.
    generation: u64,
    /// The number of responses through the shared pool.
    responses: u64,
    /// Pools of requests that timed out in the shared pool while others did not.
    separate: HashMap<K, Rc<Pool>>,
}

/// The pool for one attempt of a request.
pub struct Lease {
    pool: Rc<Pool>,
    is_separate: bool,
    generation: u64,
    responses: u64,
}

impl<K: Clone + Eq + Hash> HttpClient<K> {
    /// Opens no connection.
    pub fn new(settings: ClientSettings<'_>) -> Result<Self, HttpClientError> {
        let builder = builder(settings.max_idle);
        let connector = settings.connector()?;
        let state = State {
            shared: Rc::new(builder.build(connector.clone())),
            connector,
            generation: 0,
            responses: 0,
            separate: HashMap::new(),
        };
        Ok(Self {
            builder,
            state: RefCell::new(state),
        })
    }

    /// A pool whose connections this request has not timed out on.
    pub fn lease(&self, key: &K) -> Lease {
        let state = self.state.borrow();
        let separate = state.separate.get(key);
        Lease {
            is_separate: separate.is_some(),
            pool: Rc::clone(separate.unwrap_or(&state.shared)),
            generation: state.generation,
            responses: state.responses,
        }
    }

    /// Sends a request, once more if the server did not process it: over HTTP/1.1 if it requires that.
    pub async fn send(
        &self,
        key: &K,
        lease: &mut Lease,
        request: impl Fn() -> HttpRequest,
    ) -> Result<HttpResponse, Error> {
        let result = lease.pool.request(request()).await;
        match result.as_ref().err().and_then(rejection) {
            None => return result,
            Some(Reason::HTTP_1_1_REQUIRED) => {
                self.switch_to_http1();
                *lease = self.lease(key);
            }
            Some(_) => {}
        }
        lease.pool.request(request()).await
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
        if lease.generation != state.generation {
            return;
        }
        let others_work = lease.is_separate || lease.responses != state.responses;
        let pool = Rc::new(self.builder.build(state.connector.clone()));
        if others_work && state.separate.len() < MAX_SEPARATE {
            state.separate.insert(key, pool);
        } else {
            state.renew(pool);
        }
    }

    fn switch_to_http1(&self) {
        let mut state = self.state.borrow_mut();
        let http1 = vec![b"http/1.1".to_vec()];
        if state.connector.tls.alpn_protocols != http1 {
            Arc::make_mut(&mut state.connector.tls).alpn_protocols = http1;
            let pool = Rc::new(self.builder.build(state.connector.clone()));
            state.renew(pool);
        }
    }
}

impl<K> State<K> {
    /// Requests in flight finish in their old pools, which close then.
    fn renew(&mut self, pool: Rc<Pool>) {
        self.shared = pool;
        self.generation += 1;
        self.separate.clear();
    }
}
