//! Turns the cells into what the registry renders. Runs when Prometheus asks, never before.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::clock;
use crate::telemetry::cells::Observed;
use crate::telemetry::doors::{Door, Refused};
use crate::telemetry::metrics::Shared;
use crate::telemetry::names::{self, Kind, Metric};
use crate::telemetry::process;
use crate::telemetry::reading::{
    LimitReading, NameReading, Reading, ServerReading, SessionsReading, StoreReading,
};
use crate::telemetry::tables::{RouteMetrics, Tables};

/// Collects everything of [`names::ALL`].
pub(super) struct Collect {
    shared: Arc<Shared>,
    descriptions: Vec<Desc>,
}

impl Collect {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let describe = |metric: &&Metric| {
            let labels = metric.labels.iter().map(|&label| label.to_owned());
            let (name, help) = (metric.name.to_owned(), metric.help.to_owned());
            Desc::new(name, help, labels.collect(), HashMap::new()).ok()
        };
        Self {
            shared,
            descriptions: names::ALL.iter().filter_map(describe).collect(),
        }
    }
}

impl Collector for Collect {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut page = Page::default();
        let tables = self.shared.tables.load_full();
        routes(&mut page, &tables);
        auth(&mut page, &tables);
        connections(&mut page, &self.shared);
        reading(&mut page, &self.shared.reading());
        gateway(&mut page, &self.shared);
        process(&mut page);
        page.families
    }
}

/// The families gathered so far.
#[derive(Default)]
struct Page {
    families: Vec<proto::MetricFamily>,
}

impl Page {
    /// Adds one metric with its samples.
    fn add(&mut self, metric: &'static Metric, fill: impl FnOnce(&mut Samples)) {
        let mut samples = Samples {
            metric,
            rows: Vec::new(),
        };
        fill(&mut samples);
        let mut family = proto::MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(match metric.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(samples.rows);
        self.families.push(family);
    }

    /// Adds one metric with one sample and no labels.
    fn one(&mut self, metric: &'static Metric, value: impl Value) {
        self.add(metric, |samples| samples.add(&[], value));
    }
}

/// The samples of one metric.
struct Samples {
    metric: &'static Metric,
    rows: Vec<proto::Metric>,
}

impl Samples {
    /// Adds a sample; the label values stand in the order of the table.
    fn add(&mut self, labels: &[&str], value: impl Value) {
        let mut row = proto::Metric::from_label(self.labels(labels));
        match self.metric.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value.float());
                row.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value.float());
                row.set_gauge(gauge);
            }
        }
        self.rows.push(row);
    }

    fn observed(&mut self, labels: &[&str], read: &Observed) {
        let bucket = |(end, count): &(f64, u64)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*end);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(read.buckets.iter().map(bucket).collect());
        histogram.set_sample_count(read.count);
        histogram.set_sample_sum(read.sum_s);
        let mut row = proto::Metric::from_label(self.labels(labels));
        row.set_histogram(histogram);
        self.rows.push(row);
    }

    fn labels(&self, values: &[&str]) -> Vec<proto::LabelPair> {
        debug_assert_eq!(
            values.len(),
            self.metric.labels.len(),
            "{}",
            self.metric.name
        );
        let pairs = self.metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        pairs.collect()
    }
}

/// A number as Prometheus takes it: a float.
trait Value {
    fn float(self) -> f64;
}

macro_rules! value {
    ($($number:ty)+) => {$(
        impl Value for $number {
            #[expect(clippy::cast_precision_loss, reason = "a float is what Prometheus reads")]
            fn float(self) -> f64 {
                self as f64
            }
        }
    )+};
}

value!(u64 i64 usize);

impl Value for f64 {
    fn float(self) -> f64 {
        self
    }
}

