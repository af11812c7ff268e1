"""Unpacks the CRDs of other projects, which tests install, from the Go modules that carry them.

Usage: crds.py FOLDER

Needs nothing but Python and `go`, which checks what it fetches against the checksum database.
"""

import json
import pathlib
import subprocess
import sys
import zipfile

CRDS = {
    "github.com/stacklok/toolhive@v0.62.0": [
        "deploy/charts/operator-crds/files/crds/toolhive.stacklok.dev_mcpservers.yaml",
        "deploy/charts/operator-crds/files/crds/toolhive.stacklok.dev_virtualmcpservers.yaml",
    ],
    "github.com/cert-manager/cert-manager@v1.21.2": [
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_clusterissuers.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ],
}


def archive(module):
    # `go` fails for a module that asks for a newer Go, and has fetched and checked it all the same.
    command = ["go", "mod", "download", "-json", module]
    fetched = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
    if "Zip" not in fetched or "Sum" not in fetched:
        sys.exit(f"{module}: {fetched.get('Error')}")
    return zipfile.ZipFile(fetched["Zip"])


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for module, paths in CRDS.items():
    with archive(module) as files:
        for path in paths:
            name = path.rsplit("/", 1)[-1]
            (folder / name).write_bytes(files.read(f"{module}/{path}"))
