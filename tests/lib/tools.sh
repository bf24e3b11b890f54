# Runs Apache Kafka's command line tools and looks at what they say: sourced by suites, with `work` a directory.
#
#   run NAME CLASS ARGUMENT...       standard output in $work/out, whatever else in $work/err
#   refused NAME CLASS ARGUMENT...   the same, and the tool has to fail
#   says PATTERN                     one of both has a line with it
#   keeps_quiet PATTERN              neither has
#   within SECONDS COMMAND...        until the command succeeds
#   ok NAME

tool="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../apache-kafka/tool"

fail() {
  echo "FAILED $1"
  tail -n 40 "$work/out" "$work/err"
  exit 1
}
run() {
  local name=$1 class=$2
  shift 2
  "$tool" "$class" "$@" >"$work/out" 2>"$work/err" || fail "$name: status $?"
}
refused() {
  local name=$1 class=$2
  shift 2
  if "$tool" "$class" "$@" >"$work/out" 2>"$work/err"; then fail "$name: was not refused"; fi
}
says() { grep -qE -- "$1" "$work/out" "$work/err" || fail "no line with: $1"; }
keeps_quiet() { if grep -qE -- "$1" "$work/out" "$work/err"; then fail "a line with: $1"; fi; }
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "not in time: $*"
    sleep 0.1
  done
}
ok() { echo "ok $1"; }
