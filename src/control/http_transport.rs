//! The client's end of the HTTP API. Blocking, like that of the control socket.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use url::Url;

use super::client_error::{ClientError, RESPONSE_TIMEOUT};
use super::http_call::{self, ApiCall, Method};
use super::protocol::{Request, RequestErrorKind, Response};
use super::sse::MessageReader;
use crate::http_client::{ClientSettings, HttpClient, HttpClientError, Proxy, tls};
use forgewatch_core::verdict::{ErrorKind, PollError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The daemon sends a comment every 15 s: after this silence the connection is dead.
const STREAM_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest response that is not a stream.
const MAX_BODY: usize = 64 << 20;

/// A daemon's HTTP API.
pub struct HttpTarget {
    /// Without a slash at its end.
    base: Url,
    token: Option<SecretString>,
    tls: ClientConfig,
    proxy: Option<Proxy>,
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTarget")
            .field(&self.base.as_str())
            .finish()
    }
}

impl HttpTarget {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        base: Url,
        token: Option<SecretString>,
        proxy: Option<Proxy>,
    ) -> Result<Self, HttpClientError> {
        Ok(Self {
            tls: tls(&base, None)?,
            base,
            token,
            proxy,
        })
    }

    fn client(&self) -> Result<HttpClient<()>, HttpClientError> {
        HttpClient::new(ClientSettings {
            url: self.base.clone(),
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            max_idle: 1,
            allow_link_local: true,
        })
    }

    fn request(&self, call: &ApiCall) -> reqwest::Request {
        let mut url = self.base.clone();
        // A base URL of HTTP has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let method = match call.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = reqwest::Request::new(method, url);
        let headers = request.headers_mut();
        if let Some(token) = &self.token
            && let Ok(mut value) =
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(body) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.to_string().into());
        }
        request
    }
}

/// Sends a request to the API.
pub(super) fn send(target: &HttpTarget, request: &Request) -> Result<HttpResponses, ClientError> {
    let calls = ApiCall::all_of(request).ok_or(ClientError::SocketOnly)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ClientError::NotRunning)?;
    let setup = |error: HttpClientError| ClientError::NoApi(error.to_string());
    let client = target.client().map_err(setup)?;
    let mut stream = None;
    let mut responses = VecDeque::new();
    if let Request::Events { follow, .. } = *request {
        let response = runtime.block_on(open(target, &client, calls.first()))?;
        match response {
            Ok(response) => stream = Some((response, MessageReader::default(), follow)),
            Err(error) => responses.push_back(Ok(error)),
        }
    } else {
        let all = call_all(target, &client, request, &calls);
        let limit = RESPONSE_TIMEOUT.saturating_mul(u32::try_from(calls.len()).unwrap_or(u32::MAX));
        let response = runtime.block_on(async { timeout(limit, all).await });
        responses.push_back(response.unwrap_or(Err(ClientError::Timeout)));
    }
    Ok(HttpResponses {
        runtime,
        stream,
        responses,
    })
}

/// Carries out the calls, and puts their responses together.
async fn call_all(
    target: &HttpTarget,
    client: &HttpClient<()>,
    request: &Request,
    calls: &[ApiCall],
) -> Result<Response, ClientError> {
    if let Request::Remove { jobs } = request {
        let (mut removed, mut unknown) = (Vec::new(), Vec::new());
        for (call, job) in calls.iter().zip(jobs) {
            match call_one(target, client, request, call).await? {
                Response::Done => removed.push(*job),
                Response::Error { messages, kind } if kind != RequestErrorKind::NotFound => {
                    return Ok(Response::Error { messages, kind });
                }
                _ => unknown.push(*job),
            }
        }
        return Ok(Response::Removed { removed, unknown });
    }
    match calls.first() {
        Some(call) => call_one(target, client, request, call).await,
        None => Err(ClientError::SocketOnly),
    }
}

async fn call_one(
    target: &HttpTarget,
    client: &HttpClient<()>,
    request: &Request,
    call: &ApiCall,
) -> Result<Response, ClientError> {
    let response = exchange(target, client, call).await?;
    let status = response.status();
    let body = read_body(response).await?;
    if status.is_success() {
        http_call::response(request, &body)
    } else {
        http_call::problem(status.as_u16(), &body)
    }
}

/// Opens a stream of events; Ok(Err) is the daemon's response if it has none.
async fn open(
    target: &HttpTarget,
    client: &HttpClient<()>,
    call: Option<&ApiCall>,
) -> Result<Result<reqwest::Response, Response>, ClientError> {
    let call = call.ok_or(ClientError::SocketOnly)?;
    let response = timeout(RESPONSE_TIMEOUT, exchange(target, client, call)).await;
    let response = response.unwrap_or(Err(ClientError::Timeout))?;
    let status = response.status();
    if status.is_success() {
        return Ok(Ok(response));
    }
    http_call::problem(status.as_u16(), &read_body(response).await?).map(Err)
}

async fn exchange(
    target: &HttpTarget,
    client: &HttpClient<()>,
    call: &ApiCall,
) -> Result<reqwest::Response, ClientError> {
    let mut lease = client.lease(&());
    let request = || target.request(call);
    let response = client.send(&(), &mut lease, request).await;
    response.map_err(|PollError { kind, message, .. }| match kind {
        // Neither ends by itself.
        ErrorKind::Tls | ErrorKind::BadResponse => ClientError::NoApi(message),
        _ => ClientError::Unreachable(message),
    })
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend(chunk),
            Ok(Some(_)) => return Err(ClientError::NoApi("the response is too long".to_owned())),
            Ok(None) => return Ok(body),
            Err(_) => return Err(ClientError::ConnectionLost),
        }
    }
}

/// Responses as they arrive.
pub struct HttpResponses {
    runtime: Runtime,
    /// Of events, and whether it continues with later ones.
    stream: Option<(reqwest::Response, MessageReader, bool)>,
    responses: VecDeque<Result<Response, ClientError>>,
}

impl Iterator for HttpResponses {
    type Item = Result<Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.responses.is_empty() {
            let (response, reader, follow) = self.stream.as_mut()?;
            let chunk = async { timeout(STREAM_TIMEOUT, response.chunk()).await };
            let messages = match self.runtime.block_on(chunk) {
                Ok(Ok(Some(chunk))) => reader.read(&chunk),
                Ok(Ok(None)) => {
                    self.stream = None;
                    return None;
                }
                Ok(Err(_)) => {
                    self.stream = None;
                    return Some(Err(ClientError::ConnectionLost));
                }
                Err(_) => {
                    self.stream = None;
                    return Some(Err(ClientError::Timeout));
                }
            };
            let invalid = || ClientError::NoApi("an invalid stream of events".to_owned());
            let Some(messages) = messages else {
                self.stream = None;
                return Some(Err(invalid()));
            };
            let follow = *follow;
            let responses = messages.iter().map(|message| {
                let response = http_call::event(&message.event, &message.data, follow);
                response.map_err(|_| invalid())
            });
            self.responses.extend(responses);
        }
        self.responses.pop_front()
    }
}
