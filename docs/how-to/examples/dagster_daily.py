"""The daily job for Dagster: LIMITLENS_DELIVERIES and LIMITLENS_WORKSPACE name its folders."""

import os
import subprocess
from datetime import UTC, datetime

from dagster import Definitions, Failure, In, Nothing, OpExecutionContext, RetryRequested, ScheduleDefinition, job, op

#: A step is missing or there is no room, another run is in progress, killed: worth another try.
PASSING = {1, 5, -9, -15}


def run(context: OpExecutionContext, *words: str) -> None:
    """Run one command; its exit code says whether the op is done, tried again or failed for good."""
    command = ["limitlens", *words, "--workspace", os.environ["LIMITLENS_WORKSPACE"]]
    code = subprocess.run(command, check=False).returncode
    if code in PASSING:
        raise RetryRequested(max_retries=3, seconds_to_wait=600)
    if code not in {0, 7, 8}:  # 7: nothing to do; 8: taken in, what is unusual holds the lines it touches
        raise Failure(f"limitlens {words[0]} ended with {code}", allow_retries=False)
    context.log.info(f"limitlens {words[0]} ended with {code}")


@op
def check(context: OpExecutionContext) -> None:
    run(context, "check", f"{os.environ['LIMITLENS_DELIVERIES']}/{datetime.now(UTC):%Y-%m-%d}", "--wait")


@op(ins={"after": In(Nothing)})
def decide(context: OpExecutionContext) -> None:
    run(context, "decide", "--wait")


@op(ins={"after": In(Nothing)})
def reconcile(context: OpExecutionContext) -> None:
    run(context, "reconcile", "--wait")


@op(ins={"after": In(Nothing)})
def report(context: OpExecutionContext) -> None:
    run(context, "report")


@op(ins={"after": In(Nothing)})
def verify(context: OpExecutionContext) -> None:
    run(context, "ledger", "verify")


@job
def limitlens_daily() -> None:
    """Take in the delivery of the day, decide, make splits final, report, verify."""
    verify(report(reconcile(decide(check()))))


definitions = Definitions(schedules=[ScheduleDefinition(job=limitlens_daily, cron_schedule="30 4 * * *")])
