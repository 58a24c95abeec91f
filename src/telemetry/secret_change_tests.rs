use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

/// A detector, and the time.
#[derive(Default)]
struct Watched {
    detector: Detector,
    elapsed: Duration,
}

impl Watched {
    fn now(&self) -> Timestamp {
        START.saturating_add(self.elapsed)
    }

    fn bucket(&mut self, good: u64, bad: u64, marks: u64) -> Option<Turn> {
        self.elapsed += BUCKET;
        let now = self.now();
        self.detector.close(Tally { good, bad, marks }, 1, now)
    }

    /// So many seconds with so many good and bad ones in each five; every turn with its second.
    fn seconds(&mut self, seconds: u64, good: u64, bad: u64) -> Vec<(u64, Turn)> {
        let marks = if bad > 0 { 0b111 } else { 0 };
        (0..seconds / BUCKET.as_secs())
            .filter_map(|_| Some((self.bucket(good, bad, marks)?, self.elapsed.as_secs())))
            .map(|(turn, second)| (second, turn))
            .collect()
    }
}

/// When a secret changes and the alarm rises.
fn raised(turns: &[(u64, Turn)]) -> (u64, Timestamp) {
    match turns {
        [(second, Turn::Raised { since, .. })] => (*second, *since),
        other => panic!("not one alarm: {other:?}"),
    }
}

#[test]
fn a_changed_secret_is_told_within_half_a_minute_and_when_it_was() {
    let mut watched = Watched::default();
    assert_eq!(watched.seconds(120, 20, 0), []);
    let changed = watched.now();
    let (second, since) = raised(&watched.seconds(60, 0, 20));
    assert!(second <= 120 + 30, "only after {} s", second - 120);
    assert_eq!(since, changed);
}

#[test]
fn it_is_told_once_however_long_it_lasts() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    raised(&watched.seconds(3_600, 0, 20));
}

#[test]
fn it_is_told_where_a_few_old_credentials_still_hold() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    raised(&watched.seconds(60, 4, 20));
}

#[test]
fn it_is_told_of_a_small_site_too() {
    let mut watched = Watched::default();
    watched.seconds(180, 1, 0);
    raised(&watched.seconds(60, 0, 1));
}

#[test]
fn it_is_told_soon_after_a_start() {
    let mut watched = Watched::default();
    assert_eq!(watched.seconds(20, 5, 0), []);
    raised(&watched.seconds(40, 0, 5));
}

#[test]
fn it_clears_when_failures_are_few_again_and_can_rise_again() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    raised(&watched.seconds(60, 0, 20));
    let turns = watched.seconds(240, 20, 0);
    let [(second, Turn::Cleared)] = turns.as_slice() else {
        panic!("{turns:?}");
    };
    assert!(*second <= 180 + 30, "cleared only after {} s", second - 180);
    raised(&watched.seconds(60, 0, 20));
}

#[test]
fn failures_that_stay_many_keep_it_up_although_some_hold_again() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    raised(&watched.seconds(60, 0, 20));
    assert_eq!(watched.seconds(600, 20, 10), []);
}

#[test]
fn a_site_that_falls_silent_keeps_it_for_three_minutes() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    raised(&watched.seconds(60, 0, 20));
    assert_eq!(watched.seconds(170, 0, 0), []);
    assert!(matches!(
        watched.seconds(30, 0, 0)[..],
        [(_, Turn::Cleared)]
    ));
}

#[test]
fn a_flood_of_made_up_tokens_beside_a_steady_stream_is_no_alarm() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    assert_eq!(watched.seconds(600, 20, 5_000), []);
    assert_eq!(watched.seconds(600, 12, 5_000), []);
}

#[test]
fn a_flood_that_was_there_before_is_no_alarm_when_good_ones_stop() {
    let mut watched = Watched::default();
    watched.seconds(300, 20, 20);
    assert_eq!(watched.seconds(300, 0, 20), []);
}