impl Value for bool {
    fn float(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// What was counted by route.
fn routes(page: &mut Page, tables: &Tables) {
    let mut all: Vec<&RouteMetrics> = tables.routes.iter().map(|slot| &*slot.metrics).collect();
    // The same label twice would spoil the whole page.
    all.sort_unstable_by(|a, b| a.label.cmp(&b.label));
    all.dedup_by(|a, b| a.label == b.label);
    // A route that nothing was asked of has no samples yet: ten thousand routes are a small page.
    all.push(&tables.elsewhere);
    let is_elsewhere = |route: &RouteMetrics| std::ptr::eq(route, &raw const *tables.elsewhere);
    page.add(&names::REQUESTS, |samples| {
        for route in &all {
            for (method, by_status) in route.by_method() {
                // Those that no route was found for are shown from the start, as an anchor.
                let always = method == "read" && is_elsewhere(route);
                for (status, count) in by_status.read(always) {
                    samples.add(&[&route.label, method, status], count);
                }
            }
        }
    });
    page.add(&names::DENIALS, |samples| {
        for route in &all {
            for (code, count) in route.denials.read() {
                samples.add(&[&route.label, code.as_str()], count);
            }
        }
    });
    page.add(&names::OBSERVED_DENIALS, |samples| {
        for route in &all {
            for (code, count) in route.observed.read() {
                samples.add(&[&route.label, code.as_str()], count);
            }
        }
    });
    page.add(&names::ROUTE_OBSERVES, |samples| {
        let observing = tables.routes.iter().filter(|slot| slot.observes);
        let labels: BTreeSet<&str> = observing.map(|slot| &*slot.metrics.label).collect();
        for label in labels {
            samples.add(&[label], true);
        }
    });
    all.retain(|route| route.is_used() || is_elsewhere(route));
    page.add(&names::GATEWAY_SECONDS, |samples| {
        for route in &all {
            samples.observed(&[&route.label], &route.gateway_seconds.read());
        }
    });
    page.add(&names::APP_SECONDS, |samples| {
        let read = all.iter().map(|route| (route, route.app_seconds.read()));
        for (route, read) in read.filter(|(route, read)| read.count > 0 || is_elsewhere(route)) {
            samples.observed(&[&route.label], &read);
        }
    });
    let mut counter = |metric: &'static Metric, read: fn(&RouteMetrics) -> u64| {
        page.add(metric, |samples| {
            for route in &all {
                samples.add(&[&route.label], read(route));
            }
        });
    };
    counter(&names::REQUEST_BYTES, |route| route.request_bytes.get());
    counter(&names::RESPONSE_BYTES, |route| route.response_bytes.get());
    counter(&names::ANSWERS_CUT_OFF, |route| route.cut_off.get());
}

/// What was counted by authenticator and cross-origin rule.
fn auth(page: &mut Page, tables: &Tables) {
    page.add(&names::AUTH_VERDICTS, |samples| {
        for known in &tables.authenticators {
            samples.add(&[&known.label, "ok"], known.valid());
            for (code, count) in known.refused.read() {
                samples.add(&[&known.label, code.as_str()], count);
            }
        }
    });
    page.add(&names::AUTH_REUSED, |samples| {
        for known in &tables.authenticators {
            samples.add(&[&known.label], known.reused.get());
        }
    });
    page.add(&names::SECRET_CHANGE_SUSPECTED, |samples| {
        for known in &tables.authenticators {
            samples.add(&[&known.label], known.suspected().is_some());
        }
    });
    page.add(&names::PREFLIGHTS, |samples| {
        for rule in &tables.preflights {
            samples.add(&[&rule.label, "allowed"], rule.allowed.get());
            samples.add(&[&rule.label, "refused"], rule.refused.get());
        }
    });
}

fn connections(page: &mut Page, shared: &Shared) {
    page.add(&names::CONNECTIONS, |samples| {
        for door in Door::ALL {
            samples.add(&[door.as_str()], shared.door(door).open.get());
        }
    });
    page.add(&names::CONNECTIONS_ACCEPTED, |samples| {
        for door in Door::ALL {
            samples.add(&[door.as_str()], shared.door(door).accepted.get());
        }
    });
    page.add(&names::CONNECTIONS_REFUSED, |samples| {
        for reason in Refused::ALL {
            samples.add(&[reason.as_str()], shared.refused(reason).get());
        }
    });
    page.one(&names::REQUESTS_IN_FLIGHT, shared.in_flight.get());
    page.one(&names::WEBSOCKETS, shared.websockets.get());
    page.one(&names::WEBSOCKETS_OPENED, shared.websockets_opened.get());
}

fn checks(page: &mut Page, servers: &[ServerReading]) {
    page.add(&names::SERVER_CHECKS, |samples| {
        for server in servers {
            let (upstream, label) = (&*server.upstream, &*server.server);
            let counts = &server.counts;
            if counts.checks_passed + counts.checks_failed > 0 {
                samples.add(&[upstream, label, "passed"], counts.checks_passed);
                samples.add(&[upstream, label, "failed"], counts.checks_failed);
            }
        }
    });
}

fn names_of_servers(page: &mut Page, servers: &[ServerReading]) {
    let mut name = |metric: &'static Metric, read: fn(&NameReading) -> u64| {
        page.add(metric, |samples| {
            for server in servers {
                if let Some(known) = &server.name {
                    samples.add(&[&server.upstream, &server.server], read(known));
                }
            }
        });
    };
    name(&names::SERVER_ADDRESSES, |name| name.addresses.len() as u64);
    name(&names::SERVER_LOOKUP_FAILURES, |name| name.failures);
}

