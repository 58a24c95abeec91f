//! Stories of a server, told to its record; and promises that hold whatever the story.

use proptest::prelude::*;

use super::*;

const RULE: Eject = Eject {
    failures: 5,
    time: Duration::from_secs(10),
};
const RUNS: Runs = Runs {
    healthy: 2,
    unhealthy: 3,
};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Fails so many requests at once.
fn fail(record: &mut Record, times: u32, ms: u64) -> Option<Change> {
    let mut last = None;
    for _ in 0..times {
        last = record.failed(at(ms), at(ms), &RULE);
    }
    last
}

/// Ejected at 1 s.
fn ejected() -> Record {
    let mut record = Record::default();
    let change = fail(&mut record, 5, 1_000);
    assert_eq!(change, Some(Change::Ejected(5, RULE.time)));
    record
}

#[test]
fn an_answer_between_failures_keeps_a_server_in() {
    let mut record = Record::default();
    for round in 0..10 {
        assert_eq!(fail(&mut record, 4, round), None);
        assert_eq!(record.answered(at(round), at(round)), None);
    }
    assert_eq!(record.state(at(20)), State::In);
}

#[test]
fn an_ejected_server_is_tried_by_one_request_when_its_time_is_over() {
    let mut record = ejected();
    assert_eq!(record.summary().share(at(10_999)), Share::None);
    assert!(!record.claim(at(10_999)));
    assert_eq!(record.summary().share(at(11_000)), Share::Due);
    assert!(record.claim(at(11_000)));
    assert!(!record.claim(at(11_001)), "one at a time");
    assert_eq!(record.answered(at(11_000), at(11_050)), Some(Change::Back));
    assert_eq!(record.state(at(11_050)), State::Returning);
}

#[test]
fn a_trial_of_which_nothing_is_heard_does_not_keep_a_server_out() {
    let mut record = ejected();
    assert!(record.claim(at(11_000)));
    assert!(record.claim(at(21_000)));
}

#[test]
fn each_failed_trial_leaves_it_out_for_longer_up_to_a_bound() {
    let mut record = ejected();
    let mut now = 1_000;
    let mut spans = Vec::new();
    for _ in 0..6 {
        now += u64::try_from(record.span.as_millis()).unwrap();
        assert!(record.claim(at(now)));
        assert_eq!(
            record.failed(at(now), at(now), &RULE),
            Some(Change::StillOut(record.span))
        );
        spans.push(record.span.as_secs());
    }
    assert_eq!(spans, [20, 40, 80, 120, 120, 120]);
}

#[test]
fn after_a_quiet_time_an_ejection_is_short_again() {
    let mut record = ejected();
    assert!(record.claim(at(11_000)));
    record.answered(at(11_000), at(11_000));
    assert_eq!(
        fail(&mut record, 5, 12_000),
        Some(Change::Ejected(5, Duration::from_secs(20)))
    );
    assert!(record.claim(at(32_000)));
    record.answered(at(32_000), at(32_000));
    assert_eq!(
        fail(&mut record, 5, 52_000),
        Some(Change::Ejected(5, RULE.time))
    );
}

#[test]
fn requests_from_before_a_change_tell_nothing_of_the_time_after() {
    let mut record = ejected();
    assert!(record.claim(at(11_000)));
    assert_eq!(record.answered(at(900), at(11_100)), None);
    assert_eq!(record.failed(at(900), at(11_100), &RULE), None);
    assert_eq!(record.state(at(11_100)), State::Ejected);
}

#[test]
fn where_no_server_is_left_trials_come_soon_and_not_often() {
    let mut record = ejected();
    let trials: Vec<_> = (1_000..6_000)
        .filter(|ms| record.claim_last(at(*ms)))
        .collect();
    assert_eq!(trials, [1_100, 1_300, 1_700, 2_500, 3_500, 4_500, 5_500]);
    assert_eq!(
        record.failed(at(5_500), at(5_501), &RULE),
        None,
        "it grows by regular trials alone"
    );
    assert_eq!(record.answered(at(5_500), at(5_501)), Some(Change::Back));
}

#[test]
fn a_server_that_came_back_gets_a_share_that_grows() {
    let mut record = ejected();
    assert!(record.claim(at(11_000)));
    record.answered(at(11_000), at(11_000));
    let shares = [11_000, 12_000, 15_500, 20_000, 99_000].map(|ms| record.summary().share(at(ms)));
    assert_eq!(shares, [1, 2, 5, 10, 10].map(Share::Tenths));
}