#[test]
fn one_client_that_repeats_one_bad_cookie_is_no_alarm_when_all_others_leave() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    let turns: Vec<_> = (0..60)
        .filter_map(|_| watched.bucket(0, 50, 0b100))
        .collect();
    assert_eq!(turns, []);
}

#[test]
fn keys_that_run_out_slowly_are_no_alarm() {
    let mut watched = Watched::default();
    for minute in 0..40 {
        let old = 40_u64.saturating_sub(minute);
        assert_eq!(watched.seconds(60, old, 40 - old), [], "in minute {minute}");
    }
}

#[test]
fn quiet_nights_are_no_alarm() {
    let mut watched = Watched::default();
    watched.seconds(600, 20, 0);
    // The last ones go home; someone's script calls with an old token, and is seldom right.
    for _ in 0..60 {
        assert_eq!(watched.seconds(50, 0, 0), []);
        assert_eq!(watched.bucket(1, 1, 1), None);
    }
    // Nobody was there for hours; then made-up tokens, and nobody else.
    assert_eq!(watched.seconds(3_600, 0, 0), []);
    assert_eq!(watched.seconds(600, 0, 100), []);
}

#[test]
fn a_site_that_never_had_good_ones_is_no_alarm() {
    assert_eq!(Watched::default().seconds(3_600, 0, 100), []);
}

#[test]
fn few_failures_are_no_alarm() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    assert_eq!(watched.bucket(0, 4, 0b11), None);
    assert_eq!(watched.seconds(300, 0, 0), []);
}

#[test]
fn a_look_that_came_late_counts_the_time_between() {
    let mut watched = Watched::default();
    watched.seconds(120, 20, 0);
    let late = Tally {
        good: 0,
        bad: 40,
        marks: 0b11,
    };
    watched.elapsed += BUCKET * 6;
    let now = watched.now();
    assert!(matches!(
        watched.detector.close(late, 6, now),
        Some(Turn::Raised { .. })
    ));
    // A machine that slept for a day remembers nothing of before.
    assert_eq!(
        watched.detector.close(Tally::default(), 20_000, now),
        Some(Turn::Cleared)
    );
}

#[test]
fn many_credentials_set_many_bits_and_one_sets_one() {
    let marks = (0..64).fold(0, |all, n| all | mark(format!("token-{n}").as_bytes()));
    assert!(marks.count_ones() > 30, "{marks:b}");
    assert_eq!(mark(b"abc").count_ones(), 1);
    assert_eq!(mark(b"abc"), mark(b"abc"));
}

#[test]
fn the_question_names_the_authenticator_the_time_and_the_cure() {
    let text = question("edms-session", START);
    for part in [
        "[auth.edms-session]",
        "03:04:05 UTC",
        "SECRET_KEY",
        "add the old key to `secret`",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_it_never_rises_twice_or_clears_what_is_not_up(
        buckets in proptest::collection::vec((0..50_u64, 0..50_u64, any::<u64>(), 1..4_usize), 0..200),
    ) {
        let mut detector = Detector::default();
        let mut up = false;
        for (good, bad, marks, length) in buckets {
            match detector.close(Tally { good, bad, marks }, length, START) {
                Some(Turn::Raised { .. }) => {
                    prop_assert!(!up);
                    up = true;
                }
                Some(Turn::Cleared) => {
                    prop_assert!(up);
                    up = false;
                }
                None => {}
            }
        }
    }

    #[test]
    fn good_ones_that_keep_coming_as_before_are_never_an_alarm(
        floods in proptest::collection::vec(0..100_000_u64, 60),
        good in 1..1_000_u64,
    ) {
        let mut detector = Detector::default();
        for bad in floods {
            let tally = Tally { good, bad, marks: u64::MAX };
            prop_assert_eq!(detector.close(tally, 1, START), None);
        }
    }
}
