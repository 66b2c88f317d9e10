#!/bin/sh
# Migrate the database, then roll out an image, given with its tag:
#     deploy.sh staging|production registry.example.com/{{ cookiecutter.project_slug }}:1f4a9c2
set -eu
cd "$(dirname "$0")"
namespace={{ cookiecutter.project_slug }}-$1

release=$(mktemp -d ./release.XXXXXX) # here, because kustomize accepts relative paths only
trap 'rm -r "$release"' EXIT
cat >"$release/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../overlays/$1]
images: [{name: "{{ cookiecutter.project_slug }}", newName: "${2%:*}", newTag: "${2##*:}"}]
END
kubectl kustomize "$release" >"$release/all.yaml"

kubectl -n "$namespace" delete job migrate --ignore-not-found # a Job cannot be changed
kubectl apply -f "$release/all.yaml" -l "app.kubernetes.io/component notin ({% if cookiecutter.use_worker %}web, worker{% else %}web{% endif %})"
# The Job has conditions when it is complete or has failed.
kubectl -n "$namespace" wait job/migrate --for=jsonpath='{.status.conditions}' --timeout=30m
kubectl -n "$namespace" logs job/migrate
kubectl -n "$namespace" wait job/migrate --for=condition=complete --timeout=30s

kubectl apply -f "$release/all.yaml"
kubectl -n "$namespace" rollout status deployment -l app.kubernetes.io/name={{ cookiecutter.project_slug }} --timeout=10m