/// What other rooms know.
fn reading(page: &mut Page, reading: &Reading) {
    use crate::telemetry::reading::JwksReading;
    let mut server = |metric: &'static Metric, read: fn(&ServerReading) -> u64| {
        page.add(metric, |samples| {
            for server in &reading.servers {
                samples.add(&[&server.upstream, &server.server], read(server));
            }
        });
    };
    server(&names::SERVER_UP, |server| u64::from(server.up));
    server(&names::SERVER_IN_FLIGHT, |server| server.in_flight as u64);
    server(&names::SERVER_CONNECTIONS, |server| {
        server.connections as u64
    });
    server(&names::SERVER_REQUESTS, |server| server.counts.requests);
    server(&names::SERVER_FAILURES, |server| server.counts.failures);
    server(&names::SERVER_RETRIES, |server| server.counts.retries);
    server(&names::SERVER_QUEUE_TIMEOUTS, |server| {
        server.counts.queue_timeouts
    });
    server(&names::SERVER_RETRIES_WITHHELD, |server| {
        server.counts.retries_withheld
    });
    server(&names::SERVER_EJECTIONS, |server| server.counts.ejections);
    checks(page, &reading.servers);
    names_of_servers(page, &reading.servers);
    let now = clock::now();
    let mut jwks = |metric: &'static Metric, read: &dyn Fn(&JwksReading) -> Option<f64>| {
        page.add(metric, |samples| {
            for set in &reading.jwks {
                if let Some(value) = read(set) {
                    samples.add(&[&set.authenticator], value);
                }
            }
        });
    };
    jwks(&names::JWKS_LAST_SUCCESS, &|set| {
        let at = set.age.map(|age| now.saturating_sub(age).unix_seconds());
        Some(at.unwrap_or(0).float())
    });
    jwks(&names::JWKS_AGE, &|set| {
        set.age.map(|age| age.as_secs_f64())
    });
    jwks(&names::JWKS_FAILURES, &|set| Some(set.failures.float()));
    jwks(&names::JWKS_KEYS, &|set| Some(set.keys.float()));
    stores(page, &reading.stores);
    sessions(page, reading.sessions);
    limits(page, &reading.limits);
    page.add(&names::CERTIFICATE_NOT_AFTER, |samples| {
        for certificate in &reading.certificates {
            samples.add(&[&certificate.file], certificate.not_after.unix_seconds());
        }
    });
    page.add(&names::ACME_ORDERS, |samples| {
        if let Some(acme) = &reading.acme {
            samples.add(&["issued"], acme.issued);
            samples.add(&["failed"], acme.failed);
        }
    });
    page.one(&names::VERDICTS_CACHED, reading.cached_verdicts);
}

/// The stores of sessions and users.
fn stores(page: &mut Page, stores: &[StoreReading]) {
    page.add(&names::STORE_QUESTIONS, |samples| {
        for store in stores {
            samples.add(&[&store.name, "answered"], store.answered);
            samples.add(&[&store.name, "failed"], store.failed);
        }
    });
    page.add(&names::STORE_SECONDS, |samples| {
        for store in stores {
            samples.add(&[&store.name], store.spent.as_secs_f64());
        }
    });
    page.add(&names::STORE_UP, |samples| {
        for store in stores {
            samples.add(&[&store.name], store.problem.is_none());
        }
    });
}

/// The gateway's own sessions.
fn sessions(page: &mut Page, sessions: Option<SessionsReading>) {
    let Some(sessions) = sessions else {
        return;
    };
    page.one(&names::SESSIONS_BEGUN, sessions.begun);
    page.one(&names::SESSIONS_ENDED, sessions.ended);
    page.add(&names::SESSION_RENEWALS, |samples| {
        samples.add(&["renewed"], sessions.renewed);
        samples.add(&["refused"], sessions.refused);
        samples.add(&["failed"], sessions.failed);
    });
}

