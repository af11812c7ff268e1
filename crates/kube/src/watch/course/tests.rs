use super::{
    super::{LOOK_AGAIN, LOOK_FOR_KIND},
    *,
};

fn course(kind: Kind) -> Course {
    let followed = Followed {
        kind,
        namespace: None,
    };
    Course::new(&followed, Instruments::default())
}

#[test]
fn a_cluster_without_toolhive_has_no_objects_of_it_and_that_is_said_once() {
    let now = Instant::now();
    let mut course = course(Kind::VirtualMcpServer);
    // At first it may only be starting.
    assert!(!course.is_gone(now));
    assert!(course.is_gone(now + LOOK_AGAIN));
    assert!(!course.is_gone(now + LOOK_FOR_KIND));
}

#[test]
fn a_cluster_without_our_own_kind_is_not_taken_for_an_empty_one() {
    let now = Instant::now();
    let mut course = course(Kind::RateLimitPolicy);
    assert!(!course.is_gone(now));
    assert!(!course.is_gone(now + 2 * KIND_IS_GONE));
}

#[test]
fn objects_of_a_kind_that_was_served_stay_for_a_while_when_it_no_longer_is() {
    let now = Instant::now();
    let mut course = course(Kind::RateLimitPolicy);
    course.listed(1);
    assert!(!course.is_gone(now));
    assert!(!course.is_gone(now + KIND_IS_GONE / 2));
    // An API server that was starting.
    course.listed(1);
    assert!(!course.is_gone(now + KIND_IS_GONE));
    assert!(course.is_gone(now + 2 * KIND_IS_GONE));
    assert!(!course.is_gone(now + 3 * KIND_IS_GONE));
}

/// Between two answers that the kind is unknown there was an API server that could not say.
#[test]
fn a_kind_must_be_gone_all_the_time() {
    let now = Instant::now();
    let mut course = course(Kind::RateLimitPolicy);
    course.listed(1);
    assert!(!course.is_gone(now));
    course.failed(&std::io::Error::other("500"), now + KIND_IS_GONE / 2);
    assert!(!course.is_gone(now + 2 * KIND_IS_GONE));
    course.known();
    assert!(!course.is_gone(now + 4 * KIND_IS_GONE));
    assert!(course.is_gone(now + 5 * KIND_IS_GONE));
}
