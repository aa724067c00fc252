//! The HTTP client of the two Clanforge status endpoints.
//!
//! A process has one [`ApiClient`], which reuses its connections. It passes each response, chunk by chunk, to
//! [`forgewatch_core::decode`] and never keeps a body. Credentials go only to the origin of the base URL: redirects are
//! not followed, and a loopback address is not accessed through a proxy. They are redacted from messages of the server.

mod body;
mod content_encoding;
mod credentials;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::ExposeSecret;
use url::Url;

use crate::http_client::{
    self, ClientSettings, HttpClient, HttpClientError, Lease, Proxy, Redactor, errors, headers,
};
pub use credentials::Credentials;
use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::status::Status;
use forgewatch_core::verdict::{ErrorKind, PollError};

/// The address of the API, and the limits of its use.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Scheme, host, port and path prefix; `https`, or `http` to a literal loopback address or `localhost`. No
    /// user name, password, query or fragment.
    pub base_url: Url,
    /// The `accountserviceid` of every request.
    pub account_service_id: u64,
    /// A PEM file of certificate authorities trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Proxy>,
    /// The limit of name lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    pub update_address: UpdateAddress,
    /// The limit from the request to the first MiB of the response, or to its end.
    pub timeout: Duration,
    /// The number of concurrent requests, at least 1.
    pub max_in_flight: usize,
    /// The average rate of requests; above zero.
    pub max_requests_per_second: f64,
    /// The maximum size of a decompressed response, bytes.
    pub max_body: u64,
}

/// Where the ID of an update stands in the address of its status. The reference has it in the path, some shipped clients
/// in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateAddress {
    /// In the path, or in the query if no update was found by its path.
    Auto,
    Path,
    Query,
}

impl ApiSettings {
    /// Zero limits: the configuration sets all of them.
    pub(crate) fn unset(base_url: Url) -> Self {
        Self {
            base_url,
            account_service_id: 0,
            ca_file: None,
            proxy: None,
            update_address: UpdateAddress::Auto,
            connect_timeout: Duration::ZERO,
            timeout: Duration::ZERO,
            max_in_flight: 0,
            max_requests_per_second: 0.0,
            max_body: 0,
        }
    }
}

/// A job's status, and what its response says beyond it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusResponse {
    pub status: Status,
    /// The server's `Date` minus `Age`, Unix seconds.
    pub date: Option<i64>,
    /// The minimum wait until the job's next poll; above zero after a large response.
    pub min_wait: Duration,
}

/// Polls jobs. [`ApiClient`] does so over HTTP.
pub trait Api: 'static {
    /// Requests the status of one job, within the implementation's own timeouts.
    fn poll(
        &self,
        job: JobRef,
        diff_info: bool,
    ) -> impl Future<Output = Result<StatusResponse, PollError>>;
}

/// Requests the status of jobs. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct ApiClient {
    http: Rc<HttpClient<JobRef>>,
    base_url: Url,
    /// `Authorization`.
    basic: HeaderValue,
    account_service_id: u64,
    /// The configured one, or the first that found an update.
    update_address: Rc<Cell<UpdateAddress>>,
    limits: body::BodyLimits,
    redactor: Redactor,
}

/// A client cannot be created. Each error is one of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ApiClientError {
    #[error(transparent)]
    Http(#[from] HttpClientError),
    #[error("invalid credentials: they contain a character that HTTP headers do not allow")]
    Credentials,
}

impl ApiClient {
    pub fn has_same_credentials(&self, other: &Self) -> bool {
        self.basic == other.basic
    }

    /// A client for these settings. Opens no connection.
    pub fn new(api: &ApiSettings, credentials: &Credentials) -> Result<Self, ApiClientError> {
        let mut basic = HeaderValue::from_str(credentials.basic().expose_secret())
            .map_err(|_| ApiClientError::Credentials)?;
        basic.set_sensitive(true);
        let http = HttpClient::new(ClientSettings {
            url: api.base_url.clone(),
            tls: http_client::tls(&api.base_url, api.ca_file.as_deref())?,
            proxy: api.proxy.clone(),
            connect_timeout: api.connect_timeout,
            max_idle: api.max_in_flight,
            allow_link_local: true,
        })?;
        Ok(Self {
            http: Rc::new(http),
            base_url: api.base_url.clone(),
            basic,
            account_service_id: api.account_service_id,
            update_address: Rc::new(Cell::new(api.update_address)),
            limits: body::BodyLimits {
                timeout: api.timeout,
                max_body: api.max_body,
            },
            redactor: Redactor::new(credentials.parts()),
        })
    }

