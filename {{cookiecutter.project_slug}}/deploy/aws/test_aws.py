"""Check the CloudFormation stacks against the application and each other."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment_checks import COMMANDS, PROGRAM, ROOT, Process, problems, read_image

HERE = Path(__file__).parent
ARN = "${AWS::Region}:${AWS::AccountId}:"
ENVIRONMENTS = ("staging", "production")
TEMPLATES: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in HERE.glob("*.yaml")
}
PARAMETERS: dict[str, dict[str, str]] = {
    name: json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))["Parameters"]
    for name in ENVIRONMENTS
}
RESOURCES = {
    name: resource
    for template in TEMPLATES.values()
    for name, resource in template["Resources"].items()
}


def of_type(kind: str) -> list[Any]:
    """Return the properties of the resources of a type."""
    return [one["Properties"] for one in RESOURCES.values() if one["Type"] == f"AWS::{kind}"]


def properties(name: str) -> Any:
    """Return the properties of a resource."""
    return RESOURCES[name]["Properties"]


TASKS = {task["ContainerDefinitions"][0]["Name"]: task for task in of_type("ECS::TaskDefinition")}
SERVICES = {service["ServiceName"]: service for service in of_type("ECS::Service")}


def value_of(value: Any, environment: str) -> Any:
    """Resolve a parameter, text or import in an environment; a resource is {"Ref": its name}."""
    match value:
        case {"Ref": name}:
            return _parameters(environment).get(name, value)
        case {"Fn::Sub": str(text)}:
            known = _parameters(environment)
            return re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)
        case {"Fn::ImportValue": name}:
            return value_of(_exports(environment)[value_of(name, environment)], environment)
        case _:
            return value


def _parameters(environment: str) -> dict[str, str]:
    declared = {
        name: str(parameter["Default"])
        for template in TEMPLATES.values()
        for name, parameter in template["Parameters"].items()
        if "Default" in parameter
    }
    return {**declared, **PARAMETERS[environment], "Environment": environment, "ImageTag": "tag"}


def _exports(environment: str) -> dict[str, Any]:
    return {
        value_of(output["Export"]["Name"], environment): output["Value"]
        for template in TEMPLATES.values()
        for output in template["Outputs"].values()
        if "Export" in output
    }


def secret_of(name: str, source: Any, environment: str) -> str | None:
    """Return the value that a container gets from a secret, or None if AWS generates it."""
    value = value_of(source, environment)
    expected = name.title().replace("_", "")
    if isinstance(value, str):  # made by hand
        assert source == {"Ref": f"{expected}SecretArn"}
        assert value.partition(":secret:")[2].startswith(f"{environment}-{PROGRAM}/")
        return None
    assert value == {"Ref": expected}
    secret = RESOURCES[expected]
    assert secret["Type"] == "AWS::SecretsManager::Secret"
    if "GenerateSecretString" in secret["Properties"]:
        assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32
        return None
    text = secret["Properties"]["SecretString"]["Fn::Sub"]
    reference = r"\{\{resolve:secretsmanager:\$\{(\w+)\}:SecretString:password\}\}"
    [credentials] = re.findall(reference, text)
    assert properties(credentials)["GenerateSecretString"]["GenerateStringKey"] == "password"
    return re.sub(r"\$\{\w+\.\w+\.Address\}", "host", re.sub(reference, "password", text))


def process_of(name: str, environment: str) -> Process:
    """Return a process as its task definition describes it."""
    [container] = TASKS[name]["ContainerDefinitions"]
    variables: dict[str, str | None] = dict(read_image().variables)
    for one in container.get("Environment", []):
        variables[one["Name"]] = value_of(one["Value"], environment)
    for one in container["Secrets"]:
        variables[one["Name"]] = secret_of(one["Name"], one["ValueFrom"], environment)
    command = tuple(container.get("Command", read_image().command))
    return Process(name, variables, command, stop_seconds=container.get("StopTimeout"))


def mappings_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a template, outer mappings first."""
    if isinstance(value, dict):
        yield value
        value = [*value.values()]
    if isinstance(value, list):
        for one in value:
            yield from mappings_in(one)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", [*COMMANDS, "migrate"])
