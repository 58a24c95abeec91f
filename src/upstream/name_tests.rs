use tokio::time::timeout;

use super::*;

const BRIEF: Duration = Duration::from_millis(200);

fn name() -> Name {
    Name::new("app.test".into(), 80)
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn found(lasts: &[u8]) -> Vec<SocketAddr> {
    lasts.iter().copied().map(at).collect()
}

fn failed() -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other("no such name"))
}

#[test]
fn what_was_found_stays_in_use_while_the_resolver_fails_and_that_is_told_once() {
    let name = name();
    let moved = Change::Moved(vec![at(1), at(2)]);
    assert_eq!(name.learn(Ok(found(&[1, 2]))), Some(moved));
    let failing = Change::Failing("no such name".to_owned(), true);
    assert_eq!(name.learn(failed()), Some(failing));
    assert_eq!(name.learn(failed()), None);
    assert_eq!(name.addresses(), [at(1), at(2)]);
    assert_eq!(
        (name.failures(), name.problem().as_deref()),
        (2, Some("no such name"))
    );
    assert_eq!(name.learn(Ok(found(&[2, 1]))), Some(Change::Answers));
    assert_eq!(
        name.addresses(),
        [at(1), at(2)],
        "another order is no change"
    );
    assert_eq!(name.problem(), None);
    assert_eq!(name.learn(Ok(found(&[1, 2]))), None);
}

#[test]
fn connections_to_addresses_that_are_gone_are_not_used_again() {
    let name = name();
    name.learn(Ok(found(&[1, 2])));
    let known = name.known.load_full();
    let mut peers = known.addresses.iter().map(|one| Name::peer(&known, *one));
    let (mut goes, mut stays) = (peers.next().unwrap(), peers.next().unwrap());
    assert!(name.keeps(&mut goes) && name.keeps(&mut stays));
    name.learn(Ok(found(&[2])));
    assert!(!name.keeps(&mut goes));
    for _ in 0..100 {
        assert!(name.keeps(&mut stays));
        name.learn(failed());
        assert!(name.keeps(&mut stays));
        name.learn(Ok(found(&[2])));
    }
}

#[test]
fn of_several_addresses_a_kept_connection_is_renewed_in_the_end() {
    let name = name();
    name.learn(Ok(found(&[1, 2])));
    let mut peer = Name::peer(&name.known.load(), at(1));
    let answers = (0..1000).position(|_| {
        name.learn(Ok(found(&[2, 1])));
        !name.keeps(&mut peer)
    });
    assert!(answers.is_some());
}

#[test]
fn an_address_that_took_no_connection_is_tried_last_until_it_takes_one() {
    let name = name();
    name.learn(Ok(found(&[1, 2, 3])));
    let known = name.known.load_full();
    let firsts = || {
        let mut firsts: Vec<_> = (0..3).map(|_| name.order(&known)[0]).collect();
        firsts.sort_unstable();
        firsts
    };
    assert_eq!(firsts(), [0, 1, 2]);
    name.note(&known, 1, false);
    assert!(!firsts().contains(&1));
    assert_eq!(name.order(&known).last(), Some(&1));
    name.note(&known, 1, true);
    assert_eq!(firsts(), [0, 1, 2]);
}

#[test]
fn one_connection_finds_out_whether_an_address_is_back() {
    let mut name = name();
    name.learn(Ok(found(&[1, 2])));
    let known = name.known.load_full();
    name.note(&known, 1, false);
    name.origin -= Duration::from_millis(SHUNNED_MS + 1);
    let firsts: Vec<_> = (0..4).map(|_| name.order(&known)[0]).collect();
    assert_eq!(firsts, [1, 0, 0, 0]);
    name.note(&known, 1, true);
    let mut firsts: Vec<_> = (0..2).map(|_| name.order(&known)[0]).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [0, 1]);
}

#[test]
fn what_is_known_of_an_address_goes_over_a_change_of_others() {
    let name = name();
    name.learn(Ok(found(&[1, 2])));
    name.note(&name.known.load(), 0, false);
    name.learn(Ok(found(&[3, 1])));
    let known = name.known.load_full();
    for _ in 0..4 {
        assert_eq!(*name.order(&known), [0, 1], "the one that failed is last");
    }
}

#[tokio::test]
async fn a_connection_waits_for_the_first_word_of_the_resolver_and_for_no_other() {
    let name = name();
    assert!(timeout(BRIEF, name.known()).await.is_err());
    let first = async {
        tokio::task::yield_now().await;
        name.learn(Ok(found(&[1])));
    };
    let (known, ()) = tokio::join!(name.known(), first);
    assert_eq!(known.unwrap().addresses, [at(1)]);
}

#[tokio::test]
async fn a_name_that_has_no_address_refuses_at_once_with_the_reason_and_is_asked_soon() {
    let name = name();
    name.learn(failed());
    let refused = timeout(BRIEF, name.known()).await.unwrap();
    assert_eq!(refused.unwrap_err().to_string(), "no such name");
    assert!(timeout(BRIEF, name.doubted()).await.is_ok());
    assert!(timeout(BRIEF, name.doubted()).await.is_err());
}

#[tokio::test]
async fn a_resolver_that_hangs_holds_one_thread_and_its_late_answer_is_taken() {
    let name = name();
    let (answer, hung) = std::sync::mpsc::channel();
    let line = Arc::clone(&name.line).acquire_owned().await.unwrap();
    let hanging = tokio::task::spawn_blocking(move || {
        let _line = line;
        hung.recv().unwrap()
    });
    let mut question = Question(Some(hanging));
    let late = name.ask(&mut question, BRIEF).await.unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    assert!(late.to_string().contains("did not answer within"), "{late}");
    // Another one, as after a reload, stands in line.
    let other = name.ask(&mut Question::default(), BRIEF).await;
    assert_eq!(other.unwrap_err().kind(), io::ErrorKind::TimedOut);
    answer.send(Ok(found(&[4]))).unwrap();
    let found = name
        .ask(&mut question, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(found, [at(4)]);
}

#[tokio::test]
async fn the_systems_resolver_is_asked() {
    let name = Name::new("localhost".into(), 80);
    let found = name
        .ask(&mut Question::default(), Duration::from_secs(10))
        .await;
    assert!(found.unwrap().iter().all(|one| one.ip().is_loopback()));
}
