#!/bin/sh
# Install the lifecycle policy, the index template and the saved objects of Kibana; can run again.
set -eu
cd "$(dirname "$0")"

send() {
    curl --silent --show-error --fail --output /dev/null "$@"
}

json="Content-Type: application/json"
send -X PUT -H "$json" "$ELASTICSEARCH_URL/_ilm/policy/logs-{{ cookiecutter.package_name }}" --data-binary @lifecycle.json
send -X PUT -H "$json" "$ELASTICSEARCH_URL/_index_template/logs-{{ cookiecutter.package_name }}" --data-binary @template.json
send -X POST -H "kbn-xsrf: setup" "$KIBANA_URL/api/saved_objects/_import?overwrite=true" --form file=@kibana.ndjson
