// Command clients runs one Go client library through the calls of tests/clients/README.md:
//
//	clients LIBRARY check|write|read|put|get|member ...
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Face is what a library has to offer; whatever goes wrong inside panics.
type Face interface {
	Name() string
	Lacks() map[string]bool
	// Produce writes to one partition. The producer stays open until the next one is made.
	Produce(topic string, partition int32, records []Record, codec, how string)
	Put(topic string, packed <-chan Record, codec string)
	Read(topic string, partition int32, start, count int64, take func(Record))
	Offsets(topic string, partition int32) (begin, end int64)
	// OffsetAt is -1 where no record is as late.
	OffsetAt(topic string, partition int32, timestamp int64) int64
	CreateTopic(topic string, partitions int32, configs map[string]string) error
	RefusedAsExisting(err error) bool
	Topics() map[string]bool
	PartitionCount(topic string) int
	TopicConfigs(topic string) map[string]string
	BrokerConfigCount() int
	AlterConfig(topic, name, value string)
	Grow(topic string, partitions int32)
	DeleteRecords(topic string, partition int32, before int64)
	DeleteTopic(topic string)
}

type Header struct {
	Name  string
	Value []byte
}

type Record struct {
	Offset, Timestamp int64
	Key, Value        []byte // nil for null
	Headers           []Header
}

const baseTimestamp = 1_700_000_000_000
const count = 150

var filler = strings.Repeat("thalweg ", 88)

func expected(who string, i int64) Record {
	record := Record{Offset: i, Timestamp: baseTimestamp + 1000*i}
	if i%7 != 3 {
		record.Key = fmt.Appendf(nil, "%s-%d", who, i)
	}
	switch {
	case i%11 == 5 && record.Key != nil:
	case i%13 == 6:
		record.Value = []byte{}
	default:
		record.Value = fmt.Appendf(nil, "%s:%d:%s", who, i, filler[:37*i%700])
	}
	if i%5 != 0 {
		record.Headers = append(record.Headers, Header{"client", []byte(who)})
		if i%10 == 1 {
			record.Headers = append(record.Headers, Header{"empty", []byte{}})
		}
		record.Headers = append(record.Headers, Header{"n", fmt.Appendf(nil, "%d", i)})
	}
	return record
}

func expectedMany(face Face, who string, from, to int64) []Record {
	var records []Record
	for i := from; i < to; i++ {
		record := expected(who, i)
		if face.Lacks()["empty values"] && len(record.Value) == 0 {
			record.Value = nil
		}
		records = append(records, record)
	}
	return records
}

func (r Record) line(partition int32) string {
	headers := make([]string, 0, len(r.Headers))
	for _, h := range r.Headers {
		headers = append(headers, h.Name+"="+hex.EncodeToString(h.Value))
	}
	sort.Strings(headers)
	shownHeaders := "-"
	if len(headers) > 0 {
		shownHeaders = strings.Join(headers, ",")
	}
	return fmt.Sprintf("%d %d %d %s %s %s", partition, r.Offset, r.Timestamp, shown(r.Key), shown(r.Value), shownHeaders)
}

func shown(part []byte) string {
	if part == nil {
		return "null"
	}
	return "=" + hex.EncodeToString(part)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func mustGet[T any](value T, err error) T {
	must(err)
	return value
}

func ensure(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func waitFor(what string, condition func() bool) {
	end := time.Now().Add(20 * time.Second)
	for !condition() {
		ensure(time.Now().Before(end), "%s: not within 20 s", what)
		time.Sleep(20 * time.Millisecond)
	}
}

func equal(what string, found, wanted []Record) {
	for i := 0; i < len(found) && i < len(wanted); i++ {
		f, w := found[i].line(0), wanted[i].line(0)
		ensure(f == w, "%s: a record differs\n  found  %s\n  wanted %s", what, f, w)
	}
	ensure(len(found) == len(wanted), "%s: %d records, wanted %d", what, len(found), len(wanted))
}

func readAll(face Face, topic string, partition int32, start, count int64) []Record {
	var records []Record
	face.Read(topic, partition, start, count, func(r Record) { records = append(records, r) })
	return records
}

func check(face Face) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := face.Name() + "-" + codec
		must(face.CreateTopic(topic, 4, map[string]string{"retention.ms": "-1"}))
		waitFor(topic, func() bool { return face.PartitionCount(topic) == 4 })
		for partition := int32(0); partition < 4; partition++ {
			face.Offsets(topic, partition) // answered by a leader that knows it leads
		}
		for partition, how := range []string{"acks=0", "acks=1", "acks=all", "idempotent"} {
			if !face.Lacks()[how] {
				checkWritten(face, topic, int32(partition), codec, how)
			}
		}
	}
	checkLarge(face)
	checkAdmin(face)
	for what := range face.Lacks() {
		fmt.Printf("%s lacks: %s\n", face.Name(), what)
	}
}

func checkWritten(face Face, topic string, partition int32, codec, how string) {
	who := topic + "-" + how
	wanted := expectedMany(face, who, 0, count)
	face.Produce(topic, partition, wanted, codec, how)
	waitFor(who+": end offset", func() bool { _, end := face.Offsets(topic, partition); return end == count })
	begin, _ := face.Offsets(topic, partition)
	ensure(begin == 0, "%s: begins at %d", who, begin)
	equal(who+": by assignment", readAll(face, topic, partition, 0, count), wanted)
	equal(who+": by offset", readAll(face, topic, partition, 76, count-76), wanted[76:])
	for _, at := range []int64{0, 1, count / 3, count - 1} {
		found := face.OffsetAt(topic, partition, baseTimestamp+1000*at-500)
		ensure(found == at, "%s: by timestamp: offset %d, wanted %d", who, found, at)
	}
	late := face.OffsetAt(topic, partition, baseTimestamp+1000*count)
	ensure(late == -1, "%s: past the last timestamp: offset %d, wanted none", who, late)
	from := face.OffsetAt(topic, partition, baseTimestamp+1000*40)
	equal(who+": by time", readAll(face, topic, partition, from, 10), wanted[40:50])
	fmt.Println("ok", who)
}

