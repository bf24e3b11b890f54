package main

import (
	"errors"
	"time"

	"github.com/IBM/sarama"
)

type saramaFace struct {
	bootstrap []string
	client    sarama.Client
	admin     sarama.ClusterAdmin
	latest    sarama.SyncProducer
}

func newSarama(bootstrap string) Face {
	face := &saramaFace{bootstrap: []string{bootstrap}}
	config := face.config()
	config.Consumer.MaxWaitTime = 20 * time.Millisecond
	config.Consumer.Fetch.Default = 4 << 20
	face.client = mustGet(sarama.NewClient(face.bootstrap, config))
	face.admin = mustGet(sarama.NewClusterAdmin(face.bootstrap, face.config()))
	return face
}

func (f *saramaFace) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	return config
}

func (f *saramaFace) Name() string           { return "sarama" }
func (f *saramaFace) Lacks() map[string]bool { return nil }

func (f *saramaFace) producerConfig(codec, how string) *sarama.Config {
	config := f.config()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[codec]
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"acks=0": sarama.NoResponse, "acks=1": sarama.WaitForLocal,
		"acks=all": sarama.WaitForAll, "idempotent": sarama.WaitForAll,
	}[how]
	config.Net.MaxOpenRequests = 1
	config.Producer.Idempotent = how == "idempotent"
	return config
}

func saramaMessage(topic string, partition int32, record Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic, Partition: partition}
	if record.Timestamp != 0 {
		message.Timestamp = time.UnixMilli(record.Timestamp)
	}
	if record.Key != nil {
		message.Key = sarama.ByteEncoder(record.Key)
	}
	if record.Value != nil {
		message.Value = sarama.ByteEncoder(record.Value)
	}
	for _, h := range record.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
	}
	return message
}

func (f *saramaFace) Produce(topic string, partition int32, records []Record, codec, how string) {
	if f.latest != nil {
		must(f.latest.Close())
	}
	f.latest = mustGet(sarama.NewSyncProducer(f.bootstrap, f.producerConfig(codec, how)))
	var messages []*sarama.ProducerMessage
	for _, record := range records {
		messages = append(messages, saramaMessage(topic, partition, record))
	}
	must(f.latest.SendMessages(messages))
	if how != "acks=0" {
		for i, message := range messages[1:] {
			ensure(message.Offset == messages[0].Offset+int64(i)+1 || message.Offset > messages[i].Offset,
				"%s: offset %d in the answer after %d", topic, message.Offset, messages[i].Offset)
		}
	}
}

func (f *saramaFace) Put(topic string, packed <-chan Record, codec string) {
	producer := mustGet(sarama.NewAsyncProducer(f.bootstrap, f.producerConfig(codec, "acks=all")))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range producer.Successes() {
		}
	}()
	go func() {
		for err := range producer.Errors() {
			panic(err)
		}
	}()
	for record := range packed {
		producer.Input() <- saramaMessage(topic, 0, record)
	}
	producer.AsyncClose()
	<-done
}

func (f *saramaFace) Read(topic string, partition int32, start, count int64, take func(Record)) {
	if count == 0 {
		return
	}
	consumer := mustGet(sarama.NewConsumerFromClient(f.client))
	assigned := mustGet(consumer.ConsumePartition(topic, partition, start))
	for ; count > 0; count-- {
		select {
		case message := <-assigned.Messages():
			record := Record{Offset: message.Offset, Timestamp: message.Timestamp.UnixMilli(), Key: message.Key, Value: message.Value}
			for _, h := range message.Headers {
				record.Headers = append(record.Headers, Header{string(h.Key), h.Value})
			}
			take(record)
		case err := <-assigned.Errors():
			panic(err)
		case <-time.After(20 * time.Second):
			ensure(false, "%s-%d: %d records from %d did not come", topic, partition, count, start)
		}
	}
	must(assigned.Close())
}

func (f *saramaFace) Offsets(topic string, partition int32) (int64, int64) {
	var begin, end int64
	waitFor(topic+" led", func() bool {
		var first, last error
		begin, first = f.client.GetOffset(topic, partition, sarama.OffsetOldest)
		end, last = f.client.GetOffset(topic, partition, sarama.OffsetNewest)
		return first == nil && last == nil
	})
	return begin, end
}

func (f *saramaFace) OffsetAt(topic string, partition int32, timestamp int64) int64 {
	return mustGet(f.client.GetOffset(topic, partition, timestamp))
}

func (f *saramaFace) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	entries := map[string]*string{}
	for name, value := range configs {
		entries[name] = &value
	}
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries}
	return f.admin.CreateTopic(topic, detail, false)
}

func (f *saramaFace) RefusedAsExisting(err error) bool {
	return errors.Is(err, sarama.ErrTopicAlreadyExists)
}

func (f *saramaFace) Topics() map[string]bool {
	found := map[string]bool{}
	for topic := range mustGet(f.admin.ListTopics()) {
		found[topic] = true
	}
	return found
}

func (f *saramaFace) PartitionCount(topic string) int {
	for _, metadata := range mustGet(f.admin.DescribeTopics([]string{topic})) {
		if metadata.Err == sarama.ErrNoError {
			must(f.client.RefreshMetadata(topic))
			return len(metadata.Partitions)
		}
	}
	return 0
}

func (f *saramaFace) describe(kind sarama.ConfigResourceType, name string) map[string]string {
	found := map[string]string{}
	for _, entry := range mustGet(f.admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: name})) {
		found[entry.Name] = entry.Value
	}
	return found
}

func (f *saramaFace) TopicConfigs(topic string) map[string]string {
	return f.describe(sarama.TopicResource, topic)
}

func (f *saramaFace) BrokerConfigCount() int { return len(f.describe(sarama.BrokerResource, "1")) }

func (f *saramaFace) AlterConfig(topic, name, value string) {
	entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	must(f.admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{name: entry}, false))
}

func (f *saramaFace) Grow(topic string, partitions int32) {
	must(f.admin.CreatePartitions(topic, partitions, nil, false))
}

func (f *saramaFace) DeleteRecords(topic string, partition int32, before int64) {
	must(f.admin.DeleteRecords(topic, map[int32]int64{partition: before}))
}

func (f *saramaFace) DeleteTopic(topic string) { must(f.admin.DeleteTopic(topic)) }
