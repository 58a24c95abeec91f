//! Every metric: name, kind, unit, labels, help. One table, which the collector renders from.
//!
//! Names follow Prometheus's conventions, so that `promtool check metrics` is content. A label's
//! values come from the configuration or from a closed list in the code, never from a request.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What one of it is.
    pub unit: &'static str,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $unit:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
            };
        )+

        /// Every metric there is.
        pub const ALL: &[&Metric] = &[$(&$constant),+];
    };
}

metrics! {
    REQUESTS = Counter "portcullis_requests_total" ["route", "method", "status"] "requests"
        "Requests that were answered or given up by their client (499), by route, method class (read, write, other) and status class.";
    DENIALS = Counter "portcullis_denials_total" ["route", "code"] "requests"
        "Requests that the gateway refused, by route and code.";
    OBSERVED_DENIALS = Counter "portcullis_observed_denials_total" ["route", "code"] "requests"
        "Requests that would have been refused on a route that only observes.";
    ROUTE_OBSERVES = Gauge "portcullis_route_observes" ["route"] "boolean"
        "1 for each route that refuses nobody, because it has `observe = true`.";
    GATEWAY_SECONDS = Histogram "portcullis_gateway_duration_seconds" ["route"] "seconds"
        "Time that a request spent in the gateway itself, without the app.";
    APP_SECONDS = Histogram "portcullis_upstream_duration_seconds" ["route"] "seconds"
        "Time from sending a request to the app until the head of its answer, or until its client gave it up.";
    REQUEST_BYTES = Counter "portcullis_request_bytes_total" ["route"] "bytes"
        "Bytes of requests taken from clients.";
    RESPONSE_BYTES = Counter "portcullis_response_bytes_total" ["route"] "bytes"
        "Bytes of answer bodies sent to clients.";
    ANSWERS_CUT_OFF = Counter "portcullis_answers_cut_off_total" ["route"] "answers"
        "Answers that ended before they were complete or begun, by the app's or the client's doing.";
    REQUESTS_IN_FLIGHT = Gauge "portcullis_requests_in_flight" [] "requests"
        "Requests under way, each from its head to the end of its answer.";

    AUTH_VERDICTS = Counter "portcullis_auth_verdicts_total" ["authenticator", "code"] "verdicts"
        "Credentials judged, by authenticator and code; `ok` for a valid one.";
    AUTH_REUSED = Counter "portcullis_auth_reused_verdicts_total" ["authenticator"] "verdicts"
        "Credentials whose verdict was known from before.";
    SECRET_CHANGE_SUSPECTED = Gauge "portcullis_auth_secret_change_suspected" ["authenticator"] "boolean"
        "1 while most credentials fail their signature that were good minutes ago: a secret seems to have changed.";
    VERDICTS_CACHED = Gauge "portcullis_auth_cached_verdicts" [] "verdicts"
        "Verdicts remembered now.";

    PREFLIGHTS = Counter "portcullis_cors_preflights_total" ["cors", "verdict"] "requests"
        "CORS preflights answered, by rule and verdict (allowed, refused).";

    CONNECTIONS = Gauge "portcullis_connections" ["listener"] "connections"
        "Open client connections.";
    CONNECTIONS_ACCEPTED = Counter "portcullis_connections_accepted_total" ["listener"] "connections"
        "Client connections accepted.";
    CONNECTIONS_REFUSED = Counter "portcullis_connections_refused_total" ["reason"] "connections"
        "Client connections closed before they were served (by limit, handshake or timeout).";
    WEBSOCKETS = Gauge "portcullis_websockets" [] "connections"
        "Open WebSockets.";
    WEBSOCKETS_OPENED = Counter "portcullis_websockets_opened_total" [] "connections"
        "WebSockets opened.";

    SERVER_UP = Gauge "portcullis_upstream_server_up" ["upstream", "server"] "boolean"
        "1 while the server is given requests.";
    SERVER_IN_FLIGHT = Gauge "portcullis_upstream_requests_in_flight" ["upstream", "server"] "requests"
        "Requests under way at the server.";
    SERVER_CONNECTIONS = Gauge "portcullis_upstream_connections" ["upstream", "server"] "connections"
        "Open connections to the server.";
    SERVER_REQUESTS = Counter "portcullis_upstream_requests_total" ["upstream", "server"] "requests"
        "Requests sent to the server, tries included.";
    SERVER_FAILURES = Counter "portcullis_upstream_failures_total" ["upstream", "server"] "requests"
        "Requests to which the server gave no answer that could be passed on.";
    SERVER_RETRIES = Counter "portcullis_upstream_retries_total" ["upstream", "server"] "requests"
        "Requests tried again after this server failed them.";
    SERVER_QUEUE_TIMEOUTS = Counter "portcullis_upstream_queue_timeouts_total" ["upstream", "server"] "requests"
        "Requests that waited in vain for a connection to the server.";
    SERVER_RETRIES_WITHHELD = Counter "portcullis_upstream_retries_withheld_total" ["upstream", "server"] "requests"
        "Requests that were not tried again after this server failed them, because the budget for retries was spent.";
    SERVER_EJECTIONS = Counter "portcullis_upstream_ejections_total" ["upstream", "server"] "ejections"
        "How often the server was left out for failing requests, trials that failed included.";
    SERVER_CHECKS = Counter "portcullis_upstream_checks_total" ["upstream", "server", "outcome"] "checks"
        "Health checks of the server, by outcome (passed, failed).";
    SERVER_ADDRESSES = Gauge "portcullis_upstream_addresses" ["upstream", "server"] "addresses"
        "Addresses of the server's name that are in use.";
    SERVER_LOOKUP_FAILURES = Counter "portcullis_upstream_lookup_failures_total" ["upstream", "server"] "lookups"
        "Questions for the addresses of the server's name that came to nothing.";

    JWKS_LAST_SUCCESS = Gauge "portcullis_jwks_last_success_timestamp_seconds" ["authenticator"] "seconds since 1970"
        "When the keys were last fetched; 0 while they never were.";
    JWKS_AGE = Gauge "portcullis_jwks_age_seconds" ["authenticator"] "seconds"
        "Time since the keys were last fetched; left out while they never were.";
    JWKS_FAILURES = Counter "portcullis_jwks_refresh_failures_total" ["authenticator"] "fetches"
        "Fetches of keys that failed.";
    JWKS_KEYS = Gauge "portcullis_jwks_keys" ["authenticator"] "keys"
        "Keys in use.";

    STORE_QUESTIONS = Counter "portcullis_store_questions_total" ["store", "outcome"] "questions"
        "Questions to a store of sessions or users, by outcome (answered, failed).";
    STORE_SECONDS = Counter "portcullis_store_seconds_total" ["store"] "seconds"
        "Time that a store's answers took, added up.";
    STORE_UP = Gauge "portcullis_store_up" ["store"] "boolean"
        "1 while the store answered its last question.";

    SESSIONS_BEGUN = Counter "portcullis_sessions_begun_total" [] "sessions"
        "The gateway's own sessions that began.";
    SESSIONS_ENDED = Counter "portcullis_sessions_ended_total" [] "sessions"
        "The gateway's own sessions that were ended: by a sign-out, another sign-in, a refused renewal or an operator.";
    SESSION_RENEWALS = Counter "portcullis_session_renewals_total" ["outcome"] "renewals"
        "Renewals of access tokens that are kept in sessions, by outcome (renewed, refused, failed).";

    RATE_LIMITED = Counter "portcullis_rate_limited_total" ["limit"] "requests"
        "Requests that were over a rate limit: refused, or passed over on a route that only observes.";
    RATE_LIMIT_ALONE = Counter "portcullis_rate_limit_counted_alone_total" ["limit"] "requests"
        "Requests of a shared rate limit that this gateway counted alone, because the store gave no answer.";
    RATE_LIMIT_ACCOUNTS = Gauge "portcullis_rate_limit_accounts" ["limit"] "accounts"
        "Addresses, users or header values that a rate limit has something to count of now.";

    CERTIFICATE_NOT_AFTER = Gauge "portcullis_certificate_not_after_timestamp_seconds" ["certificate"] "seconds since 1970"
        "When the certificate expires, by its file.";
    ACME_ORDERS = Counter "portcullis_acme_orders_total" ["outcome"] "orders"
        "Orders of certificates by ACME, by outcome (issued, failed).";

    RELOADS = Counter "portcullis_config_reloads_total" ["result"] "reloads"
        "Reloads of the configuration, by result (ok, failed).";
    LAST_RELOAD_OK = Gauge "portcullis_config_last_reload_successful" [] "boolean"
        "1 when the last reload worked, or none was tried.";
    LAST_RELOAD_TIME = Gauge "portcullis_config_last_reload_success_timestamp_seconds" [] "seconds since 1970"
        "When the configuration in force was loaded.";

    TRACE_SPANS = Counter "portcullis_trace_spans_total" ["outcome"] "spans"
        "Spans of sampled requests, by outcome (exported, dropped for want of room, failed at the collector).";
    LOG_LINES_DROPPED = Counter "portcullis_log_lines_dropped_total" [] "lines"
        "Log lines that could not be written, because the reader was too slow, gone, or its disk full.";
    BUILD_INFO = Gauge "portcullis_build_info" ["version"] "boolean"
        "1, with the version that runs.";
    UPTIME = Gauge "portcullis_uptime_seconds" [] "seconds"
        "Time since the gateway started.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "seconds"
        "Processor time of the process, user and system.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" [] "bytes"
        "Resident memory of the process.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [] "descriptors"
        "Open file descriptors of the process.";
    PROCESS_THREADS = Gauge "process_threads" [] "threads"
        "Threads of the process.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "seconds since 1970"
        "When the process started.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_metrics_share_a_name() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn counters_and_only_they_end_in_total() {
        for metric in ALL {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
