use super::*;

const SECOND: u64 = 1_000_000_000;

fn quota(capacity: u64, seconds: u64) -> Quota {
    Quota {
        capacity,
        period: seconds * SECOND,
    }
}

fn only(kind: Kind, quota: Quota) -> [Option<Quota>; Kind::COUNT] {
    let mut quotas = [None; Kind::COUNT];
    quotas[kind as usize] = Some(quota);
    quotas
}

fn key(user: u32, tool: u32) -> Key {
    Key { user, tool }
}

#[test]
fn the_bound_is_the_capacity_and_what_refills_in_whole_tokens() {
    for (capacity, period, millis, bound) in [
        (10, 60, 0, 10),
        (10, 60, 5_999, 10),
        (10, 60, 6_000, 11),
        (1, 30 * 86_400, 86_400_000, 1),
        (2_147_483_647, 1, 1_000, 4_294_967_294),
    ] {
        let span = Duration::from_millis(millis);
        assert_eq!(quota(capacity, period).bound(span), bound);
    }
}

#[test]
fn a_bucket_at_its_bound_is_not_over_and_one_token_more_is() {
    let mut admissions = Admissions::new(3, 2);
    let span = Duration::from_secs(6);
    for _ in 0..11 {
        admissions.admit(key(2, 1), &only(Kind::OperationPerUser, quota(10, 60)), 1);
    }
    let finding = admissions.findings(span).remove(0);
    assert_eq!((finding.buckets, finding.over), (1, 0));
    assert_eq!((finding.worst.admitted, finding.worst.bound), (11, 11));

    admissions.admit(key(2, 1), &only(Kind::OperationPerUser, quota(10, 60)), 1);
    let finding = admissions.findings(span).remove(0);
    assert_eq!(finding.over, 1);
    assert_eq!(finding.worst.key, key(2, 1));
    assert!(finding.worst.ratio > 1.0);
}

#[test]
fn each_kind_shares_its_bucket_as_its_scope_says() {
    let mut admissions = Admissions::new(3, 2);
    let all = [Some(quota(100, 1)); Kind::COUNT];
    for (user, tool) in [(0, 0), (0, 1), (1, 0), (2, 1)] {
        admissions.admit(key(user, tool), &all, 5);
    }
    let findings = admissions.findings(Duration::ZERO);
    let seen: Vec<_> = findings
        .iter()
        .map(|finding| (finding.kind, finding.buckets, finding.worst.admitted))
        .collect();
    let expected = [
        (Kind::ServerGlobal, 1, 20),
        (Kind::OperationGlobal, 2, 10),
        (Kind::ServerPerUser, 3, 10),
        (Kind::OperationPerUser, 4, 5),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_worst_is_the_one_nearest_to_its_own_bound() {
    let mut admissions = Admissions::new(1, 2);
    admissions.admit(key(0, 0), &only(Kind::OperationGlobal, quota(100, 1)), 60);
    admissions.admit(key(0, 1), &only(Kind::OperationGlobal, quota(10, 1)), 9);
    let finding = admissions.findings(Duration::ZERO).remove(0);
    assert_eq!(finding.worst.key, key(0, 1));
    assert!((finding.worst.ratio - 0.9).abs() < 1e-9);
}

#[test]
fn what_threads_saw_adds_up() {
    let mut admissions = Admissions::new(2, 1);
    let all = [Some(quota(10, 1)); Kind::COUNT];
    admissions.admit(key(0, 0), &all, 4);
    let mut other = Admissions::new(2, 1);
    other.admit(key(0, 0), &all, 7);
    admissions.merge(other);
    let mut third = Admissions::new(2, 1);
    third.merge(admissions);
    for finding in third.findings(Duration::ZERO) {
        assert_eq!((finding.worst.admitted, finding.over), (11, 1));
        assert!(!finding.quota_changed);
    }
}

#[test]
fn a_quota_that_changed_is_told_and_its_larger_numbers_count() {
    let mut admissions = Admissions::new(1, 1);
    for quota in [quota(10, 1), quota(20, 2), quota(5, 5)] {
        admissions.admit(key(0, 0), &only(Kind::ServerGlobal, quota), 1);
    }
    let finding = admissions.findings(Duration::ZERO).remove(0);
    assert!(finding.quota_changed);
    assert_eq!(finding.worst.quota, quota(20, 1));
}

#[test]
fn where_answers_name_no_buckets_those_of_the_policy_have_paid() {
    let nothing = [None; Kind::COUNT];
    let policy = Policy::with_own([Some(quota(10, 1)), None]);
    let mut admissions = Admissions::new(1, 2).under(Some(Arc::new(policy.clone())));
    for tool in [0, 1] {
        admissions.admit(key(0, tool), &nothing, 6);
    }
    // What an answer says counts before what the policy says.
    let named = only(Kind::OperationGlobal, quota(3, 1));
    admissions.admit(key(0, 1), &named, 3);
    let findings = admissions.findings(Duration::ZERO);
    let seen: Vec<_> = findings
        .iter()
        .map(|f| (f.kind, f.worst.admitted, f.worst.bound, f.over))
        .collect();
    let expected = [
        (Kind::ServerGlobal, 12, 10, 1),
        (Kind::OperationGlobal, 3, 3, 0),
    ];
    assert_eq!(seen, expected);

    admissions.changed_to(&policy);
    assert!(!admissions.findings(Duration::ZERO)[0].quota_changed);
    admissions.changed_to(&Policy::with_own([Some(quota(20, 2)), None]));
    let finding = admissions.findings(Duration::ZERO).remove(0);
    assert!(finding.quota_changed);
    assert_eq!((finding.worst.quota, finding.over), (quota(20, 1), 0));
}

#[test]
fn users_beyond_the_memory_bound_are_left_out_and_told() {
    let mut admissions = Admissions::new(2 << 20, 32);
    let quotas = only(Kind::OperationPerUser, quota(1, 1));
    admissions.admit(key(0, 0), &quotas, 9);
    admissions.admit(key(2 << 19, 0), &quotas, 9);
    let finding = admissions.findings(Duration::ZERO).remove(0);
    assert_eq!((finding.buckets, finding.users_left_out), (1, 1 << 20));
}