    fn request(&self, job: JobRef, diff_info: bool, address: UpdateAddress) -> Request {
        let (prefix, id) = (self.base_url.path().trim_end_matches('/'), job.id);
        let account = self.account_service_id;
        let diff_info = if diff_info { "&diff_info=1" } else { "" };
        let (id_in_path, update_id) = match (job.kind, address) {
            (JobKind::Update, UpdateAddress::Query) => (String::new(), format!("updateid={id}&")),
            _ => (format!("/{id}"), String::new()),
        };
        let endpoint = job.kind.endpoint();
        let mut url = self.base_url.clone();
        url.set_path(&format!("{prefix}/cfp/v1/{endpoint}{id_in_path}/status"));
        url.set_query(Some(&format!(
            "{update_id}accountserviceid={account}{diff_info}"
        )));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.basic.clone());
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        request
    }
}

impl Api for ApiClient {
    async fn poll(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let address = self.update_address.get();
        let result = self.poll_at(job, diff_info, address).await;
        if job.kind != JobKind::Update || address != UpdateAddress::Auto {
            return result;
        }
        match result {
            Ok(response) => {
                self.update_address.set(UpdateAddress::Path);
                Ok(response)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                // Boxed, since it is rare and would nearly double the future of every poll.
                let other = Box::pin(self.poll_at(job, diff_info, UpdateAddress::Query)).await;
                if other.is_ok() {
                    self.update_address.set(UpdateAddress::Query);
                }
                other.or(Err(error))
            }
            error => error,
        }
    }
}

impl ApiClient {
    async fn poll_at(
        &self,
        job: JobRef,
        diff_info: bool,
        address: UpdateAddress,
    ) -> Result<StatusResponse, PollError> {
        let mut lease = self.http.lease(&job);
        let mut deadline = body::Deadline::start(&self.limits);
        let mut result = self
            .fetch(job, diff_info, address, &mut lease, &mut deadline)
            .await;
        if deadline.is_over() {
            self.http.timed_out(job, &lease);
        } else if result
            .as_ref()
            .map_or_else(|e| e.http_status.is_some(), |_| true)
        {
            self.http.responded(&lease);
        }
        match &mut result {
            Ok(response) => redact_status(&self.redactor, &mut response.status),
            Err(error) => self.redactor.redact(&mut error.message),
        }
        result
    }

    async fn fetch(
        &self,
        job: JobRef,
        diff_info: bool,
        address: UpdateAddress,
        lease: &mut Lease,
        deadline: &mut body::Deadline,
    ) -> Result<StatusResponse, PollError> {
        let request = || self.request(job, diff_info, address);
        let response = deadline
            .within(self.http.send(&job, lease, request))
            .await??;
        let date = headers::server_date(response.headers());
        // 204 to 206 have no body, or a part of it.
        let code = response.status();
        if !code.is_success() || matches!(code.as_u16(), 204..=206) {
            // Boxed, since it is rare and would nearly double the future of every poll.
            let error = body::read_error(response, deadline, &self.base_url, &self.redactor);
            return Err(Box::pin(error).await);
        }
        let (status, min_wait) =
            body::read_status(response, deadline, &self.limits, &self.redactor).await?;
        if let Some(other) = status.other_job(job) {
            return Err(PollError {
                http_status: Some(code.as_u16()),
                ..errors::transport_error(
                    ErrorKind::BadResponse,
                    format!("the response is about {other} instead of {job}"),
                )
            });
        }
        Ok(StatusResponse {
            status,
            date,
            min_wait,
        })
    }
}

/// Redacts all texts of a status.
fn redact_status(redactor: &Redactor, status: &mut Status) {
    let names = &mut status.names;
    let texts = [
        &mut status.error,
        &mut status.state_name,
        &mut names.game,
        &mut names.image,
        &mut names.machine,
    ];
    for text in texts.into_iter().flatten() {
        redactor.redact(text);
    }
}
