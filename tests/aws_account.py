"""Make the stacks of a render in a simulated account (moto), and print what came of them as JSON.

Run by the tests in an environment of its own: `python aws_account.py FOLDER ENVIRONMENT [VPC]`,
where VPC asks for a network that was there before.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml
from moto import mock_aws

REGION = "eu-central-1"
SUBNETS = [f"10.0.{number}.0/20" for number in (0, 16, 32, 48)]


def simulated(value: Any, resources: dict[str, Any]) -> Any:
    """A template with values in place of what moto cannot do.

    It computes no subnets, makes no secrets, and asks for the memory of a container where ECS is
    content with that of the task.
    """
    match value:
        case {"Fn::Cidr": _}:
            return SUBNETS
        case {"Ref": name} if resources.get(name, {}).get("Type") == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{name}"
        case {"Image": _}:
            value = {**value, "Memory": 256}
    if isinstance(value, dict):
        return {name: simulated(one, resources) for name, one in value.items()}
    return [simulated(one, resources) for one in value] if isinstance(value, list) else value


def parameters_of(session: boto3.Session, folder: Path, environment: str) -> dict[str, str]:
    """Return the parameters of the environment's file and of resources created beforehand."""
    certificate = session.client("acm").request_certificate(DomainName="orders.example.com")
    return {
        **json.loads((folder / f"{environment}.json").read_text("utf-8"))["Parameters"],
        "Environment": environment,
        "ImageTag": "0123abc",
        "CertificateArn": certificate["CertificateArn"],
        "GitHubRepository": "example/orders",
        "GitLabProject": "example/orders",
        "IdentityProviderArn": "arn:aws:iam::123456789012:oidc-provider/example",
    }


def network_of(session: boto3.Session) -> dict[str, str]:
    """Create a network that exists before the first deployment."""
    ec2 = session.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{REGION}{zone}")
        for block, zone in zip(SUBNETS, "abab", strict=True)
    ]
    ids = [subnet["Subnet"]["SubnetId"] for subnet in made]
    return {
        "VpcId": vpc,
        "PublicSubnetIds": ",".join(ids[:2]),
        "PrivateSubnetIds": ",".join(ids[2:]),
    }


def main(folder: Path, environment: str, *options: str) -> None:
    """Create the stacks in order, run the migration, and print the resulting resources."""
    session = boto3.Session("key", "secret", region_name=REGION)
    stacks, ecs = session.client("cloudformation"), session.client("ecs")
    given = parameters_of(session, folder, environment)
    if "VPC" in options:
        given |= network_of(session)
    outputs: dict[str, str] = {}
    for stack in ("account", "platform", "service"):
        template = yaml.safe_load((folder / f"{stack}.yaml").read_text("utf-8"))
        stacks.create_stack(
            StackName=f"{environment}-{stack}",
            TemplateBody=json.dumps(simulated(template, template["Resources"])),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": given[name]}
                for name in template["Parameters"].keys() & given.keys()
            ],
        )
        [made] = stacks.describe_stacks(StackName=f"{environment}-{stack}")["Stacks"]
        outputs |= {one["OutputKey"]: one["OutputValue"] for one in made["Outputs"]}
        if stack == "platform":
            network = {
                "subnets": outputs["PrivateSubnetIds"].split(","),
                "securityGroups": [outputs["TasksSecurityGroupId"]],
            }
            started = ecs.run_task(
                cluster=outputs["Cluster"],
                taskDefinition=outputs["MigrateTask"],
                launchType="FARGATE",
                networkConfiguration={"awsvpcConfiguration": network},
            )
    services = ecs.list_services(cluster=outputs["Cluster"])["serviceArns"]
    tasks = [
        ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        for name in ecs.list_task_definitions()["taskDefinitionArns"]
    ]
    balancers = session.client("elbv2")
    [balancer] = balancers.describe_load_balancers()["LoadBalancers"]
    listeners = balancers.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
    [database] = session.client("rds").describe_db_instances()["DBInstances"]
    gateways = session.client("ec2").describe_nat_gateways()["NatGateways"]
    result = {
        "given": given,
        "outputs": outputs,
        "migrating": [task["group"] for task in started["tasks"]],
        "services": [name.rpartition("/")[2] for name in services],
        "containers": {task["family"]: task["containerDefinitions"][0] for task in tasks},
        "subnets": [zone["SubnetId"] for zone in balancer["AvailabilityZones"]],
        "listeners": {one["Port"]: one["DefaultActions"][0] for one in listeners["Listeners"]},
        "database": {"engine": database["Engine"], "encrypted": database["StorageEncrypted"]},
        "gateways": len(gateways),
    }
    sys.stdout.write(json.dumps(result, default=str))


if __name__ == "__main__":
    with mock_aws():
        main(Path(sys.argv[1]), *sys.argv[2:])
