#!/usr/bin/env bash
# A Switchyard worker in bash: one task at a time, using only redis-cli.
# usage: worker.sh ID [QUEUE]     SWITCHYARD_REDIS=unix:///path/redis.sock (or redis://host:port, or a node of a Redis
#                                 Cluster: redis-cluster://host:port) names the server
#
# It runs a task's `command`, in its `cwd` and with its `env`. A task without one runs its `payload`, if that is a text:
# a command line for bash. Any other task fails with NoCommand and is not retried. Exit code 0 completes a task.
set -u
id=${1:?usage: worker.sh ID [QUEUE]} queue="switchyard:{${2:-default}}:"
url=${SWITCHYARD_REDIS:-redis://127.0.0.1:6379}
case $url in
  unix://*) cli=(redis-cli -s "${url#unix://}") ;;
  redis-cluster://*) node=${url#redis-cluster://} cli=(redis-cli -c -u "redis://${node%%,*}") ;;
  *) cli=(redis-cli -u "$url") ;;
esac
nonce=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')   # tells this process from others with the same id
call() {
  local function=$1 said; shift
  while said=$("${cli[@]}" FCALL "switchyard_$function" 2 "$queue" "${queue}config" worker "$id" nonce "$nonce" "$@")
  do
    case $said in
      TRYAGAIN* | CLUSTERDOWN*) sleep 0.2 ;;   # the queue is moving to another node of the Cluster
      *) printf '%s\n' "$said"; return ;;
    esac
  done
  return 1
}
replaced() { echo "$id: another process has this worker's id: this one ends" >&2; exit 5; }
field() { sed -n "/^$1\$/{n;p;q;}" <<<"$reply"; }   # the line after the name, in a reply of names and values

# Redis decodes JSON, and returns a command line for bash with every word quoted; nothing if the task has no command.
read -r -d '' command_line <<'LUA'
local function quoted(word) return "'" .. string.gsub(word, "'", "'\\''") .. "'" end
local v = redis.call('HMGET', KEYS[1], 'command', 'payload', 'env', 'cwd')
local words = {}
for name, value in pairs(v[3] and cjson.decode(v[3]) or {}) do words[#words + 1] = quoted(name .. '=' .. value) end
local prefix = (v[4] and 'cd ' .. quoted(v[4]) .. ' && ' or '') .. 'exec env ' .. table.concat(words, ' ') .. ' '
words = {}
for _, word in ipairs(v[1] and cjson.decode(v[1]) or {}) do words[#words + 1] = quoted(word) end
if #words > 0 then return prefix .. table.concat(words, ' ') end
if not v[2] then return '' end
local is_json, payload = pcall(cjson.decode, v[2])
if not is_json then payload = v[2] elseif type(payload) ~= 'string' then return '' end
return prefix .. 'bash -c ' .. quoted(payload)
LUA

pause=1
back_off() { sleep $pause; pause=$((pause * 2 > 30 ? 30 : pause * 2)); }   # Redis is away, or refuses

trap 'draining=1' TERM INT
draining='' heartbeat_ms=''
while [ -z "$draining" ]; do
  if [ -z "$heartbeat_ms" ]; then
    reply=$(call register slots 1) && heartbeat_ms=$(field heartbeat_ms)
    # One call ends at most 25 attempts of a former process.
    if [ "$(field again)" = 1 ]; then heartbeat_ms=''; continue; fi
    if [ -z "$heartbeat_ms" ]; then echo "$id: cannot register: $reply" >&2; back_off; continue; fi
  fi
  reply=$(call pull start 1) || { back_off; continue; }
  case $reply in
    *'is another process now'*) replaced ;;
    WORKERNOTFOUND*) heartbeat_ms=''; continue ;;
    [A-Z]*' '*) echo "$id: cannot pull: $reply" >&2; back_off; continue ;;
  esac
  pause=1
  task=$(field task) attempt=$(field attempt)
  if [ -z "$task" ]; then "${cli[@]}" BLPOP "${queue}wake:$id" 5 >/dev/null || back_off; continue; fi

  line=$("${cli[@]}" EVAL "$command_line" 1 "${queue}task:$task") || continue   # pulled again when its lease has ended
  if [ -z "$line" ]; then
    call finish task "$task" attempt "$attempt" outcome failed error_code NoCommand retryable 0 \
      error_message 'this worker runs a command, or a payload that is a text; the task has neither' >/dev/null
    continue
  fi
  output=$(mktemp)
  setsid bash -c "$line" >"$output" 2>&1 & job=$!
  next_beat=0 lost=''
  while kill -0 $job 2>/dev/null; do                # heartbeats until it ends; the reply's "stop" lists attempts to end
    if (( $(date +%s%3N) >= next_beat )); then
      beat=$(call heartbeat task "$task" attempt "$attempt"); next_beat=$(( $(date +%s%3N) + heartbeat_ms ))
      case $beat in *'is another process now'*) kill -TERM -- -$job; wait $job; rm -f "$output"; replaced ;; esac
      if [ "$(sed -n '/^stop$/{n;p;q;}' <<<"$beat")" = "$task" ]; then kill -TERM -- -$job; lost=1; fi
    fi
    sleep 0.05
  done
  wait $job; code=$?
  outcome=completed; [ $code -eq 0 ] || outcome=failed
  until [ -n "$lost" ] || call finish task "$task" attempt "$attempt" outcome $outcome exit_code $code \
    result "$(head -c 1000 "$output")" error_message "exit code $code" >/dev/null; do back_off; done
  rm -f "$output"
done
call deregister >/dev/null
