use super::*;

/// Each group had room for all requests that came with it, so 64 of them took 64 times as much.
#[test]
fn requests_with_terms_of_their_own_take_no_room_for_others() {
    let share = Share::new(100);
    let errors = CheckErrors::default();
    let another = |terms| Group {
        terms,
        ids: Vec::with_capacity(64),
        checks: Vec::with_capacity(64),
        refusals: Vec::new(),
        owed: errors.unanswered(0),
        held: share.hold(),
    };
    for run in [1, 3] {
        let mut groups = Vec::new();
        for id in 0..64 {
            let patience = Some(Duration::from_millis(id / run));
            let omit_buckets = false;
            let terms = Some(Terms {
                patience,
                omit_buckets,
            });
            group_of(&mut groups, terms, another).ids.push(id);
            // One that cannot be read has no terms.
            group_of(&mut groups, None, another).ids.push(id);
        }
        assert_eq!(groups.len() as u64, 64_u64.div_ceil(run));
        let before_last = &groups[..groups.len() - 1];
        let room: usize = before_last.iter().map(|group| group.ids.capacity()).sum();
        assert!(room <= 2 * 64, "{room}");
        assert!(before_last.iter().all(|group| group.checks.capacity() == 0));
    }
}

/// It must not look like a stream that has ended well, with all checks answered.
#[tokio::test]
async fn a_stream_whose_task_panics_ends_with_an_error_after_what_was_decided() {
    for panics in [false, true] {
        let (sender, made) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            sender.send(7).expect("open");
            assert!(!panics, "on purpose");
        });
        let all: Vec<_> = or_failure(UnboundedReceiverStream::new(made), task)
            .map(|one| one.map_err(|status| status.code()))
            .collect()
            .await;
        let expected = [Ok(7), Err(Code::Internal)];
        assert_eq!(all, expected[..=usize::from(panics)]);
    }
}
