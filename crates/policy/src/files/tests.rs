use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn names(files: &Files) -> Vec<String> {
    let name = |(path, _): &(PathBuf, String)| path.file_name().map(std::ffi::OsStr::to_os_string);
    let names = files.texts.iter().filter_map(name);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn read(path: &Path) -> Files {
    Files::read(&[path.to_owned()])
}

fn problem(path: &Path) -> String {
    let files = read(path);
    assert!(files.texts.is_empty());
    let problem = files.problems.first().expect("a problem");
    assert_eq!(problem.file(), path);
    format!("{:?}: {}", problem.severity(), problem.message())
}

#[test]
fn of_a_folder_the_manifests_are_read_by_name_and_nothing_else() {
    let folder = TempDir::new().expect("folder");
    let path = folder.path();
    for name in [
        "b.yml",
        "a.yaml",
        "c.json",
        "yaml",
        ".hidden.yaml",
        "d.yaml~",
    ] {
        fs::write(path.join(name), name).expect("written");
    }
    fs::create_dir(path.join("..1")).expect("created");
    fs::write(path.join("..1/mounted.yaml"), "mounted").expect("written");
    symlink("..1", path.join("..data")).expect("linked");
    symlink("..data/mounted.yaml", path.join("mounted.yaml")).expect("linked");

    let files = read(path);
    assert_eq!(names(&files), ["a.yaml", "b.yml", "c.json", "mounted.yaml"]);
    assert!(files.problems.is_empty());
    // A file that is named is read whatever its name.
    assert_eq!(names(&read(&path.join(".hidden.yaml"))), [".hidden.yaml"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = TempDir::new().expect("folder");
    let path = folder.path();
    assert_eq!(
        problem(path),
        "Warning: has no manifests (*.yaml, *.yml or *.json)"
    );
    let missing = problem(&path.join("missing.yaml"));
    assert!(missing.starts_with("Error: cannot be read: "), "{missing}");

    fs::write(path.join("binary.yaml"), b"ab\xff").expect("written");
    let binary = problem(&path.join("binary.yaml"));
    assert_eq!(binary, "Error: is not UTF-8 text: byte 2 is none of it");

    let large = File::create(path.join("large.yaml")).expect("created");
    large.set_len(MAX_FILE_BYTES + 1).expect("sparse");
    let large = problem(&path.join("large.yaml"));
    assert_eq!(
        large,
        "Error: is larger than 16777216 bytes, the most that is read"
    );

    symlink("nowhere", path.join("dangling.yaml")).expect("linked");
    let dangling = read(path).problems;
    assert!(
        dangling
            .iter()
            .any(|problem| problem.file().ends_with("dangling.yaml"))
    );
    let device = problem(Path::new("/dev/null"));
    assert_eq!(device, "Error: is a device, not a regular file");
}

#[test]
fn the_fingerprint_tells_names_contents_and_problems_apart() {
    let folder = TempDir::new().expect("folder");
    let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    let mut seen = vec![read(folder.path()).fingerprint()];
    let mut is_new = || {
        let now = read(folder.path()).fingerprint();
        assert_eq!(now, read(folder.path()).fingerprint());
        let new = !seen.contains(&now);
        seen.push(now);
        new
    };
    fs::write(&a, "one").expect("written");
    assert!(is_new());
    fs::write(&a, "two").expect("written");
    assert!(is_new());
    fs::rename(&a, &b).expect("renamed");
    assert!(is_new());
    fs::write(&b, b"\xff").expect("written");
    assert!(is_new());
}

/// Each of them kept a limiter waiting, or was left out without a word.
#[test]
fn what_is_no_regular_file_is_an_error_and_nothing_waits_for_it() {
    let folder = TempDir::new().expect("folder");
    let path = folder.path();
    fs::write(path.join("a.yaml"), "good").expect("written");
    let fifo = std::process::Command::new("mkfifo")
        .arg(path.join("fifo.yaml"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    let socket = std::os::unix::net::UnixListener::bind(path.join("socket.json"));
    let _socket = socket.expect("a socket");
    symlink("loop.yaml", path.join("loop.yaml")).expect("linked");
    symlink("/dev/zero", path.join("device.yml")).expect("linked");
    symlink("fifo.yaml", path.join("link.yaml")).expect("linked");
    fs::create_dir(path.join("nested.yaml")).expect("created");
    let files = read(path);
    assert_eq!(names(&files), ["a.yaml"]);
    let problems = files.problems.iter().map(|problem| {
        assert_eq!(problem.severity(), Severity::Error);
        let name = problem.file().file_name().expect("a name");
        let message = problem
            .message()
            .split_once(" (os")
            .map_or(problem.message(), |(m, _)| m);
        format!("{} {message}", name.display())
    });
    let problems: Vec<_> = problems.collect();
    assert_eq!(
        problems,
        [
            "device.yml is a device, not a regular file",
            "fifo.yaml is a FIFO, not a regular file",
            "link.yaml is a FIFO, not a regular file",
            "loop.yaml cannot be read: Too many levels of symbolic links",
            "nested.yaml is a folder, not a regular file",
            "socket.json is a socket, not a regular file",
        ]
    );
    // Named as a path of its own, too.
    let fifo = problem(&path.join("fifo.yaml"));
    assert_eq!(fifo, "Error: is a FIFO, not a regular file");
}

#[test]
fn what_looks_like_a_manifest_and_is_not_read_is_named_in_a_warning() {
    let folder = TempDir::new().expect("folder");
    let path = folder.path();
    let manifest = "# Limits\napiVersion: toolgate.dev/v1alpha1\nkind: RateLimitPolicy\n";
    for name in ["a.yaml.bak", "B.YAML", "limits.txt", ".a.yaml.swp"] {
        fs::write(path.join(name), manifest).expect("written");
    }
    fs::write(path.join("README"), "What these limits are for").expect("written");
    fs::write(path.join("good.yaml"), manifest).expect("written");
    fs::create_dir(path.join("team")).expect("created");
    fs::create_dir(path.join("empty")).expect("created");
    fs::write(path.join("team/a.yml"), manifest).expect("written");
    let files = read(path);
    assert_eq!(names(&files), ["good.yaml"]);
    let named: Vec<_> = files
        .problems
        .iter()
        .map(|problem| {
            assert_eq!(problem.severity(), Severity::Warning);
            let name = problem.file().file_name().expect("a name");
            name.to_string_lossy().into_owned()
        })
        .collect();
    assert_eq!(named, ["B.YAML", "a.yaml.bak", "limits.txt", "team"]);
}

#[test]
fn all_files_together_are_bounded() {
    let folder = TempDir::new().expect("folder");
    for name in ["a", "b", "c", "d", "e"] {
        let file = File::create(folder.path().join(format!("{name}.yaml"))).expect("created");
        file.set_len(MAX_FILE_BYTES).expect("sparse");
    }
    let files = read(folder.path());
    assert_eq!(names(&files).len(), 4);
    let problem = files.problems.first().expect("a problem");
    assert!(problem.message().contains("all files together"));
}
