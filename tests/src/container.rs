//! Programs as containers of their images, and a network for each test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{PATIENCE, Process, eventually};

/// Gives this test a network of its own, in which every port is free and nothing but loopback is
/// there. It holds for this thread and for what starts from it, so it comes first in a test, whose
/// runtime must be of this thread alone. Takes root.
pub fn network_of_its_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network of its own takes root")?;
    let up = ["link", "set", "lo", "up"];
    let status = std::process::Command::new("ip").args(up).status();
    ensure!(status.context("ip of iproute2")?.success(), "ip {up:?}");
    Ok(())
}

/// The file system of an image, as `deploy/images/root` makes it.
#[derive(Debug)]
pub struct Image {
    folder: tempfile::TempDir,
    program: String,
}

impl Image {
    /// That of `program`, linked with the libraries of this machine.
    pub fn of(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let output = std::process::Command::new("deploy/images/root")
            .arg(program)
            .arg(folder.path().join("root"))
            .current_dir(repository)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "deploy/images/root: {errors}");
        let name = program.file_name().context("a program has a name")?;
        let program = format!("/usr/bin/{}", name.to_str().context("UTF-8")?);
        Ok(Self { folder, program })
    }

    /// Where it lies.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

/// How a container is started.
#[derive(Clone, Debug)]
pub struct ContainerOptions {
    /// What follows the image's entrypoint.
    pub arguments: Vec<String>,
    /// Its variables.
    pub environment: Vec<(String, String)>,
    /// Folders and files of this machine, where they are seen, and whether they may be written.
    pub mounts: Vec<(PathBuf, String, bool)>,
    /// The number of its user and of its group.
    pub user: u32,
}

impl Default for ContainerOptions {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            mounts: Vec::new(),
            user: 65532,
        }
    }
}

/// A running container; see `tests/container/run`. Ended with this value.
#[derive(Debug)]
pub struct Container {
    process: Process,
    /// The program's number among the processes of this machine.
    pid: Pid,
    image: Image,
    user: u32,
    log: tempfile::NamedTempFile,
}

impl Container {
    /// Starts the program of `image`, and returns when it runs.
    pub async fn start(image: Image, options: &ContainerOptions) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("container/run");
        let mut command = Command::new(run);
        command.arg(image.root()).arg(options.user.to_string());
        for (source, target, is_writable) in &options.mounts {
            let mode = if *is_writable { "rw" } else { "ro" };
            command.arg(format!("{}:{target}:{mode}", source.display()));
        }
        command
            .arg("--")
            .arg(&image.program)
            .args(&options.arguments)
            .env_clear()
            // Docker and containerd give it to an image that has none.
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .envs(options.environment.iter().cloned())
            .stdout(log.reopen()?)
            .stderr(log.reopen()?);
        let mut process = Process::start(&mut command)?;
        let parent = process.child().id().context("it has just been started")?;
        let pid = timeout(PATIENCE, async {
            loop {
                if let Some(pid) = child_that_runs(parent, &image.program)? {
                    return Ok(pid);
                }
                if let Some(status) = process.child().try_wait()? {
                    bail!("{status}: {}", fs::read_to_string(log.path())?);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Ok(Self {
            pid: pid.await??,
            process,
            image,
            user: options.user,
            log,
        })
    }

    /// What the kernel says of the program in this file of `/proc`.
    pub fn proc(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.pid))?)
    }

    /// A folder of `/proc` that is the program's own, such as `root`, its files as it sees them.
    pub fn proc_path(&self, entry: &str) -> PathBuf {
        format!("/proc/{}/{entry}", self.pid).into()
    }

    /// Runs a program of the image in the container, as `docker exec` and an exec probe do. A name
    /// without a slash is looked for in `/usr/bin`.
    pub async fn exec(&self, arguments: &[&str]) -> Result<Output> {
        self.exec_as(self.user, arguments).await
    }

    /// Runs the image's own program in the container.
    pub async fn exec_program(&self, arguments: &[&str]) -> Result<Output> {
        self.exec_program_as(self.user, arguments).await
    }

    /// As [`Container::exec_program`], as another user.
    pub async fn exec_program_as(&self, user: u32, arguments: &[&str]) -> Result<Output> {
        let arguments = [&[self.image.program.as_str()], arguments].concat();
        self.exec_as(user, &arguments).await
    }

    async fn exec_as(&self, user: u32, arguments: &[&str]) -> Result<Output> {
        let user = user.to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--pid"])
            .args(["--root", "--wd", "--setgid", &user, "--setuid", &user, "--"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(timeout(PATIENCE, command.output()).await??)
    }

    /// What it has written to both of its outputs.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.log.path())?)
    }

    /// Sends SIGTERM, as an orchestrator does that ends it, and waits for `grace` at most. Returns its
    /// exit code.
    pub async fn stop(&mut self, grace: Duration) -> Result<i32> {
        nix::sys::signal::kill(self.pid, Signal::SIGTERM)?;
        let ended = timeout(grace, self.process.child().wait()).await;
        let status = ended.with_context(|| format!("it runs {grace:?} after SIGTERM"))??;
        status.code().context("it exits, and no signal ends it")
    }
}

impl Drop for Container {
    /// The kernel forgets to end a program with its parent once the program has changed its user.
    fn drop(&mut self) {
        let has_ended = !matches!(self.process.child().try_wait(), Ok(None));
        if !has_ended {
            let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Waits until `address` (`host:port`) answers a GET of `path` with 200, as an HTTP probe wants it.
pub async fn probe(address: &str, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let ask = async || {
        let mut connection = TcpStream::connect(address).await.ok()?;
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut response = String::new();
        connection.read_to_string(&mut response).await.ok()?;
        response.starts_with("HTTP/1.1 200 ").then_some(())
    };
    eventually(&format!("200 of {address}{path}"), ask).await;
}

/// The child of `parent` that executes `program` by now.
fn child_that_runs(parent: u32, program: &str) -> Result<Option<Pid>> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Any process may end while it is looked at.
        let (Ok(stat), Ok(command)) = (
            fs::read_to_string(format!("/proc/{pid}/stat")),
            fs::read(format!("/proc/{pid}/cmdline")),
        ) else {
            continue;
        };
        // After the name, which may hold anything: the state and the parent.
        let of_parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1))
            .and_then(|ppid| ppid.parse::<u32>().ok());
        if of_parent == Some(parent)
            && command.split(|&b| b == 0).next() == Some(program.as_bytes())
        {
            return Ok(Some(Pid::from_raw(pid)));
        }
    }
    Ok(None)
}