func checkLarge(face Face) {
	topic := face.Name() + "-large"
	must(face.CreateTopic(topic, 1, map[string]string{"retention.ms": "-1"}))
	waitFor(topic, func() bool { return face.PartitionCount(topic) == 1 })
	wanted := expectedMany(face, topic, 0, 3)
	for i := range wanted {
		wanted[i].Value = []byte(strings.Repeat(string(rune('a'+i)), 900_000))
	}
	face.Produce(topic, 0, wanted, "none", "acks=all")
	equal(topic, readAll(face, topic, 0, 0, 3), wanted)
	fmt.Println("ok", topic)
}

func checkAdmin(face Face) {
	topic := face.Name() + "-admin"
	must(face.CreateTopic(topic, 2, map[string]string{"retention.ms": "-1", "max.message.bytes": "200000"}))
	waitFor("created", func() bool { return face.PartitionCount(topic) == 2 })
	ensure(face.Topics()[topic], "the new topic is not listed")
	ensure(face.RefusedAsExisting(face.CreateTopic(topic, 1, nil)), "a topic was created twice")
	configs := face.TopicConfigs(topic)
	ensure(configs["max.message.bytes"] == "200000" && configs["delete.retention.ms"] == "86400000", "configs: %v", configs)
	found := face.BrokerConfigCount()
	ensure(found > 100, "%d configs of the broker", found)

	face.AlterConfig(topic, "max.message.bytes", "300000")
	waitFor("altered", func() bool { return face.TopicConfigs(topic)["max.message.bytes"] == "300000" })

	face.Grow(topic, 5)
	waitFor("grown", func() bool { return face.PartitionCount(topic) == 5 })
	wanted := expectedMany(face, topic, 0, 20)
	for partition := int32(0); partition < 5; partition++ {
		face.Offsets(topic, partition)
		face.Produce(topic, partition, wanted, "none", "acks=all")
		equal("a grown topic", readAll(face, topic, partition, 0, 20), wanted)
	}
	if !face.Lacks()["delete records"] {
		face.DeleteRecords(topic, 3, 7)
		waitFor("deleted records", func() bool {
			begin, end := face.Offsets(topic, 3)
			return begin == 7 && end == 20
		})
		equal("after deleted records", readAll(face, topic, 3, 7, 13), wanted[7:])
	}
	face.DeleteTopic(topic)
	waitFor("deleted", func() bool { return !face.Topics()[topic] })
	fmt.Println("ok", topic)
}

func write(face Face, topic, who, codec string, total int64) {
	how := "idempotent"
	if face.Lacks()[how] {
		how = "acks=all"
	}
	for partition := int64(0); partition < 3; partition++ {
		var records []Record
		for i := partition; i < total; i += 3 {
			records = append(records, expected(who, i))
		}
		face.Produce(topic, int32(partition), records, codec, how)
	}
}

func read(face Face, topic string) {
	out := bufio.NewWriter(os.Stdout)
	for partition := int32(0); partition < 3; partition++ {
		begin, end := face.Offsets(topic, partition)
		face.Read(topic, partition, begin, end-begin, func(r Record) { fmt.Fprintln(out, r.line(partition)) })
	}
	must(out.Flush())
}

func put(face Face, topic, codec string) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	packed := make(chan Record, 1000)
	part := func() ([]byte, bool) {
		var length int32
		if err := binary.Read(in, binary.BigEndian, &length); err == io.EOF {
			return nil, false
		} else {
			must(err)
		}
		if length < 0 {
			return nil, true
		}
		bytes := make([]byte, length)
		mustGet(io.ReadFull(in, bytes))
		return bytes, true
	}
	go func() {
		defer close(packed)
		for {
			key, more := part()
			if !more {
				return
			}
			value, _ := part()
			packed <- Record{Key: key, Value: value}
		}
	}()
	face.Put(topic, packed, codec)
}

func get(face Face, topic string) {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	part := func(bytes []byte) {
		length := int32(-1)
		if bytes != nil {
			length = int32(len(bytes))
		}
		mustGet(out.Write(binary.BigEndian.AppendUint32(nil, uint32(length))))
		mustGet(out.Write(bytes))
	}
	begin, end := face.Offsets(topic, 0)
	face.Read(topic, 0, begin, end-begin, func(r Record) { part(r.Key); part(r.Value) })
	must(out.Flush())
}

func main() {
	bootstrap := os.Getenv("BOOTSTRAP")
	faces := map[string]func(string) Face{"sarama": newSarama, "franz": newFranz, "segmentio": newSegmentio}
	make, known := faces[os.Args[1]]
	ensure(known, "no library %s", os.Args[1])
	arguments := os.Args[3:]
	if os.Args[2] == "member" {
		member(os.Args[1], bootstrap, arguments[0])
		return
	}
	face := make(bootstrap)
	switch os.Args[2] {
	case "check":
		check(face)
	case "write":
		write(face, arguments[0], arguments[1], arguments[2], mustGet(strconv.ParseInt(arguments[3], 10, 64)))
	case "read":
		read(face, arguments[0])
	case "put":
		put(face, arguments[0], arguments[1])
	case "get":
		get(face, arguments[0])
	default:
		panic("unknown call " + os.Args[2])
	}
}
