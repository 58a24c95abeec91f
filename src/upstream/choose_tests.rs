//! Which servers are chosen while some of them fail.

use std::io;
use std::time::Duration;

use super::*;
use crate::clock;
use crate::config::settings::{
    Eject, ServerAddress, Upstream as Settings, UpstreamHost, UpstreamServer, UpstreamTls,
};
use crate::upstream::Upstreams;
use crate::upstream::error::UpstreamError;

const TIME: Duration = Duration::from_secs(10);

fn upstream(balance: Balance, servers: u16) -> Arc<Upstream> {
    let server = |port: u16| UpstreamServer {
        label: format!("http://app:{port}").into(),
        address: ServerAddress::Tcp {
            host: "app".into(),
            port,
        },
        tls: false,
        weight: 1,
    };
    let settings = Settings {
        name: "app".into(),
        servers: (0..servers).map(server).collect(),
        balance,
        host: UpstreamHost::Preserve,
        connect_timeout: TIME,
        response_timeout: TIME,
        connections: 8,
        queue: TIME,
        retries: 1,
        health: None,
        eject: Some(Eject {
            failures: 3,
            time: TIME,
        }),
        tls: UpstreamTls::default(),
        cookies: Vec::new(),
    };
    let built = Upstreams::assemble(&[settings], None, |_| Err::<_, ()>(())).unwrap();
    Arc::clone(built.iter().next().unwrap())
}

/// Requests to a server that break, so many as take it out.
fn broken(upstream: &Upstream, index: usize) {
    let error = UpstreamError::Reset {
        server: "app".into(),
        source: io::ErrorKind::ConnectionReset.into(),
    };
    for _ in 0..3 {
        upstream.note_failure(&upstream.servers[index], &error, (clock::monotonic(), true));
    }
}

/// Requests to a server that cannot be connected to, so many as take it out.
fn gone(upstream: &Upstream, index: usize) {
    for _ in 0..3 {
        let server = Box::from("app");
        let error = UpstreamError::ConnectTimeout { server };
        upstream.note_failure(&upstream.servers[index], &error, (clock::monotonic(), true));
    }
}

fn chosen(upstream: &Upstream, tried: &[usize], now: Instant) -> Option<usize> {
    let choice = Choice {
        tried,
        sticky: None,
        client: IpAddr::from([192, 0, 2, 1]),
        now,
    };
    upstream.choose(&choice).map(|(index, _)| index)
}

#[test]
fn a_server_that_is_out_gets_nothing_and_one_trial_when_it_is_due() {
    for balance in [Balance::LeastRequests, Balance::RoundRobin] {
        let upstream = upstream(balance, 3);
        broken(&upstream, 1);
        let now = clock::monotonic();
        let picks = |now| -> Vec<_> {
            (0..30)
                .filter_map(|_| chosen(&upstream, &[], now))
                .collect()
        };
        assert!(!picks(now).contains(&1), "{balance:?}");
        let later = picks(now + TIME);
        assert_eq!(
            later.iter().filter(|index| **index == 1).count(),
            1,
            "{balance:?}"
        );
        assert_eq!(later.len(), 30);
    }
}

#[test]
fn a_retry_goes_to_a_server_that_is_in_even_if_that_is_the_same() {
    let upstream = upstream(Balance::RoundRobin, 3);
    broken(&upstream, 0);
    broken(&upstream, 2);
    assert_eq!(chosen(&upstream, &[1], clock::monotonic()), Some(1));
}

#[test]
fn with_every_server_out_one_request_now_and_then_goes_to_see() {
    let upstream = upstream(Balance::LeastRequests, 2);
    broken(&upstream, 0);
    broken(&upstream, 1);
    let now = clock::monotonic();
    assert_eq!(chosen(&upstream, &[], now), None);
    let soon = now + Duration::from_millis(150);
    let picks: Vec<_> = (0..20)
        .filter_map(|_| chosen(&upstream, &[], soon))
        .collect();
    assert_eq!(picks.len(), 2, "each once");
    let error = upstream.down();
    assert_eq!(error.denial().code().as_str(), "upstream_down");
}

#[test]
fn a_server_alone_goes_out_only_where_no_connection_is_made() {
    let upstream = upstream(Balance::LeastRequests, 1);
    broken(&upstream, 0);
    assert_eq!(chosen(&upstream, &[], clock::monotonic()), Some(0));
    gone(&upstream, 0);
    let now = clock::monotonic();
    assert_eq!(chosen(&upstream, &[], now), None);
    let soon = now + Duration::from_millis(150);
    assert_eq!(chosen(&upstream, &[], soon), Some(0));
    assert_eq!(chosen(&upstream, &[], soon), None);
    upstream.note_answer(&upstream.servers[0], soon);
    assert_eq!(chosen(&upstream, &[], clock::monotonic()), Some(0));
}

#[test]
fn a_client_is_not_moved_from_its_server_to_try_another() {
    let upstream = upstream(Balance::Cookie, 3);
    broken(&upstream, 1);
    let later = clock::monotonic() + TIME;
    let home = format!("{:x}", upstream.servers[2].sticky_id());
    for _ in 0..20 {
        let choice = Choice {
            tried: &[],
            sticky: Some(&home),
            client: IpAddr::from([192, 0, 2, 1]),
            now: later,
        };
        assert_eq!(upstream.choose(&choice).map(|(index, _)| index), Some(2));
    }
}

#[test]
fn a_client_that_is_slow_with_its_body_does_not_count_against_a_server() {
    let upstream = upstream(Balance::LeastRequests, 2);
    for whole in [false, true] {
        for _ in 0..3 {
            let server = Box::from("app");
            let error = UpstreamError::Timeout { server };
            upstream.note_failure(&upstream.servers[0], &error, (clock::monotonic(), whole));
        }
        assert_eq!(upstream.servers[0].state().is_in(), !whole);
    }
}

#[test]
fn of_many_threads_one_may_try_a_server() {
    let upstream = upstream(Balance::LeastRequests, 2);
    broken(&upstream, 0);
    let later = clock::monotonic() + TIME;
    let tries = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| upstream.servers[0].standing.claim(later)))
            .collect();
        all.into_iter()
            .map(|one| u8::from(one.join().unwrap()))
            .sum::<u8>()
    });
    assert_eq!(tries, 1);
}

#[test]
fn what_is_known_of_a_server_goes_over_a_reload_that_judges_it_alike() {
    let upstream = upstream(Balance::LeastRequests, 2);
    broken(&upstream, 0);
    let before = Upstreams(vec![Arc::clone(&upstream)]);
    let reloaded = |settings: Settings| {
        let built = Upstreams::assemble(&[settings], Some(&before), |_| Err::<_, ()>(()));
        let built = built.unwrap();
        built.iter().next().unwrap().servers[0].state().is_in()
    };
    let mut more = upstream.settings.clone();
    more.retries = 3;
    assert!(!reloaded(more.clone()));
    more.eject = None;
    assert!(reloaded(more), "nothing takes it out any more");
}
