//! A pod of a Deployment, run by this machine as the kubelet would run it, as far as its manifest says.
//!
//! Its containers are those of `tests/container/run`, on the network of the test, with the arguments,
//! variables, volumes, user and probes of the manifest. What is not understood here is an error, so that
//! nothing is left out in silence.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{self as core, ConfigMap, PodSpec, Service, Volume},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use toolgate_tests::{Container, ContainerOptions, ControlPlane, Image, probe, toolgate, vmcp};

use crate::patient;

/// A running pod, ended with this value.
pub(crate) struct Pod {
    /// By name; those that start first end last.
    containers: BTreeMap<String, Container>,
    /// The generation of the Deployment that it is of.
    generation: Option<i64>,
    _folder: tempfile::TempDir,
}

impl Pod {
    /// A pod of the Deployment `name`, which is ready.
    pub(crate) async fn start(plane: &ControlPlane, namespace: &str, name: &str) -> Self {
        let client = plane.client().await.expect("a client");
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let deployment = deployments.get(name).await.expect("the Deployment");
        let generation = deployment.metadata.generation;
        let spec = deployment.spec.and_then(|spec| spec.template.spec);
        let spec = spec.expect("a pod's spec");

        let folder = tempfile::tempdir().expect("a folder");
        // The container's user comes in.
        allow(folder.path(), 0o755);
        let here = Place {
            plane,
            client,
            namespace,
            folder: folder.path(),
            spec: &spec,
        };
        let mut containers = BTreeMap::new();
        let sidecars = spec.init_containers.iter().flatten();
        for container in sidecars.chain(&spec.containers) {
            let running = here.start(container).await;
            containers.insert(container.name.clone(), running);
        }
        Self {
            containers,
            generation,
            _folder: folder,
        }
    }

    /// Whether the Deployment still wants this pod.
    pub(crate) async fn is_current(
        &self,
        plane: &ControlPlane,
        namespace: &str,
        name: &str,
    ) -> bool {
        let client = plane.client().await.expect("a client");
        let deployments: Api<Deployment> = Api::namespaced(client, namespace);
        let deployment = deployments.get(name).await.expect("the Deployment");
        deployment.metadata.generation == self.generation
    }

    /// The container `name`, or the only one.
    pub(crate) fn container(&self, name: Option<&str>) -> &Container {
        let found = match name {
            Some(name) => self.containers.get(name),
            None => self.containers.values().next(),
        };
        found.expect("the container")
    }
}

/// Where a pod is started.
struct Place<'p> {
    plane: &'p ControlPlane,
    client: Client,
    namespace: &'p str,
    folder: &'p Path,
    spec: &'p PodSpec,
}

