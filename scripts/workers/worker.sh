#!/usr/bin/env bash
# A Switchyard worker in bash: one task at a time, using only redis-cli.
# usage: worker.sh ID [QUEUE]     REDIS_CLI="redis-cli -s /path/redis.sock" sets the command
#
# A task's `payload` is the command line that it runs. Exit code 0 completes the task, any other fails it.
set -u
id=${1:?usage: worker.sh ID [QUEUE]} queue="switchyard:{${2:-default}}:"
call() { local function=$1; shift; ${REDIS_CLI:-redis-cli} FCALL "switchyard_$function" 2 "$queue" "${queue}config" worker "$id" "$@"; }
field() { sed -n "/^$1\$/{n;p;q;}" <<<"$reply"; }   # the line after the name, in a reply of names and values

trap 'draining=1' TERM INT
draining='' reply=$(call register slots 1) || exit 1
heartbeat_ms=$(field heartbeat_ms)
while [ -z "$draining" ]; do
  reply=$(call pull start 1)
  case $reply in WORKERNOTFOUND*) call register slots 1 >/dev/null; continue ;; esac
  task=$(field task) attempt=$(field attempt)
  if [ -z "$task" ]; then ${REDIS_CLI:-redis-cli} BLPOP "${queue}wake:$id" 5 >/dev/null; continue; fi

  output=$(mktemp)
  setsid bash -c "$(field payload)" >"$output" 2>&1 & job=$!
  next_beat=0 lost=''
  while kill -0 $job 2>/dev/null; do                # heartbeats until it ends; the reply's "stop" lists attempts to end
    if (( $(date +%s%3N) >= next_beat )); then
      beat=$(call heartbeat task "$task" attempt "$attempt"); next_beat=$(( $(date +%s%3N) + heartbeat_ms ))
      if [ "$(sed -n '/^stop$/{n;p;q;}' <<<"$beat")" = "$task" ]; then kill -TERM -- -$job; lost=1; fi
    fi
    sleep 0.05
  done
  wait $job; code=$?
  outcome=completed; [ $code -eq 0 ] || outcome=failed
  [ -n "$lost" ] || call finish task "$task" attempt "$attempt" outcome $outcome exit_code $code \
    result "$(head -c 1000 "$output")" error_message "exit code $code" >/dev/null
  rm -f "$output"
done
call deregister >/dev/null
