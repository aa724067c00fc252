//! The HTTP client of the two Clanforge status endpoints.
//!
//! A process has one [`ApiClient`], which reuses its connections. It passes each response, chunk by chunk, to
//! [`forgewatch_core::decode`] and never keeps a body. Credentials go only to the origin of the base URL: redirects are
//! not followed, and a loopback address is not accessed through a proxy. They are redacted from messages of the server.

mod api;
mod body;
mod credentials;
mod redact;
mod settings;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect;
use secrecy::ExposeSecret;
use url::Url;

use crate::http_client::tls::CaFileError;
use crate::http_client::{errors, headers, is_loopback, tls};
pub use api::{Api, StatusResponse};
pub use credentials::Credentials;
use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::verdict::PollError;
use redact::Redactor;
pub use settings::ApiSettings;

/// The limit of the response headers in HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Requests the status of jobs. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    /// The base of a job's URL, parsed once: setting the path is faster than parsing a URL for each request.
    base_url: Url,
    /// The path before `/cfp`.
    prefix: String,
    limits: body::BodyLimits,
    redactor: Redactor,
}

/// A client cannot be created. Each error is one of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ApiClientError {
    /// `api.ca_file` is invalid.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The credentials contain a character that HTTP headers do not allow.
    #[error("invalid credentials: they contain a character that HTTP headers do not allow")]
    Credentials,
    /// The HTTP library reports an error, such as an invalid proxy variable.
    #[error("could not set up the HTTP client: {0}")]
    Setup(String),
}

impl ApiClient {
    /// A client for these settings. Opens no connection.
    pub fn new(api: &ApiSettings, credentials: &Credentials) -> Result<Self, ApiClientError> {
        let mut basic = HeaderValue::from_str(credentials.basic().expose_secret())
            .map_err(|_| ApiClientError::Credentials)?;
        basic.set_sensitive(true);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, basic), (CONTENT_TYPE, form)]);

        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("forgewatch/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(api.connect_timeout)
            .pool_max_idle_per_host(api.max_in_flight)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_adaptive_window(true);
        if is_loopback(&api.base_url) {
            builder = builder.no_proxy();
        }
        let http = tls::configure(builder, &api.base_url, api.ca_file.as_deref())?
            .build()
            .map_err(|error| ApiClientError::Setup(errors::root_cause(&error)))?;
        let mut base_url = api.base_url.clone();
        base_url.set_query(Some(&format!(
            "accountserviceid={}",
            api.account_service_id
        )));
        Ok(Self {
            http,
            prefix: base_url.path().trim_end_matches('/').to_owned(),
            base_url,
            limits: body::BodyLimits {
                timeout: api.timeout,
                max_body: api.max_body,
            },
            redactor: Redactor::new(credentials),
        })
    }

    fn url(&self, job: JobRef, diff_info: bool) -> Url {
        let endpoint = match job.kind {
            JobKind::Diff => "imagediff",
            JobKind::Update => "imageupdate",
        };
        let (prefix, id) = (&self.prefix, job.id);
        let mut url = self.base_url.clone();
        url.set_path(&format!("{prefix}/cfp/v1/{endpoint}/{id}/status"));
        if diff_info {
            url.query_pairs_mut().append_pair("diff_info", "1");
        }
        url
    }
}

impl Api for ApiClient {
    async fn poll(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let mut result = self.fetch(job, diff_info).await;
        match &mut result {
            Ok(response) => self.redactor.redact_status(&mut response.status),
            Err(error) => self.redactor.redact(&mut error.message),
        }
        result
    }
}

impl ApiClient {
    async fn fetch(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let deadline = body::Deadline::start(&self.limits);
        let request = self.http.get(self.url(job, diff_info)).send();
        let response = deadline
            .within(request)
            .await?
            .map_err(|error| errors::request_error(&error))?;
        let date = headers::server_date(response.headers());
        if response.status() != reqwest::StatusCode::OK {
            // Boxed, since it is rare and would nearly double the future of every poll.
            let error = body::read_error(response, deadline, &self.redactor);
            return Err(Box::pin(error).await);
        }
        let (status, min_wait) =
            body::read_status(response, deadline, &self.limits, &self.redactor).await?;
        Ok(StatusResponse {
            status,
            date,
            min_wait,
        })
    }
}
