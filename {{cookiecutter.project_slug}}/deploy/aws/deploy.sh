#!/usr/bin/env bash
# Deploy the image TAG from the repository of ENVIRONMENT: update platform.yaml, migrate, update
# service.yaml.
#   deploy/aws/deploy.sh ENVIRONMENT TAG [--no-migrations]
# To roll back, skip the migrations, because older code does not know newer ones.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
  echo "deploy.sh: $*" >&2
  exit 1
}

[[ $# -eq 2 || ($# -eq 3 && $3 == --no-migrations) ]] || fail "usage: deploy.sh ENVIRONMENT TAG [--no-migrations]"
environment=$1 tag=$2 migrations=${3:-yes}
name=$environment-{{ cookiecutter.project_slug }}
[[ -f $environment.json ]] || fail "there is no $environment.json"
if grep -q 123456789012 "$environment.json"; then
  fail "$environment.json has the account 123456789012 of its examples: see README.md"
fi

output() {
  aws cloudformation describe-stacks --stack-name "$name-$1" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue"
}

parameters=("Environment=$environment" "ImageTag=$tag")
while IFS= read -r parameter; do
  parameters+=("$parameter")
done < <(python3 -c '
import json, sys
for name, value in json.load(sys.stdin)["Parameters"].items():
    print(f"{name}={value}")
' <"$environment.json")

# Pass only the parameters that the template has.
stack() {
  aws cloudformation deploy --stack-name "$name-$1" --template-file "$1.yaml" --role-arn "$role" \
    --no-fail-on-empty-changeset --parameter-overrides "${parameters[@]}"
}

aws ecr describe-images --repository-name "$name" --image-ids "imageTag=$tag" >/dev/null \
  || fail "the repository $name has no image $tag"
role=$(output account StackRoleArn)
stack platform

if [[ $migrations == yes ]]; then
  definition=$(output platform MigrateTask)
  subnets=$(output platform PrivateSubnetIds)
  group=$(output platform TasksSecurityGroupId)
  task=$(aws ecs run-task --cluster "$name" --task-definition "$definition" --launch-type FARGATE \
    --network-configuration "awsvpcConfiguration={subnets=[$subnets],securityGroups=[$group],assignPublicIp=DISABLED}" \
    --query 'tasks[0].taskArn' --output text)
  [[ $task == arn:* ]] || fail "no task could be started for the migrations"
  echo "Migrating by $task"
  ask() {
    aws ecs describe-tasks --cluster "$name" --tasks "$task" --output text --query "tasks[0].$1"
  }
  status=
  while [[ $status != STOPPED ]]; do
    sleep 5
    status=$(ask lastStatus)
  done
  code=$(ask 'containers[0].exitCode')
  if [[ $code != 0 ]]; then
    aws logs filter-log-events --log-group-name "/{{ cookiecutter.project_slug }}/$environment" --output text \
      --log-stream-names "migrate/migrate/${task##*/}" --query 'events[].[message]' >&2 || true
    fail "the migrations ended with $code: $(ask stoppedReason)"
  fi
fi

stack service
echo "$environment runs $tag"
