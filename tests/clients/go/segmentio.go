package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"
)

type segmentioFace struct {
	bootstrap string
	client    *kafka.Client
	latest    *kafka.Writer
}

func newSegmentio(bootstrap string) Face {
	return &segmentioFace{bootstrap: bootstrap, client: &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second}}
}

func (f *segmentioFace) Name() string { return "kafka-go" }
func (f *segmentioFace) Lacks() map[string]bool {
	return map[string]bool{"idempotent": true, "delete records": true, "empty values": true}
}

type fixedPartition int

func (p fixedPartition) Balance(kafka.Message, ...int) int { return int(p) }

func (f *segmentioFace) writer(topic string, partition int32, codec, how string) *kafka.Writer {
	return &kafka.Writer{
		Addr:         kafka.TCP(f.bootstrap),
		Topic:        topic,
		Balancer:     fixedPartition(partition),
		BatchSize:    64,
		BatchBytes:   1_000_000,
		BatchTimeout: 5 * time.Millisecond,
		RequiredAcks: map[string]kafka.RequiredAcks{
			"acks=0": kafka.RequireNone, "acks=1": kafka.RequireOne, "acks=all": kafka.RequireAll,
		}[how],
		Compression: map[string]kafka.Compression{
			"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
		}[codec],
	}
}

func segmentioMessage(record Record) kafka.Message {
	message := kafka.Message{Key: record.Key, Value: record.Value}
	if record.Timestamp != 0 {
		message.Time = time.UnixMilli(record.Timestamp)
	}
	for _, h := range record.Headers {
		message.Headers = append(message.Headers, kafka.Header{Key: h.Name, Value: h.Value})
	}
	return message
}

func (f *segmentioFace) Produce(topic string, partition int32, records []Record, codec, how string) {
	if f.latest != nil {
		must(f.latest.Close())
	}
	f.latest = f.writer(topic, partition, codec, how)
	var messages []kafka.Message
	for _, record := range records {
		messages = append(messages, segmentioMessage(record))
	}
	must(f.latest.WriteMessages(context.Background(), messages...))
}

func (f *segmentioFace) Put(topic string, packed <-chan Record, codec string) {
	writer := f.writer(topic, 0, codec, "acks=all")
	writer.BatchSize = 5000
	var messages []kafka.Message
	for record := range packed {
		if messages = append(messages, segmentioMessage(record)); len(messages) == 5000 {
			must(writer.WriteMessages(context.Background(), messages...))
			messages = messages[:0]
		}
	}
	must(writer.WriteMessages(context.Background(), messages...))
	must(writer.Close())
}

func (f *segmentioFace) Read(topic string, partition int32, start, count int64, take func(Record)) {
	if count == 0 {
		return
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{f.bootstrap}, Topic: topic, Partition: int(partition),
		MaxWait: 100 * time.Millisecond, MaxBytes: 4 << 20,
	})
	defer reader.Close()
	must(reader.SetOffset(start))
	nilIfEmpty := func(part []byte) []byte { // the library does not keep them apart
		if len(part) == 0 {
			return nil
		}
		return part
	}
	for ; count > 0; count-- {
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		m := mustGet(reader.ReadMessage(limit))
		cancel()
		record := Record{Offset: m.Offset, Timestamp: m.Time.UnixMilli(), Key: nilIfEmpty(m.Key), Value: nilIfEmpty(m.Value)}
		for _, h := range m.Headers {
			record.Headers = append(record.Headers, Header{h.Key, h.Value})
		}
		take(record)
	}
}

func (f *segmentioFace) list(topic string, request kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	response := mustGet(f.client.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {request}},
	}))
	found := response.Topics[topic][0]
	return found, found.Error
}

func (f *segmentioFace) Offsets(topic string, partition int32) (int64, int64) {
	var begin, end kafka.PartitionOffsets
	waitFor(topic+" led", func() bool {
		var first, last error
		begin, first = f.list(topic, kafka.FirstOffsetOf(int(partition)))
		end, last = f.list(topic, kafka.LastOffsetOf(int(partition)))
		return first == nil && last == nil
	})
	return begin.FirstOffset, end.LastOffset
}

func (f *segmentioFace) OffsetAt(topic string, partition int32, timestamp int64) int64 {
	found := mustGet(f.list(topic, kafka.TimeOffsetOf(int(partition), time.UnixMilli(timestamp))))
	for offset := range found.Offsets {
		return offset
	}
	return -1
}

func (f *segmentioFace) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	var entries []kafka.ConfigEntry
	for name, value := range configs {
		entries = append(entries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	response := mustGet(f.client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: int(partitions), ReplicationFactor: 1, ConfigEntries: entries}},
	}))
	return response.Errors[topic]
}

func (f *segmentioFace) RefusedAsExisting(err error) bool {
	return errors.Is(err, kafka.TopicAlreadyExists)
}

func (f *segmentioFace) metadata(topics ...string) []kafka.Topic {
	// Past the library's cache of metadata, which is some seconds old.
	client := &kafka.Client{Addr: f.client.Addr, Timeout: f.client.Timeout, Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	return mustGet(client.Metadata(context.Background(), &kafka.MetadataRequest{Topics: topics})).Topics
}

func (f *segmentioFace) Topics() map[string]bool {
	found := map[string]bool{}
	for _, topic := range f.metadata() {
		found[topic.Name] = true
	}
	return found
}

func (f *segmentioFace) PartitionCount(topic string) int {
	for _, found := range f.metadata(topic) {
		if found.Error == nil {
			return len(found.Partitions)
		}
	}
	return 0
}

func (f *segmentioFace) describe(kind kafka.ResourceType, name string) map[string]string {
	response := mustGet(f.client.DescribeConfigs(context.Background(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: name}},
	}))
	found := map[string]string{}
	for _, resource := range response.Resources {
		must(resource.Error)
		for _, entry := range resource.ConfigEntries {
			found[entry.ConfigName] = entry.ConfigValue
		}
	}
	return found
}

func (f *segmentioFace) TopicConfigs(topic string) map[string]string {
	return f.describe(kafka.ResourceTypeTopic, topic)
}

func (f *segmentioFace) BrokerConfigCount() int {
	return len(f.describe(kafka.ResourceTypeBroker, "1"))
}

func (f *segmentioFace) AlterConfig(topic, name, value string) {
	response := mustGet(f.client.IncrementalAlterConfigs(context.Background(), &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	}))
	for _, resource := range response.Resources {
		must(resource.Error)
	}
}

func (f *segmentioFace) Grow(topic string, partitions int32) {
	response := mustGet(f.client.CreatePartitions(context.Background(), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: partitions}},
	}))
	must(response.Errors[topic])
	// Writers keep the library's shared, cached view of the topic: the next ones start afresh.
	kafka.DefaultTransport.(*kafka.Transport).CloseIdleConnections()
}

func (f *segmentioFace) DeleteRecords(topic string, partition int32, before int64) {}

func (f *segmentioFace) DeleteTopic(topic string) {
	response := mustGet(f.client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}}))
	must(response.Errors[topic])
}
