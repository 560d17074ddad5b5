"""The daily job as a DAG of Airflow 3: LIMITLENS_DELIVERIES and LIMITLENS_WORKSPACE name its folders."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk import dag, task

#: A step is missing or there is no room, another run is in progress, killed: worth another try.
PASSING = {1, 5, -9, -15}


def run(*words: str) -> None:
    """Run one command; its exit code says whether the task is done, skipped, tried again or failed for good."""
    command = ["limitlens", *words, "--workspace", os.environ["LIMITLENS_WORKSPACE"]]
    code = subprocess.run(command, check=False).returncode
    if code == 7:
        raise AirflowSkipException("nothing to do")
    if code in PASSING:
        raise AirflowException(f"limitlens {words[0]} ended with {code}")
    if code not in {0, 8}:  # 8: taken in; what is unusual holds the lines it touches
        raise AirflowFailException(f"limitlens {words[0]} ended with {code}")


@dag(
    schedule="30 4 * * *",
    start_date=datetime(2026, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10), "trigger_rule": "none_failed"},
)
def limitlens_daily() -> None:
    """Take in the delivery of the day, decide, make splits final, report, verify."""

    @task
    def check(ds: str = "") -> None:
        run("check", f"{os.environ['LIMITLENS_DELIVERIES']}/{ds}", "--wait")

    @task
    def decide() -> None:
        run("decide", "--wait")

    @task
    def reconcile() -> None:
        run("reconcile", "--wait")

    @task
    def report() -> None:
        run("report")

    @task
    def verify() -> None:
        run("ledger", "verify")

    check() >> decide() >> reconcile() >> report() >> verify()


limitlens_daily()
