package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// memberOptions and what is said are those of tests/clients/README.md.
type memberOptions struct {
	Group, Protocol, Regex, Assignor, Instance, Commit string
	Topics                                             []string
	SessionMs                                          int64 `json:"session_ms"`
	HeartbeatMs                                        int64 `json:"heartbeat_ms"`
}

func member(library, bootstrap, text string) {
	options := memberOptions{Protocol: "classic", Assignor: "range", Commit: "sync", SessionMs: 6000, HeartbeatMs: 300}
	must(json.Unmarshal([]byte(text), &options))
	commands := make(chan []string, 16)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			commands <- strings.Fields(lines.Text())
		}
		commands <- []string{"leave"}
	}()
	if library == "sarama" {
		saramaMember(bootstrap, options, commands)
	} else {
		franzMember(bootstrap, options, commands)
	}
	say("left", nil)
}

var saying sync.Mutex

func say(event string, rest map[string]any) {
	line := map[string]any{"event": event}
	for name, value := range rest {
		line[name] = value
	}
	text := mustGet(json.Marshal(line))
	saying.Lock()
	defer saying.Unlock()
	mustGet(os.Stdout.Write(append(text, '\n')))
}

func listed(partitions map[string][]int32) [][]any {
	list := [][]any{}
	for topic, numbers := range partitions {
		for _, number := range numbers {
			list = append(list, []any{topic, number})
		}
	}
	return list
}

func pause(milliseconds string) {
	time.Sleep(time.Duration(mustGet(strconv.ParseInt(milliseconds, 10, 64))) * time.Millisecond)
}

// ---- franz-go ----

type positions map[string]map[int32]kgo.EpochOffset

