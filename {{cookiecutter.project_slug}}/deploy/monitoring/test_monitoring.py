"""Check that alerts and dashboards use only metrics that the service exports."""

import json
import re
from importlib import import_module
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
README = (HERE / "README.md").read_text("utf-8")
[OBJECTIVES, ALERTS] = [
    group["rules"] for group in yaml.safe_load((HERE / "rules.yml").read_text("utf-8"))["groups"]
]
DASHBOARDS = [
    json.loads(file.read_text("utf-8")) for file in HERE.glob("grafana/dashboards/*.json")
]
PANELS = [panel for dashboard in DASHBOARDS for panel in dashboard["panels"]]
QUERIES = [rule["expr"] for rule in OBJECTIVES + ALERTS] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]


def names_in(query: str) -> set[str]:
    """Return the metrics that a query reads."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)', "", query)
    words = set(re.findall(r"[a-z][a-z0-9_:]*\b(?!\s*\()", bare))
    return words - {"and", "or"}


def exported() -> set[str]:
    """Return the metrics that the service exports."""
    import_module("{{ cookiecutter.package_name }}.metrics")
{%- if cookiecutter.use_worker %}
    import_module("{{ cookiecutter.package_name }}.metrics.jobs")
{%- endif %}
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {
        f"{metric.name}{suffix}"
        for metric in REGISTRY.collect()
        for suffix in suffixes.get(metric.type, [""])
    }


def test_every_metric_in_a_query_is_exported() -> None:
    used = set[str]().union(*map(names_in, QUERIES))

    assert used - exported() == {"up"} | {rule["record"] for rule in OBJECTIVES} & used
    assert len(used) > 15


def test_every_query_selects_this_service() -> None:
    for query in QUERIES:
        for selector in re.findall(r"\{([^}]*)\}", query):
            assert 'job="{{ cookiecutter.project_slug }}"' in selector, query


def test_every_process_is_scraped_on_a_port_that_is_not_published() -> None:
    config = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    scraped = {job["job_name"]: job["dns_sd_configs"] for job in config["scrape_configs"]}
    processes = {name for name, service in compose.items() if "build" in service} - {"migrate"}

    assert scraped.keys() == processes
    for name, [target] in scraped.items():
        port = compose[name]["environment"]["METRICS_PORT"]
        assert (target["names"], target["port"]) == ([name], port)
        assert not any(str(port) in published for published in compose[name].get("ports", ()))
    assert {"prometheus", "alertmanager", "grafana"} <= compose.keys()


{% if cookiecutter.use_kubernetes -%}
def test_kubernetes_scrapes_the_same_port_and_has_the_same_rules() -> None:
    component = ROOT / "deploy/kubernetes/components/monitoring"
    rules, monitor, network = (
        yaml.safe_load((component / f"{name}.yaml").read_text("utf-8"))["spec"]
        for name in ("rules", "pod-monitor", "network")
    )
    config = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    [port] = {job["dns_sd_configs"][0]["port"] for job in config}
    processes = [job["job_name"] for job in config]

    assert rules["groups"] == [
        {"name": "{{ cookiecutter.project_slug }}-objectives", "rules": OBJECTIVES},
        {"name": "{{ cookiecutter.project_slug }}-alerts", "rules": ALERTS},
    ]
    assert monitor["selector"] == network["podSelector"]
    assert monitor["selector"]["matchExpressions"][0]["values"] == processes
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["relabelings"][0]["replacement"] == f"$1:{port}"
    assert network["ingress"][0]["ports"] == [{"port": port}]


{% endif -%}
def test_every_alert_has_a_section_in_the_runbook() -> None:
    for alert in ALERTS:
        anchor = alert["annotations"]["runbook"]
        assert anchor == f"deploy/monitoring/README.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"].endswith(".")

    sections = re.findall(r"^### (\w+)$", README, re.MULTILINE)
    assert sections == [alert["alert"] for alert in ALERTS]


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    tests = yaml.safe_load((HERE / "rules_test.yml").read_text("utf-8"))["tests"]
    expected = {
        test["name"]: [bool(case["exp_samples"]) for case in test["promql_expr_test"]]
        for test in tests
    }

    assert expected == {alert["alert"]: [False, True] for alert in ALERTS}


def test_dashboards_and_panels_have_unique_ids() -> None:
    assert len({dashboard["uid"] for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        panels = dashboard["panels"]
        assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
        assert len({panel["title"] for panel in panels}) == len(panels)


def test_panels_have_a_description_and_do_not_overlap() -> None:
    source = (HERE / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
    [datasource] = yaml.safe_load(source)["datasources"]
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {name: datasource[name] for name in ("type", "uid")}
    for dashboard in DASHBOARDS:
        places = [
            (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
            for panel in dashboard["panels"]
            for x in range(panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["h"])
        ]
        assert len(set(places)) == len(places)
        assert all(x < 24 for x, _ in places)
