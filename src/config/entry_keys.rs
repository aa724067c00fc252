//! The keys of `[[jobs]]` and `[[hooks]]`, the tables that a file repeats. As in `keys`, a new key is a row here.

use std::time::Duration;

use super::env;
use super::hooks::{self, HookDraft};
use super::jobs::{self, JobDraft};
use super::key::{Section, array, count, duration, file, table, text, word};
use super::webhook;
use forgewatch_core::event::type_patterns;
use forgewatch_core::format::Format;
use forgewatch_core::job::JobKind;

const SHORTEST: Duration = Duration::from_millis(10);
const DAY: Duration = Duration::from_hours(24);

pub(super) static JOBS: Section<JobDraft> = Section::array(
    "jobs",
    "Jobs to watch if the command line names none; repeat the table for each.",
    &[
        text(
            "job",
            "`diff/ID`, `update/ID` or `version/ID`",
            "^(diff|update|version)/0*[1-9][0-9]*$",
            |entry: &mut JobDraft, text| jobs::parse(text).map(|job| entry.job = Some(job)),
        )
        .doc("Job to watch if the command line names none")
        .required("diff/1234"),
        table("labels", |entry: &mut JobDraft, value, reader| {
            entry.labels = jobs::labels_from_file(value, reader);
        })
        .doc("Labels added to every event of the job")
        .optional("none", "{ build = \"8812\" }"),
    ],
);

pub(super) static HOOKS: Section<HookDraft> = Section::array(
    "hooks",
    "Programs and webhooks that receive events; repeat the table for each.",
    &[
        text(
            "name",
            "up to 63 letters, digits, `.`, `_` or `-`",
            "^[A-Za-z0-9._-]{1,63}$",
            |hook: &mut HookDraft, text| {
                hooks::name(text).map(|name| hook.name = Some(name.to_owned()))
            },
        )
        .doc("Name of the hook, different from all others")
        .required("next-step"),
        array(
            "on",
            "array of event types, or `job.*` for all job events",
            || type_patterns().collect(),
            |hook: &mut HookDraft, value, reader| hook.on = hooks::on(value, reader),
        )
        .doc("Events that trigger the hook")
        .required("[\"job.completed\"]"),
        array(
            "kinds",
            "array of `\"diff\"`, `\"update\"` and `\"version\"`",
            || JobKind::ALL.map(JobKind::as_str).to_vec(),
            |hook: &mut HookDraft, value, reader| hook.kinds = reader.array(value, hooks::job_kind),
        )
        .doc("Kinds of jobs whose events trigger the hook")
        .optional(
            "jobs of all kinds, and events of forgewatch itself",
            "[\"update\"]",
        ),
        table("labels", |hook: &mut HookDraft, value, reader| {
            hook.labels = jobs::labels_from_file(value, reader);
        })
        .doc("Labels of the jobs whose events trigger the hook: all of them")
        .optional("jobs with any labels", "{ stage = \"live\" }"),
        array(
            "run",
            "array of strings: a program and its arguments",
            Vec::new,
            |hook: &mut HookDraft, value, reader| hook.run = hooks::run(value, reader),
        )
        .doc(
            "Program to run without a shell: an absolute path, relative to the file's \
             directory, or found in PATH",
        )
        .optional(
            "webhook or webhook_file is required",
            "[\"/usr/local/libexec/create-diff\"]",
        ),
        text(
            "webhook",
            "URL",
            "^https?://",
            |hook: &mut HookDraft, text| {
                webhook::webhook_url(text).map(|url| hook.webhook = Some(url))
            },
        )
        .doc("URL that receives the event by POST: https, or http to a loopback address")
        .optional(
            "run or webhook_file is required",
            "https://hooks.example.net/forgewatch",
        ),
        file("webhook_file", |hook: &mut HookDraft, value, reader| {
            hook.secret_url = reader.file(value, webhook::url_file);
        })
        .doc("File with a URL that is itself a secret, readable only by its owner; instead of webhook")
        .optional("run or webhook is required", "/etc/forgewatch/chat.url"),
        word("format", &Format::NAMES, |hook: &mut HookDraft, word| {
            hook.format = Format::NAMES.into_iter().find(|name| *name == word);
        })
        .doc("Form in which the webhook receives events")
        .default("cloudevents"),
        file("body_file", |hook: &mut HookDraft, value, reader| {
            hook.body = reader.file(value, webhook::body_file);
        })
        .doc("Template of the body in Jinja's syntax, with the fields of the event as JSON")
        .optional(
            "format `template` requires it",
            "/etc/forgewatch/body.json",
        ),
        duration("timeout", SHORTEST, DAY, |hook: &mut HookDraft, t| {
            hook.timeout = Some(t);
        })
        .doc("Time limit for one attempt")
        .optional("5m for a program, 30s for a webhook", "5m"),
        count("retries", 0, 100, |hook: &mut HookDraft, n| {
            hook.retries = n as u32;
        })
        .doc("How often a failed attempt is retried before the delivery has failed")
        .default("8"),
        count("max_running", 1, 1000, |hook: &mut HookDraft, n| {
            hook.max_running = n as usize;
        })
        .doc("Maximum number of concurrent attempts of this hook")
        .default("4"),
        table("env", |hook: &mut HookDraft, value, reader| {
            hook.env = reader.table(value, "{ STAGE = \"live\" }", hooks::assignment);
        })
        .doc("Environment variables to set for the program")
        .optional("none", "{ STAGE = \"live\" }"),
        array(
            "pass_env",
            "array of names",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let names = reader.array(value, |name| env::variable(name).map(str::to_owned));
                hook.pass_env = names.unwrap_or_default();
            },
        )
        .doc("Environment variables to pass on to the program; never the credentials")
        .optional("only PATH, HOME, LANG and TZ", "[\"JENKINS_URL\"]"),
        array(
            "secret_files",
            "array of paths, relative to the file's directory",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let folder = reader.document.folder();
                let secrets = reader.array(value, |file| webhook::key_file(folder, file));
                hook.secrets.extend(secrets.unwrap_or_default());
            },
        )
        .doc(
            "Files with one key `whsec_…` each, readable only by their owner; every \
             key signs",
        )
        .optional(
            "requests are not signed",
            "[\"/etc/forgewatch/webhook.secret\"]",
        ),
        array(
            "secret_env",
            "array of names",
            Vec::new,
            |hook: &mut HookDraft, value, reader| {
                let env = reader.document.env;
                let secrets = reader.array(value, |name| webhook::key_variable(env, name));
                hook.secrets.extend(secrets.unwrap_or_default());
            },
        )
        .doc("Environment variables with one key `whsec_…` each; every key signs")
        .optional(
            "requests are not signed",
            "[\"FORGEWATCH_WEBHOOK_KEY\"]",
        ),
    ],
);