func franzOptions(bootstrap string, options memberOptions) []kgo.Opt {
	told := func(event string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
			rest := map[string]any{"partitions": listed(partitions)}
			if event == "assigned" {
				_, rest["generation"] = client.GroupMetadata()
			}
			say(event, rest)
		}
	}
	balancer := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(), "uniform": kgo.StickyBalancer(),
	}[options.Assignor]
	made := []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.ClientID("franz-go"), kgo.ConsumerGroup(options.Group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(balancer),
		kgo.SessionTimeout(time.Duration(options.SessionMs) * time.Millisecond),
		kgo.HeartbeatInterval(time.Duration(options.HeartbeatMs) * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.MetadataMinAge(200 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(told("assigned")), kgo.OnPartitionsRevoked(told("revoked")),
		kgo.OnPartitionsLost(told("lost")),
	}
	if options.Commit == "auto" {
		made = append(made, kgo.AutoCommitInterval(200*time.Millisecond))
	} else {
		made = append(made, kgo.DisableAutoCommit())
	}
	if options.Instance != "" {
		made = append(made, kgo.InstanceID(options.Instance))
	}
	if options.Regex != "" {
		made = append(made, kgo.ConsumeRegex(), kgo.ConsumeTopics(options.Regex))
	} else {
		made = append(made, kgo.ConsumeTopics(options.Topics...))
	}
	if options.Protocol == "consumer" {
		// How this version is asked for it.
		//lint:ignore SA1029 the library looks for this key
		made = append(made, kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	return made
}

func franzMember(bootstrap string, options memberOptions, commands <-chan []string) {
	client := mustGet(kgo.NewClient(franzOptions(bootstrap, options)...))
	say("started", nil)
	at, generation := positions{}, int32(-1)
	for {
		select {
		case command := <-commands:
			switch command[0] {
			case "leave":
				client.AllowRebalance()
				client.LeaveGroup()
				client.Close()
				return
			case "pause":
				pause(command[1])
			case "commit":
				franzCommit(client, command[1], at)
				at = positions{}
			}
		default:
		}
		limit, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollRecords(limit, 200)
		cancel()
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			say("error", map[string]any{"text": err.Error()})
		}
		if _, now := client.GroupMetadata(); options.Protocol == "consumer" && now != generation {
			generation = now
			say("generation", map[string]any{"generation": now})
		}
		fetches.EachPartition(func(found kgo.FetchTopicPartition) {
			if len(found.Records) > 0 {
				at.take(found)
			}
		})
		if len(at) > 0 && (options.Commit == "sync" || options.Commit == "async") {
			franzCommit(client, options.Commit, at)
			at = positions{}
		}
		client.AllowRebalance()
	}
}

func (at positions) take(found kgo.FetchTopicPartition) {
	offsets := []int64{}
	for _, record := range found.Records {
		offsets = append(offsets, record.Offset)
	}
	say("records", map[string]any{"topic": found.Topic, "partition": found.Partition, "offsets": offsets})
	if at[found.Topic] == nil {
		at[found.Topic] = map[int32]kgo.EpochOffset{}
	}
	at[found.Topic][found.Partition] = kgo.EpochOffset{Epoch: -1, Offset: offsets[len(offsets)-1] + 1}
}

func franzCommit(client *kgo.Client, how string, at positions) {
	done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		offsets := [][]any{}
		for topic, partitions := range at {
			for partition, position := range partitions {
				offsets = append(offsets, []any{topic, partition, position.Offset})
			}
		}
		if err == nil {
			for _, topic := range response.Topics {
				for _, partition := range topic.Partitions {
					err = errors.Join(err, kerr.ErrorForCode(partition.ErrorCode))
				}
			}
		}
		said := map[string]any{"how": how, "offsets": offsets, "error": nil}
		if err != nil {
			said["error"] = err.Error()
		}
		say("committed", said)
	}
	limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	if how == "async" {
		client.CommitOffsets(limit, at, func(c *kgo.Client, q *kmsg.OffsetCommitRequest, s *kmsg.OffsetCommitResponse, err error) {
			done(c, q, s, err)
			cancel()
		})
		return
	}
	defer cancel()
	client.CommitOffsetsSync(limit, at, done)
}

// ---- sarama ----

// saramaHandler has a goroutine a partition, which the library starts; commands reach them by `blocked`.
type saramaHandler struct {
	commit  string
	blocked sync.RWMutex // held while the member pauses
	session sarama.ConsumerGroupSession
}

func (h *saramaHandler) Setup(session sarama.ConsumerGroupSession) error {
	h.session = session
	say("assigned", map[string]any{"partitions": listed(session.Claims()), "generation": session.GenerationID()})
	return nil
}

func (h *saramaHandler) Cleanup(session sarama.ConsumerGroupSession) error {
	say("revoked", map[string]any{"partitions": listed(session.Claims())})
	return nil
}

func (h *saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		h.blocked.RLock()
		offsets := []int64{message.Offset}
	more:
		for len(offsets) < 200 {
			select {
			case next, open := <-claim.Messages():
				if !open {
					break more
				}
				offsets = append(offsets, next.Offset)
			default:
				break more
			}
		}
		say("records", map[string]any{"topic": claim.Topic(), "partition": claim.Partition(), "offsets": offsets})
		next := offsets[len(offsets)-1] + 1
		session.MarkOffset(claim.Topic(), claim.Partition(), next, "")
		if h.commit == "sync" {
			session.Commit()
			// The library does not tell how it went, so nothing is promised.
			said := [][]any{{claim.Topic(), claim.Partition(), next}}
			say("committed", map[string]any{"how": "sync", "offsets": said, "error": "unsaid"})
		}
		h.blocked.RUnlock()
	}
	return nil
}

func saramaMember(bootstrap string, options memberOptions, commands <-chan []string) {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.ClientID = "sarama"
	config.Metadata.RefreshFrequency = time.Second
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Metadata.Retry.Max = 100
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = options.Commit == "auto" || options.Commit == "async"
	config.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Session.Timeout = time.Duration(options.SessionMs) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = time.Duration(options.HeartbeatMs) * time.Millisecond
	config.Consumer.Group.InstanceId = options.Instance
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{map[string]sarama.BalanceStrategy{
		"range": sarama.NewBalanceStrategyRange(), "roundrobin": sarama.NewBalanceStrategyRoundRobin(),
		"sticky": sarama.NewBalanceStrategySticky(),
	}[options.Assignor]}
	group := mustGet(sarama.NewConsumerGroup([]string{bootstrap}, options.Group, config))
	going, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	handler := &saramaHandler{commit: options.Commit}
	go func() {
		for err := range group.Errors() {
			say("error", map[string]any{"text": fmt.Sprint(err)})
		}
	}()
	go func() {
		defer close(ended)
		for going.Err() == nil {
			if err := group.Consume(going, options.Topics, handler); err != nil {
				say("error", map[string]any{"text": fmt.Sprint(err)})
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	say("started", nil)
	for command := range commands {
		switch command[0] {
		case "leave":
			end()
			<-ended
			must(group.Close())
			return
		case "pause":
			handler.blocked.Lock()
			pause(command[1])
			handler.blocked.Unlock()
		case "commit":
			if handler.session != nil {
				handler.session.Commit()
			}
		}
	}
}
