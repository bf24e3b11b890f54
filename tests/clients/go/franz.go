package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franzFace struct {
	bootstrap string
	admin     *kadm.Client
	latest    *kgo.Client
}

func newFranz(bootstrap string) Face {
	client := mustGet(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond)))
	return &franzFace{bootstrap: bootstrap, admin: kadm.NewClient(client)}
}

func (f *franzFace) Name() string           { return "franz-go" }
func (f *franzFace) Lacks() map[string]bool { return nil }

func (f *franzFace) producer(codec, how string) *kgo.Client {
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(map[string]kgo.CompressionCodec{
			"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
			"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
		}[codec]),
		kgo.RequiredAcks(map[string]kgo.Acks{
			"acks=0": kgo.NoAck(), "acks=1": kgo.LeaderAck(), "acks=all": kgo.AllISRAcks(), "idempotent": kgo.AllISRAcks(),
		}[how]),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.MaxBufferedRecords(100_000),
	}
	if how != "idempotent" {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	return mustGet(kgo.NewClient(options...))
}

func franzRecord(topic string, partition int32, record Record) *kgo.Record {
	made := &kgo.Record{Topic: topic, Partition: partition, Key: record.Key, Value: record.Value}
	if record.Timestamp != 0 {
		made.Timestamp = time.UnixMilli(record.Timestamp)
	}
	for _, h := range record.Headers {
		made.Headers = append(made.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	return made
}

func (f *franzFace) Produce(topic string, partition int32, records []Record, codec, how string) {
	if f.latest != nil {
		f.latest.Close()
	}
	f.latest = f.producer(codec, how)
	var made []*kgo.Record
	for _, record := range records {
		made = append(made, franzRecord(topic, partition, record))
	}
	must(f.latest.ProduceSync(context.Background(), made...).FirstErr())
}

func (f *franzFace) Put(topic string, packed <-chan Record, codec string) {
	producer := f.producer(codec, "idempotent")
	for record := range packed {
		producer.Produce(context.Background(), franzRecord(topic, 0, record), func(_ *kgo.Record, err error) { must(err) })
	}
	must(producer.Flush(context.Background()))
	producer.Close()
}

func (f *franzFace) Read(topic string, partition int32, start, count int64, take func(Record)) {
	if count == 0 {
		return
	}
	consumer := mustGet(kgo.NewClient(
		kgo.SeedBrokers(f.bootstrap),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(start)}}),
	))
	defer consumer.Close()
	for count > 0 {
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		fetches := consumer.PollRecords(limit, int(min(count, 100_000)))
		cancel()
		must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			record := Record{Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				record.Headers = append(record.Headers, Header{h.Key, h.Value})
			}
			take(record)
			count--
		})
	}
}

func (f *franzFace) Offsets(topic string, partition int32) (int64, int64) {
	begin := mustGet(f.admin.ListStartOffsets(context.Background(), topic))
	must(begin.Error())
	end := mustGet(f.admin.ListEndOffsets(context.Background(), topic))
	must(end.Error())
	return begin[topic][partition].Offset, end[topic][partition].Offset
}

func (f *franzFace) OffsetAt(topic string, partition int32, timestamp int64) int64 {
	listed := mustGet(f.admin.ListOffsetsAfterMilli(context.Background(), timestamp, topic))
	must(listed.Error())
	found := listed[topic][partition]
	if found.Timestamp < 0 {
		return -1 // the library then gives the end offset
	}
	return found.Offset
}

func (f *franzFace) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	entries := map[string]*string{}
	for name, value := range configs {
		entries[name] = &value
	}
	_, err := f.admin.CreateTopic(context.Background(), partitions, 1, entries, topic)
	return err
}

func (f *franzFace) RefusedAsExisting(err error) bool { return errors.Is(err, kerr.TopicAlreadyExists) }

func (f *franzFace) Topics() map[string]bool {
	found := map[string]bool{}
	for topic := range mustGet(f.admin.ListTopics(context.Background())) {
		found[topic] = true
	}
	return found
}

func (f *franzFace) PartitionCount(topic string) int {
	details := mustGet(f.admin.ListTopics(context.Background(), topic))[topic]
	if details.Err != nil {
		return 0
	}
	return len(details.Partitions)
}

func configsOf(resources kadm.ResourceConfigs, err error) map[string]string {
	must(err)
	found := map[string]string{}
	for _, resource := range resources {
		must(resource.Err)
		for _, config := range resource.Configs {
			found[config.Key] = config.MaybeValue()
		}
	}
	return found
}

func (f *franzFace) TopicConfigs(topic string) map[string]string {
	return configsOf(f.admin.DescribeTopicConfigs(context.Background(), topic))
}

func (f *franzFace) BrokerConfigCount() int {
	return len(configsOf(f.admin.DescribeBrokerConfigs(context.Background(), 1)))
}

func (f *franzFace) AlterConfig(topic, name, value string) {
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	for _, response := range mustGet(f.admin.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{change}, topic)) {
		must(response.Err)
	}
}

func (f *franzFace) Grow(topic string, partitions int32) {
	responses := mustGet(f.admin.UpdatePartitions(context.Background(), int(partitions), topic))
	must(responses.Error())
}

func (f *franzFace) DeleteRecords(topic string, partition int32, before int64) {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: before, LeaderEpoch: -1})
	must(mustGet(f.admin.DeleteRecords(context.Background(), offsets)).Error())
}

func (f *franzFace) DeleteTopic(topic string) {
	must(mustGet(f.admin.DeleteTopics(context.Background(), topic)).Error())
}
