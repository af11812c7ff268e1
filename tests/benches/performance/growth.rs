//! How the cost of a check grows with what there is: policies, users, buckets, replicas.

use toolgate_tests::PolicyFile;

use crate::{
    load::{self, BATCH, P50, RATE, REDIS_CPU, SERVER_CPU, Target},
    policies::{self, FOUR_BUCKETS, Shape, TOOLS, USERS},
    stage::Stage,
    svg,
    table::{Column, Number, Rounds, Side, interleaved},
};

/// One size of what grows.
struct Point {
    size: usize,
    policies: PolicyFile,
    users: usize,
    replicas: usize,
}

impl Point {
    fn new(size: usize, policies: PolicyFile) -> Self {
        Self {
            size,
            policies,
            users: USERS,
            replicas: 1,
        }
    }
}

pub(crate) fn run(stage: &Stage) {
    println!("## Growth\n");
    let points = [1, 100, 10_000].map(|size| Point::new(size, policies::file_of_many(size)));
    measure(stage, "policies", points.into());

    let points = [1, 100, 10_000, 100_000, 1_000_000].map(|users| {
        // At least what they take, and no more than keeps them stored.
        let per_user = u32::try_from(100_000_000 / users)
            .expect("a quota")
            .clamp(10_000, 10_000_000);
        let shape = Shape {
            per_user,
            ..FOUR_BUCKETS
        };
        Point {
            users,
            ..Point::new(users, shape.file())
        }
    });
    measure(stage, "users", points.into());

    let points = [1, 2, 3, 4].map(|buckets| {
        let shape = Shape {
            buckets,
            ..FOUR_BUCKETS
        };
        Point::new(buckets, shape.file())
    });
    measure(stage, "buckets", points.into());
    println!("A check touches four buckets at most.\n");

    let points = [1, 2, 3, 4].map(|replicas| Point {
        replicas,
        ..Point::new(replicas, FOUR_BUCKETS.file())
    });
    measure(stage, "replicas", points.into());
}

/// Measures all points in turn, each with processes of its own. Where there are more users than usual,
/// they become active before.
fn measure(stage: &Stage, what: &str, points: Vec<Point>) {
    let fill = stage.duration(10_000);
    let mut stands = Vec::new();
    for point in points {
        let redis = stage.redis();
        let servers = (0..point.replicas).map(|_| stage.limiter(&point.policies, Some(&redis)));
        let servers: Vec<_> = servers.collect();
        if point.users > USERS {
            let filling = with_time(&point, 64, &[("--duration", &fill)]);
            load::report(&servers, &filling.each());
        }
        stands.push((point, redis, servers));
    }
    let time = stage.duration(2_000);
    let sides = stands.iter().map(|(point, redis, servers)| {
        let name = Number(to_f64(point.size), 0).to_string();
        // Together as many on their way, whatever the number of connections.
        let in_flight = 128 / point.replicas;
        let times = [("--duration", time.as_str()), ("--warm-up", "500ms")];
        let arguments = with_time(point, in_flight, &times);
        let target = Target {
            servers,
            redis: Some(redis),
        };
        Side::new(name, move || load::run(stage, target, &arguments.each()))
    });
    let rounds = interleaved(stage.rounds(), sides.collect());
    rounds.print(
        &format!("by number of {what}; 128 in flight; CPU in us for each check"),
        &COLUMNS,
    );
    let grown: Vec<_> = stands
        .iter()
        .map(|(point, ..)| to_f64(point.size))
        .collect();
    plot(stage, what, &grown, &rounds);
}

const COLUMNS: [Column; 6] = [
    Column::new("checks/s", RATE, 0),
    Column::ratio("of the first", RATE, 0),
    Column::new("limiter CPU", SERVER_CPU, 2),
    Column::new("Redis CPU", REDIS_CPU, 2),
    Column::new("checks a call", BATCH, 1),
    Column::new("p50 us", P50, 0),
];

/// A command line.
struct Arguments(Vec<String>);

impl Arguments {
    fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn with_time(point: &Point, in_flight: usize, times: &[(&str, &str)]) -> Arguments {
    let numbers = [
        ("--users", point.users),
        ("--tools", TOOLS),
        ("--connections", point.replicas),
        ("--in-flight", in_flight),
    ];
    let numbers = numbers.map(|(flag, number)| (flag, number.to_string()));
    let times = times.iter().map(|(flag, time)| (*flag, (*time).to_owned()));
    let all = numbers.into_iter().chain(times);
    Arguments(
        all.flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect(),
    )
}

fn plot(stage: &Stage, what: &str, sizes: &[f64], rounds: &Rounds) {
    let line = |name, figure| svg::Line {
        name,
        points: sizes
            .iter()
            .zip(0..)
            .map(|(size, side)| {
                let spread = rounds.spread(side, Column::new("", figure, 0));
                (*size, spread.expect("every run has it"))
            })
            .collect(),
    };
    let rate = svg::plot(
        &format!("Checks a second by number of {what}"),
        &[line("checks/s", RATE)],
    );
    let cpu = svg::plot(
        &format!("CPU for each check by number of {what}, us"),
        &[line("limiter", SERVER_CPU), line("Redis", REDIS_CPU)],
    );
    for (kind, picture) in [("rate", rate), ("cpu", cpu)] {
        svg::write(stage, &format!("{what}-{kind}"), &picture);
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn to_f64(size: usize) -> f64 {
    size as f64
}
