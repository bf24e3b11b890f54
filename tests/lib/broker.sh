# Starts and stops the broker under test: sourced by suites.
#
#   broker_start DIR [key=value]...   sets BOOTSTRAP and broker_pid; what it says goes to DIR.out
#   broker_stop                       SIGTERM, waits; fails unless the broker ends well and in time
#   broker_kill                       SIGKILL
#
# BROKER says which: thalweg (the release build, or $THALWEG) or apache (tests/apache-kafka/run).
# No port is fixed: thalweg binds port 0 and writes the port to a file, Apache Kafka gets two found free.

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tests=$(dirname "$lib")
CACHE=${CACHE:-$(dirname "$tests")/.cache}
BROKER=${BROKER:-thalweg}
broker_pid= broker_out=

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the ephemeral range, free at this moment together with the one 1000 above it.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 9000 + 20000))
    port_answers $port || port_answers $((port + 1000)) || { echo $port; return; }
  done
}

broker_start() {
  local dir=$1 option options=()
  shift
  broker_out="$dir.out"
  case $BROKER in
    apache) start_apache "$dir" "$@" ;;
    *)
      for option in "$@"; do options+=(-o "$option"); done
      rm -f "$dir.port"
      "${THALWEG:-$(dirname "$tests")/target/release/thalweg}" start \
        -o listeners=PLAINTEXT://127.0.0.1:0 -o "log.dirs=$dir" "${options[@]}" \
        --port-file "$dir.port" >>"$broker_out" 2>&1 &
      broker_pid=$!
      broker_wait 30 test -s "$dir.port" || return 1
      BOOTSTRAP="127.0.0.1:$(head -1 "$dir.port" | sed 's/.*://')" ;;
  esac
  export BOOTSTRAP
}

start_apache() {
  local dir=$1 port=
  shift
  # A directory keeps its port: the controller's address stands in its metadata.
  [ ! -e "$dir.properties" ] || port=$(sed -n 's/^listeners=.*:\([0-9]*\)$/\1/p' "$dir.properties")
  [ -n "$port" ] || port=$(free_port)
  printf '%s\n' "listeners=PLAINTEXT://127.0.0.1:$port" "log.dirs=$dir" "$@" >"$dir.properties"
  : >"$broker_out"
  "$tests/apache-kafka/run" "$dir.properties" >>"$broker_out" 2>&1 &
  broker_pid=$!
  BOOTSTRAP="127.0.0.1:$port"
  broker_wait 90 grep -q 'Kafka Server started' "$broker_out"
}

# Until the command holds; fails when the broker ends or the seconds are over.
broker_wait() {
  local end=$((SECONDS + $1))
  shift
  until "$@" 2>/dev/null; do
    if ! kill -0 "$broker_pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
      "$@" 2>/dev/null && return
      echo "the broker did not come up; it said:" >&2
      tail -n 40 "$broker_out" >&2
      return 1
    fi
    sleep 0.05
  done
}

broker_stop() {
  [ -n "$broker_pid" ] || return 0
  local pid=$broker_pid rc=0 end=$((SECONDS + 30))
  broker_pid=
  kill -TERM "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    if [ $SECONDS -ge $end ]; then
      kill -KILL "$pid"
      echo "the broker did not stop within 30 s" >&2
      wait "$pid" || true
      return 1
    fi
    sleep 0.05
  done
  wait "$pid" || rc=$?
  # A JVM that SIGTERM ends says 143.
  if [ $rc != 0 ] && [ "$BROKER.$rc" != apache.143 ]; then
    echo "the broker ended with status $rc" >&2
    return 1
  fi
  if grep -q "panicked at" "$broker_out"; then
    echo "the broker panicked" >&2
    return 1
  fi
}

broker_kill() {
  [ -n "$broker_pid" ] || return 0
  kill -KILL "$broker_pid" 2>/dev/null || true
  wait "$broker_pid" 2>/dev/null || true
  broker_pid=
}