impl Place<'_> {
    async fn start(&self, container: &core::Container) -> Container {
        let image = container.image.as_deref().expect("an image");
        let program = match image.split_once(':') {
            Some(("toolgate/toolgate", env!("CARGO_PKG_VERSION"))) => toolgate(),
            Some(("toolgate/vmcp", env!("CARGO_PKG_VERSION"))) => vmcp(),
            _ => panic!("{image} is none of ours, or not of this version"),
        };
        let image = Image::of(program.expect("built")).expect("an image");

        let security = container.security_context.clone().unwrap_or_default();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
        let dropped = security.capabilities.and_then(|set| set.drop);
        assert_eq!(dropped.as_deref(), Some(&["ALL".to_owned()][..]));
        let of_pod = self.spec.security_context.clone().unwrap_or_default();
        let user = security.run_as_user.or(of_pod.run_as_user).unwrap_or(65532);

        let mut mounts = vec![(self.hosts().await, "/etc/hosts".to_owned(), false)];
        for mount in container.volume_mounts.iter().flatten() {
            let volumes = self.spec.volumes.iter().flatten();
            let volume = volumes.clone().find(|volume| volume.name == mount.name);
            let volume = volume.unwrap_or_else(|| panic!("{} is no volume", mount.name));
            let is_writable = mount.read_only != Some(true);
            mounts.push((
                self.volume(volume).await,
                mount.mount_path.clone(),
                is_writable,
            ));
        }
        let mut environment = self.environment(container);
        if self.spec.automount_service_account_token != Some(false)
            && let Some(account) = &self.spec.service_account_name
        {
            let kubeconfig = self.kubeconfig(account).await;
            mounts.push((kubeconfig, "/kube".to_owned(), false));
            environment.push(("KUBECONFIG".to_owned(), "/kube/config".to_owned()));
        }
        let options = ContainerOptions {
            arguments: container.args.clone().unwrap_or_default(),
            environment,
            mounts,
            user: u32::try_from(user).expect("a user"),
        };
        let running = Container::start(image, &options).await.expect("it runs");
        // Others of the pod wait for the first, and callers for the last.
        for probed in [&container.startup_probe, &container.readiness_probe] {
            let Some(get) = probed.as_ref().and_then(|probe| probe.http_get.as_ref()) else {
                continue;
            };
            let port = port(container, &get.port);
            let path = get.path.as_deref().unwrap_or("/");
            probe(&format!("127.0.0.1:{port}"), path).await;
        }
        running
    }

    fn environment(&self, container: &core::Container) -> Vec<(String, String)> {
        let variables = container.env.iter().flatten().map(|variable| {
            let field = variable.value_from.as_ref();
            let field = field.and_then(|source| source.field_ref.as_ref());
            let value = match (
                &variable.value,
                field.map(|field| field.field_path.as_str()),
            ) {
                (Some(value), None) => value.clone(),
                (None, Some("metadata.namespace")) => self.namespace.to_owned(),
                (None, Some("metadata.name")) => "pod-0".to_owned(),
                (None, Some("metadata.uid")) => "7b1c1f5e-0000-4000-8000-000000000002".to_owned(),
                (value, field) => panic!("{}: {value:?}, {field:?}", variable.name),
            };
            (variable.name.clone(), value)
        });
        variables.collect()
    }

    /// The folder of a volume. Containers of one pod share it.
    async fn volume(&self, volume: &Volume) -> PathBuf {
        let folder = self.folder.join(&volume.name);
        if folder.exists() {
            return folder;
        }
        fs::create_dir(&folder).expect("a folder");
        match (&volume.config_map, &volume.empty_dir) {
            (Some(config), None) => {
                allow(&folder, 0o755);
                let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
                let map = maps.get(&config.name).await.expect("the ConfigMap");
                for (key, text) in map.data.unwrap_or_default() {
                    fs::write(folder.join(key), patient(&text)).expect("a file");
                }
            }
            // As the kubelet makes it.
            (None, Some(_)) => allow(&folder, 0o777),
            _ => panic!("{volume:?} is not understood"),
        }
        folder
    }

    /// What a `ServiceAccount` gets, as a kubeconfig and not as the kubelet lays it out.
    async fn kubeconfig(&self, account: &str) -> PathBuf {
        let written = self.plane.kubeconfig_of(self.namespace, account).await;
        let text = fs::read_to_string(written.expect("a token")).expect("a kubeconfig");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let folder = self.folder.join("kube");
        fs::create_dir_all(&folder).expect("a folder");
        let cluster = &mut config["clusters"][0]["cluster"];
        let authority = cluster["certificate-authority"].take();
        let authority = authority.as_str().expect("an authority");
        fs::copy(authority, folder.join("ca.crt")).expect("a copy");
        cluster["certificate-authority"] = "/kube/ca.crt".into();
        fs::write(folder.join("config"), config.to_string()).expect("a file");
        for path in [folder.clone(), folder.join("ca.crt"), folder.join("config")] {
            allow(&path, 0o755);
        }
        folder
    }

    /// The names of all Services, which are all on this machine.
    async fn hosts(&self) -> PathBuf {
        let services: Api<Service> = Api::all(self.client.clone());
        let services = services
            .list(&ListParams::default())
            .await
            .expect("Services");
        let mut names = vec!["localhost redis redis.default.svc".to_owned()];
        for service in services {
            let name = service.name_any();
            let namespace = service.namespace().expect("a namespace");
            names.push(format!("{name}.{namespace}.svc"));
            if namespace == self.namespace {
                names.push(name);
            }
        }
        let hosts = format!("127.0.0.1 {}\n", names.join(" "));
        let path = self.folder.join("hosts");
        fs::write(&path, hosts).expect("a file");
        path
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// The number of a port that is given by it or by its name.
fn port(
    container: &core::Container,
    port: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString,
) -> i32 {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named
                .unwrap_or_else(|| panic!("no port {name}"))
                .container_port
        }
    }
}