/// The rate limits.
fn limits(page: &mut Page, limits: &[LimitReading]) {
    page.add(&names::RATE_LIMITED, |samples| {
        for known in limits {
            samples.add(&[&known.limit], known.over);
        }
    });
    page.add(&names::RATE_LIMIT_ALONE, |samples| {
        for known in limits {
            if let Some(alone) = known.alone {
                samples.add(&[&known.limit], alone);
            }
        }
    });
    page.add(&names::RATE_LIMIT_ACCOUNTS, |samples| {
        for known in limits {
            samples.add(&[&known.limit], known.accounts);
        }
    });
}

/// The gateway itself.
fn gateway(page: &mut Page, shared: &Shared) {
    page.add(&names::RELOADS, |samples| {
        samples.add(&["ok"], shared.reloads_ok.get());
        samples.add(&["failed"], shared.reloads_failed.get());
    });
    page.one(&names::LAST_RELOAD_OK, shared.last_reload_failed.get() == 0);
    page.one(&names::LAST_RELOAD_TIME, shared.loaded_at.get());
    if shared.spans.wanted.load(Ordering::Relaxed) {
        page.add(&names::TRACE_SPANS, |samples| {
            samples.add(&["exported"], shared.spans.exported.get());
            samples.add(&["dropped"], shared.spans.dropped.get());
            samples.add(&["failed"], shared.spans.failed.get());
        });
    }
    page.one(&names::LOG_LINES_DROPPED, shared.log.dropped_lines());
    page.add(&names::BUILD_INFO, |samples| {
        samples.add(&[env!("CARGO_PKG_VERSION")], true);
    });
    let up = clock::now().saturating_since(shared.started);
    page.one(&names::UPTIME, up.as_secs_f64());
}

