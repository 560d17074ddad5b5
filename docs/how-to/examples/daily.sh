#!/bin/sh
# The daily job for cron: daily.sh DELIVERIES WORKSPACE takes in the folder of today and decides.
# What the steps print goes to its output; what a person should read, to its error stream. Its exit code is 0, 8, or
# that of the step that stopped it.
set -u
deliveries=$1 workspace=$2 unusual=0

step() {
    limitlens "$@" --workspace "$workspace" 2>&1
    code=$?
    case $code in
        0 | 7) ;; # done, or nothing to do
        8) unusual=8 && echo "limitlens $1: unusual data; limitlens holds list shows which lines wait" >&2 ;;
        *) echo "limitlens $1 ended with $code; nothing after it was run, see the log" >&2 && exit $code ;;
    esac
}

step check "$deliveries/$(date -u +%F)" --wait
step decide --wait
step reconcile --wait
step report
step ledger verify
exit $unusual
