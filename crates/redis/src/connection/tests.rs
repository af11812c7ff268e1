use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::Instant,
};

use super::*;

const SHORT: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(2);

/// A connection, and its other end.
async fn connection() -> (Connection, DuplexStream) {
    let (near, far) = duplex(1_024);
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let made = MultiplexedConnection::new_with_config(&settings, near, config).await;
    let (redis, driver) = made.expect("a connection");
    tokio::spawn(driver);
    (Connection::new(redis, Arc::default()), far)
}

/// How long it takes until a silent end is given up.
async fn given_up_after(connection: &Connection, deadline: Duration) -> Duration {
    let began = Instant::now();
    let loss = connection.silent(deadline).await;
    assert!(matches!(loss, Loss::Silent(_)), "{loss:?}");
    began.elapsed()
}

/// The first late reply ended it.
#[tokio::test(start_paused = true)]
async fn a_late_reply_is_silence_only_after_more_time_outs() {
    for deadline in [SHORT, LONG] {
        let (connection, _far) = connection().await;
        connection.note_late();
        let after = given_up_after(&connection, deadline).await;
        assert!(after >= WAITS * deadline, "{after:?}");
        assert!(after < (WAITS + 1) * deadline, "{after:?}");
    }
}

/// With a time-out of 2 s an idle connection was given up sooner than one with a late reply, and a
/// Redis that stood still for as long was an outage.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_no_less_time_than_one_with_a_late_reply() {
    for (deadline, least) in [(SHORT, PATIENCE), (LONG, LONG * (WAITS + 1))] {
        let (connection, _far) = connection().await;
        let after = given_up_after(&connection, deadline).await;
        assert!(after >= KEEPALIVE + least, "{after:?}");
        assert!(after < KEEPALIVE + least + deadline, "{after:?}");
    }
}

/// It is asked for a word while a call is on its way that becomes late.
#[tokio::test(start_paused = true)]
async fn a_reply_that_becomes_late_meanwhile_has_its_own_time_outs() {
    let (connection, _far) = connection().await;
    let late = async {
        sleep(KEEPALIVE + 10 * SHORT).await;
        connection.note_late();
    };
    let (after, ()) = tokio::join!(given_up_after(&connection, SHORT), late);
    let least = KEEPALIVE + (10 + WAITS) * SHORT;
    assert!(after >= least, "{after:?}");
    assert!(after < least + 2 * SHORT, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_has_its_word_late_goes_on() {
    let (connection, mut far) = connection().await;
    let words = async {
        let mut asked = [0; 64];
        for _ in 0..10 {
            connection.note_late();
            let read = far.read(&mut asked).await.expect("open");
            assert!(asked[..read].ends_with(b"HELLO\r\n"), "{asked:?}");
            sleep(SHORT * (WAITS - 1)).await;
            far.write_all(b"-ERR no such word\r\n").await.expect("open");
        }
    };
    tokio::select! {
        loss = connection.silent(SHORT) => panic!("{loss:?}"),
        () = words => {}
    }
}