/// The process, where the system tells.
fn process(page: &mut Page) {
    let process = process::read();
    let mut one = |metric: &'static Metric, value: Option<f64>| {
        if let Some(value) = value {
            page.one(metric, value);
        }
    };
    one(&names::PROCESS_CPU, process.cpu_s);
    one(
        &names::PROCESS_MEMORY,
        process.resident_bytes.map(Value::float),
    );
    one(&names::PROCESS_OPEN_FDS, process.open_fds.map(Value::float));
    one(&names::PROCESS_THREADS, process.threads.map(Value::float));
    one(&names::PROCESS_START, process.started_s);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::sync::Weak;
    use std::time::Duration;

    use http::{Method, StatusCode};

    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::denial::{Code, Denial};
    use crate::policy::route::{AuthenticatorId, RouteId};
    use crate::telemetry::testing::{NOW, bind, completed, route};
    use crate::telemetry::{
        AcmeReading, CertificateReading, Completed, JwksReading, Log, Metrics, Probe, ServerCounts,
        ServerReading,
    };

    struct Known;

    impl Probe for Known {
        fn read(&self) -> Reading {
            Reading {
                servers: vec![ServerReading {
                    upstream: "edms".into(),
                    server: "http://127.0.0.1:8000".into(),
                    up: true,
                    state: "in",
                    check_problem: None,
                    name: Some(NameReading {
                        addresses: vec![([10, 0, 0, 1], 8000).into(); 2],
                        failures: 7,
                        problem: None,
                    }),
                    in_flight: 3,
                    connections: 4,
                    counts: ServerCounts {
                        requests: 10,
                        failures: 2,
                        retries: 1,
                        queue_timeouts: 0,
                        retries_withheld: 1,
                        ejections: 2,
                        checks_passed: 8,
                        checks_failed: 3,
                    },
                }],
                jwks: vec![JwksReading {
                    authenticator: "idp".into(),
                    keys: 2,
                    age: Some(Duration::from_mins(1)),
                    failures: 1,
                    problem: None,
                }],
                certificates: vec![CertificateReading {
                    file: "certs/app.pem".to_owned(),
                    names: vec!["app.example.com".to_owned()],
                    not_after: Timestamp::from_unix_seconds(1_800_000_000),
                }],
                acme: Some(AcmeReading {
                    domains: vec!["app.example.com".to_owned()],
                    serves: true,
                    issued: 2,
                    failed: 3,
                    problem: None,
                    next: None,
                }),
                sessions: Some(SessionsReading {
                    begun: 3,
                    ended: 2,
                    renewed: 5,
                    refused: 1,
                    failed: 4,
                }),
                stores: vec![StoreReading {
                    name: "directory.edms".into(),
                    kind: "postgres",
                    answered: 9,
                    failed: 1,
                    spent: Duration::from_millis(1_500),
                    problem: Some("connection refused".to_owned()),
                }],
                limits: vec![LimitReading {
                    limit: "login".into(),
                    over: 5,
                    alone: Some(3),
                    accounts: 12,
                }],
                cached_verdicts: 7,
            }
        }
    }

    fn busy() -> (Metrics, Arc<Known>) {
        let metrics = Metrics::new(Log::none(), NOW);
        let probe = Arc::new(Known);
        let weak: Weak<Known> = Arc::downgrade(&probe);
        metrics.ask(weak);
        metrics.spans().wanted.store(true, Ordering::Relaxed);
        let routes = [route("/api/{*rest}").cors("web"), route("/old").observing()];
        let bound = bind(&metrics, &routes, &["token"]);
        let denial = Denial::new(Code::RoleMissing, "no");
        bound.record(completed());
        bound.record(Completed {
            status: StatusCode::FORBIDDEN,
            denial: Some(&denial),
            method: &Method::POST,
            app_time: None,
            cut_off: true,
            ..completed()
        });
        bound.record(Completed {
            route: Some(RouteId(1)),
            overlooked: Some(&denial),
            ..completed()
        });
        bound.record(Completed {
            preflight: true,
            ..completed()
        });
        let token = bound.authenticator(AuthenticatorId(0)).unwrap();
        token.verdict(Ok(()), true);
        token.verdict(Err(Code::TokenExpired), false);
        metrics.reload_failed();
        drop(metrics.connection(Door::Https));
        (metrics, probe)
    }

    #[test]
    fn promtool_is_content_with_the_metrics() {
        let (metrics, _probe) = busy();
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            return; // Not installed here; the end-to-end tests want it.
        };
        let page = metrics.render().unwrap();
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(page.as_bytes())
            .unwrap();
        let done = promtool.wait_with_output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(
            done.status.success() && said.is_empty(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }

    #[test]
    fn every_metric_of_the_table_is_rendered() {
        let (metrics, _probe) = busy();
        let page = metrics.render().unwrap();
        for metric in names::ALL {
            let line = format!("# TYPE {} ", metric.name);
            assert!(page.contains(&line), "{} is missing", metric.name);
        }
        for line in [
            r#"portcullis_requests_total{route="/api/{*rest}",method="read",status="2xx"} 2"#,
            r#"portcullis_requests_total{route="/api/{*rest}",method="read",status="5xx"} 0"#,
            r#"portcullis_requests_total{route="/api/{*rest}",method="write",status="4xx"} 1"#,
            r#"portcullis_denials_total{route="/api/{*rest}",code="role_missing"} 1"#,
            r#"portcullis_observed_denials_total{route="/old",code="role_missing"} 1"#,
            r#"portcullis_route_observes{route="/old"} 1"#,
            r#"portcullis_auth_verdicts_total{authenticator="token",code="ok"} 1"#,
            r#"portcullis_auth_verdicts_total{authenticator="token",code="token_expired"} 1"#,
            r#"portcullis_auth_reused_verdicts_total{authenticator="token"} 1"#,
            r#"portcullis_cors_preflights_total{cors="web",verdict="allowed"} 1"#,
            r#"portcullis_connections{listener="https"} 0"#,
            r#"portcullis_connections_accepted_total{listener="https"} 1"#,
            r#"portcullis_upstream_failures_total{upstream="edms",server="http://127.0.0.1:8000"} 2"#,
            r#"portcullis_jwks_keys{authenticator="idp"} 2"#,
            r#"portcullis_store_questions_total{store="directory.edms",outcome="answered"} 9"#,
            r#"portcullis_store_questions_total{store="directory.edms",outcome="failed"} 1"#,
            r#"portcullis_store_seconds_total{store="directory.edms"} 1.5"#,
            r#"portcullis_store_up{store="directory.edms"} 0"#,
            "portcullis_sessions_begun_total 3",
            "portcullis_sessions_ended_total 2",
            r#"portcullis_session_renewals_total{outcome="renewed"} 5"#,
            r#"portcullis_session_renewals_total{outcome="failed"} 4"#,
            r#"portcullis_rate_limited_total{limit="login"} 5"#,
            r#"portcullis_rate_limit_counted_alone_total{limit="login"} 3"#,
            r#"portcullis_rate_limit_accounts{limit="login"} 12"#,
            r#"portcullis_auth_secret_change_suspected{authenticator="token"} 0"#,
            r#"portcullis_certificate_not_after_timestamp_seconds{certificate="certs/app.pem"} 1800000000"#,
            r#"portcullis_acme_orders_total{outcome="issued"} 2"#,
            r#"portcullis_acme_orders_total{outcome="failed"} 3"#,
            r#"portcullis_config_reloads_total{result="failed"} 1"#,
            "portcullis_config_last_reload_successful 0",
            r#"portcullis_gateway_duration_seconds_bucket{route="/api/{*rest}",le="0.00025"} 3"#,
            r#"portcullis_gateway_duration_seconds_bucket{route="/api/{*rest}",le="+Inf"} 3"#,
            r#"portcullis_upstream_duration_seconds_count{route="/api/{*rest}"} 2"#,
        ] {
            assert!(
                page.contains(&format!("\n{line}\n")),
                "{line} is missing in\n{page}"
            );
        }
    }

    #[test]
    fn what_dashboards_ask_for_is_there_before_the_first_request() {
        let metrics = Metrics::new(Log::none(), NOW);
        bind(&metrics, &[route("/a").cors("web")], &["token"]);
        let page = metrics.render().unwrap();
        let later = [
            &names::DENIALS,
            &names::OBSERVED_DENIALS,
            &names::ROUTE_OBSERVES,
        ];
        for metric in names::ALL
            .iter()
            .filter(|metric| !later.iter().any(|one| one.name == metric.name))
        {
            let told_by_others = [
                "_upstream_",
                "_jwks_",
                "_certificate_",
                "_acme_",
                "_store_",
                "_session",
                "_rate_limit",
                "_trace_",
            ];
            let histogram = metric.kind == Kind::Histogram;
            if histogram || !told_by_others.iter().any(|part| metric.name.contains(part)) {
                assert!(
                    page.contains(&format!("# TYPE {} ", metric.name)),
                    "{}",
                    metric.name
                );
            }
        }
    }

    #[test]
    fn what_a_reload_removed_is_gone_and_what_it_kept_goes_on_counting() {
        let (metrics, _probe) = busy();
        let bound = bind(
            &metrics,
            &[route("/new"), route("/api/{*rest}")],
            &["other"],
        );
        bound.record(Completed {
            route: Some(RouteId(1)),
            ..completed()
        });
        let page = metrics.render().unwrap();
        let kept =
            r#"portcullis_requests_total{route="/api/{*rest}",method="read",status="2xx"} 3"#;
        assert!(page.contains(kept), "{page}");
        for gone in [r#""/old""#, r#""token""#, r#"cors="web""#] {
            assert!(!page.contains(gone), "{gone} is still in\n{page}");
        }
    }

    #[test]
    fn routes_that_nobody_asks_for_make_no_lines() {
        let metrics = Metrics::new(Log::none(), NOW);
        let routes: Vec<_> = (0..10_000)
            .map(|n| route(&format!("/r{n}/{{id}}")))
            .collect();
        let bound = bind(&metrics, &routes, &[]);
        bound.record(Completed {
            route: Some(RouteId(5_000)),
            ..completed()
        });
        let page = metrics.render().unwrap();
        assert!(page.contains("/r5000/{id}"));
        assert!(page.lines().count() < 200, "{} lines", page.lines().count());
    }

    #[test]
    fn a_label_that_is_there_twice_does_not_spoil_the_page() {
        let metrics = Metrics::new(Log::none(), NOW);
        let bound = bind(
            &metrics,
            &[route("/a").observing(), route("/a").observing()],
            &[],
        );
        bound.record(completed());
        let page = metrics.render().unwrap();
        let line = r#"portcullis_route_observes{route="/a"} 1"#;
        assert_eq!(page.matches(line).count(), 1);
        let bytes = r#"portcullis_request_bytes_total{route="/a"}"#;
        assert_eq!(page.matches(bytes).count(), 1);
    }
}
