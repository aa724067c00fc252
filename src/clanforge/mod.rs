//! The client of the two Clanforge status endpoints.
//!
//! One [`Client`] a process, its connections kept. It hands every answer, chunk by chunk, to
//! [`forgewatch_core::decode`] and never holds a body. What the credentials may meet is decided here: they go to
//! the base URL's own origin and nowhere else, so redirects are never followed and a loopback base never goes
//! through a proxy. A server that quotes them is not quoted.

mod api;
mod body;
mod credentials;
mod redact;
mod settings;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;

use crate::http_client::tls::CaFileError;
use crate::http_client::{errors, headers, is_loopback, tls};
pub use api::{Api, StatusResponse};
pub use credentials::Credentials;
use forgewatch_core::job::{JobKind, JobRef};
use forgewatch_core::verdict::PollError;
use redact::Redactor;
pub use settings::ApiSettings;

/// More than any sane answer's head, in HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Asks for statuses. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// A job's address but for its path: parsing the whole anew for each request takes longer than setting that.
    address: Url,
    /// Up to and without the `/cfp` of the path.
    prefix: String,
    limits: body::Limits,
    redactor: Redactor,
}

/// Why there is no client. Each is the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of certificate authorities cannot be used.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The credentials do not fit into a header.
    #[error("the credentials cannot be sent: they hold a character that no HTTP header may carry")]
    Credentials,
    /// The HTTP library refuses, such as for a broken proxy variable.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

impl Client {
    /// A client for these settings. Opens no connection.
    pub fn new(api: &ApiSettings, credentials: &Credentials) -> Result<Self, ClientError> {
        let mut basic = HeaderValue::from_str(credentials.basic().expose_secret())
            .map_err(|_| ClientError::Credentials)?;
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
        let http = tls::set_up(builder, &api.base_url, api.ca_file.as_deref())?
            .build()
            .map_err(|error| ClientError::Setup(errors::innermost(&error)))?;
        let mut address = api.base_url.clone();
        address.set_query(Some(&format!(
            "accountserviceid={}",
            api.account_service_id
        )));
        Ok(Self {
            http,
            prefix: address.path().trim_end_matches('/').to_owned(),
            address,
            limits: body::Limits {
                timeout: api.timeout,
                max_body: api.max_body,
            },
            redactor: Redactor::new(credentials),
        })
    }

    fn address(&self, job: JobRef, diff_info: bool) -> Url {
        let endpoint = match job.kind {
            JobKind::Diff => "imagediff",
            JobKind::Update => "imageupdate",
        };
        let (prefix, id) = (&self.prefix, job.id);
        let mut address = self.address.clone();
        address.set_path(&format!("{prefix}/cfp/v1/{endpoint}/{id}/status"));
        if diff_info {
            address.query_pairs_mut().append_pair("diff_info", "1");
        }
        address
    }
}

impl Api for Client {
    async fn ask(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let mut result = self.fetch(job, diff_info).await;
        match &mut result {
            Ok(fetched) => self.redactor.status(&mut fetched.status),
            Err(error) => self.redactor.text(&mut error.message),
        }
        result
    }
}

impl Client {
    async fn fetch(&self, job: JobRef, diff_info: bool) -> Result<StatusResponse, PollError> {
        let deadline = body::Deadline::start(&self.limits);
        let request = self.http.get(self.address(job, diff_info)).send();
        let response = deadline
            .within(request)
            .await?
            .map_err(|error| errors::of_request(&error))?;
        let date = headers::server_date(response.headers());
        if response.status() != reqwest::StatusCode::OK {
            // Boxed, since it is seldom and would nearly double the future of every poll.
            let refusal = body::refusal(response, deadline, &self.redactor);
            return Err(Box::pin(refusal).await);
        }
        let (status, at_least) =
            body::status(response, deadline, &self.limits, &self.redactor).await?;
        Ok(StatusResponse {
            status,
            date,
            at_least,
        })
    }
}

/// Ten times as long as an answer above one MiB took to arrive is left between two of them.
fn at_least_between(received: u64, started: Instant) -> Duration {
    if received > body::FIRST_PART {
        started.elapsed().saturating_mul(10)
    } else {
        Duration::ZERO
    }
}
