//! `make performance`: what a check costs, as docs/performance.md shows it.
//!
//! Everything runs on this machine, in processes of its own: limiters, Redis, a gRPC server that
//! decides nothing, and the load generator, `toolgate bench`. The sides of each comparison run in
//! turn, several rounds long; printed are medians with their spread, and ratios made within each
//! round. Nothing is asserted: machines differ and are noisy, ratios less so.
//!
//! Arguments choose sections (`stream unary latency flood growth memory telemetry instructions`);
//! without any all run. `--quick` runs each for a moment, to see that it runs.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on ends")]
#![allow(clippy::disallowed_methods, reason = "real time is what is measured")]

mod cpu;
mod flood;
mod growth;
mod instructions;
mod latency;
mod load;
mod memory;
mod no_op;
mod policies;
mod replay;
mod resp;
mod stage;
mod stream;
mod svg;
mod table;
mod telemetry;
mod unary;

use stage::Stage;

/// As in the limiter, so that what it is compared with allocates the same way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Section = (&'static str, fn(&Stage));

const SECTIONS: [Section; 8] = [
    ("stream", stream::run),
    ("unary", unary::run),
    ("latency", latency::run),
    ("flood", flood::run),
    ("growth", growth::run),
    ("memory", memory::run),
    ("telemetry", telemetry::run),
    ("instructions", instructions::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // What the benchmark starts as processes of their own.
        [no_op::COMMAND] => no_op::serve(),
        [instructions::COMMAND, operation, count] => {
            instructions::work(operation, count.parse().expect("a number"));
        }
        _ => measure(&arguments),
    }
}

fn measure(arguments: &[&str]) {
    // `cargo bench` says --bench.
    let (flags, chosen): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| argument.starts_with("--"));
    let unknown_flag = flags
        .iter()
        .any(|flag| !["--bench", "--quick"].contains(flag));
    let is_section = |name: &&str| SECTIONS.iter().any(|(section, _)| section == name);
    if unknown_flag || !chosen.iter().all(is_section) {
        let names = SECTIONS.map(|(name, _)| name).join(" ");
        eprintln!("usage: performance [--quick] [SECTION]..., of {names}");
        std::process::exit(2);
    }
    let stage = Stage::new(flags.contains(&"--quick"));
    println!("{}", stage.describe());
    for (name, run) in SECTIONS {
        if chosen.is_empty() || chosen.contains(&name) {
            let began = std::time::Instant::now();
            run(&stage);
            eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
        }
    }
}