#[test]
fn the_first_check_decides_alone() {
    let mut record = Record::default();
    assert_eq!(record.checked(false, at(1), RUNS), Some(Change::Down));
    let mut record = Record::default();
    assert_eq!(record.checked(true, at(1), RUNS), None);
    assert_eq!(record.checked(false, at(2), RUNS), None);
    assert_eq!(record.state(at(2)), State::In);
}

#[test]
fn checks_take_a_server_out_and_bring_it_back() {
    let mut record = Record::default();
    let told = [
        (true, None),
        (false, None),
        (false, None),
        (true, None),
        (false, None),
        (false, None),
        (false, Some(Change::Down)),
        (true, None),
        (false, None),
        (true, None),
        (true, Some(Change::Back)),
    ];
    for (ms, (passed, change)) in (0..).zip(told) {
        assert_eq!(record.checked(passed, at(ms), RUNS), change, "at {ms}");
    }
    assert_eq!(record.state(at(20)), State::Returning);
}

#[test]
fn no_request_is_risked_on_a_server_that_fails_its_checks() {
    let mut record = ejected();
    record.checked(true, at(2_000), RUNS);
    record.checked(false, at(3_000), RUNS);
    assert!(!record.claim(at(60_000)) && !record.claim_last(at(60_000)));
    assert_eq!(record.summary().share(at(60_000)), Share::None);
    record.checked(true, at(61_000), RUNS);
    assert!(record.claim(at(61_000)));
}

#[test]
fn checks_that_bring_a_server_back_end_its_ejection() {
    let mut record = ejected();
    assert_eq!(record.checked(false, at(2_000), RUNS), Some(Change::Down));
    assert_eq!(record.checked(true, at(3_000), RUNS), None);
    assert_eq!(record.checked(true, at(4_000), RUNS), Some(Change::Back));
    assert_eq!(record.state(at(4_000)), State::Returning);
}

/// One thing that happens to a server.
#[derive(Clone, Copy, Debug)]
enum Event {
    Fails,
    Answers,
    Checked(bool),
    Claims,
    ClaimsLast,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        4 => Just(Event::Fails),
        1 => Just(Event::Answers),
        1 => any::<bool>().prop_map(Event::Checked),
        1 => Just(Event::Claims),
        1 => Just(Event::ClaimsLast),
    ];
    prop::collection::vec((0_u64..4_000, event), 0..200)
}

proptest! {
    #[test]
    fn a_server_is_in_exactly_while_it_has_a_share(story in events()) {
        let (mut record, mut now) = (Record::default(), 0);
        for (passed, event) in story {
            now += passed;
            let before = record.state(at(now)).is_in();
            let change = match event {
                Event::Fails => record.failed(at(now), at(now), &RULE),
                Event::Answers => record.answered(at(now), at(now)),
                Event::Checked(well) => record.checked(well, at(now), RUNS),
                Event::Claims => { record.claim(at(now)); None }
                Event::ClaimsLast => { record.claim_last(at(now)); None }
            };
            let after = record.state(at(now)).is_in();
            let share = record.summary().share(at(now));
            prop_assert_eq!(after, matches!(share, Share::Tenths(1..=10)));
            match change {
                Some(Change::Ejected(failures, span)) => {
                    prop_assert!(before && !after && failures == 5 && span <= LONGEST);
                }
                Some(Change::Down) => prop_assert!(!after),
                Some(Change::StillOut(span)) => prop_assert!(!before && !after && span <= LONGEST),
                Some(Change::Back) => prop_assert!(!before),
                None => prop_assert_eq!(before, after),
            }
        }
    }

    #[test]
    fn without_checks_no_server_is_kept_out_for_longer_than_the_bound(story in events()) {
        let (mut record, mut now) = (Record::default(), 0);
        for (passed, event) in story {
            now += passed;
            match event {
                Event::Fails => drop(record.failed(at(now), at(now), &RULE)),
                Event::Answers => drop(record.answered(at(now), at(now))),
                Event::Claims => drop(record.claim(at(now))),
                Event::Checked(_) | Event::ClaimsLast => {}
            }
        }
        let later = at(now) + LONGEST;
        prop_assert!(record.state(later).is_in() || record.claim(later));
    }
}
