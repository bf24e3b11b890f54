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
	line := map[string]any{"event": event, "at": time.Now().UnixMilli()}
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

// franzAccount is what the member owns, where it is there, and what of that is not committed.
type franzAccount struct {
	sync.Mutex
	position map[partition]int64 // of what is owned; -1 before the first record
	dirty    map[partition]bool
}

type partition struct {
	topic  string
	number int32
}

func each(partitions map[string][]int32, do func(partition)) {
	for topic, numbers := range partitions {
		for _, number := range numbers {
			do(partition{topic, number})
		}
	}
}

func (a *franzAccount) assigned(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	a.Lock()
	defer a.Unlock()
	each(partitions, func(at partition) { a.position[at] = -1 })
	_, generation := client.GroupMetadata()
	say("assigned", map[string]any{"partitions": listed(partitions), "generation": generation})
}

func (a *franzAccount) revoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	a.Lock()
	defer a.Unlock()
	each(partitions, func(at partition) { delete(a.position, at); delete(a.dirty, at) })
	say("revoked", map[string]any{"partitions": listed(partitions)})
}

// lost is everything, whatever is named: this version forgets to name what was being revoked when the member was fenced.
func (a *franzAccount) lost(context.Context, *kgo.Client, map[string][]int32) {
	a.Lock()
	defer a.Unlock()
	all := map[string][]int32{}
	for at := range a.position {
		all[at.topic] = append(all[at.topic], at.number)
	}
	clear(a.position)
	clear(a.dirty)
	say("lost", map[string]any{"partitions": listed(all)})
}

func (a *franzAccount) took(found kgo.FetchTopicPartition) {
	if len(found.Records) == 0 {
		return
	}
	a.Lock()
	defer a.Unlock()
	offsets := []int64{}
	for _, record := range found.Records {
		offsets = append(offsets, record.Offset)
	}
	say("records", map[string]any{"topic": found.Topic, "partition": found.Partition, "offsets": offsets})
	at := partition{found.Topic, found.Partition}
	if _, owned := a.position[at]; owned {
		a.position[at], a.dirty[at] = offsets[len(offsets)-1]+1, true
	}
}

func (a *franzAccount) toCommit() map[string]map[int32]kgo.EpochOffset {
	a.Lock()
	defer a.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for at := range a.dirty {
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.number] = kgo.EpochOffset{Epoch: -1, Offset: a.position[at]}
	}
	clear(a.dirty)
	return offsets
}

// committed tells; what was refused is committed again, from where the member then is, if it still owns it.
func (a *franzAccount) committed(how string, offsets map[string]map[int32]kgo.EpochOffset, err error) {
	a.Lock()
	defer a.Unlock()
	said := map[string]any{"how": how, "error": nil}
	if err != nil {
		said["error"] = err.Error()
	}
	list := [][]any{}
	for topic, partitions := range offsets {
		for number, position := range partitions {
			list = append(list, []any{topic, number, position.Offset})
			if _, owned := a.position[partition{topic, number}]; owned && err != nil {
				a.dirty[partition{topic, number}] = true
			}
		}
	}
	said["offsets"] = list
	say("committed", said)
}

func franzOptions(bootstrap string, options memberOptions, account *franzAccount) []kgo.Opt {
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
		kgo.OnPartitionsAssigned(account.assigned), kgo.OnPartitionsRevoked(account.revoked),
		kgo.OnPartitionsLost(account.lost),
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
	account := &franzAccount{position: map[partition]int64{}, dirty: map[partition]bool{}}
	client := mustGet(kgo.NewClient(franzOptions(bootstrap, options, account)...))
	say("started", nil)
	// The library has the next member epoch before what it takes away is given up, which waits for the end of a round:
	// an epoch counts when it has been there for a while.
	generation, seen, since := int32(-1), int32(-1), time.Now()
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
				franzCommit(client, command[1], account)
			}
		default:
		}
		limit, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollRecords(limit, 200)
		cancel()
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			say("error", map[string]any{"text": err.Error()})
		}
		if _, now := client.GroupMetadata(); options.Protocol == "consumer" {
			if now != seen {
				seen, since = now, time.Now()
			} else if now != generation && time.Since(since) > 200*time.Millisecond {
				generation = now
				say("generation", map[string]any{"generation": now})
			}
		}
		fetches.EachPartition(account.took)
		if options.Commit == "sync" || options.Commit == "async" {
			franzCommit(client, options.Commit, account)
		}
		client.AllowRebalance()
	}
}

func franzCommit(client *kgo.Client, how string, account *franzAccount) {
	offsets := account.toCommit()
	if len(offsets) == 0 {
		return
	}
	limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		defer cancel()
		if err == nil {
			for _, topic := range response.Topics {
				for _, answer := range topic.Partitions {
					err = errors.Join(err, kerr.ErrorForCode(answer.ErrorCode))
				}
			}
		}
		account.committed(how, offsets, err)
	}
	if how == "async" {
		client.CommitOffsets(limit, offsets, done)
	} else {
		client.CommitOffsetsSync(limit, offsets, done)
	}
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
