#!/usr/bin/env bash
# What librdkafka's tests ask of Apache Kafka's program of this name, by the broker's own command line:
#
#   kafka-topics.sh --bootstrap-server HOST:PORT --alter --topic NAME --partitions COUNT
#   kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic NAME
set -eu
deed= topic= partitions=
while [ $# -gt 0 ]; do
  case $1 in
    --alter | --delete) deed=$1 ;;
    --topic) topic=$2 && shift ;;
    --partitions) partitions=$2 && shift ;;
    --bootstrap-server) export KAFKA_BOOTSTRAP_SERVERS=$2 && shift ;;
    *) echo "unknown: $1" >&2 && exit 1 ;;
  esac
  shift
done
thalweg=${THALWEG:-$(dirname "$0")/../../../../target/release/thalweg}
case $deed in
  --alter) exec "$thalweg" topic alter "$topic" --partitions "$partitions" ;;
  --delete) exec "$thalweg" topic delete "$topic" --yes ;;
esac