def test_process_matches_the_application(name: str, environment: str) -> None:
    process = process_of(name, environment)
    assert problems(process) == []
    assert (process.stop_seconds is None) == (name == "migrate")


def test_every_long_running_process_has_a_service() -> None:
    assert {*TASKS} == {*COMMANDS, "migrate"}
    assert {*SERVICES} == {*COMMANDS}
    for name, service in SERVICES.items():
        assert properties(service["TaskDefinition"]["Ref"]) == TASKS[name]


@pytest.mark.parametrize("name", TASKS)
def test_containers_are_restricted(name: str) -> None:
    [container] = TASKS[name]["ContainerDefinitions"]
    assert container["User"] == read_image().user
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}
    assert value_of(TASKS[name]["Family"], "staging") == f"staging-{PROGRAM}-{name}"
    assert container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == name
    assert value_of(container["Image"], "staging").endswith(f"/staging-{PROGRAM}:tag")


def test_probes_and_ports_match_the_application() -> None:
    [container] = TASKS["web"]["ContainerDefinitions"]
    target = properties("TargetGroup")
    probe = container["HealthCheck"]["Command"][-1]
    [(port, path)] = re.findall(r'"http://127\.0\.0\.1:(\d+)(/\S+)"', probe)
    web = process_of("web", "production")
    for health in (f"{path}:{port}", f"{target['HealthCheckPath']}:{target['Port']}"):
        assert problems(replace(web, health=health)) == []
    [mapping] = container["PortMappings"]
    [balanced] = SERVICES["web"]["LoadBalancers"]
    [egress] = properties("LoadBalancerSecurityGroup")["SecurityGroupEgress"]
    ports = [mapping["ContainerPort"], balanced["ContainerPort"]]
    for rule in (egress, properties("TasksIngress")):
        ports += [rule["FromPort"], rule["ToPort"]]
    assert {str(port) for port in ports} == {read_image().variables["PORT"]}
    assert balanced["ContainerName"] == "web"


def test_only_the_network_may_forward_client_addresses() -> None:
    proxies = process_of("web", "production").variables["FORWARDED_ALLOW_IPS"]
    assert ip_network(str(proxies)).is_private
    assert properties("Vpc")["CidrBlock"] == {"Ref": "VpcCidr"}


def test_servers_are_of_the_same_version_as_in_compose() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    version = dict(name.rpartition("/")[2].split(":") for name in images if ":" in name)
    assert properties("Database")["EngineVersion"] == version["postgres"].partition(".")[0]
{%- if cookiecutter.use_redis %}
    major = version["redis"].partition(".")[0]
    assert properties("Cache")["EngineVersion"].partition(".")[0] == major
    assert properties("CacheParameters")["CacheParameterGroupFamily"] == f"valkey{major}"
{%- endif %}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_parameters_are_those_of_the_templates(environment: str) -> None:
    given = PARAMETERS[environment]
    assert {*given} == {*PARAMETERS["staging"]}
    known = set[str]()
    for stack in ("platform", "service"):
        for name, rule in TEMPLATES[stack]["Parameters"].items():
            known.add(name)
            value = _parameters(environment).get(name)
            assert value is not None, f"{name} is not given"
            assert re.fullmatch(rule.get("AllowedPattern", ".*"), value), name
            assert value in map(str, rule.get("AllowedValues", [value])), name
            if rule["Type"] == "Number":
                assert rule.get("MinValue", 0) <= int(value) <= rule.get("MaxValue", 10**6), name
    assert not {*given} - known


