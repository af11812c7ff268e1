//! The command line itself.

use crate::toolgate::{Ran, command};

fn ran(line: &str) -> Ran {
    let output = command(line.split_whitespace()).output();
    output.expect("the binary runs").into()
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for line in [
        "",
        "chekc",
        "check",
        "check default/research --tool a --prompt b",
        "check default/research --issuer https://id.example",
        "check default/research --group dev",
        "check default/research --cost 0",
        "check default/research -n 0",
        "check default/research --timeout 0s",
        "check default/research --timeout 5",
        "check default/research --endpoint localhost:7070",
        "check default/research --endpoint ftp://localhost:7070",
        "check default/research --endpoint https://localhost",
        "check default/research --endpoint https://localhost:7070 --tls-key a",
        "check default/research --endpoint https://localhost:7070 --tls-certificate a --tls-key b",
        "check default/research --output yaml",
        "peek default/research -n 2",
        "buckets default/research --user alice --anonymous",
        "reset default/research --anonymous --issuer https://id.example",
        "reset",
        "top --output json",
        "top --interval 99ms",
        "top --endpoint localhost:7070",
    ] {
        let ran = ran(line);
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert_eq!(ran.stdout, "", "{line}");
    }
}

#[test]
fn the_help_tells_the_exit_codes_and_the_default_of_output() {
    for line in ["--help", "check --help", "peek -h", "policies --help"] {
        let ran = ran(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        assert!(
            ran.stdout.contains("3  check and peek: denied"),
            "{line}: {ran:?}"
        );
    }
    let help = ran("check --help").stdout;
    assert!(
        help.contains("on a terminal and elsewhere a table, unless json is asked for"),
        "{help}"
    );
    assert!(help.contains("[default: table]"), "{help}");
    assert!(help.contains("TOOLGATE_ENDPOINT"), "{help}");
}

#[test]
fn crd_prints_the_definition_that_deploy_holds() {
    let ran = ran("crd");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let held = include_str!("../../../../deploy/crds/toolgate.dev_ratelimitpolicies.yaml");
    assert!(
        ran.stdout == held,
        "deploy/crds is not what toolgate crd prints"
    );
}