def test_stacks_agree_on_the_parameters_they_share() -> None:
    shared = TEMPLATES["platform"]["Parameters"].keys() & TEMPLATES["service"]["Parameters"].keys()
    for name in shared - {"ImageTag"}:
        assert TEMPLATES["platform"]["Parameters"][name] == TEMPLATES["service"]["Parameters"][name]


@pytest.mark.parametrize("stack", TEMPLATES)
def test_references_are_defined(stack: str) -> None:
    template = TEMPLATES[stack]
    names = {*template["Parameters"], *template["Resources"]}
    exports = _exports("staging")
    for one in mappings_in(template):
        match one:
            case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
                assert name in names or name.startswith("AWS::"), name
            case {"Fn::Sub": str(text)}:
                used = re.findall(r"\$\{([\w:]+)", text)
                assert {name for name in used if not name.startswith("AWS::")} <= names, text
            case {"Fn::ImportValue": name}:
                assert value_of(name, "staging") in exports
            case {"Fn::If": [name, *_]} | {"Condition": str(name)}:
                assert name in template["Conditions"]


def test_roles_allow_the_names_of_the_stacks() -> None:
    secrets = [one["Name"] for one in of_type("SecretsManager::Secret")]
    logs = [one["LogGroupName"] for one in of_type("Logs::LogGroup")]
    alarms = [one["AlarmName"] for one in of_type("CloudWatch::Alarm")]
    topics = [one["TopicName"] for one in of_type("SNS::Topic")]
    assert all((secrets, logs, alarms, topics))
    for name in secrets:
        assert may("ExecutionRole", "secretsmanager:GetSecretValue", f"secret:{name['Fn::Sub']}-a1")
        assert may("StackRole", "secretsmanager:*", f"secret:{name['Fn::Sub']}-a1")
    for name in logs:
        assert may("ExecutionRole", "logs:PutLogEvents", f"log-group:{name['Fn::Sub']}:stream")
        for end in ("", ":*"):  # tags are those of the ARN without an end
            assert may("StackRole", "logs:*", f"log-group:{name['Fn::Sub']}{end}")
    for name in alarms:
        assert may("StackRole", "cloudwatch:*", f"alarm:{name['Fn::Sub']}")
    for name in topics:
        assert may("StackRole", "sns:*", f"{name['Fn::Sub']}")
{%- if cookiecutter.ci != "none" %}
    migrate, cluster = properties("MigrateTask"), properties("Cluster")
    assert may("DeployRole", "ecs:RunTask", f"task-definition/{migrate['Family']['Fn::Sub']}:1")
    assert may("DeployRole", "ecs:DescribeTasks", f"task/{cluster['ClusterName']['Fn::Sub']}/1")
    for name in logs:
        assert may("DeployRole", "logs:FilterLogEvents", f"log-group:{name['Fn::Sub']}:stream")
{%- endif %}


def may(role: str, action: str, resource: str) -> bool:
    """Return whether a role allows an action on a resource, given by the end of its ARN."""
    [policy] = properties(role)["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        actions, allowed = statement["Action"], statement["Resource"]
        if action in (actions if isinstance(actions, list) else [actions]):
            for one in allowed if isinstance(allowed, list) else [allowed]:
                if fnmatchcase(resource, str(one["Fn::Sub"]).partition(ARN)[2]):
                    return True
    return False


def test_script_reads_outputs_that_the_stacks_have() -> None:
    script = (HERE / "deploy.sh").read_text(encoding="utf-8")
    asked = re.findall(r"\(output (\w+) (\w+)\)", script)
    assert len(asked) == 4
    for stack, output in asked:
        assert output in TEMPLATES[stack]["Outputs"]
    assert re.findall(r"^stack (\w+)$", script, re.MULTILINE) == ["platform", "service"]
    assert f"name=$environment-{PROGRAM}\n" in script
    logs = properties("Logs")["LogGroupName"]["Fn::Sub"].replace("${Environment}", "$environment")
    assert f'--log-group-name "{logs}"' in script
